"""The command against a front desk that is really listening: the stand of `front_desk`, served over a socket."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pytest
import uvicorn
from typer.testing import CliRunner, Result

from cli.app import app
from fumehood.job import Job, Kind, Lane
from fumehood.outcome import Reason
from tests.services import until
from tests.unit.front_desk import Made, Stand

SCRIPT = "def azureml_main(a=None, b=None):\n    return a,\n"
PNG = b"\x89PNG\r\n\x1a\n0000"


def arrow(**columns: Any) -> bytes:
    table = pa.table(columns)
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def made(*, log: bytes = b"hello\n", files: dict[str, bytes] | None = None, **outputs: bytes) -> Made:
    """A good end: a table, a log, and figures (or artifacts, where the name holds a `/` in front)."""
    entries, blob = [], b""
    for name, content in (files or {}).items():
        role = "artifact" if name.startswith("/") else "figure"
        entries.append(
            {"role": role, "name": name.removeprefix("/"), "media_type": "image/png", "offset": len(blob), "bytes": len(content)}
        )
        blob += content
    outputs = outputs or {"result": arrow(feature=["glucose", "age"], importance=[0.75, 0.25])}
    columns = [{"name": "feature", "type": "string", "nullable": False}, {"name": "importance", "type": "double", "nullable": False}]
    tables = {port: {"rows": 2, "columns": columns} for port in outputs}
    kept = {**outputs, "log": log} | ({"files": blob} if blob else {})
    return Made(outputs=kept, report={**tables, "files": entries, "log": {"bytes": len(log), "truncated": False}})


def failed(reason: Reason = Reason.SCRIPT_ERROR, said: str = "it went wrong", error: dict[str, Any] | None = None) -> Made:
    return Made(reason, said, error, {"log": b"before it broke\n"})


class Listening:
    """A stand at `url`, and the command with its configuration."""

    def __init__(self, stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stand = stand
        self.monkeypatch = monkeypatch
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(stand.app, lifespan="off", log_config=None, timeout_graceful_shutdown=2)
        self._server = uvicorn.Server(config)
        self._serving = asyncio.run_coroutine_threadsafe(self._server.serve(sockets=[self._socket]), stand.served._loop)
        self.point_at(self.url, stand.key)

    def point_at(self, url: str, key: str) -> None:
        self.monkeypatch.setenv("FUMEHOOD_URL", url)
        self.monkeypatch.setenv("FUMEHOOD_KEY", key)

    def works(self, make: Callable[[], Made] = made, *, says: list[tuple[int, str]] | None = None) -> None:
        """From now on jobs end as `make` says, after live log events `says` (offset, text)."""
        usual = self.stand.worker._make

        def work(job: Job, content: bytes) -> Made:
            if job.kind is not Kind.SCRIPT:
                return usual(job, content)
            for offset, text in says or []:
                self.stand.events.publish(job.id, "log", {"attempt": job.attempt, "offset": offset, "text": text})
            if says:  # A job that has ended before anybody follows it is told from its stored log, not from what was said live.
                until(lambda: self.stand.events.followed, seconds=20, what="a follower")
            return make()

        self.stand.worker.make = work
        self.stand.queue.awake = {Lane.JOBS, Lane.ERRANDS}

    def __call__(self, *arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    def close(self) -> None:
        self._server.should_exit = True
        self._serving.result(timeout=20)
        self._socket.close()


@pytest.fixture
def fumehood(stand: Stand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Listening]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    listening = Listening(stand, monkeypatch)
    until(lambda: listening._server.started, seconds=10, what="a server that listens")
    yield listening
    listening.close()


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path
