"""A front desk of a test's own: the real application and stores, Redis in memory, and a worker that makes results up."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Match
from starlette.types import Message

from api.app import create_app
from api.desk import Desk
from api.script_check import ScriptChecker
from fumehood import log, notices
from fumehood.job import Job, Kind, Lane
from fumehood.job_store import JobStore
from fumehood.outcome import Erasure, Outcome, Reason, Usage
from fumehood.settings import Settings
from fumehood.tenant import new_key
from fumehood.testing import MemoryEvents, MemoryQueue, erasure
from tests.services import until

CSV, ARROW = "text/csv", "application/vnd.apache.arrow.file"
SCRIPT = "def azureml_main(a=None, b=None):\n    return a,\n"
DISK_BUDGET_BYTES = 2**50
# What a client acts on.
TOLD_HEADERS = (
    *("accept-ranges", "content-disposition", "content-range", "etag", "idempotency-replayed", "link", "location"),
    *("preference-applied", "ratelimit", "ratelimit-policy", "retry-after", "vary", "www-authenticate"),
)


@dataclass
class Made:
    """What the made-up worker makes of a job."""

    reason: Reason = Reason.OK
    message: str = ""
    error: dict[str, Any] | None = None
    outputs: dict[str, bytes] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)


def describe(content: bytes) -> Made:
    """The first word of the bytes says how it goes; the table is made of the bytes, so that a test can recognise it."""
    match content.split(b",")[0]:
        case b"bad":
            return Made(Reason.BAD_INPUT, "line 2 has 3 fields; expected 2")
        case b"huge":
            return Made(Reason.OUT_OF_MEMORY, "the table needs more memory than the limit")
        case b"slow":
            return Made(Reason.TIMED_OUT, "The script ran longer than its limit of 5 seconds.")
        case b"broken":
            return Made(Reason.SANDBOX_ERROR, "the engine did not answer")
    columns = [{"name": "a", "type": "int64", "nullable": True}]
    return Made(outputs={"result": b"ARROW1" + content}, report={"result": {"rows": content.count(b"\n"), "columns": columns}})


def profile(content: bytes) -> dict[str, Any]:
    """In the shape that docs/wall.md gives; the row tells whose table it is of."""
    column = {"name": "a", "type": "string", "count": 1, "nulls": 0, "distinct": 1, "distinct_exact": True}
    told = {"min": "x", "max": "x", "histogram": None, "top": [["x", 1]]}
    return {"rows": 1, "columns": [column | told], "head": {"columns": ["a"], "rows": [[content.decode("latin-1")]]}}


def ran() -> Made:
    files = b"\x89PNG-one<svg/>model"
    return Made(
        outputs={"result": b"ARROW1-result", "result2": b"ARROW1-second", "log": b"hello\nw\xc3\xb6rld \xff\n", "files": files},
        report={
            "result": {"rows": 2, "columns": [{"name": "a", "type": "int64", "nullable": False}]},
            "notes": [{"kind": "rename", "port": "result", "from": "a", "to": "a (2)"}],
            "log": {"bytes": 14, "truncated": False},
            "files": [
                {"role": "figure", "name": "plot one.png", "media_type": "image/png", "offset": 0, "bytes": 8},
                {"role": "figure", "name": "b.svg", "media_type": "image/svg+xml", "offset": 8, "bytes": 6},
                {"role": "artifact", "name": "models/ä b.bin", "media_type": "application/octet-stream", "offset": 14, "bytes": 5},
            ],
        },
    )


class Worker:
    """Claims from the real store and finishes with what `make` says; no container anywhere."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.make: Callable[[Job, bytes], Made] = self._make

    def _make(self, job: Job, content: bytes) -> Made:
        match job.kind:
            case Kind.DESCRIBE:
                return describe(content)
            case Kind.CONVERT:
                return Made(outputs={"result": f"{job.target_format} of ".encode() + content})
            case Kind.PROFILE:
                return Made(outputs={"result": json.dumps(profile(content)).encode()})
        return ran()

    def claim(self, lane: Lane = Lane.JOBS) -> Job | None:
        job = self.desk.store.claim(worker="wrk_test", lane=lane, disk_budget_bytes=DISK_BUDGET_BYTES)
        if job is not None:
            self.desk.events.notify(notices.of_job(job))
        return job

    def finish(self, job: Job, made: Made | None = None, receipt: Erasure | None = None) -> Job:
        source = job.inputs.get("dataset1") or job.inputs["script"]
        with self.desk.blobs.open(job.tenant, source.blob) as blob:
            content = blob.read()
        made = made or self.make(job, content)
        for name, data in made.outputs.items():
            with self.desk.blobs.incoming() as incoming:
                incoming.write(data)
                self.desk.blobs.keep(incoming, job.tenant, job.output_blob(name))
        outcome = Outcome(
            reason=made.reason,
            message=made.message,
            error=made.error,
            usage=Usage(wall_seconds=0.5, cpu_seconds=0.25, memory_peak_bytes=1000, bytes_in=len(content), bytes_out=5),
            outputs={name: len(data) for name, data in made.outputs.items()},
            report=made.report,
            milliseconds={"run": 12.5},
            image="sha256:" + "0" * 64,
        )
        job = self.desk.store.finish(job, outcome, receipt or erasure(job))
        end = {"state": job.state.value, "reason": made.reason.value}
        self.desk.events.publish_all(job.id, [("end", end)], notices.of_job(job))
        return job

    def work(self, lane: Lane = Lane.JOBS) -> list[Job]:
        """Everything that waits in a lane."""
        done = []
        while (job := self.claim(lane)) is not None:
            done.append(self.finish(job))
        return done


