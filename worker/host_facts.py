"""What there is to know of a host: the engine's word on itself, the kernel's files, the modes of the home. Looking changes nothing."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fumehood.settings import Settings

FILE_BYTES_MAX = 2**20
REDIS_SECONDS = 2.0
KERNEL_FILES = (
    "/proc/swaps",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "/proc/sys/kernel/io_uring_disabled",
    "/proc/sys/kernel/unprivileged_bpf_disabled",
    "/proc/sys/kernel/unprivileged_userns_clone",
    "/proc/sys/user/max_user_namespaces",
    "/sys/devices/system/cpu/smt/active",
)
VULNERABILITIES = "/sys/devices/system/cpu/vulnerabilities/"
CGROUP_NAMESPACE = "/proc/self/ns/cgroup"
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTENS = "0A"
UNIX = "unix://"


@dataclass(frozen=True, kw_only=True, slots=True)
class Mode:
    """Owner and permission bits of a file."""

    uid: int
    bits: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What was found. What could not be looked at is absent or None."""

    info: Mapping[str, Any]
    version: Mapping[str, Any]
    runtime: str
    image: str | None = None
    home: Mode | None = None
    owner: int | None = None
    """The user id that the service runs as, where it is known."""
    secrets: Mapping[str, Mode] = field(default_factory=dict)
    redis_password: bool | None = None
    listens: Sequence[str] = ()
    """Addresses on which something listens at the API's port."""
    worker_mounts: Sequence[Sequence[str]] = ()
    """For each container with a worker of this home: the paths of the host that it has."""
    engine_socket: str | None = None
    """Where the engine listens on this machine; None where that is no UNIX socket."""
    kernel: Mapping[str, str] = field(default_factory=dict)
    """Contents of files below /proc and /sys."""


def gather(
    settings: Settings,
    *,
    info: Mapping[str, Any],
    version: Mapping[str, Any],
    port: int,
    owner: int | None,
    worker_mounts: Sequence[Sequence[str]] = (),
) -> Facts:
    """`port` is where the API is reached on this machine, `owner` the user id that the service runs as."""
    return Facts(
        info=info,
        version=version,
        runtime=settings.runtime,
        image=settings.image,
        home=_mode(settings.home),
        owner=owner,
        secrets=dict(_secrets(settings)),
        redis_password=_redis_password(settings),
        listens=[address for table in _TABLES for address in listening(_text(table) or "", port)],
        worker_mounts=worker_mounts,
        engine_socket=settings.docker_host.removeprefix(UNIX) if settings.docker_host.startswith(UNIX) else None,
        kernel=dict(_kernel()),
    )


def listening(table: str, port: int) -> Iterator[str]:
    """Addresses that listen at `port`, by the text of /proc/net/tcp or tcp6."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == _LISTENS:
            address, _, number = fields[1].partition(":")
            if int(number, 16) == port:
                # Words of four bytes, each in the machine's own order.
                words = [bytes.fromhex(address[at : at + 8]) for at in range(0, len(address), 8)]
                yield str(ipaddress.ip_address(b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)))


def _kernel() -> Iterator[tuple[str, str]]:
    for path in (*KERNEL_FILES, *map(str, _files(Path(VULNERABILITIES)))):
        if (text := _text(path)) is not None:
            yield path, text
    if Path(CGROUP_NAMESPACE).exists():
        yield CGROUP_NAMESPACE, ""


def _secrets(settings: Settings) -> Iterator[tuple[str, Mode]]:
    files = (getattr(settings, name) for name in type(settings).model_fields if name.endswith("_file"))
    for path in sorted({*_files(settings.home / "secrets"), *filter(None, files)}):
        if mode := _mode(path):
            yield path.name, mode


def _files(directory: Path) -> Iterable[Path]:
    with contextlib.suppress(OSError):
        return [path for path in directory.iterdir() if path.is_file()]
    return ()


def _redis_password(settings: Settings) -> bool | None:
    """A password that is known, also as the composed service has it, whose settings name no file here; else Redis is asked."""
    try:
        known = settings.secret("redis_password") or _text(settings.home / "secrets" / "redis_password")
    except OSError:
        known = None
    return bool(known and known.strip()) or asks_for_a_password(settings.redis_url)


def asks_for_a_password(address: str) -> bool | None:
    """Whether the Redis at `address` refuses who gives none; None where it does not say."""
    found = urlsplit(address)
    if found.scheme != "redis" or not found.hostname:
        return None
    try:
        with socket.create_connection((found.hostname, found.port or 6379), timeout=REDIS_SECONDS) as line:
            line.sendall(b"PING\r\n")
            return {b"+PONG": False, b"-NOAU": True}.get(line.recv(64)[:5])
    except (OSError, ValueError):
        return None


def _mode(path: Path) -> Mode | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return Mode(uid=found.st_uid, bits=stat.S_IMODE(found.st_mode))


def _text(path: str | Path) -> str | None:
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read(FILE_BYTES_MAX)
    return None
