"""Rows ↔ values: versions and aliases of scripts as the schema stores them; and the decision on a version, in the transaction that ends
its check."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Select, Update, bindparam, select, update

from fumehood.job import Input, Kind
from fumehood.limits import Limits
from fumehood.outcome import Outcome, Reason
from fumehood.schema import SCRIPT_VERSIONS, SCRIPTS
from fumehood.script import Alias, Target, Version, VersionState, findings_of


def version_to_row(version: Version) -> dict[str, Any]:
    """Everything but `seq`, `script` and what its check finds."""
    return {
        "id": version.id,
        "tenant": version.tenant,
        "number": version.number,
        "state": version.state.value,
        "inputs": {port: asdict(given) for port, given in version.inputs.items()},
        "digests": version.digests,
        "parameters": version.parameters,
        "limits": version.limits.as_dict(),
        "concurrency": version.concurrency,
        "description": version.description,
        "job": version.job,
        "created_at": version.created_at,
        "stored_bytes": version.stored_bytes,
    }


def version_from_row(row: Row[Any]) -> Version:
    return Version(
        id=row.id,
        tenant=row.tenant,
        script=row.script_name,
        number=row.number,
        state=VersionState(row.state),
        inputs={port: Input(**given) for port, given in row.inputs.items()},
        digests=row.digests,
        parameters=row.parameters,
        limits=Limits.from_dict(row.limits),
        concurrency=row.concurrency,
        description=row.description,
        job=row.job,
        created_at=row.created_at,
        decided_at=row.decided_at,
        schemas=row.schemas,
        has_init=row.has_init,
        image=row.image,
        reason=Reason(row.reason) if row.reason else None,
        message=row.message,
        error=row.error,
    )


def select_versions() -> Select[Any]:
    """With the name of the script."""
    return select(SCRIPT_VERSIONS, SCRIPTS.c.name.label("script_name")).join(SCRIPTS, SCRIPTS.c.seq == SCRIPT_VERSIONS.c.script)


def targets_to_row(targets: tuple[Target, ...]) -> list[dict[str, int]]:
    return [asdict(target) for target in targets]


def alias_from_row(row: Row[Any]) -> Alias:
    return Alias(
        name=row.name,
        targets=tuple(Target(**one) for one in row.targets),
        previous=tuple(Target(**one) for one in row.previous),
        changed_at=row.changed_at,
    )


def decide_version(connection: Connection, row: Row[Any], outcome: Outcome, *, now: float) -> None:
    """A job has just ended with `outcome`. Where it is a check, its version is ready from now on, or refused: nothing else decides that."""
    if row.kind != Kind.CHECK.value:
        return
    version = connection.execute(_checked(), {"of_job": row.id, "of_tenant": row.tenant}).one_or_none()
    if version is None:
        return
    found = findings_of(outcome, version.parameters)
    plain = {"state": found["state"].value, "reason": found["reason"].value}
    given = {f"new_{name}": value for name, value in {**found, **plain, "decided_at": now}.items()}
    connection.execute(_decide(), {"of_seq": version.seq, **given})


_FOUND = ("state", "parameters", "schemas", "has_init", "image", "reason", "message", "error", "decided_at")


@cache
def _checked() -> Select[Any]:
    mine = (SCRIPT_VERSIONS.c.job == bindparam("of_job"), SCRIPT_VERSIONS.c.tenant == bindparam("of_tenant"))
    return select(SCRIPT_VERSIONS.c.seq, SCRIPT_VERSIONS.c.parameters).where(*mine).with_for_update()


@cache
def _decide() -> Update:
    values: dict[str, Any] = {name: bindparam(f"new_{name}", type_=SCRIPT_VERSIONS.c[name].type) for name in _FOUND}
    return update(SCRIPT_VERSIONS).where(SCRIPT_VERSIONS.c.seq == bindparam("of_seq")).values(values)
