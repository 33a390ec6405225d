"""Client and AsyncClient: run a function or a script at a Fumehood, and get back what it made."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fumehood.client import wire
from fumehood.client.batches import AsyncBatchHandle, BatchHandle, check_items, stage_items
from fumehood.client.catalogue import AsyncCatalogue, Catalogue
from fumehood.client.configuration import address_and_key
from fumehood.client.errors import ServiceProblem, Unreachable
from fumehood.client.handle import AsyncJobHandle, JobHandle, Origins
from fumehood.client.progress import Progress
from fumehood.client.progress import progress as progress_line
from fumehood.client.publishing import AsyncPublishing, Publishing
from fumehood.client.result import AsyncResult, Facts, Result
from fumehood.client.script import Given, check_call, script_of
from fumehood.client.staging import plain, stage
from fumehood.client.surface import AsyncSurface
from fumehood.client.values import Dataset
from fumehood.client.watching import Patience
from fumehood.client.words import Document


class AsyncClient(AsyncPublishing, AsyncCatalogue):
    """As `Client`, with every call awaited: `result = await client.run(f, df)`, then `await result.frame`. asyncio only.

    Cancelling the task that awaits `run` cancels the job."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        transport: Any = None,
        sleep: Any = None,
        _wire: Callable[..., wire.Wire] = wire.OnLoop,
        _view: Callable[[AsyncResult], Any] = wire.same,
    ) -> None:
        self._surface = AsyncSurface(*address_and_key(url, key), transport=transport, sleep=sleep, make_wire=_wire)
        self._view = _view

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._surface.url!r})"

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._surface.close()

    async def run(
        self,
        /,
        script: Given,
        df1: Any = None,
        df2: Any = None,
        *,
        bundle: Any = None,
        parameters: Mapping[str, Any] | None = None,
        limits: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
        cache: bool = False,
        on_log: Callable[[str], object] | None = None,
        progress: bool | None = None,
        timeout_seconds: float | None = None,
        **more_parameters: Any,
    ) -> AsyncResult:
        """Run `script` in a sandbox, wait for its end, and return what it left.

        script: a function, the path of a script, or its text. A function is sent by its source with what it uses: imports, functions,
            classes and plain constants beside it, and modules of your own project as a bundle (`fumehood.client.functions` shows it).
            It is called with the tables that are given, and returns a DataFrame or a tuple of up to two.
        df1, df2: a DataFrame, a pyarrow.Table, a polars frame, a file's path (CSV, Arrow, Parquet, JSON, NDJSON), a `Dataset`, or the
            `Result` of an earlier run, whose table does not travel. Types are kept; a frame's index is not sent.
        bundle: a zip, or a directory of modules and files; first on `sys.path` of the script, and taken before your own modules.
        parameters: keyword parameters of the function, JSON values; further keywords of this call are parameters too.
        limits: such as `{"wall_seconds": 60, "memory_bytes": 2**30}`; the others keep the service's defaults.
        labels: names and values to find the job by.
        cache: take the result of an earlier job that is the same (script, tables, parameters, limits, image) and asked for this, too.
        on_log: called with each line of the log, as it comes.
        progress: a line that says how far it is; by default on a terminal and in a notebook.
        timeout_seconds: for the waiting, not for the script; after that the job is cancelled.

        An interrupt (Ctrl-C, the notebook's stop button) cancels the job. One that comes while the request is still being sent may
        leave a job behind; `jobs()` shows it.

        Raises:
            NotSendable: what was given cannot be sent; nothing was.
            JobFailed: the job ended badly: `ScriptError` with the remote traceback, `TimedOut`, `OutOfMemory`, ….
            WaitedTooLong, Unreachable, ServiceProblem: see `fumehood.client.errors`.
        """
        patience = Patience(timeout_seconds, "the job")
        values = {**(parameters or {}), **more_parameters}
        with progress_line(progress) as shown:
            handle = await self._submit(script, df1, df2, bundle, values, shown, limits=limits, labels=labels, cache=cache)
            try:
                await handle.attend(on_log, shown, patience)
            except (Unreachable, ServiceProblem):
                raise  # the job goes on, and who asks for it later finds it
            except BaseException:
                await handle.give_up()
                raise
        return await handle.result()

    async def submit(
        self,
        /,
        script: Given,
        df1: Any = None,
        df2: Any = None,
        *,
        bundle: Any = None,
        parameters: Mapping[str, Any] | None = None,
        limits: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
        callback_url: str | None = None,
        cache: bool = False,
        progress: bool | None = None,
        **more_parameters: Any,
    ) -> AsyncJobHandle:
        """Queue a job and return at once; takes what `run` takes.

        priority: among your own jobs that wait, from -10 to 10; the highest goes first.
        callback_url: an address that the service tells of the end; `fumehood.webhook.verify` checks what comes there.

        Raises:
            NotSendable: what was given cannot be sent; nothing was.
            Unreachable, ServiceProblem: see `fumehood.client.errors`.
        """
        values = {**(parameters or {}), **more_parameters}
        with progress_line(progress) as shown:
            asked = {"limits": limits, "labels": labels, "cache": cache, "priority": priority, "callback_url": callback_url}
            return await self._submit(script, df1, df2, bundle, values, shown, **asked)

    async def batch(
        self,
        /,
        script: Given,
        items: Iterable[Any],
        df2: Any = None,
        *,
        isolation: str = "item",
        on_failure: str = "continue",
        bundle: Any = None,
        parameters: Mapping[str, Any] | None = None,
        limits: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
        callback_url: str | None = None,
        progress: bool | None = None,
        **more_parameters: Any,
    ) -> AsyncBatchHandle:
        """Queue one script over many tables, and return at once; what is not said here is as for `run`.

        items: for each a table (whatever `run` takes as one), or a dict of `dataset1`, `dataset2`, `parameters` and `name`, which win
            over what all items share. Tables are either all sent or all stored ones.
        df2: the second table of every item.
        isolation: `item`, a sandbox for each; or `batch`, for thousands of small tables: up to 500 items follow each other in one
            sandbox, each in a process and an empty directory of its own. No figures and artifacts are kept then.
        on_failure: `stop`, and the first item that fails cancels those that have not begun.
        limits: of each item.
        callback_url: told once, when the last item has ended.

        Raises:
            NotSendable: what was given cannot be sent; nothing was.
            Unreachable, ServiceProblem: see `fumehood.client.errors`.
        """
        values, listed = {**(parameters or {}), **more_parameters}, list(items)
        check_items(script, values, listed, df2)
        source = script_of(script, bundle=bundle)
        request: Document = {"parameters": plain(values), "limits": dict(limits or {}), "labels": dict(labels or {})}
        request |= {"isolation": isolation, "on_failure": on_failure, "callback_url": callback_url}
        with tempfile.TemporaryDirectory(prefix="fumehood-") as place, progress_line(progress) as shown:
            shared = await self._surface.wire.aside(lambda: stage(source, {"dataset2": df2}, bundle, Path(place)))
            uploads, documents = await self._surface.wire.aside(lambda: stage_items(listed, Path(place)))
            shown.begin_upload(shared.bytes + sum(one.bytes for one in uploads))
            asked = {name: value for name, value in request.items() if value} | {"items": documents}
            record = await self._surface.submit_batch(shared.script, shared.inputs, asked, items=uploads, on_bytes=shown.sent)
        return AsyncBatchHandle(self._surface, record)

    async def find_batch(self, batch_id: str) -> AsyncBatchHandle:
        """A batch by its id. Raises NotThere."""
        return AsyncBatchHandle(self._surface, await self._surface.batch(batch_id))

    async def job(self, job_id: str) -> AsyncJobHandle:
        """A job by its id. Raises NotThere."""
        return self._handle(await self._surface.job(job_id))

    async def jobs(self, *, state: str | None = None, label: str | None = None, limit: int = 50) -> list[AsyncJobHandle]:
        """The newest jobs first, at most `limit`; of one `state`, or with one `label` such as `"team:chemistry"`."""
        return [self._handle(record) for record in await self._list("/v1/jobs", limit, state=state, label=label)]

    async def delete(self, what: Dataset | Facts | AsyncJobHandle | JobHandle) -> None:
        """Forget a dataset, or a job that has ended with all it left.

        Raises:
            InTheWay: the job has not ended, or another one still needs this.
        """
        await (self._surface.delete_dataset(what.id) if isinstance(what, Dataset) else self._surface.delete_job(what.id))

    async def _submit(
        self,
        given: Given,
        df1: Any,
        df2: Any,
        bundle: Any,
        parameters: Mapping[str, Any],
        shown: Progress,
        **asked: Any,
    ) -> AsyncJobHandle:
        tables = {port: value for port, value in (("dataset1", df1), ("dataset2", df2)) if value is not None}
        check_call(given, parameters, len(tables))
        script = script_of(given, bundle=bundle)
        with tempfile.TemporaryDirectory(prefix="fumehood-") as place:
            staged = await self._surface.wire.aside(lambda: stage(script, tables, bundle, Path(place)))
            shown.begin_upload(staged.bytes)
            request = {name: dict(value) if isinstance(value, Mapping) else value for name, value in asked.items() if value}
            request |= {"parameters": plain(parameters)}
            record = await self._surface.submit(staged.script, staged.inputs, request, on_bytes=shown.sent)
        return self._handle(record, script.origins)

    def _handle(self, record: Document, origins: Origins = ()) -> AsyncJobHandle:
        return AsyncJobHandle(self._surface, record, origins, view=self._view)


