"""Script: a tenant's script under a name, in versions that never change; and aliases, which say what version a name stands for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from fumehood.job import Input, Job, Kind
from fumehood.limits import MIB, Limits
from fumehood.outcome import Outcome, Reason
from fumehood.quota import Retention

NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
"""Of scripts and of aliases."""
LATEST = "latest"
"""The alias that every script has: its newest version that is ready. It is not stored."""
NUMBER_MAX = 2**31 - 1
VERSIONS_MAX = 1000
"""Of one script. They are deleted in one step."""
VERSIONS_OF_TENANT_MAX = 10_000
"""What is recorded of one may be as large as a MiB."""
SHARES_MAX = 10
"""Versions that one alias stands for."""
CONCURRENCY_DEFAULT, CONCURRENCY_MAX = 8, 100
SAMPLE_BYTES = 64 * MIB
PART_OF_PORT = {"script": "script", "bundle": "bundle", "dataset1": "sample"}
"""What a version's inputs are called by who publishes it."""
CALLS_SAY = frozenset({"version", "alias"})
"""Names that a call's query has a meaning for; no parameter can have them."""
_COLUMNS_MAX = 10_000
_PORTS = {"inputs": ("dataset1", "dataset2"), "outputs": ("result", "result2")}


class VersionState(StrEnum):
    """
    checking    entered by `publish`; left in the transaction that ends the version's check
    ready       the check succeeded: schemas and image are known
    refused     the check did not; the version stays to be read, and never becomes ready
    """

    CHECKING = "checking"
    READY = "ready"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One version of a script. Nothing of it changes but what its check finds, once."""

    id: str
    tenant: str
    script: str
    """Name of the script."""
    number: int = 0
    """1, 2, … within the script; given by the store, and never again to another."""
    state: VersionState = VersionState.CHECKING
    inputs: dict[str, Input] = field(default_factory=dict)
    """Its own files, by port of a job: `script`, `bundle`, `dataset1` (the sample)."""
    digests: dict[str, str] = field(default_factory=dict)
    """SHA-256 (hex) of each."""
    parameters: dict[str, dict[str, Any]] | None = None
    """By name: `type`, and what there is of `default`, `example`, `description`: what the signature says, and over it what its tenant
    declares. None as long as neither its tenant nor the check has said any."""
    limits: Limits = field(default_factory=Limits)
    """Of each call."""
    concurrency: int = CONCURRENCY_DEFAULT
    """Calls at once."""
    description: str = ""
    job: str = ""
    """The check."""
    created_at: float = 0.0
    decided_at: float | None = None
    schemas: dict[str, dict[str, list[dict[str, Any]]]] | None = None
    """`inputs` and `outputs`, each by port: columns in the words of datasets. None before it is ready."""
    has_init: bool = False
    image: str | None = None
    """Digest of the image that it was checked in."""
    reason: Reason | None = None
    """How the check ended, with the sentence and the script's error."""
    message: str = ""
    error: dict[str, Any] | None = None

    @property
    def blob_prefix(self) -> str:
        return blob_prefix_of(self.id)

    @property
    def called(self) -> dict[str, Input]:
        """Its files that every run of it has, by port: all but the sample."""
        return {port: given for port, given in self.inputs.items() if port != "dataset1"}

    @property
    def stored_bytes(self) -> int:
        return sum(given.bytes for given in self.inputs.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    name: str
    created_at: float
    latest: int | None
    """Number of its newest version that is ready; None where none is."""
    versions: int
    """How many there are."""


@dataclass(frozen=True, slots=True)
class Target:
    """A version, and its share of the calls in percent."""

    number: int
    share: int = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Alias:
    name: str
    targets: tuple[Target, ...]
    previous: tuple[Target, ...] = ()
    """What it stood for before; empty where it was nothing else."""
    changed_at: float | None = None
    """None of `latest`, which nobody moves."""

    def pick(self, draw: float) -> int:
        """The version that a call gets; `draw` is from 0 up to 1, without it."""
        left = draw * 100
        for target in self.targets:
            left -= target.share
            if left < 0:
                return target.number
        return self.targets[-1].number


def blob_prefix_of(version_id: str) -> str:
    return f"scripts/{version_id}"


TYPE_OF: dict[type, str] = {bool: "bool", int: "int", float: "float", str: "str"}
"""What the type of a parameter is called that has such a default."""
_PYTHON: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}


