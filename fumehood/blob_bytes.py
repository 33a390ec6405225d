"""What the blobs of a job or a batch come to, as their rows say it for the tenant's quota (fumehood.holdings)."""

from __future__ import annotations

from collections.abc import Iterable

from fumehood.batch import Batch, Item
from fumehood.job import Job, Lane

LOG = "log"


def bytes_of_job(job: Job) -> int:
    """What its blobs hold. An errand's go at once, and those of its batch are the batch's."""
    if job.kind.lane is not Lane.JOBS:
        return 0
    sent = sum(given.bytes for given in job.inputs.values() if given.blob.startswith(f"{job.blob_prefix}/"))
    left = job.outcome.outputs if job.outcome is not None else {}
    gone = {True: job.log_gone_at, False: job.results_gone_at}
    return sent + sum(size for name, size in left.items() if gone[name == LOG] is None)


def bytes_of_batch(batch: Batch, items: Iterable[Item]) -> int:
    """What was sent with it: tables of items lie in one file, one behind the other."""
    sent = sum(given.bytes for given in batch.inputs.values() if given.blob.startswith(f"{batch.blob_prefix}/"))
    pack = f"{batch.blob_prefix}/pack"
    packed = ((given.offset or 0) + given.bytes for item in items for given in item.inputs.values() if given.blob == pack)
    return sent + max(packed, default=0)
