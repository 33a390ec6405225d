"""Catalogue: what the service keeps and can tell of: datasets, images, packages, keys of receipts, what was used."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from fumehood.client import wire
from fumehood.client.body import Upload
from fumehood.client.errors import NotSendable
from fumehood.client.inputs import Sendable, file_input, table_input
from fumehood.client.progress import progress as progress_line
from fumehood.client.surface import AsyncSurface
from fumehood.client.values import Dataset, dataset_of
from fumehood.client.words import Document, quoted
from fumehood.dataset import FORMATS


class AsyncCatalogue:
    _surface: AsyncSurface

    async def upload(self, data: Any, *, name: str = "", progress: bool | None = None) -> Dataset:
        """Store a table (whatever `run` takes as one) or a bundle (the path of a zip), to be used by many jobs.

        The same bytes give the same dataset. Its rows and columns were found in a sandbox.

        Raises:
            NotSendable: it is no table and no file of a known format.
            Unusable: the service's sandbox could not read it; says where.
        """

        with tempfile.TemporaryDirectory(prefix="fumehood-") as place, progress_line(progress) as shown:
            upload = await self._surface.wire.aside(lambda: _dataset_file(data, name, Path(place)))
            shown.begin_upload(upload.bytes)
            return dataset_of(await self._surface.upload_dataset(upload, on_bytes=shown.sent))

    async def dataset(self, dataset_id: str) -> Dataset:
        """A dataset by its id. Raises NotThere."""
        return dataset_of(await self._surface.document(f"/v1/datasets/{quoted(dataset_id)}"))

    async def datasets(self, *, limit: int = 50) -> list[Dataset]:
        """The stored tables and bundles, newest first, at most `limit`."""
        return [dataset_of(record) for record in await self._list("/v1/datasets", limit)]

    async def pin(self, dataset: Dataset | str, *, pinned: bool = True) -> Dataset:
        """Keep a dataset until it is deleted, whatever the lifetime of datasets is; with `pinned=False`, no longer."""
        return dataset_of(await self._surface.pin_dataset(dataset if isinstance(dataset, str) else dataset.id, pinned=pinned))

    async def preview(self, dataset: Dataset | str) -> Document:
        """A stored table's rows, columns with counts, distinct values, bounds and histograms, and its first rows."""
        return await self._surface.document(f"/v1/datasets/{quoted(dataset if isinstance(dataset, str) else dataset.id)}/preview")

    async def images(self) -> list[Document]:
        """The environments that jobs run in: `digest`, `python`, `packages` (how many), `current`."""
        return [image async for image in self._surface.listing("/v1/images")]

    async def packages(self, digest: str | None = None) -> dict[str, str]:
        """Name and version of every package in an image, the current one where none is named."""
        if digest is None:
            digest = next(str(image["digest"]) for image in await self.images() if image["current"])
        return {str(one["name"]): str(one["version"]) async for one in self._surface.listing(f"/v1/images/{quoted(digest)}/packages")}

    async def receipt_keys(self) -> list[str]:
        """The public keys that the service signs receipts with, the newest first; for `fumehood.receipt.verify`. Keep a copy."""
        return [str(one["public"]) async for one in self._surface.listing("/v1/receipts/keys")]

    async def usage(
        self, first: date | str | None = None, last: date | str | None = None, *, label: str | None = None, by: str = "day"
    ) -> list[Document]:
        """What was used from the day `first` to the day `last` (UTC; else in 30 days until today), by `"day"` or for the whole
        `"period"`; with `label` a row for each value of that label. `pandas.DataFrame(client.usage())` is a table of it."""
        days = {"from": str(first) if first else None, "to": str(last) if last else None}
        return [row async for row in self._surface.listing("/v1/usage", **days, label=label, by=by)]

    async def _list(self, path: str, limit: int, **query: str | None) -> list[Document]:
        found: list[Document] = []
        async for record in self._surface.listing(path, limit=str(min(limit, 200)), **query):
            found.append(record)
            if len(found) >= limit:
                break
        return found


class Catalogue:
    upload = wire.at_once(AsyncCatalogue.upload, wire.same)
    dataset = wire.at_once(AsyncCatalogue.dataset, wire.same)
    datasets = wire.at_once(AsyncCatalogue.datasets, wire.same)
    pin = wire.at_once(AsyncCatalogue.pin, wire.same)
    preview = wire.at_once(AsyncCatalogue.preview, wire.same)
    images = wire.at_once(AsyncCatalogue.images, wire.same)
    packages = wire.at_once(AsyncCatalogue.packages, wire.same)
    receipt_keys = wire.at_once(AsyncCatalogue.receipt_keys, wire.same)
    usage = wire.at_once(AsyncCatalogue.usage, wire.same)


def _dataset_file(data: Any, name: str, place: Path) -> Upload:
    """What is stored under `name`, the file's own where none is given."""
    if isinstance(data, (str, Path)):
        sent: Sendable = file_input("data", Path(data), tuple(FORMATS))
    else:
        sent = table_input("data", data, place)
    if not isinstance(sent, Upload):
        raise NotSendable(f"data is stored already: {sent}")
    return replace(sent, name=name or sent.name)