def fits(kind: str | None, value: Any) -> bool:
    """Whether a parameter of this type may have the value; one without a type may have any."""
    if kind not in _PYTHON:
        return True
    types = _PYTHON[kind]
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def check_of(version: Version, job_id: str, *, attempts_max: int, retention: Retention | None) -> Job:
    """The job that runs a version once, on its sample and with the defaults, or else the examples, of its parameters."""
    return Job(
        id=job_id,
        tenant=version.tenant,
        kind=Kind.CHECK,
        inputs=version.inputs,
        parameters=sample_parameters(version.parameters or {}),
        limits=version.limits,
        attempts_max=attempts_max,
        retention=retention,
    )


def sample_parameters(parameters: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {name: said.get("default", said.get("example")) for name, said in parameters.items() if {"default", "example"} & said.keys()}


def is_required(said: dict[str, Any]) -> bool:
    """Whether each run has to say a parameter, of which the version says this: it has no default, not even one that JSON cannot say."""
    return bool(said.get("required", "default" not in said))


def called_with(version: Version, given: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a run that says `given`. What the signature alone says the function knows itself; a default that its own type
    does not allow can only be that."""
    said = (version.parameters or {}).items()
    defaults = {name: one["default"] for name, one in said if "default" in one and fits(one.get("type"), one["default"])}
    return {**defaults, **given}


def expected_columns(version: Version) -> list[dict[str, Any]] | None:
    """What the first table of a run must have; None where the version was checked without one."""
    inputs = (version.schemas or {}).get("inputs", {})
    return inputs.get("dataset1")


def findings_of(outcome: Outcome, parameters: dict[str, dict[str, Any]] | None) -> dict[str, Any]:
    """What an ended check says of its version, by field. The runner's word is taken only in the shape that it should have; what its
    tenant said of a parameter stands."""
    entry = _object(outcome.report.get("entry"))
    signature = _parameters(entry)
    if outcome.reason is Reason.OK and (taken := sorted(CALLS_SAY & (signature or {}).keys())):
        message = f"azureml_main has a parameter called {taken[0]!r}, by which a call says what version it means; give it another name."
        outcome = replace(outcome, reason=Reason.BAD_ENTRY_POINT, message=message)
    ready = outcome.reason is Reason.OK
    return {
        "state": VersionState.READY if ready else VersionState.REFUSED,
        "parameters": _together(signature, parameters) if ready else parameters,
        "schemas": _schemas(outcome.report) if ready else None,
        "has_init": entry.get("init") is True,
        "image": outcome.image,
        "reason": outcome.reason,
        "message": outcome.message,
        "error": outcome.error,
    }


def _together(signature: dict[str, dict[str, Any]] | None, declared: dict[str, dict[str, Any]] | None) -> dict[str, dict[str, Any]] | None:
    """What the signature says of parameters, and over it what is declared of some. A default of 2 is one of a float, too."""
    if signature is None or declared is None:
        return signature if declared is None else declared
    floats = {name for name, said in signature.items() if said["type"] == "float"}
    widened = {name: {**said, "type": "float"} if said.get("type") == "int" and name in floats else said for name, said in declared.items()}
    return {**signature, **widened}


def _schemas(report: dict[str, Any]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    said = _object(report.get("schemas"))
    found = {side: _by_port(_object(said.get(side)), ports) for side, ports in _PORTS.items()}
    # A runner that says no schemas still describes its results.
    described = {port: _object(report.get(port)).get("columns") for port in _PORTS["outputs"]}
    return {"inputs": found["inputs"], "outputs": found["outputs"] or _by_port(described, _PORTS["outputs"])}


def _by_port(said: dict[str, Any], ports: tuple[str, ...]) -> dict[str, list[dict[str, Any]]]:
    return {port: _columns(said[port]) for port in ports if isinstance(said.get(port), list)}


def _columns(said: list[Any]) -> list[dict[str, Any]]:
    entries = [entry for entry in said[:_COLUMNS_MAX] if isinstance(entry, dict)]
    return [
        {"name": str(entry.get("name", "")), "type": str(entry.get("type", "")), "nullable": entry.get("nullable") is not False}
        for entry in entries
    ]


def _parameters(entry: dict[str, Any]) -> dict[str, dict[str, Any]] | None:
    """As the function's signature has them; None where the runner says nothing of it, or the function takes whatever is given."""
    said = entry.get("parameters")
    if not isinstance(said, list):
        return None
    found: dict[str, dict[str, Any]] = {}
    for one in said:
        if isinstance(one, dict) and isinstance(one.get("name"), str):
            kind = one.get("type")
            found[one["name"]] = {"type": kind if isinstance(kind, str) else None, **_default(one)}
    return None if not found and entry.get("more") is True else found


def _default(said: dict[str, Any]) -> dict[str, Any]:
    """Where JSON cannot say it, that there is one."""
    if said.get("required") is not False:
        return {}
    return {"default": said["default"]} if "default" in said else {"required": False}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
