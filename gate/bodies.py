"""The bodies that a worker may send. None is passed on: the gate takes the few values out that may differ, makes the same document
again by `worker.isolation`, and compares. What the engine reads is the gate's own, so that no two readers of one JSON can differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from fumehood.errors import BadRequest
from fumehood.limits import FLOOR, Limits
from fumehood.settings import Settings
from gate.refusal import Refused, shown
from worker import isolation
from worker.isolation import LABEL_HOME, LABEL_SANDBOX, LABEL_WORKER, PREFIX, Host
from worker.recipe import PROBE_LIMITS, errand_limits
from worker.scratch import Scratch

# Longer than any worker lets a sandbox wait; one that nobody speaks to ends by itself.
WAIT_SECONDS_MAX = 3600.0

USER = re.compile(r"([0-9]{1,10}):\1")
JOB_SIZE = re.compile(r"(?:^|,)size=([0-9]{1,15})(?:,|$)")
WAIT = re.compile(r"FUMEHOOD_WAIT_SECONDS=([0-9.]{1,12})")
WORKER = re.compile(r"wrk_[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What one home's sandboxes may be."""

    home: Path
    image: str
    runtime: str
    uids: range
    memory_bytes: int
    cpus: float
    disk_bytes: int
    processes: int
    file_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        # The service's own sandboxes may be above a ceiling that is low.
        most = settings.ceiling, errand_limits(settings), PROBE_LIMITS
        return cls(
            home=settings.home,
            image=settings.image or "",
            runtime=settings.runtime,
            uids=range(settings.sandbox_uid_first, settings.sandbox_uid_first + settings.sandbox_uid_count),
            memory_bytes=max(each.memory_bytes for each in most),
            cpus=max(each.cpus for each in most),
            disk_bytes=max(each.disk_bytes for each in most),
            processes=max(each.processes for each in most),
            file_bytes=max(each.file_bytes for each in most),
        )


def create(name: str, body: bytes, *, rules: Rules, host: Host) -> bytes:
    """The body of `create` for the sandbox called `name`. Raises Refused where the worker's own policy makes no such one."""
    asked = _document(body)
    host_config = _part(asked, "HostConfig")
    scratch = name.removeprefix(PREFIX)
    shm_bytes = _whole(host_config, "ShmSize", 0, rules.disk_bytes)
    job_bytes = int(_matched(JOB_SIZE, _part(host_config, "Tmpfs").get("/job"), "HostConfig.Tmpfs./job", search=True))
    disk_bytes = job_bytes + shm_bytes
    if disk_bytes > rules.disk_bytes:
        raise Refused(f"/job and /dev/shm together are {disk_bytes}; expected at most {rules.disk_bytes}")
    uid = int(_matched(USER, asked.get("User"), "User"))
    if uid not in rules.uids:
        raise Refused(f"User is {uid}; expected one of {rules.uids.start} to {rules.uids.stop - 1}")
    wait_seconds = _wait_seconds(asked.get("Env"))
    memory_bytes, nano_cpus, tasks = _resources(host_config, rules)
    try:
        limits = Limits(
            memory_bytes=memory_bytes,
            cpus=nano_cpus / 1e9,
            processes=isolation.processes(tasks, runtime=rules.runtime),
            disk_bytes=disk_bytes,
            output_bytes=_file_bytes(host_config.get("Ulimits"), rules),
        )
    except BadRequest as error:
        raise Refused(f"no sandbox has such limits: {error}") from None
    worker = _part(asked, "Labels").get(LABEL_WORKER)
    config, wanted = isolation.container(
        image=rules.image,
        scratch=Scratch(rules.home, scratch, {}),
        limits=limits,
        uid=uid,
        host=host,
        labels={LABEL_HOME: str(rules.home), LABEL_WORKER: _matched(WORKER, worker, f"Labels.{LABEL_WORKER}"), LABEL_SANDBOX: scratch},
        wait_seconds=wait_seconds,
    )
    wanted["NanoCpus"] = nano_cpus  # As a fraction and back it may be one less.
    return _same(asked, config | {"HostConfig": wanted})


