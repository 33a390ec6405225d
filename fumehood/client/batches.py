"""Batches: one function or script over many tables, to be waited for, counted, cancelled, and asked for what each left."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fumehood.client import wire
from fumehood.client.body import Upload
from fumehood.client.errors import NotSendable
from fumehood.client.following import batch_progress, follow_batch
from fumehood.client.inputs import Sendable, table_input
from fumehood.client.script import check_call
from fumehood.client.staging import plain
from fumehood.client.surface import BACKOFF_SECONDS, WAIT_SECONDS, AsyncSurface
from fumehood.client.tables import frame_of, read_table
from fumehood.client.watching import Patience
from fumehood.client.words import Document
from fumehood.dataset import ARROW

if TYPE_CHECKING:
    import pandas as pd

Told = Callable[[Document], object]
LOG_BYTES_MAX = 200 * 2**20
JOINED_BYTES_MAX = 16 * 2**30
_FIELDS = ("name", "dataset1", "dataset2", "parameters")


def check_items(script: Any, parameters: Mapping[str, Any], items: list[Any], df2: Any) -> None:
    """Compare what every item gets with the function's signature. Raises NotSendable, which names the item."""
    for number, item in enumerate(items):
        own = item if isinstance(item, Mapping) else {"dataset1": item}
        tables = [own.get("dataset1"), own.get("dataset2", df2)]
        try:
            check_call(script, {**parameters, **(own.get("parameters") or {})}, sum(table is not None for table in tables))
        except NotSendable as error:
            raise NotSendable(f"item {number}: {error}") from None


def stage_items(items: list[Any], place: Path) -> tuple[list[Upload], list[Document]]:
    """Items as what is sent: the tables that travel, in the order of the items, and what the document says of each.

    Raises:
        NotSendable: names the item.
    """
    if not items:
        raise NotSendable("items is empty; expected at least one table, path or dict")
    uploads: list[Upload] = []
    documents: list[Document] = []
    for number, item in enumerate(items):
        given = dict(item) if isinstance(item, Mapping) else {"dataset1": item}
        if unknown := [name for name in given if name not in _FIELDS]:
            raise NotSendable(f"item {number} has {unknown[0]!r}; expected some of {', '.join(_FIELDS)}")
        sent = _table(f"item {number}", given.pop("dataset1", None), place / str(number))
        second = _table(f"dataset2 of item {number}", given.pop("dataset2", None), place / str(number))
        if isinstance(second, Upload):
            raise NotSendable(f"dataset2 of item {number} is to be sent; of an item only dataset1 can be: store it first with upload()")
        document: Document = {} if second is None else {"dataset2": second}
        if isinstance(sent, Upload):
            uploads.append(replace(sent, name=given.get("name") or (sent.path.name if isinstance(item, (str, Path)) else str(number))))
        elif sent is not None:
            document["dataset1"] = sent
        if given.get("name"):
            document["name"] = str(given["name"])
        if given.get("parameters"):
            document["parameters"] = plain(given["parameters"])
        documents.append(document)
    if uploads and len(uploads) != len(items):
        raise NotSendable("some items have a table to send and others have not; expected all of one kind (`upload` stores a table)")
    return uploads, documents


def _table(what: str, value: Any, place: Path) -> Sendable | None:
    if value is None:
        return None
    place.mkdir(exist_ok=True)
    return table_input(what, value, place)


def _frame(data: bytearray) -> pd.DataFrame:
    return frame_of(read_table(data))


