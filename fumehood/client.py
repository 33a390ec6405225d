"""Client: the HTTP surface as plain calls, for the `fumehood` command and for programs. Synchronous; one per thread.

Every call may raise what the tree in `fumehood.client_errors` says.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote

import httpx

from fumehood import __version__
from fumehood.client_errors import BY_STATUS, Broken, ClientError, InTheWay, ServiceProblem, TooBusy, Unreachable
from fumehood.server_events import ServerEvent, read_events

ATTEMPTS_MAX = 4
BACKOFF_SECONDS = 0.25
WAIT_SECONDS = 20
DOCUMENT_BYTES_MAX = 32 * 2**20
CONNECT_SECONDS, WRITE_SECONDS, READ_SECONDS = 5.0, 60.0, 90.0
"""Reading waits long: an upload is described, and a result converted, before the first byte of the answer."""

Document = dict[str, Any]
OnBytes = Callable[[int], None]
T = TypeVar("T")

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """A file to send. It is read as it is sent, never held in memory."""

    path: Path
    media_type: str
    name: str = ""


class _Counted:
    """A file that says how many bytes were read; `fileno` and `seek` let httpx know the size and begin again."""

    def __init__(self, file: IO[bytes], on_bytes: OnBytes) -> None:
        self._file, self._on_bytes = file, on_bytes
        self.fileno, self.seek, self.tell = file.fileno, file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self._on_bytes(len(chunk))
        return chunk

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(2**16), b"")


class Client:
    """Calls are tried again after a broken connection: each is either harmless to repeat or carries an idempotency key."""

    def __init__(
        self, url: str, key: str | None, *, transport: httpx.BaseTransport | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.url = url.rstrip("/")
        headers = {"User-Agent": f"fumehood/{__version__}"} | ({"Authorization": f"Bearer {key}"} if key else {})
        timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS, write=WRITE_SECONDS)
        try:
            address = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise ClientError(f"the address {url!r} cannot be used: {error}") from None
        if address.scheme not in ("http", "https") or not address.host:
            raise ClientError(f"the address is {url!r}; expected one such as http://127.0.0.1:8765")
        self._http = httpx.Client(
            base_url=address,
            headers=headers,
            timeout=timeout,
            transport=transport,
            # The key must not reach a proxy on its way to this very machine.
            trust_env=address.host not in _LOOPBACK,
            # Without TLS there is nothing to verify, and loading the certificates would take a third of a short command's time.
            verify=address.scheme == "https",
        )
        self._sleep = sleep

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # jobs ------------------------------------------------------------------------------------------------------------
    def submit(
        self,
        script: Upload,
        inputs: Mapping[str, Upload | str | Document],
        request: Document,
        *,
        on_bytes: OnBytes = lambda _: None,
        idempotency_key: str | None = None,
    ) -> Document:
        """Queue a job. `inputs` by port: a file, a dataset's id, or `{"job": id, "output": "result"}`; `request` holds
        `parameters`, `limits`, `labels`. Returns the job's record."""
        stored = {port: value for port, value in inputs.items() if not isinstance(value, Upload)}
        files = {"script": script} | {port: value for port, value in inputs.items() if isinstance(value, Upload)}
        document = json.dumps({**request, **stored}).encode()
        headers = {"Idempotency-Key": idempotency_key or secrets.token_hex(16)}

        def attempt() -> Document:
            parts: list[tuple[str, Any]] = [("job", (None, document, "application/json"))]
            opened = {port: upload.path.open("rb") for port, upload in files.items()}
            try:
                for port, file in opened.items():
                    upload = files[port]
                    parts.append((port, (upload.name or upload.path.name, _Counted(file, on_bytes), upload.media_type)))
                return self._document("POST", "/v1/jobs", files=parts, headers=headers)
            finally:
                for file in opened.values():
                    file.close()

        return self._again(attempt, busy_slug="idempotency-busy")

    def job(self, job_id: str, *, wait_seconds: int = 0) -> Document:
        return self._get(f"/v1/jobs/{quote(job_id, safe='')}", {"wait": wait_seconds} if wait_seconds else {})

    def wait(self, job_id: str) -> Document:
        """The job's record once it is final, however long that takes; each single request has a deadline."""
        while not is_final(record := self.job(job_id, wait_seconds=WAIT_SECONDS)):
            self._sleep(BACKOFF_SECONDS)
        return record

    def jobs(self, **query: str | None) -> Iterator[Document]:
        return self._pages("/v1/jobs", query)

    def cancel(self, job_id: str) -> Document:
        return self._again(lambda: self._document("POST", f"/v1/jobs/{quote(job_id, safe='')}/cancel"))

    def follow(self, job_id: str) -> Iterator[ServerEvent]:
        """The job's events until its end, taken up again after a broken connection; without Redis there may be none."""
        last: str | None = None
        while True:
            try:
                for event in self._events(job_id, last):
                    last = event.id or last
                    yield event
                    if event.kind == "end":
                        return
            except Unreachable:
                pass  # the next question below is tried again, and says so where the service stays away
            if is_final(self.job(job_id, wait_seconds=2)):
                return
            self._sleep(BACKOFF_SECONDS)

    def _events(self, job_id: str, last: str | None) -> Iterator[ServerEvent]:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        with self._stream("GET", f"/v1/jobs/{quote(job_id, safe='')}/log", headers=headers) as response:
            try:
                yield from read_events(response.iter_bytes())
            except ValueError as error:
                raise Unreachable(f"{self.url} sends events that cannot be read: {error}") from error

    # bytes -----------------------------------------------------------------------------------------------------------
    @contextmanager
    def content(self, path: str, *, accept: str = "*/*") -> Iterator[httpx.Response]:
        """The answer to a GET, to be read with `iter_bytes()`; nothing of it is held in memory.

        What reading raises inside the block (a connection that breaks) comes out as `Unreachable`."""
        with self._stream("GET", path, headers={"Accept": accept}) as response:
            yield response

    def listing(self, path: str) -> Iterator[Document]:
        """The items of any list of the service: a page after the other."""
        return self._pages(path, {})

    # datasets ---------------------------------------------------------------------------------------------------------
    def upload_dataset(self, upload: Upload, *, on_bytes: OnBytes = lambda _: None) -> Document:
        def attempt() -> Document:
            with upload.path.open("rb") as file:
                headers = {"Content-Type": upload.media_type, "Content-Length": str(os.fstat(file.fileno()).st_size)}
                query = {"name": upload.name or upload.path.name}
                return self._document("POST", "/v1/datasets", content=iter(_Counted(file, on_bytes)), headers=headers, params=query)

        return self._again(attempt)  # the same bytes get the same id, so a repetition is harmless

    def delete_dataset(self, dataset_id: str) -> None:
        self._again(lambda: self._document("DELETE", f"/v1/datasets/{quote(dataset_id, safe='')}"))

    # the service itself ------------------------------------------------------------------------------------------------
    def health(self) -> Document:
        return self._get("/healthz", {})

    def ready(self) -> Document:
        """The parts of the service and how each is; a service that is not ready answers 503, and that is an answer here."""
        try:
            return self._get("/readyz", {})
        except TooBusy as busy:
            return busy.problem

    # -----------------------------------------------------------------------------------------------------------------
    def _get(self, path: str, query: Mapping[str, Any]) -> Document:
        return self._again(lambda: self._document("GET", path, params=query))

    def _pages(self, path: str, query: Mapping[str, str | None]) -> Iterator[Document]:
        query = {name: value for name, value in query.items() if value is not None}
        while True:
            page = self._get(path, query)
            yield from page.get("items", ())
            if not page.get("next"):
                return
            query = {**query, "cursor": page["next"]}

    def _again(self, attempt: Callable[[], T], *, busy_slug: str = "") -> T:
        """Try until an answer comes. An answer is never asked for twice, but for the 409 that says that the first try of
        this very request is still being handled."""
        for pause in [BACKOFF_SECONDS * 2**n for n in range(ATTEMPTS_MAX - 1)]:
            try:
                return attempt()
            except Unreachable:
                self._sleep(pause)
            except InTheWay as problem:
                if problem.slug != busy_slug:
                    raise
                self._sleep(pause)
        return attempt()

    def _document(self, method: str, path: str, **request: Any) -> Document:
        with self._stream(method, path, **request) as response:
            document = _json_of(_read(response))
        if document is None and response.status_code != 204:
            raise Broken(response.status_code, {"detail": f"{self.url} answered no JSON object; is this the address of a Fumehood?"})
        return document or {}

    @contextmanager
    def _stream(self, method: str, path: str, **request: Any) -> Iterator[httpx.Response]:
        try:
            with self._http.stream(method, path, **request) as response:
                if not response.is_success:
                    raise self._problem(response)
                yield response
        except httpx.TransportError as error:
            raise Unreachable(f"{self.url} cannot be reached: {str(error) or type(error).__name__}") from error

    def _problem(self, response: httpx.Response) -> ServiceProblem:
        document = _json_of(_read(response)) if response.headers.get("content-type", "").startswith("application/") else None
        retry_after = response.headers.get("retry-after", "")
        kind = BY_STATUS.get(response.status_code, Broken)
        fallback = {"detail": f"{self.url} answered {response.status_code} without saying why; is this the address of a Fumehood?"}
        return kind(response.status_code, document or fallback, retry_after_seconds=int(retry_after) if retry_after.isdecimal() else None)


def is_final(record: Document) -> bool:
    return record.get("state") in ("succeeded", "failed", "cancelled")


def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > DOCUMENT_BYTES_MAX:
            raise Broken(response.status_code, {"detail": f"the answer is longer than {DOCUMENT_BYTES_MAX:,} bytes"})
    return bytes(body)


def _json_of(body: bytes) -> Document | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
