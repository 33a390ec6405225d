"""The home: one directory with everything the service stores, its secrets and its settings. Made once, then kept."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import secrets
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import engine
from progress import ROOT, SetupError, say

# Modules of the standard library only, like everything in this directory.
sys.path.insert(0, str(ROOT))
from fumehood.tenant import new_key
from worker.seccomp import service_profile

# API, worker, courier and Redis run as this user when root sets up; otherwise as who sets up. It needs no account.
SERVICE_UID = 10900
STORES = ("sqlite", "postgres")
PORT = 8765
PORTS_TRIED = 20

SETTINGS = """\
# Settings of the service, one FUMEHOOD_NAME=value a line; `make docs` lists them, `make run` applies a change.
"""
# Redis keeps nothing on disk: it may be wiped at any moment, and what a script printed must not outlive its job. When its memory
# is full the live streams go, which expire anyway; tickets never expire, so they stay.
REDIS = """\
# Generated; the password is that of redis_password.
requirepass {password}
bind 0.0.0.0
port 6379
dir /
appendonly no
save ""
maxmemory 256mb
maxmemory-policy volatile-ttl
# How often it looks after itself; what is asked of it is answered at once.
hz 1
"""


# What API and worker are told of their store; a file of settings before the operator's own. SQLite needs no word.
STORE = {
    "sqlite": "",
    "postgres": """\
FUMEHOOD_DATABASE_URL=postgresql+psycopg://fumehood@postgres/fumehood
FUMEHOOD_DATABASE_PASSWORD_FILE={secrets}/postgres_password
""",
}
# Directories of the services that docker-compose.yml covers for those that need none of them.
COVERED = ("scratch", "blobs", "incoming", "unsettled", "workers", "uids")


@dataclass(frozen=True, kw_only=True, slots=True)
class Home:
    path: Path
    project: str
    uid: int
    gid: int

    @property
    def secrets(self) -> Path:
        return self.path / "secrets"

    @property
    def signing(self) -> Path:
        """The key of the receipts, in a directory that only the worker's container has."""
        return self.path / "signing"

    @property
    def config(self) -> Path:
        """What decides how containers are made. The services see it read-only, as a whole: a file that is mounted by itself is
        theirs again as soon as an editor puts a new one in its place."""
        return self.path / "config"

    @property
    def bootstrap_key(self) -> Path:
        return self.secrets / "bootstrap_key"

    @property
    def seccomp(self) -> Path:
        """Written by us: the filter of API and worker."""
        return self.config / "seccomp.json"

    @property
    def settings(self) -> Path:
        """Written by the operator."""
        return self.config / "settings.env"

    @property
    def compose_env(self) -> Path:
        """Written by us: what docker-compose.yml needs to know."""
        return self.config / "compose.env"

    @property
    def store_env(self) -> Path:
        """Written by us: where API and worker find their store."""
        return self.config / "store.env"

    @property
    def store(self) -> str:
        return self.remembered().get("FUMEHOOD_STORE", "sqlite")

    def remembered(self) -> dict[str, str]:
        """What `compose.env` says; empty before the first start."""
        if not self.compose_env.exists():
            return {}
        lines = (line for line in self.compose_env.read_text().splitlines() if "=" in line and not line.startswith("#"))
        return dict(line.split("=", 1) for line in lines)


def find() -> Home:
    """The home that FUMEHOOD_HOME names, or the usual one; nothing is created.

    Raises:
        SetupError: FUMEHOOD_HOME is not an absolute path.
    """
    root = os.getuid() == 0
    usual = Path("/var/lib/fumehood") if root else Path.home() / ".local" / "share" / "fumehood"
    path = Path(os.environ.get("FUMEHOOD_HOME") or usual)
    if not path.is_absolute():
        raise SetupError(f"FUMEHOOD_HOME is {str(path)!r}; expected an absolute path")
    # Two homes are two services: each gets containers of its own.
    usual_project = "fumehood" if path == usual else f"fumehood-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    uid, gid = (SERVICE_UID, SERVICE_UID) if root else (os.getuid(), pwd.getpwuid(os.getuid()).pw_gid)
    return Home(path=path, project=os.environ.get("FUMEHOOD_PROJECT") or usual_project, uid=uid, gid=gid)


def ensure(home: Home) -> None:
    """Make the directories (0700) and the secrets (0600), once; what is there is kept."""
    home.path.parent.mkdir(parents=True, exist_ok=True)
    if (older := [path for path in home.path.glob("*.env") if path.is_file()]) and not home.compose_env.exists():
        # Without them, its store, its port and its settings would be others.
        moved = f"mkdir -p {home.config} && mv {' '.join(map(str, older))} {home.config}/"
        raise SetupError(f"{home.path} was set up by an older checkout, which kept its settings elsewhere; move them:\n  {moved}")
    # What is seen as empty by some, too: the engine would make what it mounts something over, and as root.
    for directory in (home.path, home.secrets, home.signing, home.config, *(home.path / name for name in COVERED)):
        _directory(home, directory)
    password = _once(home, "redis_password", secrets.token_hex(32))
    _once(home, "postgres_password", secrets.token_hex(32))
    _once(home, "bootstrap_key", new_key())
    # An Ed25519 key is 32 random bytes.
    _once(home, "receipt_key", secrets.token_hex(32), directory=home.signing)
    write(home, home.secrets / "redis.conf", REDIS.format(password=password))
    write(home, home.seccomp, json.dumps(service_profile()))
    if not home.settings.exists():
        write(home, home.settings, SETTINGS)