class AsyncBatchHandle:
    """`record` is the batch's record as it was last heard of."""

    def __init__(self, surface: AsyncSurface, record: Document) -> None:
        self._surface, self.record = surface, record
        self.id = str(record["id"])

    def __repr__(self) -> str:
        told = ", ".join(f"{count} {state}" for state, count in self.record["counts"].items() if count)
        return f"<{self.id} {told}>"

    async def counts(self) -> dict[str, int]:
        """Ask the service: how many items are `queued`, `running`, `succeeded`, `failed`, `cancelled`."""
        self.record = await self._surface.batch(self.id)
        return dict(self.record["counts"])

    async def wait(self, timeout_seconds: float | None = None, *, on_change: Told | None = None) -> Document:
        """Wait until every item has ended, well or not. Returns the batch's record; `on_change` is called with it when counts have changed.

        Raises:
            WaitedTooLong: it has not ended; it goes on.
        """
        patience = Patience(timeout_seconds, self.id)
        if on_change is not None and self.record.get("finished_at") is None:
            async with aclosing(batch_progress(self._surface, self.record, patience)) as records:
                async for self.record in records:
                    on_change(self.record)
        while self.record.get("finished_at") is None:
            self.record = await self._surface.batch(self.id, wait_seconds=patience.left(WAIT_SECONDS))
            if self.record.get("finished_at") is None:
                await self._surface.wire.sleep(patience.left(BACKOFF_SECONDS))
        return self.record

    async def follow(self, timeout_seconds: float | None = None) -> AsyncGenerator[Document, None]:
        """Each item once, as it ends: `number`, `name`, `state`, `reason` and `job`; first those that have ended already. `record` has the
        counts meanwhile, and is the last one when this ends.

        Raises:
            WaitedTooLong: the batch has not ended; it goes on.
        """
        patience = Patience(timeout_seconds, self.id)
        seen: set[tuple[int, int]] = set()
        async with aclosing(follow_batch(self._surface, self.id, patience_seconds=patience.left)) as events:
            async for event in events:
                patience.left()
                if event.kind == "item" and (end := (event.data["number"], event.data["retries"])) not in seen:
                    seen.add(end)
                    yield event.data
                elif "counts" in event.data:
                    self.record = {**self.record, "counts": event.data["counts"]}
        self.record = await self._surface.batch(self.id)

    async def items(self, *, state: str | None = None) -> list[Document]:
        """What the service says of each item, by number: `number`, `name`, `state`, `reason`, `message`, `rows`; of one `state` alone."""
        return [item async for item in self._listing(state)]

    async def item(self, number: int) -> Document:
        """All that the service says of an item; of a failed one, `error` holds the traceback."""
        return await self._surface.document(f"/v1/batches/{self.id}/items/{int(number)}")

    async def log(self, number: int) -> str:
        """What an item that has ended wrote to stdout and stderr."""
        path = f"/v1/batches/{self.id}/items/{int(number)}/log"
        return (await self._surface.read(path, accept="text/plain", bytes_max=LOG_BYTES_MAX)).decode(errors="replace")

    async def results(self, timeout_seconds: float | None = None) -> AsyncGenerator[tuple[int, pd.DataFrame], None]:
        """Wait for the end, then number and frame of every item that succeeded, by number; fetched one by one as they are taken.

        Raises:
            WaitedTooLong: it has not ended; it goes on.
        """
        most = int((await self.wait(timeout_seconds))["limits"]["output_bytes"])
        async for item in self._listing("succeeded"):
            number = int(item["number"])
            path = f"/v1/batches/{self.id}/items/{number}/result"
            data = await self._surface.read(path, accept=ARROW, bytes_max=most)
            yield number, await self._surface.wire.aside(partial(_frame, data))

    async def result(self, timeout_seconds: float | None = None, *, partial: bool = False) -> pd.DataFrame:
        """Wait for the end, then the results of all items that succeeded as one frame, by number, behind the columns `item` (the number)
        and `item_name`. With `partial` nothing is waited for: those that have succeeded so far.

        Raises:
            WaitedTooLong: it has not ended; it goes on.
            NotThere: no item has a result.
            Unusable: the types of a column do not agree.
        """
        if not partial:
            await self.wait(timeout_seconds)
        path, asked = f"/v1/batches/{self.id}/result", "true" if partial else None
        data = await self._surface.read(path, accept=ARROW, bytes_max=JOINED_BYTES_MAX, partial=asked)
        return await self._surface.wire.aside(lambda: _frame(data))

    async def retry(self, number: int | None = None) -> None:
        """Run every item that failed or was cancelled again, or the one of this number.

        Raises:
            InTheWay: there is none, or the batch is being cancelled.
        """
        item = f"/items/{int(number)}" if number is not None else ""
        await self._surface.send("POST", f"/v1/batches/{self.id}{item}/retry")
        self.record = await self._surface.batch(self.id)

    async def cancel(self) -> None:
        """End what has not ended. A batch that is cancelled already stays so.

        Raises:
            InTheWay: all of it has ended.
        """
        self.record = await self._surface.cancel_batch(self.id)

    async def delete(self) -> None:
        """Forget it with all it left.

        Raises:
            InTheWay: it has not ended, or a job that has not ended reads an output of it.
        """
        await self._surface.delete_batch(self.id)

    def _listing(self, state: str | None) -> AsyncIterator[Document]:
        return self._surface.listing(f"/v1/batches/{self.id}/items", limit="200", state=state)


class BatchHandle:
    def __init__(self, later: AsyncBatchHandle) -> None:
        self.later = later
        self.id = later.id

    @property
    def record(self) -> Document:
        """What the service last said of it."""
        return self.later.record

    def __repr__(self) -> str:
        return repr(self.later)

    counts = wire.at_once(AsyncBatchHandle.counts, wire.same)
    wait = wire.at_once(AsyncBatchHandle.wait, wire.same)
    items = wire.at_once(AsyncBatchHandle.items, wire.same)
    item = wire.at_once(AsyncBatchHandle.item, wire.same)
    log = wire.at_once(AsyncBatchHandle.log, wire.same)
    result = wire.at_once(AsyncBatchHandle.result, wire.same)
    retry = wire.at_once(AsyncBatchHandle.retry, wire.same)
    cancel = wire.at_once(AsyncBatchHandle.cancel, wire.same)
    delete = wire.at_once(AsyncBatchHandle.delete, wire.same)

    def follow(self, timeout_seconds: float | None = None) -> Iterator[Document]:
        """Each item once, as it ends: `number`, `name`, `state`, `reason` and `job`; first those that have ended already. `record` has the
        counts meanwhile, and is the last one when this ends.

        Raises:
            WaitedTooLong: the batch has not ended; it goes on.
        """
        return wire.each_now(self.later.follow(timeout_seconds))

    def results(self, timeout_seconds: float | None = None) -> Iterator[tuple[int, pd.DataFrame]]:
        """Wait for the end, then number and frame of every item that succeeded, by number; fetched one by one as they are taken.

        Raises:
            WaitedTooLong: it has not ended; it goes on.
        """
        return wire.each_now(self.later.results(timeout_seconds))
