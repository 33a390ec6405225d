"""Submitting jobs the way a user does: over HTTP, one table in, waiting for the end."""

from __future__ import annotations

import http.client
import io
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pyarrow
import pyarrow.ipc

ARROW = "application/vnd.apache.arrow.file"
SCRIPT = "def azureml_main(frame, _=None):\n    return frame.assign(z=frame.x * 2),\n"
PRINTS = "import pandas\n\ndef azureml_main():\n    print(1)\n    return pandas.DataFrame(),\n"


@dataclass(frozen=True, slots=True)
class Done:
    """One job's way, with the caller's clock, and its record."""

    seconds: float
    record: dict[str, Any]

    @property
    def milliseconds(self) -> dict[str, float]:
        rooms: dict[str, float] = self.record["milliseconds"]
        return rooms


def table(rows: int, columns: int = 2) -> bytes:
    """An Arrow file of float64 columns `x`, `c1`, …"""
    values = pyarrow.array([float(number) for number in range(rows)])
    made = pyarrow.table({"x" if number == 0 else f"c{number}": values for number in range(columns)})
    sink = io.BytesIO()
    with pyarrow.ipc.new_file(sink, made.schema) as writer:
        writer.write_table(made)
    return sink.getvalue()


def run(client: httpx.Client, script: str, dataset: bytes | None = None, **document: Any) -> Done:
    """Raises RuntimeError where the job does not succeed: a benchmark of failures is none."""
    files: dict[str, tuple[str | None, bytes | str, str]] = {
        "job": (None, json.dumps(document), "application/json"),
        "script": ("script.py", script, "text/x-python"),
    }
    if dataset is not None:
        files["dataset1"] = ("table.arrow", dataset, ARROW)
    began = time.monotonic()
    answer = client.post("/v1/jobs", files=files, headers={"Prefer": "wait=60"})
    record: dict[str, Any] = answer.raise_for_status().json()
    while record["state"] in ("queued", "running"):
        record = client.get(f"/v1/jobs/{record['id']}", params={"wait": 60}).raise_for_status().json()
    seconds = time.monotonic() - began
    if record["state"] != "succeeded":
        raise RuntimeError(f"the job ended as {record['state']}, {record['reason']}; expected succeeded")
    return Done(seconds, record)


class Caller:
    """Submits the same job again and again. Request and connection are made ready before, and the answer is parsed after: what a
    client's library takes for itself is no part of a job."""

    def __init__(self, client: httpx.Client, script: str, dataset: bytes) -> None:
        files = {"script": ("script.py", script, "text/x-python"), "dataset1": ("table.arrow", dataset, ARROW)}
        request = client.build_request("POST", "/v1/jobs", files=files, headers={"Prefer": "wait=60"})
        self._body, self._headers = request.read(), dict(request.headers)
        self._connection = http.client.HTTPConnection(str(request.url.host), request.url.port, timeout=90)

    def run(self) -> Done:
        """Raises RuntimeError where the job does not succeed within the wait."""
        self._connection.close()
        self._connection.connect()
        began = time.monotonic()
        self._connection.request("POST", "/v1/jobs", self._body, self._headers)
        answer = self._connection.getresponse()
        said = answer.read()
        seconds = time.monotonic() - began
        record: dict[str, Any] = json.loads(said)
        if answer.status != 200 or record["state"] != "succeeded":
            raise RuntimeError(f"the job was answered with {answer.status}: {said[:500]!r}; expected one that succeeded")
        return Done(seconds, record)


def many(submitters: int, count: int, job: Callable[[], object]) -> float:
    """Seconds for `count` calls of `job` by `submitters` threads. Raises what a call raised."""
    left = iter(range(count))
    lock = threading.Lock()
    failures: list[Exception] = []

    def submit() -> None:
        try:
            while True:
                with lock:
                    if next(left, None) is None or failures:
                        return
                job()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=submit) for _ in range(submitters)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return time.monotonic() - began
