"""The result cache: which jobs are the same one asked again, and the job that has the result of an earlier one.

Asked for job by job, because nobody but its author knows whether a script gives the same twice. Only jobs of one tenant that both
asked for it meet here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, select

from fumehood.job import Job, Origin, State
from fumehood.limits import Limits
from fumehood.outcome import Erasure, Usage
from fumehood.records import Records
from fumehood.rows import job_from_row, never_ran
from fumehood.schema import JOBS

# Changed where the same description comes to mean another run: then nothing of before is found.
VERSION = 1
# A row of the key may tell of another image, where the workers changed theirs between submission and run.
_LOOKED_AT = 3


def cache_key(*, tenant: str, image: str, inputs: Mapping[str, list[str]], parameters: Mapping[str, Any], limits: Limits) -> str:
    """SHA-256 (hex) of all that a run can depend on. `inputs`: by port, what its bytes are known by.

    Parameters count as JSON: the order of names does not matter, and 1, 1.0 and true are three values.
    """
    described = {
        "version": VERSION,
        "tenant": tenant,
        "image": image,
        "inputs": inputs,
        "parameters": parameters,
        "limits": limits.as_dict(),
    }
    text = json.dumps(described, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def origin_of(job: Job) -> str:
    """The job that ran what `job` has as its result: itself, or the one that it has the result of."""
    return job.cached_from.job if job.cached_from is not None else job.id


class Cached(Records):
    """The part of `JobStore` that finds an earlier result."""

    def find_cached(self, tenant: str, key: str, *, image: str) -> Job | None:
        """The newest job that succeeded with this key in this image, be it with the result of another."""
        with self._database.reading() as connection:
            rows = connection.execute(_succeeded(), {"of_tenant": tenant, "of_key": key}).all()
        return next((job for job in map(job_from_row, rows) if job.outcome is not None and job.outcome.image == image), None)


def with_result_of(job: Job, earlier: Job, *, now: float) -> Job:
    """`job` as it is when it ends where it begins. It never ran, so its receipt names nothing, and it used nothing.

    Raises ValueError where there is no such result, or the two are not the same job.
    """
    if earlier.state is not State.SUCCEEDED or earlier.outcome is None or earlier.finished_at is None:
        raise ValueError(f"job {earlier.id} is {earlier.state}; expected one that has succeeded")
    if job.cache_key is None or (job.tenant, job.cache_key) != (earlier.tenant, earlier.cache_key):
        raise ValueError(f"job {job.id} is not the same as {earlier.id}")
    return replace(
        job,
        state=State.SUCCEEDED,
        created_at=now,
        finished_at=now,
        outcome=replace(earlier.outcome, usage=Usage(), milliseconds={}, start=None, start_reason=None),
        erasure=Erasure(job=job.id, **never_ran(now=now)),
        cached_from=earlier.cached_from or Origin(job=earlier.id, finished_at=earlier.finished_at),
    )


@cache
def _succeeded() -> Select[Any]:
    run = (JOBS.c.cache_key, JOBS.c.state)
    here = (JOBS.c.cache_key == bindparam("of_key"), JOBS.c.state == State.SUCCEEDED.value, JOBS.c.tenant == bindparam("of_tenant"))
    # What has expired is no result any more; what is about to is one as long as it is there.
    there = (JOBS.c.results_gone_at.is_(None), JOBS.c.log_gone_at.is_(None))
    return select(JOBS).where(*here, *there).order_by(*(column.desc() for column in run), JOBS.c.seq.desc()).limit(_LOOKED_AT)
