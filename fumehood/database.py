"""Database: one engine, two kinds of transaction, and the only place that knows one SQL dialect from another."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from fumehood.errors import Misconfigured, StoreUnavailable
from fumehood.files import make_private

BUSY_SECONDS = 10.0
"""How long a call waits for another one's write, or for a free connection, before the store counts as away."""

# What every connection to SQLite is told. WAL is not among them: it is a property of the file, set once by `prepare`.
_PRAGMAS = {
    "synchronous": "FULL",  # a job acknowledged with 202 survives a power failure
    "foreign_keys": "ON",  # off by default in SQLite, and the schema relies on them
    "secure_delete": "ON",  # what is forgotten is overwritten, not only marked as free
}

# A dialect's own INSERT, because ON CONFLICT is in no standard.
_INSERT: dict[str, Callable[[Table], Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

# Any number of ours; holds other starters back while one migrates.
_MIGRATION_LOCK = 0x66756D65


class Database:
    def __init__(self, url: str, *, busy_seconds: float = BUSY_SECONDS) -> None:
        self._busy_seconds = busy_seconds
        try:
            self._url = make_url(url)
            if self._url.get_backend_name() not in _INSERT:
                raise ArgumentError
            self._engine = create_engine(
                self._url,
                pool_size=8,
                max_overflow=56,  # the desk's thread pool and a worker's slots; idle ones above pool_size are closed
                pool_timeout=busy_seconds,
                pool_pre_ping=not self.is_sqlite,
                hide_parameters=True,  # an error's text must not hold a tenant's data
                # Escapes keep text of every origin storable: a lone surrogate has no UTF-8.
                json_serializer=json.dumps,
                connect_args={"timeout": busy_seconds} if self.is_sqlite else {"connect_timeout": max(2, int(busy_seconds))},
            )
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise Misconfigured("database_url is not usable; expected sqlite:////absolute/path or postgresql+psycopg://…") from error
        # The same pool; the option tells `_begin` which kind of transaction to open.
        self._writer = self._engine.execution_options(fumehood_writes=True)
        if self.is_sqlite:
            event.listen(self._engine, "connect", _on_connect)
            event.listen(self._engine, "begin", _on_begin)

    @property
    def is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent view; never waits for a writer."""
        with self._transaction(self._engine) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that may write; committed at the end, rolled back on any exception.

        SQLite takes the write lock at the beginning (BEGIN IMMEDIATE): a transaction that read first and wrote later
        could be refused without any wait when another one wrote in between.
        """
        with self._transaction(self._writer) as connection:
            yield connection

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        try:
            with engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise  # means something, to the verb that caused it
        except (DBAPIError, PoolTimeout) as error:
            raise StoreUnavailable("the job store does not answer") from error

    def insert_or_get(self, connection: Connection, table: Table, values: Mapping[str, Any], *, unique: Sequence[str]) -> Row[Any]:
        """Insert a row, or get the one that has the same `unique` columns already: one statement, so that of two at
        once exactly one inserts and both see the same row."""
        insert = _INSERT[self._url.get_backend_name()](table).values(values)
        # An update that changes nothing, because only an updated row is returned.
        unchanged = {unique[0]: insert.excluded[unique[0]]}
        statement = insert.on_conflict_do_update(index_elements=list(unique), set_=unchanged).returning(*table.c)
        return connection.execute(statement).one()

    def upsert(self, connection: Connection, table: Table, values: Mapping[str, Any], *, unique: Sequence[str]) -> None:
        insert = _INSERT[self._url.get_backend_name()](table).values(values)
        changed = {name: insert.excluded[name] for name in values if name not in unique}
        connection.execute(insert.on_conflict_do_update(index_elements=list(unique), set_=changed))

    def prepare(self) -> None:
        """Make the SQLite file, readable by us alone, and switch it to WAL."""
        if not self.is_sqlite or self._url.database is None:
            return
        path = Path(self._url.database)
        try:
            make_private(path.parent)
            # Made here and not by SQLite, whose files have the umask's mode. Its -wal and -shm take over this one's.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            _switch_to_wal(path, self._busy_seconds)
        except (OSError, sqlite3.Error) as error:
            raise StoreUnavailable("the job store's file cannot be made or opened") from error

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A writing transaction that other starters wait for."""
        with self.writing() as connection:
            if not self.is_sqlite:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            yield connection

    def close(self) -> None:
        self._engine.dispose()


def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own idea of transactions is switched off: it opens them late, and never as IMMEDIATE.
    connection.isolation_level = None
    for name, value in _PRAGMAS.items():
        connection.execute(f"PRAGMA {name}={value}")


def _on_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("fumehood_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _switch_to_wal(path: Path, busy_seconds: float) -> None:
    """SQLite answers «locked» at once, without its busy timeout, when two processes switch at the same moment."""
    deadline = time.monotonic() + busy_seconds
    while True:
        connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL").fetchone()
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        finally:
            connection.close()