class WorkedQueue(MemoryQueue):
    """A queue whose tickets wake the worker, in a thread of its own, for the lanes in `awake`."""

    def __init__(self) -> None:
        super().__init__()
        self.awake = {Lane.ERRANDS}
        self.worker: Worker | None = None
        self.sent: list[Lane] = []
        self._thread = ThreadPoolExecutor(max_workers=1)

    def send_ticket(self, lane: Lane) -> bool:
        taken = super().send_ticket(lane)
        self.sent.append(lane)
        if taken and lane in self.awake and self.worker is not None:
            self._thread.submit(self.worker.work, lane)
        return taken

    def stop(self) -> None:
        self._thread.shutdown(wait=True)


class Served:
    """The application on an event loop in a thread of its own, started and stopped as a server would."""

    def __init__(self, app: FastAPI) -> None:
        self._app, self._loop = app, asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._life = app.router.lifespan_context(app)
        self.run(self._life.__aenter__())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)

    def request(self, method: str, path: str, **request: Any) -> httpx.Response:
        answer: httpx.Response = self.run(self._request(method, path, request))
        return answer

    async def _request(self, method: str, path: str, request: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://desk", timeout=30) as client:
            answer = await client.request(method, path, **request)
        require_described(self._app, answer)
        return answer

    def stop(self) -> None:
        self.run(self._life.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


DESCRIBED: dict[str, Any] = {}


def require_described(app: FastAPI, answer: httpx.Response) -> None:
    """Whatever any test is answered stands in the OpenAPI document: the status, the media type, and the headers."""
    method, scope = answer.request.method, {"type": "http", "method": "GET", "path": answer.request.url.path, "root_path": ""}
    scope["method"] = "GET" if method == "HEAD" else method
    found = [route for route in app.state.routes if route.matches(scope)[0] is Match.FULL]
    if not found or answer.status_code == 500:
        return
    # Making the document takes longer than most tests, and what it says of answers hangs on no setting: one for all stands.
    if not DESCRIBED:
        DESCRIBED.update(app.openapi()["paths"])
    operation = DESCRIBED[found[0].path_format][scope["method"].lower()]
    place = (method, found[0].path_format, answer.status_code)
    described = operation["responses"].get(str(answer.status_code))
    assert described is not None, place
    media = answer.headers.get("content-type", "").partition(";")[0]
    if answer.content:
        assert media in described["content"] or "*/*" in described["content"], (*place, media)
    told = {name.lower() for name in described.get("headers", {})}
    assert {name for name in TOLD_HEADERS if name in answer.headers} <= told, place


class Counter:
    """One tenant at the desk."""

    def __init__(self, served: Served, key: str) -> None:
        self.served = served
        self.headers = {"Authorization": f"Bearer {key}"}

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        def call(path: str, *, headers: dict[str, str] | None = None, **request: Any) -> Any:
            return self.served.request(verb.upper(), path, headers={**self.headers, **(headers or {})}, **request)

        return call

    def upload(self, content: bytes = b"a,b\n1,2\n", media_type: str = CSV, **request: Any) -> Any:
        return self.post("/v1/datasets", content=content, headers={"Content-Type": media_type}, **request)

    def dataset(self, content: bytes = b"a,b\n1,2\n", media_type: str = CSV) -> str:
        answer = self.upload(content, media_type)
        assert answer.status_code in (200, 201), answer.text
        return str(answer.json()["id"])

    def submit(self, *, headers: dict[str, str] | None = None, **document: Any) -> Any:
        return self.post("/v1/jobs", json={"script": SCRIPT, **document}, headers=headers)

    def job(self, **document: Any) -> str:
        answer = self.submit(**document)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])