def choose_store(home: Home) -> str:
    """The store of last time, or at first the one asked for, and what it needs of the home.

    Raises:
        SetupError: FUMEHOOD_STORE names none, or not the one that this home has.
    """
    asked = os.environ.get("FUMEHOOD_STORE") or home.store
    if asked not in STORES:
        raise SetupError(f"FUMEHOOD_STORE is {asked!r}; expected one of {', '.join(STORES)}")
    if home.compose_env.exists() and asked != home.store:
        raise SetupError(
            f"the jobs of {home.path} are in {home.store}, and a home keeps its store; for {asked} choose another home: "
            f"make run FUMEHOOD_STORE={asked} FUMEHOOD_HOME=…"
        )
    if asked == "postgres":
        _directory(home, home.path / "postgres")
        # PostgreSQL wants a name for the user it runs as, and its container has none but this.
        write(home, home.secrets / "postgres_passwd", f"postgres:x:{home.uid}:{home.gid}::/tmp:/bin/sh\n")
    write(home, home.store_env, "# Generated by `make run`.\n" + STORE[asked].format(secrets=home.secrets))
    return asked


def write(home: Home, path: Path, text: str) -> bool:
    """Write a file of the home (0600, the service's), whole or not at all; False where it already says so."""
    if path.exists() and path.read_text() == text:
        return False
    # A new file under a name that nobody could know, and its owner by its descriptor: the services write in the home too, and a
    # link that one of them left must lead whoever sets up nowhere.
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            os.fchown(descriptor, home.uid, home.gid)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    return True


def write_compose_env(home: Home, *, images: dict[str, str], port: int, store: str = "sqlite") -> bool:
    """What docker-compose.yml needs; True where it changed."""
    values = {
        "FUMEHOOD_HOME": home.path,
        "FUMEHOOD_API_PORT": port,
        "FUMEHOOD_STORE": store,
        "FUMEHOOD_UID": home.uid,
        "FUMEHOOD_GID": home.gid,
        "FUMEHOOD_DOCKER_GID": engine.group(),
        **images,
    }
    return write(home, home.compose_env, "# Generated by `make run`.\n" + "".join(f"{name}={value}\n" for name, value in values.items()))


def choose_port(home: Home, *, ours: bool) -> int:
    """The port asked for, or the one of last time, or the first free one; `ours`: our own API listens on it already.

    Raises:
        SetupError: FUMEHOOD_API_PORT names a port that somebody else holds.
    """
    last = int(home.remembered().get("FUMEHOOD_API_PORT", PORT))
    asked = os.environ.get("FUMEHOOD_API_PORT")
    if asked:
        if not asked.isdigit() or not 0 < int(asked) < 65536:
            raise SetupError(f"FUMEHOOD_API_PORT is {asked!r}; expected a number from 1 to 65535")
        if not _free(int(asked)) and not (ours and int(asked) == last):
            raise SetupError(f"port {asked} is taken; give another one: make run FUMEHOOD_API_PORT=…")
        return int(asked)
    if ours or _free(last):
        return last
    for port in range(PORT, PORT + PORTS_TRIED):
        if _free(port):
            say(f"home: port {last} is taken by another program, so the service gets {port}")
            return port
    raise SetupError(f"ports {PORT} to {PORT + PORTS_TRIED - 1} are all taken; give a free one: make run FUMEHOOD_API_PORT=…")


def erase(home: Home) -> None:
    """Remove the home with all that it stores; only a directory that is one of ours."""
    if not home.path.exists():
        return
    if not home.compose_env.exists() and not home.secrets.is_dir():
        raise SetupError(f"{home.path} holds neither config/compose.env nor secrets/, so it is no home of Fumehood; nothing was erased")
    shutil.rmtree(home.path)


def _directory(home: Home, path: Path) -> None:
    """Make it, the service's alone.

    Raises:
        SetupError: something else is there, a link for example.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise SetupError(f"{path} is no directory of its own ({error.strerror}); expected one, and no link") from None
    try:
        os.fchown(descriptor, home.uid, home.gid)
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def _once(home: Home, name: str, value: str, *, directory: Path | None = None) -> str:
    path = (directory or home.secrets) / name
    if path.exists():
        return path.read_text().strip()
    write(home, path, f"{value}\n")
    return value


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
