"""Result: what a job left. Everything is fetched when it is first asked for, and kept.

`Result` answers at once; with `AsyncResult` the same names are awaited: `frame = await result.frame`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from fumehood.client import display, wire
from fumehood.client.errors import ClientError
from fumehood.client.figures import Figure
from fumehood.client.surface import AsyncSurface
from fumehood.client.tables import frame_of, read_table
from fumehood.client.values import JobOutput
from fumehood.client.words import Document
from fumehood.dataset import ARROW
from fumehood.outcome import Usage
from fumehood.text import harmless

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

LOG_BYTES_MAX = 200 * 2**20
"""More than any stored log as UTF-8."""
T = TypeVar("T")


class Facts:
    """What the record says; asking for it fetches nothing. `record` is the job's whole record."""

    def __init__(self, record: Document) -> None:
        self.record = record

    @property
    def id(self) -> str:
        """The job's id, `job_…`."""
        return str(self.record["id"])

    @property
    def usage(self) -> Usage | None:
        """What the run used: `wall_seconds`, `cpu_seconds`, `memory_peak_bytes`, `bytes_in`, `bytes_out`; None if it never ran."""
        return Usage(**self.record["usage"]) if self.record.get("usage") else None

    @property
    def cached_from(self) -> str | None:
        """The job whose result this is; None where this one ran."""
        origin = self.record.get("cached_from")
        return str(origin["job"]) if origin else None

    @property
    def notes(self) -> list[str]:
        """What was changed or left out on the way (renames, types, an index that was dropped), a sentence each."""
        notes = [note for note in self.record.get("notes") or [] if isinstance(note, dict)]
        return [harmless(str(note.get("text") or note.get("kind"))) for note in notes]

    @property
    def output(self) -> JobOutput:
        """The result table as an input of another run, without a download; giving the result itself means the same."""
        return JobOutput(self.id, "result")

    @property
    def output2(self) -> JobOutput:
        """The second table, likewise."""
        return JobOutput(self.id, "result2")

    def __repr__(self) -> str:
        return display.line(self.record)


