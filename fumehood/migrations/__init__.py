"""The schema's revisions (Alembic), run from code: there is no alembic.ini.

A new revision is a module in `versions/`, named `v<number>_<what>.py`, with `revision` and `down_revision`, a way up and a way
down. What the way down drops is lost; everything else survives it.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from fumehood.errors import Misconfigured

HEAD, BASE = "head", "base"


def upgrade(connection: Connection, revision: str = HEAD) -> None:
    """Bring the schema up to `revision`, inside the connection's transaction.

    Raises:
        Misconfigured: the schema is of a newer version than this one.
    """
    check_known(connection)
    command.upgrade(_config(connection), revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Bring the schema down to `revision`, or to nothing (`base`), inside the connection's transaction. Raises Misconfigured."""
    check_known(connection)
    if revision != BASE and revision not in revisions():
        raise Misconfigured(f"there is no revision {revision!r}; the revisions are {', '.join(revisions())}, and {BASE}")
    command.downgrade(_config(connection), revision)


def revisions() -> list[str]:
    """Every revision that this version knows, oldest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config(None)).walk_revisions()][::-1]


def current(connection: Connection) -> str | None:
    """The schema's revision; None where there is no schema yet."""
    return MigrationContext.configure(connection).get_current_revision()


def check_known(connection: Connection) -> None:
    """Raises Misconfigured where a newer version has been here."""
    known, found = revisions(), current(connection)
    if found is not None and found not in known:
        raise Misconfigured(
            f"the job store's schema is revision {found}; this version of the service knows {known[0]} to {known[-1]}. A newer "
            "version has been here: start that one, or let it bring the schema down first"
        )


def _config(connection: Connection | None) -> Config:
    config = Config()
    # The configuration is read with %-interpolation.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
