"""Needs: what a job reads that is not its own: datasets, and outputs of other jobs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from fumehood.errors import BadField, BadRequest
from fumehood.job import Job
from fumehood.schema import DATASETS, JOBS


def needs_of(job: Job) -> list[dict[str, Any]]:
    """Rows of `job_needs`: one for each port that is connected to something stored."""
    return [
        {"job_id": job.id, "port": port, "dataset": connected.dataset, "source_job": (connected.source or {}).get("job")}
        for port, connected in job.inputs.items()
        if connected.dataset is not None or connected.source is not None
    ]


def check_needs(connection: Connection, job: Job) -> None:
    """Raises BadRequest naming every port whose dataset or source job this tenant does not have."""
    gone: list[BadField] = []
    for need in needs_of(job):
        for table, name, what in ((DATASETS, need["dataset"], "dataset"), (JOBS, need["source_job"], "job")):
            owned = select(table.c.id).where(table.c.id == name, table.c.tenant == job.tenant)
            if name is not None and connection.execute(owned).one_or_none() is None:
                gone.append(BadField(f"/{need['port']}", f"there is no {what} {name!r}"))
    if gone:
        raise BadRequest("an input of the job is not there", errors=tuple(gone))
