"""Run by Alembic, with the connection that `fumehood.migrations.upgrade` hands over."""

from alembic import context

from fumehood.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
