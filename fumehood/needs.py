"""Needs: what a job reads that is not its own: datasets, outputs of other jobs, and files of scripts' versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Table, Update, bindparam, select, update

from fumehood.errors import BadField, BadRequest
from fumehood.job import Input, Job, Kind
from fumehood.schema import DATASETS, JOBS, SCRIPT_VERSIONS

NEEDED = ((DATASETS, "dataset", "dataset"), (JOBS, "source_job", "job"), (SCRIPT_VERSIONS, "version", "version"))
"""What may be needed: the table, the column of the need that names it, and what it is called."""


CALL = "call"
"""The port, among needs, of the script of a call: the calls of a version that have not ended are as many as its needs of this port."""


def needs_of(job: Job) -> list[dict[str, Any]]:
    """Rows of `job_needs`: one for each port that is connected to something stored."""
    needs = [need | {"job_id": job.id} for need in needs_of_inputs(job.inputs)]
    if job.kind is Kind.SCORE:
        needs = [need | ({"port": CALL} if need["port"] == "script" else {}) for need in needs]
    return needs


def needs_of_inputs(inputs: Mapping[str, Input]) -> list[dict[str, Any]]:
    """The same without whose they are."""
    return [
        {"port": port, "dataset": connected.dataset, "source_job": (connected.source or {}).get("job"), "version": connected.version}
        for port, connected in inputs.items()
        if connected.dataset is not None or connected.source is not None or connected.version is not None
    ]


USE_SECONDS = 60.0
"""A use that follows another one so soon is not written down: a dataset that every job reads would be written by every one."""


def owned(table: Table) -> Select[Any]:
    """Finds ids of a tenant's own datasets, jobs or versions whose bytes are there; the condition on `table.c.id` is yet to come. What
    is taken away meanwhile is waited for."""
    query = select(table.c.id).where(table.c.tenant == bindparam("of_tenant")).order_by(table.c.id)
    if table is JOBS:
        query = query.where(JOBS.c.results_gone_at.is_(None))
    return query.with_for_update(read=True, key_share=True)


def use_datasets(connection: Connection, used: Iterable[str | None], *, now: float) -> None:
    """Their lifetime begins anew."""
    # In order, or two that use the same might wait for each other.
    uses = [{"of_id": name, "now": now} for name in sorted({name for name in used if name is not None})]
    if uses:
        connection.execute(_use(), uses)


@cache
def _use() -> Update:
    until = bindparam("now", type_=DATASETS.c.expires_at.type) + DATASETS.c.kept_seconds
    return update(DATASETS).where(DATASETS.c.id == bindparam("of_id"), DATASETS.c.expires_at < until - USE_SECONDS).values(expires_at=until)


def check_needs(connection: Connection, job: Job) -> None:
    """Raises BadRequest naming every port whose dataset, source job or version this tenant does not have."""
    gone: list[BadField] = []
    for need in needs_of(job):
        for table, column, what in NEEDED:
            name = need[column]
            there = owned(table).where(table.c.id == name)
            if name is not None and connection.execute(there, {"of_tenant": job.tenant}).one_or_none() is None:
                gone.append(BadField(f"/{need['port']}", f"there is no {what} {name!r}"))
    if gone:
        raise BadRequest("an input of the job is not there", errors=tuple(gone))