class Lasting(ScriptChecker):
    """To start its helper takes longer than most tests: one for all stands, which ends with this process."""

    def close(self) -> None:
        pass


CHECKER = Lasting(image_python="3.11", seconds=5.0)


class Stand:
    def __init__(self, home: Path, template: Path, **settings: Any) -> None:
        home.mkdir(mode=0o700, exist_ok=True)
        shutil.copy(template, home / "fumehood.db")
        key, other_key = new_key(), new_key()
        given = {"disk_floor_bytes": 0, "errand_wait_seconds": 10, "image_python": "3.11", "bootstrap_key": key, **settings}
        self.settings = Settings(home=home, **given)
        self.log = io.StringIO()
        log.configure(stream=self.log)
        self.queue, self.events = WorkedQueue(), MemoryEvents()
        checker = None if "image_python" in settings else CHECKER
        self.app = create_app(self.settings, queue=self.queue, events=self.events, checker=checker)
        self.desk: Desk = self.app.state.desk
        self.queue.worker = self.worker = Worker(self.desk)
        self.served = Served(self.app)
        self.desk.store.ensure_tenant("other", other_key)
        self.key, self.us, self.other = key, Counter(self.served, key), Counter(self.served, other_key)

    @property
    def store(self) -> JobStore:
        return self.desk.store

    def close(self) -> None:
        self.queue.stop()
        self.served.stop()

    def kept(self) -> list[str]:
        """Every file of the blob store and of what is on its way into it."""
        roots = [self.settings.home / "blobs", self.settings.home / "incoming"]
        return sorted(path.relative_to(self.settings.home).as_posix() for root in roots for path in root.rglob("*") if path.is_file())

    def nothing_is_kept(self) -> None:
        until(lambda: self.kept() == [], seconds=5, what="an empty store")

    def exchange(
        self, method: str, path: str, messages: list[Message], headers: dict[str, str] | None = None, query: str = ""
    ) -> list[Message]:
        """One request as a server hands it over: `messages` are received in turn, then nothing more comes."""
        return self.served.run(self._exchange(method, path, messages, headers or {}, query))  # type: ignore[no-any-return]

    async def _exchange(self, method: str, path: str, messages: list[Message], headers: dict[str, str], query: str) -> list[Message]:
        waiting, sent = list(messages), []

        async def receive() -> Message:
            if waiting:
                return waiting.pop(0)
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            sent.append(message)

        fields = {**self.us.headers, **headers}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in fields.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        await self.app(scope, receive, send)
        return sent


def body(*chunks: bytes, more: bool = False) -> list[Message]:
    """The messages of a body in chunks; with `more` its end never comes."""
    sent: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    return sent if more else [*sent, {"type": "http.request", "body": b"", "more_body": False}]


DISCONNECT: Message = {"type": "http.disconnect"}


def slug(answer: Any) -> str:
    """The problem's kind, after looking that the answer really is a problem document."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document = answer.json()
    assert document["status"] == answer.status_code
    assert document["title"]
    assert document["detail"]
    return str(document["type"]).removeprefix("urn:fumehood:problem:")


def pointers(answer: Any) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [entry["pointer"] for entry in answer.json()["errors"]]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database to copy: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("template") / "fumehood.db"
    store = JobStore(f"sqlite:///{path}")
    store.migrate()
    store.close()
    return path


@pytest.fixture
def open_stand(tmp_path: Path, template: Path) -> Iterator[Callable[..., Stand]]:
    """Opens a stand with settings of the test's choice."""
    opened: list[Stand] = []

    def open_one(**settings: Any) -> Stand:
        opened.append(Stand(tmp_path / f"home{len(opened)}", template, **settings))
        return opened[-1]

    yield open_one
    for stand in opened:
        stand.close()


@pytest.fixture
def stand(open_stand: Callable[..., Stand]) -> Stand:
    return open_stand()


@pytest.fixture(scope="session")
def narrow(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Iterator[Stand]:
    """A stand with small limits that is only ever refused something, so that all refusals can share it."""
    made = Stand(tmp_path_factory.mktemp("narrow") / "home", template, script_bytes=1000, dataset_bytes=100, bundle_bytes=50)
    yield made
    made.close()


@pytest.fixture
def us(stand: Stand) -> Counter:
    return stand.us
