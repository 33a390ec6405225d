"""Callers: each submits jobs over HTTP, tries again until it has an answer, waits for the end, and looks at what came out."""

from __future__ import annotations

import io
import json
import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pyarrow.ipc

from tests.faults.history import FINAL, Told

JOB_SECONDS = 300.0
PAUSE_SECONDS = 0.2

DOUBLE = "def azureml_main(df):\n    print('number', df['n'][0])\n    return df * 2\n"
SLOW = "import time\n" + DOUBLE.replace("    return", "    time.sleep(1.5)\n    return")
RAISES = DOUBLE.replace("return df * 2", "raise ValueError(str(df['n'][0]))")
SPINS = "import time\n" + DOUBLE.replace("return df * 2", "time.sleep(600)")
CHUNKS = DOUBLE.replace("return df * 2", "return __import__('pandas').concat([df * 2] * 20_000)")


@dataclass(frozen=True, slots=True)
class Sort:
    script: str
    reasons: frozenset[str]
    weight: int
    rows: int = 0
    wall_seconds: float = 20.0
    cancels: bool = False


OK = frozenset({"ok"})
SORTS = (
    Sort(DOUBLE, OK, weight=10, rows=1),
    Sort(SLOW, OK, weight=4, rows=1),
    Sort(CHUNKS, OK, weight=2, rows=20_000),
    Sort(RAISES, frozenset({"script_error"}), weight=2),
    Sort(SPINS, frozenset({"timed_out"}), weight=1, wall_seconds=1.0),
    Sort(SPINS, frozenset({"cancelled"}), weight=1, cancels=True),
)


class Load:
    """`jobs` jobs from `callers` callers; `told()` is what they know in the end."""

    def __init__(self, client: Callable[[], httpx.Client], *, jobs: int, callers: int, seed: int, sorts: Sequence[Sort] = SORTS) -> None:
        self._client, self._jobs, self._sorts = client, jobs, sorts
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._ended = 0
        self._threads = ThreadPoolExecutor(callers, thread_name_prefix="caller")
        self._told: list[Future[Told]] = []

    def start(self) -> None:
        sorts = self._chance.choices(self._sorts, [sort.weight for sort in self._sorts], k=self._jobs)
        self._told = [self._threads.submit(self._one, number, sort, self._chance.random()) for number, sort in enumerate(sorts)]

    @property
    def ended(self) -> int:
        with self._lock:
            return self._ended

    def wait(self, seconds: float) -> list[Told]:
        """Raises where a caller did not get through in time."""
        deadline = time.monotonic() + seconds
        try:
            return [each.result(max(0.1, deadline - time.monotonic())) for each in self._told]
        finally:
            self._threads.shutdown(cancel_futures=True)

    def _one(self, number: int, sort: Sort, chance: float) -> Told:
        with self._client() as client:
            caller = Caller(client)
            job = caller.submit(number, sort)
            if sort.cancels:
                time.sleep(2 * chance)
                caller.cancel(job)
            record = caller.end(job)
            wrong = None if record["reason"] not in sort.reasons else caller.look(job, number, sort, record)
            with self._lock:
                self._ended += 1
            return Told(job=job, expected=sort.reasons, records=(record,), wrong=wrong)


class Caller:
    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def submit(self, number: int, sort: Sort) -> str:
        """The id of the one job that this makes, however often it has to be asked for."""
        key = secrets.token_hex(16)
        files = {
            "job": (None, json.dumps({"limits": {"wall_seconds": sort.wall_seconds}}), "application/json"),
            "script": ("script.py", sort.script, "text/x-python"),
            "dataset1": ("n.csv", f"n\n{number}\n", "text/csv"),
        }
        answer = self._insist("POST", "/v1/jobs", headers={"Idempotency-Key": key}, files=files)
        assert answer.status_code in (200, 202), answer.text
        return str(answer.json()["id"])

    def cancel(self, job: str) -> None:
        answer = self._insist("POST", f"/v1/jobs/{job}/cancel")
        # Asked for twice, because the first answer was lost, it may have ended meanwhile.
        assert answer.status_code in (200, 202, 409), answer.text

    def end(self, job: str) -> dict[str, Any]:
        deadline = time.monotonic() + JOB_SECONDS
        while True:
            record = self.record(job)
            if record["state"] in FINAL:
                return record
            assert time.monotonic() < deadline, f"{job} did not end within {JOB_SECONDS:g} s; it is {record['state']}"

    def record(self, job: str) -> dict[str, Any]:
        answer = self._insist("GET", f"/v1/jobs/{job}", params={"wait": "5"})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def look(self, job: str, number: int, sort: Sort, record: dict[str, Any]) -> str | None:
        """What is wrong with the outputs; None where all is well."""
        log = self._insist("GET", f"/v1/jobs/{job}/log", headers={"Accept": "text/plain"})
        if not sort.cancels and not log.text.startswith(f"number {number}\n"):
            return f"its log is {log.text!r}; expected it to begin with number {number}"
        if not sort.rows:
            return None
        answer = self._insist("GET", f"/v1/jobs/{job}/result", headers={"Accept": "application/vnd.apache.arrow.file"})
        if answer.status_code != 200:
            return f"its result is a {answer.status_code}: {answer.text}"
        table = pyarrow.ipc.open_file(io.BytesIO(answer.content)).read_all()
        if table.to_pydict() != {"n": [2 * number] * sort.rows}:
            first = table.slice(0, 1).to_pydict()
            return f"its result has {table.num_rows} rows that begin with {first}; expected {sort.rows} of {2 * number}"
        return None

    def _insist(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Ask until there is an answer that is no fault of the service's; the same request each time."""
        deadline = time.monotonic() + JOB_SECONDS
        while True:
            try:
                answer = self._client.request(method, path, **request)
                if answer.status_code not in (429, 500, 502, 503, 504):
                    return answer
                # A 500 is a defect, whoever was killed: callers are told 503, and that they may ask again.
                assert answer.status_code != 500, answer.text
                said = answer.text
            except httpx.TransportError as error:
                said = repr(error)
            assert time.monotonic() < deadline, f"no answer to {method} {path} within {JOB_SECONDS:g} s: {said}"
            time.sleep(PAUSE_SECONDS)
