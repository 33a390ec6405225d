"""The schema's revisions (Alembic), run from code: there is no alembic.ini.

A new revision is a module in `versions/`, named `v<number>_<what>.py`, with `revision` and `down_revision`.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def upgrade(connection: Connection) -> None:
    """Bring the schema to the newest revision, inside the connection's transaction."""
    config = Config()
    # The configuration is read with %-interpolation.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
