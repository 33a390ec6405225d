"""Database: one engine, two kinds of transaction, and the only place that knows one SQL dialect from another."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Row, Table, bindparam, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from fumehood.errors import Misconfigured, StoreUnavailable
from fumehood.files import make_private

BUSY_SECONDS = 10.0
"""How long a call waits for another one's write, or for a free connection, before the store counts as away."""

# How often a writer of SQLite asks whether it is its turn: a transaction of ours takes a millisecond or two.
ASKED_SECONDS = (0.0005, 0.01)

# What every connection to SQLite is told. WAL is not among them: it is a property of the file, set once by `prepare`.
_PRAGMAS = {
    "synchronous": "FULL",  # a job acknowledged with 202 survives a power failure
    "foreign_keys": "ON",  # off by default in SQLite, and the schema relies on them
    "secure_delete": "ON",  # what is forgotten is overwritten, not only marked as free
}

# A dialect's own INSERT, because ON CONFLICT is in no standard.
_INSERT: dict[str, Callable[[Table], Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

# SQLSTATE of what goes well a moment later: two that waited for each other, or saw what another one changed.
_CLASHES = {"40001", "40P01"}

# Any numbers of ours: advisory locks of PostgreSQL, for what SQLite's single writer gives by itself.
_MIGRATION_LOCK, _CLAIM_LOCK = 0x66756D65, 0x66756D66
MIGRATION_SECONDS = 600
"""How long a start waits for another one that migrates, and how long one revision may take."""


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
                pool_pre_ping=not self.is_sqlite,  # a server that was restarted has closed what lies in the pool
                hide_parameters=True,  # an error's text must not hold a tenant's data
                # Escapes keep text of every origin storable: a lone surrogate has no UTF-8.
                json_serializer=json.dumps,
                connect_args={"timeout": busy_seconds} if self.is_sqlite else _patience(self._url, busy_seconds),
            )
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise Misconfigured("database_url is not usable; expected sqlite:////absolute/path or postgresql+psycopg://…") from error
        # The same pool; the options say which kind of transaction to open.
        self._reader, self._writer = self._engine, self._engine.execution_options(fumehood_writes=True)
        if not self.is_sqlite:
            # One view for all statements, as SQLite gives it; a transaction that only reads is never refused for it.
            self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        else:
            event.listen(self._engine, "connect", _on_connect)
            event.listen(self._engine, "begin", self._begin_on_sqlite)

    @property
    def is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent view; never waits for a writer."""
        with self._transaction(self._reader) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that may write; committed at the end, rolled back on any exception.

        SQLite takes the write lock at the beginning (BEGIN IMMEDIATE): a transaction that read first and wrote later
        could be refused without any wait when another one wrote in between.
        """
        with self._transaction(self._writer) as connection:
            yield connection

    def _begin_on_sqlite(self, connection: Connection) -> None:
        raw: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
        if connection.get_execution_options().get("fumehood_writes", False):
            _begin_writing(raw, self._busy_seconds)
        else:
            raw.execute("BEGIN")

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        try:
            with engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise  # means something, to the verb that caused it
        except (DBAPIError, PoolTimeout, sqlite3.Error) as error:
            if getattr(getattr(error, "orig", None), "sqlstate", None) in _CLASHES:
                raise StoreUnavailable("the job store was busy with the same rows", retry_after_seconds=1) from error
            raise StoreUnavailable("the job store does not answer") from error

    def insert_or_get(self, connection: Connection, table: Table, values: Mapping[str, Any], *, unique: Sequence[str]) -> Row[Any]:
        """Insert a row, or get the one that has the same `unique` columns already: one statement, so that of two at
        once exactly one inserts and both see the same row."""
        insert = inserting(connection, table).values(values)
        # An update that changes nothing, because only an updated row is returned.
        unchanged = {unique[0]: insert.excluded[unique[0]]}
        statement = insert.on_conflict_do_update(index_elements=list(unique), set_=unchanged).returning(*table.c)
        return connection.execute(statement).one()

    def upsert(self, connection: Connection, table: Table, values: Mapping[str, Any], *, unique: Sequence[str]) -> None:
        insert = inserting(connection, table).values(values)
        changed = {name: insert.excluded[name] for name in values if name not in unique}
        connection.execute(insert.on_conflict_do_update(index_elements=list(unique), set_=changed))

    def insert_missing(self, connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert those rows whose key is not there yet."""
        if rows:
            connection.execute(_INSERT[self._url.get_backend_name()](table).on_conflict_do_nothing(), list(rows))

    def prepare(self) -> None:
        """Make the SQLite file, readable by us alone, and switch it to WAL."""
        if not self.is_sqlite or self._url.database is None:
            return
        path = Path(self._url.database)
        try:
            make_private(path.parent)
            # Made here and not by SQLite, whose files have the umask's mode. Its -wal and -shm take over this one's. One that is
            # there is not opened: the close would give up every lock that this process's other stores hold on it.
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            if not path.is_file():
                raise FileNotFoundError
            _switch_to_wal(path, self._busy_seconds)
        except (OSError, sqlite3.Error) as error:
            raise StoreUnavailable("the job store's file cannot be made or opened") from error

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A writing transaction that other starters wait for."""
        with self.writing() as connection:
            if not self.is_sqlite:
                for name in ("statement_timeout", "lock_timeout"):
                    connection.exec_driver_sql(f"SET LOCAL {name} = '{MIGRATION_SECONDS}s'")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            yield connection

    @contextmanager
    def claiming(self) -> Iterator[Connection]:
        """A writing transaction that other claims wait for: of two that look at the same budget, the second must see what
        the first one took of it."""
        with self.writing() as connection:
            if not self.is_sqlite:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_CLAIM_LOCK})")
            yield connection

    def close(self) -> None:
        self._engine.dispose()


