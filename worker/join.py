"""Join: an errand that makes one table of the results of a batch. What its sandbox is given for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fumehood.blob_store import BlobStore
from fumehood.errors import NotFound
from fumehood.job import Job
from fumehood.job_store import JobStore
from worker.chunk import StagedItems


def stage_results(job: Job, store: JobStore, blobs: BlobStore, inside: Path) -> StagedItems:
    """Link the results of a batch into the sandbox's inputs, each file once; the request says which window is whose. What expires just
    now is told as missing: that is nobody's fault."""
    files: dict[str, str] = {}
    items: list[dict[str, Any]] = []
    bytes_in = missing = 0
    for table in store.tables_of_items(job.tenant, str(job.parameters["batch"])):
        if table.blob not in files:
            files[table.blob] = f"items{len(files)}"
            try:
                blobs.link_into(job.tenant, table.blob, inside, files[table.blob])
            except NotFound:
                missing += 1
        window = {} if table.offset is None else {"offset": table.offset, "bytes": table.bytes}
        items.append({"number": table.number, "name": table.name, "file": files[table.blob], **window})
        bytes_in += table.bytes
    return StagedItems(request={"items": items, "missing": missing}, bytes_in=bytes_in)
