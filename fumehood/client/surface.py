"""Surface: the HTTP surface as plain calls, documents in and documents out, for the `fumehood` command and the clients above.

`Surface` answers at once, `AsyncSurface` is awaited. Every call may raise what the tree in `fumehood.client.errors` says. Calls are
tried again after a broken connection: each is either harmless to repeat or carries an idempotency key.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, contextmanager
from typing import Any, TypeVar

import httpx

from fumehood import __version__
from fumehood.client import wire
from fumehood.client.answers import Answered, json_of, problem_of, read_bytes
from fumehood.client.body import Body, OnBytes, Upload, form
from fumehood.client.errors import Broken, ClientError, ServiceProblem, TooBusy, Unreachable, pause_before_another
from fumehood.client.events import ServerEvent, read_events
from fumehood.client.words import Document, is_final, quoted

ATTEMPTS_MAX = 4
BACKOFF_SECONDS = 0.25
WAIT_SECONDS = 20
DOCUMENT_BYTES_MAX = 32 * 2**20

Inputs = Mapping[str, Upload | str | Document]
T = TypeVar("T")

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class AsyncSurface:
    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        transport: Any = None,
        sleep: Any = None,
        make_wire: Callable[..., wire.Wire] = wire.OnLoop,
    ) -> None:
        self.url = url.rstrip("/")
        headers = {"User-Agent": f"fumehood/{__version__}"} | ({"Authorization": f"Bearer {key}"} if key else {})
        try:
            address = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise ClientError(f"the address {url!r} cannot be used: {error}") from None
        if address.scheme not in ("http", "https") or not address.host:
            raise ClientError(f"the address is {url!r}; expected one such as http://127.0.0.1:8765")
        self.wire = make_wire(
            transport=transport,
            sleep=sleep,
            base_url=address,
            headers=headers,
            # The key must not reach a proxy on its way to this very machine.
            trust_env=address.host not in _LOOPBACK,
            # Without TLS there is nothing to verify, and loading the certificates would take a third of a short command's time.
            verify=address.scheme == "https",
        )

    async def close(self) -> None:
        await self.wire.close()

    # jobs ------------------------------------------------------------------------------------------------------------
    async def submit(self, script: Upload, inputs: Inputs, request: Document, *, on_bytes: OnBytes = lambda _: None) -> Document:
        """Queue a job. `inputs` by port: a file, a dataset's id, or `{"job": id, "output": "result"}`; `request` holds
        `parameters`, `limits`, `labels`, `cache`. Returns the job's record."""
        return await self.send_form("job", "/v1/jobs", {"script": script, **inputs}, request, on_bytes)

    async def job(self, job_id: str, *, wait_seconds: float = 0) -> Document:
        return await self.document(f"/v1/jobs/{quoted(job_id)}", wait=f"{wait_seconds:g}" if wait_seconds else None)

    async def wait(self, job_id: str) -> Document:
        """The job's record once it is final, however long that takes; each single request has a deadline."""
        while not is_final(record := await self.waited(job_id, WAIT_SECONDS)):
            pass
        return record

    async def waited(self, job_id: str, seconds: float) -> Document:
        """The job's record as soon as it is final, or after about so many seconds, which the service waits. Only where it answers
        sooner than that is there a pause here, so that a service which does not wait is not asked without end."""
        began = time.monotonic()
        record = await self.job(job_id, wait_seconds=seconds)
        if not is_final(record) and time.monotonic() - began < seconds / 2:
            await self.wire.sleep(min(BACKOFF_SECONDS, seconds))
        return record

    def jobs(self, **query: str | None) -> AsyncIterator[Document]:
        return self.listing("/v1/jobs", **query)

    async def cancel(self, job_id: str) -> Document:
        return await self.post(f"/v1/jobs/{quoted(job_id)}/cancel")

    async def delete_job(self, job_id: str) -> None:
        await self._again(lambda: self._document(wire.Request(method="DELETE", path=f"/v1/jobs/{quoted(job_id)}")))

    # batches ---------------------------------------------------------------------------------------------------------
    async def submit_batch(
        self,
        script: Upload,
        inputs: Inputs,
        request: Document,
        *,
        items: Sequence[Upload] = (),
        on_bytes: OnBytes = lambda _: None,
    ) -> Document:
        """Queue a batch. `items` are the tables that are sent, one for each item of `request`. Returns the batch's record."""
        return await self.send_form("batch", "/v1/batches", {"script": script, **inputs}, request, on_bytes, items)

    async def batch(self, batch_id: str, *, wait_seconds: float = 0) -> Document:
        return await self.document(f"/v1/batches/{quoted(batch_id)}", wait=f"{wait_seconds:g}" if wait_seconds else None)

    async def cancel_batch(self, batch_id: str) -> Document:
        return await self.post(f"/v1/batches/{quoted(batch_id)}/cancel")

    async def delete_batch(self, batch_id: str) -> None:
        await self._again(lambda: self._document(wire.Request(method="DELETE", path=f"/v1/batches/{quoted(batch_id)}")))

    # events --------------------------------------------------------------------------------------------------------
    async def follow(
        self, job_id: str, *, patience_seconds: Callable[[], float] = lambda: wire.READ_SECONDS
    ) -> AsyncGenerator[ServerEvent, None]:
        """The job's events until its end, taken up again after a broken connection; without Redis there may be none.

        `patience_seconds` is asked before every request how long its answer may be silent; what it raises ends the following."""
        last: str | None = None
        while True:
            try:
                async with aclosing(self.stream(f"/v1/jobs/{quoted(job_id)}/log", last, patience_seconds())) as events:
                    async for event in events:
                        last = event.id or last
                        yield event
                        if event.kind == "end":
                            return
            except Unreachable:
                pass  # the next question below is tried again, and says so where the service stays away
            if is_final(await self.waited(job_id, min(2, patience_seconds()))):
                return

    async def stream(self, path: str, last: str | None, read_seconds: float, **query: str) -> AsyncGenerator[ServerEvent, None]:
        """The events of one connection, behind the event `last`; it ends when the connection does. Raises Unreachable."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        request = wire.Request(method="GET", path=path, query=query, headers=headers, read_seconds=read_seconds)
        async with self._open(request) as answer:
            try:
                async with aclosing(read_events(answer.chunks)) as events:
                    async for event in events:
                        yield event
            except ValueError as error:
                raise Unreachable(f"{self.url} sends events that cannot be read: {error}") from error

    # bytes -----------------------------------------------------------------------------------------------------------
    @asynccontextmanager
    async def content(self, path: str, *, accept: str = "*/*", **query: str | None) -> AsyncIterator[wire.Answer]:
        """The answer to a GET, its bytes to be read as they come; nothing of them is held in memory.

        What reading raises inside the block (a connection that breaks) comes out as `Unreachable`."""
        given = {name: value for name, value in query.items() if value is not None}
        async with self._open(wire.Request(method="GET", path=path, query=given, headers={"Accept": accept})) as answer:
            yield answer

    async def read(self, /, path: str, *, accept: str = "*/*", bytes_max: int, **query: str | None) -> bytearray:
        """The bytes of a GET, all of them, read again from the beginning where the connection breaks."""
        given = {name: value for name, value in query.items() if value is not None}
        request = wire.Request(method="GET", path=path, query=given, headers={"Accept": accept})
        return (await self.exchange(request, bytes_max=bytes_max)).data

    async def exchange(self, request: wire.Request, *, bytes_max: int) -> Answered:
        """The answer to a request that is harmless to repeat."""

        async def attempt() -> Answered:
            async with self._open(request) as answer:
                return Answered(answer.response.headers, await read_bytes(answer, bytes_max))

        return await self._again(attempt)

    async def document(self, path: str, **query: str | None) -> Document:
        """The JSON object of a GET."""
        given = {name: value for name, value in query.items() if value is not None}
        return await self._again(lambda: self._document(wire.Request(method="GET", path=path, query=given)))

    async def post(self, path: str) -> Document:
        """The JSON object of a POST without a body, which is harmless to repeat."""
        return await self._again(lambda: self._document(wire.Request(method="POST", path=path)))

    async def listing(self, path: str, **query: str | None) -> AsyncIterator[Document]:
        """The items of any list of the service: a page after the other."""
        while True:
            page = await self.document(path, **query)
            for item in page.get("items", ()):
                yield item
            if not page.get("next"):
                return
            query = {**query, "cursor": page["next"]}

    async def send(self, method: str, path: str, document: Document | None = None) -> Document:
        """One call that is made once only: a second one could make a second key, or run items twice."""
        body = None if document is None else Body([json.dumps(document).encode()])
        headers = {} if document is None else {"Content-Type": "application/json"}
        return await self._document(wire.Request(method=method, path=path, headers=headers, body=body))

    # datasets ---------------------------------------------------------------------------------------------------------
    async def upload_dataset(self, upload: Upload, *, on_bytes: OnBytes = lambda _: None) -> Document:
        request = wire.Request(
            method="POST",
            path="/v1/datasets",
            query={"name": upload.name or upload.path.name},
            headers={"Content-Type": upload.media_type},
            body=Body([upload.path], on_bytes),
        )
        return await self._again(lambda: self._document(request))  # the same bytes get the same id, so a repetition is harmless

    async def delete_dataset(self, dataset_id: str) -> None:
        await self._again(lambda: self._document(wire.Request(method="DELETE", path=f"/v1/datasets/{quoted(dataset_id)}")))

    async def pin_dataset(self, dataset_id: str, *, pinned: bool = True) -> Document:
        """Its record afterwards. One that is not pinned goes when its lifetime is over."""
        method = "PUT" if pinned else "DELETE"
        return await self._again(lambda: self._document(wire.Request(method=method, path=f"/v1/datasets/{quoted(dataset_id)}/pin")))

    # the service itself ------------------------------------------------------------------------------------------------
    async def health(self) -> Document:
        return await self.document("/healthz")

    async def ready(self) -> Document:
        """The parts of the service and how each is; a service that is not ready answers 503, and that is an answer here."""
        try:
            return await self.document("/readyz")
        except TooBusy as busy:
            return busy.problem

    # -----------------------------------------------------------------------------------------------------------------
    async def send_form(
        self,
        what: str,
        path: str,
        inputs: Inputs,
        request: Document,
        on_bytes: OnBytes,
        items: Sequence[Upload] = (),
        method: str = "POST",
        query: Mapping[str, str] | None = None,
    ) -> Document:
        """Files and a document, the part `what`; whatever it makes is made once."""
        files = {port: value for port, value in inputs.items() if isinstance(value, Upload)}
        stored = {port: value for port, value in inputs.items() if port not in files}
        body, media_type = form({**request, **stored}, files, on_bytes, what=what, items=items)
        headers = {"Idempotency-Key": secrets.token_hex(16), "Content-Type": media_type}
        call = wire.Request(method=method, path=path, query=query or {}, headers=headers, body=body)
        return await self._again(lambda: self._document(call), busy_slug="idempotency-busy")

    async def _again(self, attempt: Callable[[], Awaitable[T]], *, busy_slug: str = "") -> T:
        """Try until an answer comes. An answer is never asked for twice, but for the 409 that says that the first try of
        this very request is still being handled, and the 429 of a caller that was too fast, or of a script that has too many callers,
        for a moment."""
        for pause in [BACKOFF_SECONDS * 2**n for n in range(ATTEMPTS_MAX - 1)]:
            try:
                return await attempt()
            except (Unreachable, ServiceProblem) as error:
                await self.wire.sleep(pause_before_another(error, pause, busy_slug=busy_slug))
        return await attempt()

    async def _document(self, request: wire.Request) -> Document:
        async with self._open(request) as answer:
            document = json_of(await read_bytes(answer, DOCUMENT_BYTES_MAX))
            status = answer.response.status_code
        if document is None and status != 204:
            raise Broken(status, {"detail": f"{self.url} answered no JSON object; is this the address of a Fumehood?"})
        return document or {}

    @asynccontextmanager
    async def _open(self, request: wire.Request) -> AsyncIterator[wire.Answer]:
        try:
            async with self.wire.open(request) as answer:
                if not answer.response.is_success:
                    raise await problem_of(answer, self.url, DOCUMENT_BYTES_MAX)
                yield answer
        except httpx.TransportError as error:
            raise Unreachable(f"{self.url} cannot be reached: {str(error) or type(error).__name__}") from error


class Surface:
    """The same calls at once; may be shared by threads."""

    def __init__(self, url: str, key: str | None, *, transport: Any = None, sleep: Callable[[float], None] | None = None) -> None:
        self.later = AsyncSurface(url, key, transport=transport, sleep=sleep, make_wire=wire.AtOnce)
        self.url = self.later.url

    def __enter__(self) -> Surface:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    close = wire.at_once(AsyncSurface.close, wire.same)
    submit = wire.at_once(AsyncSurface.submit, wire.same)
    job = wire.at_once(AsyncSurface.job, wire.same)
    wait = wire.at_once(AsyncSurface.wait, wire.same)
    cancel = wire.at_once(AsyncSurface.cancel, wire.same)
    delete_job = wire.at_once(AsyncSurface.delete_job, wire.same)
    send_form = wire.at_once(AsyncSurface.send_form, wire.same)
    exchange = wire.at_once(AsyncSurface.exchange, wire.same)
    submit_batch = wire.at_once(AsyncSurface.submit_batch, wire.same)
    batch = wire.at_once(AsyncSurface.batch, wire.same)
    cancel_batch = wire.at_once(AsyncSurface.cancel_batch, wire.same)
    read = wire.at_once(AsyncSurface.read, wire.same)
    upload_dataset = wire.at_once(AsyncSurface.upload_dataset, wire.same)
    delete_dataset = wire.at_once(AsyncSurface.delete_dataset, wire.same)
    send = wire.at_once(AsyncSurface.send, wire.same)
    pin_dataset = wire.at_once(AsyncSurface.pin_dataset, wire.same)
    health = wire.at_once(AsyncSurface.health, wire.same)
    ready = wire.at_once(AsyncSurface.ready, wire.same)
    post = wire.at_once(AsyncSurface.post, wire.same)

    def document(self, path: str, **query: str | None) -> Document:
        return wire.now(self.later.document(path, **query))

    def jobs(self, **query: str | None) -> Iterator[Document]:
        return wire.each_now(self.later.jobs(**query))

    def listing(self, path: str, **query: str | None) -> Iterator[Document]:
        return wire.each_now(self.later.listing(path, **query))

    def follow(self, job_id: str) -> Iterator[ServerEvent]:
        return wire.each_now(self.later.follow(job_id))

    def content(self, path: str, *, accept: str = "*/*", **query: str | None) -> AbstractContextManager[httpx.Response]:
        """The answer to a GET, to be read with `iter_bytes()`."""
        return self._content(path, accept, query)

    @contextmanager
    def _content(self, path: str, accept: str, query: Mapping[str, str | None]) -> Iterator[httpx.Response]:
        with wire.within(self.later.content(path, accept=accept, **query)) as answer:
            yield answer.response