def inserting(connection: Connection, table: Table) -> Any:
    """An INSERT that may say ON CONFLICT."""
    return _INSERT[connection.dialect.name](table)


@cache
def adding(dialect: str, table: Table, unique: tuple[str, ...]) -> Any:
    """An INSERT of one row of `table` that adds its numbers to the row with the same `unique` columns, where there is one."""
    insert = _INSERT[dialect](table).values({column.name: bindparam(column.name) for column in table.c})
    added = {column.name: column + insert.excluded[column.name] for column in table.c if column.name not in unique}
    return insert.on_conflict_do_update(index_elements=list(unique), set_=added)


def _patience(url: URL, busy_seconds: float) -> dict[str, Any]:
    """What every connection to PostgreSQL is told: each wait ends, for a lock, for an answer, and for a host that is gone."""
    milliseconds = max(1, int(busy_seconds * 1000))
    bounds = {
        "lock_timeout": milliseconds,
        "statement_timeout": milliseconds,
        "idle_in_transaction_session_timeout": 6 * milliseconds,  # a process that hangs must not hold its locks for ever
    }
    ours = [f"-c {name}={value}" for name, value in bounds.items()]
    theirs = url.query.get("options", ())
    return {
        "application_name": "fumehood",
        "connect_timeout": max(2, int(busy_seconds)),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": milliseconds,
        # The operator's own come last, and win.
        "options": " ".join([*ours, *([theirs] if isinstance(theirs, str) else theirs)]),
    }


def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own idea of transactions is switched off: it opens them late, and never as IMMEDIATE.
    connection.isolation_level = None
    for name, value in _PRAGMAS.items():
        connection.execute(f"PRAGMA {name}={value}")


def _begin_writing(connection: sqlite3.Connection, busy_seconds: float) -> None:
    """BEGIN IMMEDIATE as soon as no other writes. SQLite's own wait sleeps longer each time that it finds the lock taken, up to a
    tenth of a second: where several processes write all the time, one that was unlucky twice is overtaken by all the others."""
    began = time.monotonic()
    connection.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                waited_seconds = time.monotonic() - began
                # The low byte: which of its ways of being busy does not matter.
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or waited_seconds > busy_seconds:
                    raise
            time.sleep(max(ASKED_SECONDS[0], min(waited_seconds / 20, ASKED_SECONDS[1])))
    finally:
        connection.execute(f"PRAGMA busy_timeout={int(busy_seconds * 1000)}")


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
