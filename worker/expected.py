"""What a published script expects of its table and its parameters. It stands in the version, and is read when the sandbox is laid out:
copied into each job it would be most of what a store holds."""

from __future__ import annotations

from typing import Any

from fumehood.dataset import STUDIO
from fumehood.job import Job, Kind
from fumehood.job_store import JobStore
from fumehood.script import expected_columns


def expected_of(job: Job, store: JobStore) -> dict[str, Any]:
    """`schema` of the request, where the job runs a version that expects something, and `parameter_types` where its parameters come as
    texts. The version is there: the job needs it.

    Raises:
        NotFound: it is not; a fault of ours.
    """
    version = job.inputs["script"].version if "script" in job.inputs and job.kind is not Kind.CHECK else None
    if version is None:
        return {}
    found = store.get_version_by_id(job.tenant, version)
    columns, table = expected_columns(found), job.inputs.get("dataset1")
    expected: dict[str, Any] = {}
    if columns is not None and (table is not None or job.kind is Kind.CHUNK):
        expected["schema"] = {"dataset1": columns}
    if table is not None and table.format == STUDIO:
        expected["parameter_types"] = {name: said["type"] for name, said in (found.parameters or {}).items() if "type" in said}
    return expected
