"""The check before queueing: what is certainly wrong with a script is said at once (contract, rule 22).

The script's text is the only tenant input that the API may parse, and it does so in a helper process
(`fumehood/script_reader.py`): bounded in memory, given a second, and replaced when it dies.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from fumehood import script_reader
from fumehood.errors import BadField

log = structlog.get_logger()

READER = Path(script_reader.__file__)
ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ScriptField(BadField):
    """A fault of the script, with its place where it has one. `caret` is the source line and a caret below the column."""

    line: int | None = None
    column: int | None = None
    caret: str | None = None


class ScriptChecker:
    """One helper, used by one request at a time. Safe between threads; blocking, so call it off the event loop."""

    def __init__(self, *, image_python: str, seconds: float = 1.0) -> None:
        """`image_python`: the version inside the image. A service on an older one never checks: it would refuse what runs there."""
        self.enabled = sys.version_info[:2] >= tuple(int(part) for part in image_python.split(".")[:2])
        self._seconds = seconds
        self._lock = threading.Lock()
        self._helper: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None

    def check(self, source: str, *, datasets: int, bundle: bool) -> ScriptField | None:
        """The fault that the script certainly has, or None where there is none, or none that can be known here."""
        # Whoever waits behind several slow scripts goes unchecked rather than late: the run shows the same fault.
        if not self.enabled or not self._lock.acquire(timeout=2 * self._seconds):
            return None
        try:
            return _finding(self._ask({"source": source, "datasets": datasets, "bundle": bundle}))
        except (OSError, ValueError) as error:
            log.info("script not checked", error=type(error).__name__)
            self._stop()
            return None
        finally:
            self._lock.release()

    def close(self) -> None:
        with self._lock:
            self._stop()

    def _ask(self, question: dict[str, Any]) -> Any:
        line = self._start()
        body = json.dumps(question).encode()
        deadline = time.monotonic() + self._seconds
        line.settimeout(self._seconds)
        line.sendall(struct.pack(">I", len(body)) + body)
        answer = b""
        while not answer.endswith(b"\n"):
            line.settimeout(max(0.001, deadline - time.monotonic()))
            part = line.recv(4096)
            if not part or len(answer) > ANSWER_BYTES:
                raise ConnectionError("the helper died")
            answer += part
        return json.loads(answer)

    def _start(self) -> socket.socket:
        if self._helper is not None and self._helper.poll() is not None:
            self._stop()
        if self._line is None:
            ours, theirs = socket.socketpair()
            with theirs:
                # Nothing of ours goes along: no environment, no site-packages, no working directory.
                self._helper = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(READER)],
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env={},
                )
            self._line = ours
        return self._line

    def _stop(self) -> None:
        if self._line is not None:
            self._line.close()
        if self._helper is not None:
            self._helper.kill()
            self._helper.wait()
        self._line = self._helper = None


def _finding(answer: Any) -> ScriptField | None:
    if answer is None:
        return None
    if not isinstance(answer, dict):
        raise ValueError("the helper's answer is not an object")
    return ScriptField("/script", str(answer["detail"]), answer.get("line"), answer.get("column"), answer.get("caret"))
