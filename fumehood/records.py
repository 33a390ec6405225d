"""Records: the verbs of the job store that are no moves of a job, besides those of tenants: datasets, workers, images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, select, update
from sqlalchemy.exc import IntegrityError

from fumehood.dataset import Dataset
from fumehood.errors import Conflict, NotFound
from fumehood.holdings import check_stored
from fumehood.image import Image
from fumehood.key_store import Keys
from fumehood.metrics import Document
from fumehood.needs import USE_SECONDS
from fumehood.pages import read_page
from fumehood.readings import Readings
from fumehood.receipt import PublicKey
from fumehood.rows import dataset_from_row, dataset_to_row, image_from_row
from fumehood.schema import DATASETS, IMAGES, RECEIPT_KEYS, WORKERS


class Records(Readings, Keys):
    """The half of `JobStore` that moves no job."""

    # datasets --------------------------------------------------------------------------------------------------------
    def add_dataset(self, dataset: Dataset) -> tuple[Dataset, bool]:
        """Insert, or the tenant's existing dataset with the same bytes and format. The flag says whether it is new.

        Raises QuotaExceeded."""
        now = dataset.created_at or self._clock()
        values = dataset_to_row(dataset) | {"created_at": now, "expires_at": _until(dataset, now)}
        with self._database.writing() as connection:
            quota = self._admit(connection, dataset.tenant)
            self._note(connection, dataset.id)
            row = self._database.insert_or_get(connection, DATASETS, values, unique=("tenant", "sha256", "format"))
            if row.id == dataset.id:
                check_stored(connection, dataset.tenant, quota, stored=row.bytes + (row.table_bytes or 0), now=now)
        return dataset_from_row(row), row.id == dataset.id

    def find_dataset(self, tenant: str, *, sha256: str, format: str) -> Dataset | None:
        same = select(DATASETS).where(DATASETS.c.tenant == tenant, DATASETS.c.sha256 == sha256, DATASETS.c.format == format)
        with self._database.reading() as connection:
            row = connection.execute(same).one_or_none()
        return dataset_from_row(row) if row else None

    def get_dataset(self, tenant: str, dataset_id: str) -> Dataset:
        """Raises NotFound."""
        with self._database.reading() as connection:
            row = connection.execute(select(DATASETS).where(DATASETS.c.id == dataset_id, DATASETS.c.tenant == tenant)).one_or_none()
        if row is None:
            raise _no_dataset(dataset_id)
        return dataset_from_row(row)

    def list_datasets(
        self, tenant: str, *, name: str | None = None, before: str | None = None, limit: int = 50
    ) -> tuple[list[Dataset], str | None]:
        """Newest first, those called `name` alone where it is given; the second value is the cursor (opaque) of the next
        page. Raises BadRequest on a bad cursor."""
        run = [(DATASETS.c.tenant, tenant), *([(DATASETS.c.name, name)] if name is not None else [])]
        documents: list[ColumnElement[Any]] = [DATASETS.c.columns]
        with self._database.reading() as connection:
            rows, cursor = read_page(
                connection, select(DATASETS), run=run, seq=DATASETS.c.seq, before=before, limit=limit, documents=documents
            )
        return [dataset_from_row(row) for row in rows], cursor

    def use_dataset(self, tenant: str, dataset_id: str, *, kept_seconds: float | None, pinned: bool = False) -> Dataset:
        """Its lifetime begins anew, and is now this one; `pinned` pins it too. Raises NotFound."""
        return self._change_dataset(tenant, dataset_id, lambda it: replace(it, kept_seconds=kept_seconds, pinned=it.pinned or pinned))

    def pin_dataset(self, tenant: str, dataset_id: str, *, pinned: bool) -> Dataset:
        """One that is pinned stays until it is deleted; one that is not any more has its whole lifetime before it. Raises NotFound."""
        return self._change_dataset(tenant, dataset_id, lambda it: replace(it, pinned=pinned))

    def _change_dataset(self, owner: str, dataset_id: str, change: Callable[[Dataset], Dataset]) -> Dataset:
        here = (DATASETS.c.id == dataset_id, DATASETS.c.tenant == owner)
        with self._database.writing() as connection:
            row = connection.execute(select(DATASETS).where(*here).with_for_update()).one_or_none()
            if row is None:
                raise _no_dataset(dataset_id)
            after = change(before := dataset_from_row(row))
            until = _until(after, self._clock())
            unchanged = (after.pinned, after.kept_seconds) == (before.pinned, before.kept_seconds)
            # As where a job uses it: a use that follows another one so soon is not written down.
            if unchanged and abs((until or 0.0) - (before.expires_at or 0.0)) < USE_SECONDS:
                return before
            values = {"pinned": after.pinned, "kept_seconds": after.kept_seconds, "expires_at": until}
            return dataset_from_row(connection.execute(update(DATASETS).where(*here).values(values).returning(*DATASETS.c)).one())

    def delete_dataset(self, tenant: str, dataset_id: str) -> Dataset:
        """Raises NotFound; Conflict while a job that is not final needs it."""
        forget = delete(DATASETS).where(DATASETS.c.id == dataset_id, DATASETS.c.tenant == tenant).returning(*DATASETS.c)
        try:
            with self._database.writing() as connection:
                row = connection.execute(forget).one_or_none()
                self._note(connection, dataset_id)
        except IntegrityError as error:  # the foreign key of job_needs
            raise Conflict(f"dataset {dataset_id} is needed by a job that has not ended; cancel the job or wait for its end") from error
        if row is None:
            raise _no_dataset(dataset_id)
        return dataset_from_row(row)

    # workers ---------------------------------------------------------------------------------------------------------
    def worker_beat(self, worker: str, facts: dict[str, Any], *, tally: Document | None = None) -> None:
        """Upsert a worker's row: image digest, slots, whether it is ready and if not, why; and what it has counted so far."""
        values = {"id": worker, "facts": facts, "tally": tally, "seen_at": self._clock()}
        with self._database.writing() as connection:
            self._database.upsert(connection, WORKERS, values, unique=("id",))

    def workers(self, *, seen_within_seconds: float) -> list[dict[str, Any]]:
        """The facts of every worker that was seen lately, and its `worker` (id) and `seen_at`."""
        with self._database.reading() as connection:
            seen = select(WORKERS.c.id, WORKERS.c.facts, WORKERS.c.seen_at).where(WORKERS.c.seen_at >= self._clock() - seen_within_seconds)
            rows = connection.execute(seen.order_by(WORKERS.c.id)).all()
            return [row.facts | {"worker": row.id, "seen_at": row.seen_at} for row in rows]

    def forget_worker(self, worker: str) -> None:
        """It has left, or nobody has seen it for long. What it prepared is told gone by who took it away."""
        with self._database.writing() as connection:
            connection.execute(delete(WORKERS).where(WORKERS.c.id == worker))

    # the keys of receipts ---------------------------------------------------------------------------------------------
    def keep_receipt_key(self, key_id: str, public: str) -> None:
        """Known from now on, and for ever: old receipts stay checkable when a key is replaced."""
        values = {"id": key_id, "public": public, "since": self._clock()}
        with self._database.writing() as connection:
            self._database.insert_or_get(connection, RECEIPT_KEYS, values, unique=("id",))

    def receipt_keys(self, *, limit: int = 1000) -> list[PublicKey]:
        """Newest first."""
        query = select(RECEIPT_KEYS).order_by(RECEIPT_KEYS.c.since.desc(), RECEIPT_KEYS.c.id).limit(limit)
        with self._database.reading() as connection:
            return [PublicKey(id=row.id, public=row.public, since=row.since) for row in connection.execute(query)]

    # images ----------------------------------------------------------------------------------------------------------
    def keep_image(self, image: Image) -> None:
        """Upsert an image, seen now. What was known of it stays where `image` does not say."""
        told = {"python": image.python, "packages": image.packages}
        values = {name: value for name, value in told.items() if value is not None} | {"digest": image.digest, "seen_at": self._clock()}
        with self._database.writing() as connection:
            self._database.upsert(connection, IMAGES, values, unique=("digest",))

    def images(self, *, limit: int = 200) -> list[Image]:
        """The images that workers have run, those seen last first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(IMAGES).order_by(IMAGES.c.seen_at.desc(), IMAGES.c.digest).limit(limit)).all()
        return [image_from_row(row) for row in rows]

    def get_image(self, digest: str) -> Image:
        """Raises NotFound."""
        with self._database.reading() as connection:
            row = connection.execute(select(IMAGES).where(IMAGES.c.digest == digest)).one_or_none()
        if row is None:
            raise NotFound(f"there is no image {digest!r}")
        return image_from_row(row)


SEEN_SECONDS = 15.0
"""Workers renew their rows often; one that was not seen for so long is not counted."""


def slots_of(connection: Connection, lane: str, *, seen_after: float) -> int:
    """How many jobs of a lane run at once in all workers that are ready and were seen lately."""
    facts = connection.execute(select(WORKERS.c.facts).where(WORKERS.c.seen_at >= seen_after)).scalars()
    return sum(int(each.get(f"{lane}_slots", 0)) for each in facts if each.get("ready"))


def _until(dataset: Dataset, used_at: float) -> float | None:
    return None if dataset.pinned or dataset.kept_seconds is None else used_at + dataset.kept_seconds


def _no_dataset(dataset_id: str) -> NotFound:
    return NotFound(f"there is no dataset {dataset_id!r}")