class AsyncResult(Facts):
    def __init__(self, surface: AsyncSurface, record: Document) -> None:
        super().__init__(record)
        self._surface, self._kept = surface, dict[str, Any]()

    @property
    def table(self) -> Coroutine[Any, Any, pa.Table]:
        return self._table("result")

    @property
    def table2(self) -> Coroutine[Any, Any, pa.Table | None]:
        return self._table2("result2", self._table)

    @property
    def frame(self) -> Coroutine[Any, Any, pd.DataFrame]:
        return self._frame("result")

    @property
    def frame2(self) -> Coroutine[Any, Any, pd.DataFrame | None]:
        return self._table2("result2", self._frame)

    @property
    def log(self) -> Coroutine[Any, Any, str]:
        return self._once("log", self._read_log)

    @property
    def figures(self) -> Coroutine[Any, Any, list[Figure]]:
        return self._once("figures", self._read_figures)

    @property
    def artifacts(self) -> Coroutine[Any, Any, dict[str, bytes]]:
        return self._once("artifacts", self._read_artifacts)

    async def preview(self, output: str = "result") -> Document:
        return await self._surface.document(f"/v1/jobs/{self.id}/{output}/preview")

    async def load(self) -> AsyncResult:
        """Fetch what a notebook shows, the table's first rows and the figures, so that it can show it."""
        self._kept["display"] = await self._glance()
        return self

    def _repr_html_(self) -> str:
        return display.html(self.record, self._kept.get("display") or display.Glance(hint="await result.load() fetches what is shown here"))

    async def _glance(self) -> display.Glance:
        """What is shown of the result; what cannot be fetched is said there, for showing something must not fail."""
        size = (self.record.get("result") or {}).get("bytes")
        try:
            figures = await self.figures if self.record.get("figures") else []
            if size is None or size > display.TABLE_BYTES_MAX:
                return display.Glance(figures=figures, hint="too large to be shown; .preview() profiles it" if size else "")
            return display.Glance(head=(await self.table).slice(0, display.ROWS_SHOWN), figures=figures)
        except ClientError as error:
            return display.Glance(hint=str(error))

    async def _once(self, name: str, fetch: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if name not in self._kept:
            self._kept[name] = await fetch()
        kept: T = self._kept[name]
        return kept

    async def _table(self, port: str) -> pa.Table:
        async def fetch() -> pa.Table:
            said = self.record.get(port)
            if not said:
                raise ClientError(f"{self.id} ended as {self.record.get('reason')} and left no {port}")
            data = await self._surface.read(f"/v1/jobs/{self.id}/{port}", accept=ARROW, bytes_max=said["bytes"])
            return await self._surface.wire.aside(lambda: read_table(data))

        return await self._once(port, fetch)

    async def _frame(self, port: str) -> pd.DataFrame:
        async def fetch() -> pd.DataFrame:
            table = await self._table(port)
            return await self._surface.wire.aside(lambda: frame_of(table))

        return await self._once(f"frame of {port}", fetch)

    async def _table2(self, port: str, fetch: Callable[[str], Coroutine[Any, Any, T]]) -> T | None:
        return await fetch(port) if self.record.get(port) else None

    async def _read_log(self) -> str:
        data = await self._surface.read(f"/v1/jobs/{self.id}/log", accept="text/plain", bytes_max=LOG_BYTES_MAX)
        return data.decode(errors="replace")

    async def _read_figures(self) -> list[Figure]:
        return [
            Figure(str(item["name"]), str(item["media_type"]), await self._file(f"figures/{n}"))
            async for n, item in _numbered(self._surface, f"/v1/jobs/{self.id}/figures")
        ]

    async def _read_artifacts(self) -> dict[str, bytes]:
        names = [str(item["name"]) async for _, item in _numbered(self._surface, f"/v1/jobs/{self.id}/artifacts")]
        # A name is the script's word, and an address with the tenant's key is made of it.
        plain = [name for name in names if not {"", ".", ".."} & set(name.split("/"))]
        return {name: await self._file(f"artifacts/{quote(name, safe='/')}") for name in plain}

    async def _file(self, path: str) -> bytes:
        stored = int((self.record.get("outputs") or {}).get("files") or 0)
        return bytes(await self._surface.read(f"/v1/jobs/{self.id}/{path}", bytes_max=stored))


async def _numbered(surface: AsyncSurface, path: str) -> Any:
    n = 0
    async for item in surface.listing(path):
        yield n, item
        n += 1


class Result(Facts):
    def __init__(self, later: AsyncResult) -> None:
        super().__init__(later.record)
        self.later = later

    @property
    def table(self) -> pa.Table:
        """The result as a pyarrow.Table: n × m, column names are unique strings."""
        return wire.now(self.later.table)

    @property
    def table2(self) -> pa.Table | None:
        """The second result, None where the function returned one table."""
        return wire.now(self.later.table2)

    @property
    def frame(self) -> pd.DataFrame:
        """The result as a pandas frame: n × m; index 0…n−1; integers and booleans with gaps keep their type (`Int64`, `boolean`).

        Raises:
            NotSendable: pandas is not installed; `.table` works without it.
            ClientError: the job failed and left no table.
        """
        return wire.now(self.later.frame)

    @property
    def frame2(self) -> pd.DataFrame | None:
        """The second result, None where the function returned one table."""
        return wire.now(self.later.frame2)

    @property
    def log(self) -> str:
        """All that the script wrote to stdout and stderr, in order."""
        return wire.now(self.later.log)

    @property
    def figures(self) -> list[Figure]:
        """In the order of their making: `name`, `media_type`, `bytes`; a notebook shows them."""
        return wire.now(self.later.figures)

    @property
    def artifacts(self) -> dict[str, bytes]:
        """The files that the script left below `./outputs/`, all of them, by name."""
        return wire.now(self.later.artifacts)

    def preview(self, output: str = "result") -> Document:
        """Rows, columns with counts, distinct values, bounds and histograms, and the first rows, made where the table lies;
        for tables that are too large to fetch. `output` is `result` or `result2`."""
        return wire.now(self.later.preview(output))

    def _repr_html_(self) -> str:
        wire.now(self.later.load())
        return self.later._repr_html_()