class Client(Publishing, Catalogue):
    """Runs functions and scripts at a Fumehood. May be shared by threads; close it, or use it as a `with` block.

    `Client()` finds address and key as the `fumehood` command does: `FUMEHOOD_URL` and `FUMEHOOD_KEY`, or else the configuration file
    that `make run` and `fumehood config write` leave. `Client(url, key)` takes them as they are.

    Raises:
        NotConfigured: there is no key, or the file cannot be used.
    """

    def __init__(self, url: str | None = None, key: str | None = None, *, transport: Any = None, sleep: Any = None) -> None:
        self.later = AsyncClient(url, key, transport=transport, sleep=sleep, _wire=wire.AtOnce, _view=Result)

    def __repr__(self) -> str:
        return repr(self.later).removeprefix("Async")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    close = wire.at_once(AsyncClient.close, wire.same)
    run = wire.at_once(AsyncClient.run, Result)
    submit = wire.at_once(AsyncClient.submit, JobHandle)
    batch = wire.at_once(AsyncClient.batch, BatchHandle)
    find_batch = wire.at_once(AsyncClient.find_batch, BatchHandle)
    job = wire.at_once(AsyncClient.job, JobHandle)
    jobs = wire.at_once(AsyncClient.jobs, lambda found: [JobHandle(one) for one in found])
    delete = wire.at_once(AsyncClient.delete, wire.same)
