"""Scripts: what is published at the service, to be called as a function is."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fumehood.client import wire
from fumehood.client.batches import AsyncBatchHandle, BatchHandle, check_items, stage_items
from fumehood.client.body import Upload
from fumehood.client.calls import ANSWER_BYTES_MAX, ENDED, call_of, framed, in_query, scored, table_of
from fumehood.client.errors import ClientError, JobFailed, ServiceProblem, Unreachable
from fumehood.client.handle import AsyncJobHandle, JobHandle, Origins, failure_of
from fumehood.client.inputs import table_input
from fumehood.client.progress import progress as progress_line
from fumehood.client.result import AsyncResult
from fumehood.client.script import check_call
from fumehood.client.staging import plain
from fumehood.client.surface import AsyncSurface
from fumehood.client.words import Document, quoted
from fumehood.dataset import ARROW

if TYPE_CHECKING:
    import pandas as pd


class AsyncScript:
    """A published script. Awaited as it is called: `await score(frame, rows=5)`; else as `Script`."""

    def __init__(
        self,
        surface: AsyncSurface,
        record: Document,
        *,
        asked: Mapping[str, str],
        origins: Origins = (),
        view: Callable[[AsyncResult], object] = wire.same,
    ) -> None:
        self._surface, self._asked, self._origins, self._view = surface, dict(asked), origins, view
        self.record = record
        self.name = str(record["script"])
        self.version = int(record["number"]) if "version" in asked else None
        self.alias = None if "version" in asked else asked.get("alias", "latest")

    def __repr__(self) -> str:
        return f"<{self.name} {self.alias or f'version {self.version}'}>"

    @property
    def url(self) -> str:
        """The address that its calls are sent to."""
        return self._address("score")

    @property
    def help(self) -> str:
        """The address of its page for people."""
        return self._address("help")

    async def __call__(self, df1: Any = None, /, *, parameters: Mapping[str, Any] | None = None, **more_parameters: Any) -> pd.DataFrame:
        """Call it with a table, and give the first table that it returns. The service answers within 60 seconds or not at all.

        df1: what `run` takes as a table, but for one that is stored already; none where it was published without a sample.
        parameters: numbers, texts, true and false, by name; further keywords of this call are parameters too.

        Of what comes back, `attrs` says `job` and `version`. A script that has as many callers as it may have is asked again, a few times.

        Raises:
            NotSendable: what was given cannot be sent; nothing was.
            JobFailed: the script failed, as for `run`: `ScriptError` with the remote traceback, `TimedOut`, ….
            Unusable: the table or a parameter is not what the script takes; names the columns.
            TooBusy: too many callers, a quota, or the service failed the call.
            NotInTime: the 60 seconds are over; `submit` has no such bound.
        """
        query = self._asked | in_query(self.record, {**(parameters or {}), **more_parameters})
        with tempfile.TemporaryDirectory(prefix="fumehood-") as place:
            table = await self._surface.wire.aside(lambda: table_of(df1, Path(place)))
            try:
                request = call_of(self.name, table, query, accept=ARROW)
                answer = scored(await self._surface.exchange(request, bytes_max=ANSWER_BYTES_MAX))
            except ServiceProblem as problem:
                raise await self._meant(problem) from None
        return await self._surface.wire.aside(lambda: framed(answer))

    async def submit(
        self,
        df1: Any = None,
        df2: Any = None,
        /,
        *,
        parameters: Mapping[str, Any] | None = None,
        limits: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
        callback_url: str | None = None,
        cache: bool = False,
        progress: bool | None = None,
        **more_parameters: Any,
    ) -> AsyncJobHandle:
        """Queue a job of it and return at once, as `Client.submit` does; tables may be stored ones, parameters any JSON. Its limits are
        those of the version, or lower.

        Raises:
            NotSendable: what was given cannot be sent; nothing was.
            Unreachable, ServiceProblem: see `fumehood.client.errors`.
        """
        values = {**(parameters or {}), **more_parameters}
        check_call(None, values, 0)
        tables = {port: value for port, value in (("dataset1", df1), ("dataset2", df2)) if value is not None}
        said: Document = {"parameters": plain(values), "limits": dict(limits or {}), "labels": dict(labels or {})}
        said |= {"priority": priority, "callback_url": callback_url, "cache": cache}
        with tempfile.TemporaryDirectory(prefix="fumehood-") as place, progress_line(progress) as shown:
            inputs = await self._surface.wire.aside(lambda: {port: table_input(port, one, Path(place)) for port, one in tables.items()})
            shown.begin_upload(sum(one.bytes for one in inputs.values() if isinstance(one, Upload)))
            request = {name: value for name, value in said.items() if value}
            record = await self._surface.send_form("job", self._path("jobs"), inputs, request, shown.sent, query=self._asked)
        return AsyncJobHandle(self._surface, record, self._origins, view=self._view)

    async def batch(
        self,
        items: Iterable[Any],
        df2: Any = None,
        /,
        *,
        isolation: str = "item",
        on_failure: str = "continue",
        parameters: Mapping[str, Any] | None = None,
        limits: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
        callback_url: str | None = None,
        progress: bool | None = None,
        **more_parameters: Any,
    ) -> AsyncBatchHandle:
        """Queue it over many tables, and return at once; takes what `Client.batch` takes. All items run the same version.

        Raises:
            NotSendable: what was given cannot be sent; nothing was.
            Unreachable, ServiceProblem: see `fumehood.client.errors`.
        """
        values, listed = {**(parameters or {}), **more_parameters}, list(items)
        check_items(None, values, listed, df2)
        said: Document = {"parameters": plain(values), "limits": dict(limits or {}), "labels": dict(labels or {})}
        said |= {"isolation": isolation, "on_failure": on_failure, "callback_url": callback_url}
        with tempfile.TemporaryDirectory(prefix="fumehood-") as place, progress_line(progress) as shown:
            shared = {"dataset2": table_input("dataset2", df2, Path(place))} if df2 is not None else {}
            uploads, documents = await self._surface.wire.aside(lambda: stage_items(listed, Path(place)))
            shown.begin_upload(sum(one.bytes for one in [*uploads, *shared.values()] if isinstance(one, Upload)))
            request = {name: value for name, value in said.items() if value} | {"items": documents}
            path = self._path("batches")
            record = await self._surface.send_form("batch", path, shared, request, shown.sent, uploads, query=self._asked)
        return AsyncBatchHandle(self._surface, record)

    async def map(
        self,
        items: Iterable[Any],
        df2: Any = None,
        /,
        *,
        isolation: str = "item",
        parameters: Mapping[str, Any] | None = None,
        limits: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
        progress: bool | None = None,
        timeout_seconds: float | None = None,
        **more_parameters: Any,
    ) -> list[pd.DataFrame]:
        """Run it over many tables as a batch, wait for its end, and give the first table of each result, in the order of the items.

        items, df2, isolation: as for `Client.batch`.
        timeout_seconds: for the waiting; after that, as after an interrupt, the batch is cancelled.

        Raises:
            JobFailed: an item did not succeed, the first of them; all the others have run. A note says how to find their results.
            NotSendable, WaitedTooLong, Unreachable, ServiceProblem: as for `run`.
        """
        if not (listed := list(items)):
            return []
        said: dict[str, Any] = {
            "limits": limits,
            "labels": labels,
            "progress": progress,
            "parameters": {**(parameters or {}), **more_parameters},
        }
        batch = await self.batch(listed, df2, isolation=isolation, **said)
        try:
            record = await batch.wait(timeout_seconds)
        except (Unreachable, ServiceProblem):
            raise  # the batch goes on, and who asks for it later finds it
        except BaseException:
            with suppress(ClientError):
                await batch.cancel()
            raise
        if int(record["counts"]["succeeded"]) < len(listed):
            raise await self._failed_item(batch)
        return [frame async for _, frame in batch.results()]

    async def _meant(self, problem: ServiceProblem) -> ClientError:
        """What to raise for the answer to a call: of a job that ended what `run` raises."""
        if problem.job is None or problem.slug not in ENDED:
            return problem
        said = {name: problem.problem.get(name) for name in ("reason", "error")}
        return await self._failure(problem.job, {"state": "failed", "message": problem.detail, **said})

    async def _failure(self, job_id: str, said: Document) -> JobFailed:
        """Of a job that `said` tells the most of: it may be forgotten, or the key may not read."""
        try:
            record = await self._surface.job(job_id)
        except (Unreachable, ServiceProblem):
            record = {**said, "id": job_id}
        return failure_of(record, self._view(AsyncResult(self._surface, record)), self._origins)

    async def _failed_item(self, batch: AsyncBatchHandle) -> JobFailed:
        found = await batch.items(state="failed") or await batch.items(state="cancelled")
        item = await batch.item(found[0]["number"])
        if item["job"]:
            failure = await self._failure(item["job"], item)
        else:
            failure = failure_of({**item, "id": f"item {item['number']} of {batch.id}"}, None, self._origins)
        failure.add_note(f"This was item {item['number']}; find_batch({batch.id!r}) has the results of the others.")
        return failure

    def _path(self, below: str) -> str:
        return f"/v1/scripts/{quoted(self.name)}/{below}"

    def _address(self, below: str) -> str:
        return f"{self._surface.url}{self._path(below)}" + (f"?{urlencode(self._asked)}" if self._asked else "")


class Script:
    """A published script, to be called as a function is: `score(frame, rows=5)` gives a frame.

    `name`; `version`, its number, or None where the name `alias` says for each call anew which version it gets; `url` and `help`, the
    addresses for other programs and for people; `record`, all that the service says of the version, parameters and columns among it.
    """

    def __init__(self, later: AsyncScript) -> None:
        self.later = later
        self.name, self.version, self.alias, self.record = later.name, later.version, later.alias, later.record
        self.url, self.help = later.url, later.help

    def __repr__(self) -> str:
        return repr(self.later)

    __call__ = wire.at_once(AsyncScript.__call__, wire.same)
    submit = wire.at_once(AsyncScript.submit, JobHandle)
    batch = wire.at_once(AsyncScript.batch, BatchHandle)
    map = wire.at_once(AsyncScript.map, wire.same)
