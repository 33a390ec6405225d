"""`python -m gate`: stand before the engine until SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import structlog

from fumehood import __version__, log
from fumehood.errors import Misconfigured
from fumehood.files import allow_files
from fumehood.settings import Settings, read
from gate.bodies import Rules
from gate.server import CONNECTIONS, FILES, Gate

FAILED, WRONG_USE = 1, 2
UNIX = "unix://"
# The socket is for the service's user and group.
UMASK = 0o117

logger = structlog.get_logger(__name__)


def main(arguments: list[str]) -> int:
    if arguments:
        print("usage: python -m gate", file=sys.stderr)
        return WRONG_USE
    try:
        settings = read()
        engine, socket = check(settings)
        allow_files(FILES, connections=CONNECTIONS)
    except Misconfigured as error:
        print(error.detail, file=sys.stderr)
        return WRONG_USE
    log.configure(settings.log_level)
    os.umask(UMASK)
    try:
        asyncio.run(stand(settings, engine=engine, socket=socket))
    except OSError as error:
        logger.error("gate cannot listen", error=log.said(error))
        return FAILED
    return 0


def check(settings: Settings) -> tuple[Path, Path]:
    """The engine's socket, and the gate's own. Raises Misconfigured."""
    if settings.gate_socket is None:
        raise Misconfigured("setting gate_socket is not set; expected the path of the socket that the gate listens on")
    if not settings.docker_host.startswith(UNIX):
        raise Misconfigured(f"setting docker_host is {settings.docker_host!r}; the gate expects unix:// and the engine's socket")
    if not settings.image:
        raise Misconfigured("setting image is not set; expected the id of the only image that the gate lets be run")
    return Path(settings.docker_host.removeprefix(UNIX)), settings.gate_socket


async def stand(settings: Settings, *, engine: Path, socket: Path) -> None:
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    gate = Gate(Rules.of(settings), engine=engine, answer_seconds=settings.engine_seconds)
    server = await gate.open(socket)
    logger.info("gate stands", version=__version__, image=settings.image)
    await end.wait()
    server.close()
    await gate.close()
    socket.unlink(missing_ok=True)
    logger.info("gate ends")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
