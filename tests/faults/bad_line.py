"""A bad line to the engine: a socket in front of it that answers late, answers with an error, or loses the answer."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

PIECE_BYTES = 64 * 1024
ANSWER_SECONDS = 60.0
ERROR = b'{"message": "the engine is not well today"}'
REFUSED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(
    ERROR
)


class BadLine:
    """`faults`: how likely each is for a new connection. Everything else passes as it is."""

    def __init__(self, path: Path, engine: str, *, seed: int) -> None:
        self.address = f"unix://{path}"
        self.faults = {"late": 0.0, "error": 0.0, "lost": 0.0}
        self.done: Counter[str] = Counter()
        self._engine = engine.removeprefix("unix://")
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen(128)
        threading.Thread(target=self._accept, name="bad line", daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(caller, self._draw()), name="a call", daemon=True).start()

    def _draw(self) -> str | None:
        with self._lock:
            drawn = self._chance.random()
            for fault, likely in self.faults.items():
                drawn -= likely
                if drawn < 0:
                    self.done[fault] += 1
                    return fault
            return None

    def _pass_on(self, caller: socket.socket, fault: str | None) -> None:
        with closing(caller), closing(socket.socket(socket.AF_UNIX)) as engine, suppress(OSError):
            if fault == "error":
                caller.settimeout(ANSWER_SECONDS)
                caller.recv(PIECE_BYTES)
                caller.sendall(REFUSED)
                return
            if fault == "late":
                time.sleep(self._chance.uniform(0.5, 3.0))  # the fault itself
            engine.connect(self._engine)
            back = threading.Thread(target=_copy, args=(engine, caller), name="an answer", daemon=True)
            if fault != "lost":
                back.start()
                _copy(caller, engine)
                back.join()
                return
            # The engine does what it is asked for; nobody hears of it.
            engine.settimeout(ANSWER_SECONDS)
            engine.sendall(caller.recv(PIECE_BYTES))
            engine.recv(PIECE_BYTES)


@contextmanager
def bad_line(path: Path, engine: str, *, seed: int) -> Iterator[BadLine]:
    line = BadLine(path, engine, seed=seed)
    try:
        yield line
    finally:
        line.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Until either ends; then the other direction learns of it as well."""
    with suppress(OSError):
        while piece := source.recv(PIECE_BYTES):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
