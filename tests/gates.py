"""Gates of tests: one in a thread of the test's own process, where parts of it can be taken away, and one as a process to kill."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fumehood.settings import Settings
from gate.bodies import Rules
from gate.server import Gate
from tests.services import until

ROOT = Path(__file__).resolve().parents[1]
ENGINE = Path("/var/run/docker.sock")
SECONDS = 30.0


@contextmanager
def gate_here(settings: Settings, place: Path, *, engine: Path = ENGINE) -> Iterator[Path]:
    """A gate whose loop runs in a thread; its socket."""
    path = place / "gate.sock"
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="gate", daemon=True)
    thread.start()
    gate = Gate(Rules.of(settings), engine=engine, answer_seconds=SECONDS)
    server = asyncio.run_coroutine_threadsafe(gate.open(path), loop).result(SECONDS)
    try:
        yield path
    finally:
        loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(gate.close(), loop).result(SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS)
        loop.close()
        path.unlink(missing_ok=True)


@contextmanager
def gate_process(home: Path, image: str, place: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """`python -m gate`: its socket, and the process."""
    path = place / "gate.sock"
    ours = {
        "FUMEHOOD_HOME": str(home),
        "FUMEHOOD_IMAGE": image,
        "FUMEHOOD_DOCKER_HOST": f"unix://{ENGINE}",
        "FUMEHOOD_GATE_SOCKET": str(path),
        "FUMEHOOD_LOG_LEVEL": "error",
    }
    process = subprocess.Popen([sys.executable, "-m", "gate"], cwd=ROOT, env=os.environ | ours)
    try:
        until(lambda: path.is_socket() or process.poll() is not None, seconds=SECONDS, what="the gate stands")
        yield path, process
    finally:
        process.terminate()
        process.wait(SECONDS)


def ask(path: Path, head: str, body: bytes = b"", **headers: str) -> tuple[int, str]:
    """One raw request: the answer's status, and its text."""
    lines = [f"{head} HTTP/1.1", "Host: engine", f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers.items())]
    if "Connection" not in headers:
        lines.append("Connection: close")
    answer = exchange(path, "\r\n".join([*lines, "", ""]).encode() + body)
    return int(answer.split(b" ", 2)[1]), answer.partition(b"\r\n\r\n")[2].decode(errors="replace")


def exchange(path: Path, sent: bytes) -> bytes:
    """Everything that comes back until the gate closes."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(SECONDS)
        line.connect(str(path))
        line.sendall(sent)
        answer = b""
        while part := line.recv(65536):
            answer += part
        return answer
