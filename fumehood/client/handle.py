"""JobHandle: a job at the service, to be waited for, listened to, cancelled, and asked for what it left."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing

from fumehood.client import display, wire
from fumehood.client.errors import BY_REASON, ClientError, JobFailed
from fumehood.client.progress import Progress
from fumehood.client.result import AsyncResult, Result
from fumehood.client.source import Origin
from fumehood.client.surface import AsyncSurface
from fumehood.client.watching import Lines, Patience, final, watch
from fumehood.client.words import Document, is_final

Origins = tuple[Origin | None, ...]


def failure_of(record: Document, result: object, origins: Origins) -> JobFailed:
    """What to raise for a job that has not succeeded."""
    return BY_REASON.get(str(record.get("reason")), JobFailed)(record, result, origins)


class AsyncJobHandle:
    """`record` is the job's record as it was last heard of."""

    def __init__(
        self, surface: AsyncSurface, record: Document, origins: Origins = (), *, view: Callable[[AsyncResult], object] = wire.same
    ) -> None:
        self._surface, self._origins, self._view = surface, origins, view
        self.record = record
        self.id = str(record["id"])

    def __repr__(self) -> str:
        return display.line(self.record)

    @property
    def receipt(self) -> Document | None:
        """The erasure receipt as it was last heard of: a document that `fumehood.receipt.verify` checks."""
        return self.record.get("erasure")

    async def status(self) -> str:
        """Ask the service: `queued`, `running`, `succeeded`, `failed` or `cancelled`; `record` holds the rest."""
        self.record = await self._surface.job(self.id)
        return str(self.record["state"])

    async def wait(self, timeout_seconds: float | None = None) -> Document:
        """Wait for the job's end, well or not. Returns its record.

        Raises:
            WaitedTooLong: it has not ended; it goes on.
        """
        self.record = await final(self._surface, self.record, Patience(timeout_seconds, self.id))
        return self.record

    async def cancel(self) -> None:
        """End it. A job that is cancelled already stays so.

        Raises:
            InTheWay: it has ended.
        """
        self.record = await self._surface.cancel(self.id)

    async def lines(self, timeout_seconds: float | None = None) -> AsyncGenerator[str, None]:
        """The log's lines as they come, from the first one to the job's end."""
        lines = Lines()
        async with aclosing(watch(self._surface, self.record, Patience(timeout_seconds, self.id))) as seen:
            async for one in seen:
                self.record = one.record or self.record
                for line in lines.whole(one.text):
                    yield line
        for line in lines.last():
            yield line

    async def result(self, timeout_seconds: float | None = None) -> AsyncResult:
        """Wait for the end and hand over what the job left.

        Raises:
            JobFailed: a subclass for each reason; what the job left all the same is its `result`.
            WaitedTooLong: it has not ended; it goes on.
        """
        await self.wait(timeout_seconds)
        if "outputs" not in self.record:  # from a list, which tells less
            self.record = await self._surface.job(self.id)
        result = AsyncResult(self._surface, self.record)
        if self.record["state"] != "succeeded":
            raise failure_of(self.record, self._view(result), self._origins)
        return result

    async def attend(self, on_log: Callable[[str], object] | None, progress: Progress, patience: Patience) -> None:
        """Wait for the end, telling of the way; nothing is asked that nobody wants to hear."""
        if on_log is None and not progress.visible:
            self.record = await final(self._surface, self.record, patience)
            return
        lines = Lines()
        async with aclosing(watch(self._surface, self.record, patience)) as seen:
            async for one in seen:
                if one.record is not None:
                    self.record = one.record
                    progress.state(self.record)
                for line in lines.whole(one.text) + (lines.last() if is_final(self.record) else []):
                    progress.log(line)
                    if on_log is not None:
                        on_log(line)

    async def give_up(self) -> None:
        """Cancel as well as it goes: whoever calls this has another error to tell."""
        with contextlib.suppress(ClientError):
            await self.cancel()


class JobHandle:
    """`record` is the job's record as it was last heard of."""

    def __init__(self, later: AsyncJobHandle) -> None:
        self.later = later
        self.id = later.id

    @property
    def record(self) -> Document:
        return self.later.record

    def __repr__(self) -> str:
        return repr(self.later)

    @property
    def receipt(self) -> Document | None:
        """The erasure receipt as it was last heard of: a document that `fumehood.receipt.verify` checks."""
        return self.later.receipt

    status = wire.at_once(AsyncJobHandle.status, wire.same)
    wait = wire.at_once(AsyncJobHandle.wait, wire.same)
    cancel = wire.at_once(AsyncJobHandle.cancel, wire.same)
    result = wire.at_once(AsyncJobHandle.result, Result)

    def lines(self, timeout_seconds: float | None = None) -> Iterator[str]:
        """The log's lines as they come, from the first one to the job's end."""
        return wire.each_now(self.later.lines(timeout_seconds))
