"""Scripts, versions and aliases as the API shows them. What the check's runner said is cleaned here, and believed for display only."""

from __future__ import annotations

from typing import Any

from api.documents import presentable
from api.records import columns_of
from api.script_schemas import (
    AliasRecord,
    Comparison,
    Difference,
    ParameterRecord,
    PartRecord,
    Schemas,
    ScriptRecord,
    ScriptSummary,
    TargetRecord,
    VersionRecord,
    VersionSummary,
)
from fumehood.script import LATEST, PART_OF_PORT, Alias, Script, Target, Version, is_required
from fumehood.text import timestamp

_COMPARED = ("description", "parameters", "schemas", "has_init", "limits", "concurrency", "image", "parts", "state")
DIFFERENCES_MAX = 1000


def script_summary(script: Script) -> ScriptSummary:
    return ScriptSummary(**_script(script))


def script_record(script: Script, aliases: list[Alias]) -> ScriptRecord:
    return ScriptRecord(**_script(script), aliases=[alias_record(script.name, alias) for alias in aliases])


def alias_record(script: str, alias: Alias) -> AliasRecord:
    here = f"/v1/scripts/{script}/aliases/{alias.name}"
    return AliasRecord(
        name=alias.name,
        versions=_targets(alias.targets),
        previous=_targets(alias.previous),
        changed_at=timestamp(alias.changed_at),
        links={"self": here} | ({"rollback": f"{here}/rollback"} if alias.name != LATEST else {}),
    )


def version_summary(version: Version) -> VersionSummary:
    return VersionSummary(**_version(version))


def version_record(version: Version) -> VersionRecord:
    schemas = version.schemas
    return VersionRecord(
        **_version(version),
        parameters=_parameters(version),
        schemas=None if schemas is None else Schemas(inputs=_columns(schemas["inputs"]), outputs=_columns(schemas["outputs"])),
        has_init=version.has_init,
        limits=version.limits.as_dict(),
        concurrency=version.concurrency,
        image=version.image,
        job=version.job,
        error=presentable(version.error),
        parts={
            PART_OF_PORT[port]: PartRecord(format=given.format, bytes=given.bytes, sha256=version.digests.get(port, ""))
            for port, given in version.inputs.items()
        },
        bytes=version.stored_bytes,
    )


def comparison(before: Version, after: Version) -> Comparison:
    """Field by field; lists of named things by their names."""
    records = [version_record(version).model_dump(include=set(_COMPARED), mode="json") for version in (before, after)]
    found = list(_differences("", _by_name(records[0]), _by_name(records[1])))
    return Comparison(script=before.script, before=before.number, after=after.number, differences=found[:DIFFERENCES_MAX])


def _differences(pointer: str, before: Any, after: Any) -> list[Difference]:
    if before == after:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        names = dict.fromkeys([*before, *after])
        steps = {name: str(name).replace("~", "~0").replace("/", "~1") for name in names}
        return [one for name in names for one in _differences(f"{pointer}/{steps[name]}", before.get(name), after.get(name))]
    return [Difference(field=pointer, before=before, after=after)]


def _by_name(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _by_name(inside) for name, inside in value.items()}
    if isinstance(value, list) and all(isinstance(entry, dict) and "name" in entry for entry in value):
        return {entry["name"]: {name: inside for name, inside in entry.items() if name != "name"} for entry in value}
    return value


def _script(script: Script) -> dict[str, Any]:
    here = f"/v1/scripts/{script.name}"
    return {
        "name": script.name,
        "latest": script.latest,
        "versions": script.versions,
        "created_at": timestamp(script.created_at) or "",
        "links": {"self": here, "versions": f"{here}/versions", "aliases": f"{here}/aliases"},
    }


def _version(version: Version) -> dict[str, Any]:
    here = f"/v1/scripts/{version.script}/versions/{version.number}"
    return {
        "script": version.script,
        "number": version.number,
        "id": version.id,
        "state": version.state,
        "reason": version.reason,
        "blame": version.reason.blame if version.reason else None,
        "message": presentable(version.message),
        "description": version.description,
        "created_at": timestamp(version.created_at) or "",
        "decided_at": timestamp(version.decided_at),
        "links": {"self": here, "source": f"{here}/source", "job": f"/v1/jobs/{version.job}"},
    }


def _targets(targets: tuple[Target, ...]) -> list[TargetRecord]:
    return [TargetRecord(number=target.number, share=target.share) for target in targets]


def _columns(by_port: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return {port: columns_of(columns) for port, columns in by_port.items()}


def _parameters(version: Version) -> list[ParameterRecord] | None:
    if version.parameters is None:
        return None
    return [
        ParameterRecord(
            name=presentable(name),
            type=presentable(said.get("type")),
            required=is_required(said),
            default=presentable(said.get("default")),
            example=presentable(said.get("example")),
            description=said.get("description", ""),
        )
        for name, said in version.parameters.items()
    ]
