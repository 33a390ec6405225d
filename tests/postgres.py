"""A PostgreSQL of the tests' own: a private cluster on a unix socket, and an empty database for whoever asks."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.services import until

START_SECONDS = 60
# Nothing here has to survive the machine; what was committed does survive the server.
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "timezone": "Pacific/Kiritimati",  # far from UTC and from here: whoever lets the server write a time is seen
}


class PostgresServer:
    """A cluster in `directory`, which is its socket's directory too."""

    def __init__(self, programs: Path, directory: Path) -> None:
        self._programs = programs
        self._directory = directory
        self._data = directory / "data"
        self._numbers = itertools.count()
        # PostgreSQL refuses to run as root; the package brings a user for it.
        self._user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        self._process: subprocess.Popen[bytes] | None = None
        if os.getuid() == 0:
            os.chown(directory, pwd.getpwnam(self._user).pw_uid, -1)
        options = ["--username", "fumehood", "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"]
        done = subprocess.run(
            [programs / "initdb", "--pgdata", self._data, *options],
            **self._as_user(),
            capture_output=True,
            timeout=START_SECONDS,
        )
        if done.returncode:
            raise RuntimeError(f"initdb ended with {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://fumehood@/{database}?host={self._directory}"

    def start(self) -> None:
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        with open(self._directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                # It ends with the tests, also where those are killed.
                ["setpriv", "--pdeathsig", "QUIT", self._programs / "postgres", "-D", self._data, "-k", self._directory, *settings],
                **self._as_user(),
                stdout=log,
                stderr=log,
            )
        until(self._answers, seconds=START_SECONDS, what="PostgreSQL answers")

    def stop(self) -> None:
        """At once, as a machine that fails: who is connected is not asked."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(START_SECONDS)
            self._process = None

    @contextmanager
    def database(self) -> Iterator[str]:
        """The address of an empty database, which is dropped afterwards with whoever is still connected."""
        name = f"test_{next(self._numbers)}"
        self.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield self.url(name)
        finally:
            self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def execute(self, statement: sql.Composable) -> None:
        with self._connect() as connection:
            connection.execute(statement)

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(host=str(self._directory), user="fumehood", dbname="postgres", autocommit=True, connect_timeout=10)

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended: {(self._directory / 'log').read_text()[-2000:]}")
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _as_user(self) -> dict[str, Any]:
        other = {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        # Their own directory: the one that the tests were started in may be closed to them.
        return {**other, "cwd": self._directory, "env": ours | {"LC_ALL": "C.UTF-8"}}


def programs() -> Path | None:
    """Where `initdb` and `postgres` lie: on Debian beside, not on, the path; the newest version of several."""
    beside = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = beside[-1] if beside else shutil.which("initdb")
    return Path(found).resolve().parent if found else None


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A cluster that runs, in a directory that goes away with it. Raises RuntimeError where PostgreSQL is missing or fails."""
    where = programs()
    if where is None:
        raise RuntimeError("PostgreSQL is not installed; expected initdb on PATH (Debian: apt-get install postgresql)")
    # Not below pytest's own directory: a socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="fumehood-postgres-") as directory:
        server = PostgresServer(where, Path(directory))
        try:
            server.start()
            yield server
        finally:
            server.stop()