def update(body: bytes, *, rules: Rules, host: Host) -> bytes:
    """The body of `update`: the four values that `isolation.changeable` knows. Raises Refused for any other."""
    asked = _document(body)
    memory_bytes, nano_cpus, tasks = _resources(asked, rules)
    wanted = {"Memory": memory_bytes, "MemorySwap": memory_bytes, "NanoCpus": nano_cpus, "PidsLimit": tasks}
    if not host.swap_limit:
        del wanted["MemorySwap"]
    return _same(asked, wanted)


def _resources(document: Mapping[str, Any], rules: Rules) -> tuple[int, int, int]:
    """Memory in bytes, CPUs in billionths, and tasks as the host counts them."""
    least, most = (isolation.tasks(each, runtime=rules.runtime) for each in (int(FLOOR["processes"]), rules.processes))
    return (
        _whole(document, "Memory", int(FLOOR["memory_bytes"]), rules.memory_bytes),
        _whole(document, "NanoCpus", int(FLOOR["cpus"] * 1e9), int(rules.cpus * 1e9)),
        _whole(document, "PidsLimit", least, most),
    )


def _file_bytes(ulimits: Any, rules: Rules) -> int:
    for limit in ulimits if isinstance(ulimits, list) else []:
        if isinstance(limit, dict) and limit.get("Name") == "fsize":
            return _whole(limit, "Soft", int(FLOOR["output_bytes"]), rules.file_bytes)
    raise Refused("HostConfig.Ulimits has no fsize; expected one")


def _wait_seconds(environment: Any) -> float:
    first = environment[0] if isinstance(environment, list) and environment else None
    try:
        seconds = float(_matched(WAIT, first, "Env"))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= WAIT_SECONDS_MAX:
        raise Refused(f"FUMEHOOD_WAIT_SECONDS is {shown(first)}; expected a number up to {WAIT_SECONDS_MAX:g}")
    return seconds


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Refused("the body is no JSON; expected an object") from None
    if not isinstance(document, dict):
        raise Refused(f"the body is {shown(document)}; expected an object")
    return document


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


def _part(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    part = document.get(key)
    if not isinstance(part, dict):
        raise Refused(f"{key} is {shown(part)}; expected an object")
    return part


def _whole(document: Mapping[str, Any], key: str, low: int, high: int) -> int:
    value = document.get(key)
    if type(value) is not int or not low <= value <= high:
        raise Refused(f"{key} is {shown(value)}; expected a whole number from {low} to {high}")
    return value


def _matched(pattern: re.Pattern[str], value: Any, what: str, *, search: bool = False) -> str:
    found = (pattern.search(value) if search else pattern.fullmatch(value)) if isinstance(value, str) else None
    if found is None:
        raise Refused(f"{what} is {shown(value)}; expected {pattern.pattern}")
    return found[found.lastindex or 0]


def _same(asked: Mapping[str, Any], wanted: Mapping[str, Any]) -> bytes:
    """What is wanted, as the engine will read it. Compared as text, because to Python 1, 1.0 and true are equal."""
    if _text(asked) != _text(wanted):
        raise Refused("; ".join(_differences(asked, wanted)))
    return json.dumps(wanted, separators=(",", ":")).encode()


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _differences(asked: Mapping[str, Any], wanted: Mapping[str, Any], place: str = "") -> list[str]:
    found: list[str] = []
    for key in sorted({*asked, *wanted}):
        if key not in wanted:
            found.append(f"{place}{shown(key)} is not one of a sandbox's")
        elif key not in asked:
            found.append(f"{place}{key} is missing; expected {shown(wanted[key])}")
        elif key == "HostConfig":
            found += _differences(asked[key], wanted[key], "HostConfig.")
        elif _text(asked[key]) != _text(wanted[key]):
            found.append(f"{place}{key} is {shown(asked[key])}; expected {shown(wanted[key])}")
    return found[:5]
