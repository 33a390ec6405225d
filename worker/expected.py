"""What a published script expects of its table. It stands in the version, and is read when the sandbox is laid out: copied into each job
it would be most of what a store holds."""

from __future__ import annotations

from typing import Any

from fumehood.job import Job, Kind
from fumehood.job_store import JobStore
from fumehood.script import expected_columns


def schema_of(job: Job, store: JobStore) -> dict[str, Any]:
    """`schema` of the request, where the job runs a version that expects something. The version is there: the job needs it.

    Raises:
        NotFound: it is not; a fault of ours.
    """
    version = job.inputs["script"].version if "script" in job.inputs and job.kind is not Kind.CHECK else None
    if version is None:
        return {}
    expected = expected_columns(store.get_version_by_id(job.tenant, version))
    has_table = "dataset1" in job.inputs or job.kind is Kind.CHUNK
    return {} if expected is None or not has_table else {"schema": {"dataset1": expected}}
