"""How each wall is looked for among the facts of a host. What they do not tell is None: never taken for good or bad."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import PurePath
from posixpath import normpath
from typing import TypeAlias

from worker.host_check import API_VERSION_MIN
from worker.host_facts import CGROUP_NAMESPACE, VULNERABILITIES, Facts
from worker.runtimes import UNKNOWN, family

# The first releases whose known ways out of a container are closed, by minor version; a newer minor has them from the start.
RUNC_CLOSED: dict[tuple[int, ...], tuple[int, ...]] = {(1, 2): (1, 2, 8), (1, 3): (1, 3, 3)}
RUNC_MIN = min(RUNC_CLOSED.values())
ENGINE_MIN = (28,)
ENGINE_SOCKET = "docker.sock"

Found: TypeAlias = tuple[bool | None, str]
"""Whether the wall is active, None where nobody can say, and what was found."""
Look: TypeAlias = Callable[[Facts], Found]


# How the engine is asked ------------------------------------------------------------------------------------------------
def flag(key: str) -> Look:
    def look(facts: Facts) -> Found:
        value = facts.info.get(key)
        return (None, "the engine does not say") if value is None else (bool(value), "the engine has " + ("them" if value else "none"))

    return look


def option(*names: str) -> Look:
    def look(facts: Facts) -> Found:
        options = facts.info.get("SecurityOptions")
        if options is None:
            return None, "the engine does not say"
        found = [name for name in names if any(f"name={name}" in option.split(",") for option in options)]
        named = _listed(option.partition(",")[0].removeprefix("name=") for option in options)
        return bool(found), ", ".join(found) or f"the engine has only {named}"

    return look


def api(facts: Facts) -> Found:
    said = str(facts.version.get("ApiVersion") or "")
    number = _release(said)
    return (None, "the engine does not say") if number is None else (number >= API_VERSION_MIN, f"API {said}")


def knows_runtime(facts: Facts) -> Found:
    known = sorted(facts.info.get("Runtimes") or {})
    return facts.runtime in known, facts.runtime if facts.runtime in known else f"{facts.runtime} is not among {_listed(known)}"


def image(facts: Facts) -> Found:
    if facts.image is None:
        return None, "no image is set here"
    return facts.image.startswith("sha256:"), facts.image[:19]


def cgroup_namespace(facts: Facts) -> Found:
    there = str(facts.info.get("CgroupVersion")) == "2" or CGROUP_NAMESPACE in facts.kernel
    return there, "the kernel has them" if there else "neither engine nor kernel has them"


def swap(facts: Facts) -> Found:
    if facts.info.get("SwapLimit"):
        return True, "swap is accounted for"
    return (True, "there is no swap") if _swaps(facts) == [] else (False, "swap is not accounted for")


def no_swap(facts: Facts) -> Found:
    swaps = _swaps(facts)
    return (None, "not to be seen") if swaps is None else (not swaps, _listed(swaps) if swaps else "none")


def _swaps(facts: Facts) -> list[str] | None:
    text = facts.kernel.get("/proc/swaps")
    return None if text is None else [line.split()[0] for line in text.splitlines()[1:] if line.strip()]


def no_live_restore(facts: Facts) -> Found:
    value = facts.info.get("LiveRestoreEnabled")
    return (None, "the engine does not say") if value is None else (not value, "on" if value else "off")


# The service's own doors ------------------------------------------------------------------------------------------------
def home(facts: Facts) -> Found:
    if facts.home is None:
        return None, "there is no home here that can be looked at"
    owned = facts.owner is None or facts.home.uid == facts.owner
    wrong = "" if owned else f"; the service runs as {facts.owner}"
    return facts.home.bits & 0o077 == 0 and owned, f"mode {facts.home.bits:04o}, user id {facts.home.uid}{wrong}"


def secrets(facts: Facts) -> Found:
    if not facts.secrets:
        return None, "there are none here that can be looked at"
    open_ones = [f"{name} has {mode.bits:04o}" for name, mode in sorted(facts.secrets.items()) if mode.bits & 0o077]
    return not open_ones, ", ".join(open_ones) or f"{len(facts.secrets)} files, for their owner alone"


def redis(facts: Facts) -> Found:
    said = {True: "it has one", False: "it answers who gives none", None: "it cannot be asked from here"}
    return facts.redis_password, said[facts.redis_password]


def loopback(facts: Facts) -> Found:
    if not facts.listens:
        return None, "nothing is seen to listen at the API's port"
    return all(address == "::1" or address.startswith("127.") for address in facts.listens), _listed(facts.listens)


# The kernel -------------------------------------------------------------------------------------------------------------
def second_kernel(facts: Facts) -> Found:
    described = (facts.info.get("Runtimes") or {}).get(facts.runtime) or {}
    program = PurePath(str(described.get("path") or described.get("runtimeType") or "")).name
    # The program counts more than the name that it was given.
    known = next((found for found in map(family, (program, facts.runtime)) if found is not UNKNOWN), UNKNOWN)
    return known.second_kernel, facts.runtime if known.second_kernel else f"{facts.runtime}: sandboxes and host share one kernel"


def _plain_release(said: str, what: str) -> tuple[tuple[int, ...] | None, str]:
    """A distribution mends an old number without raising it, so only the project's own numbers can be judged."""
    number = _release(said)
    return number, f"{what} {said}" if number else f"{what} {said or '?'}; mends that its distribution added do not show"


def engine_version(facts: Facts) -> Found:
    number, found = _plain_release(str(facts.version.get("Version") or ""), "engine")
    return (None if number is None else number >= ENGINE_MIN), found


def runc_version(facts: Facts) -> Found:
    parts = {part.get("Name"): str(part.get("Version") or "") for part in facts.version.get("Components") or []}
    number, found = _plain_release(parts.get("runc", ""), "runc")
    if number is None:
        return None, found
    return number >= RUNC_CLOSED.get(number[:2], RUNC_MIN), found


def gate(facts: Facts) -> Found:
    if not facts.worker_mounts:
        return None, "no container with a worker of this home, so that nobody knows what it reaches"
    sockets = sorted({source for mounts in facts.worker_mounts for source in mounts if _holds_socket(source, facts.engine_socket)})
    return not sockets, f"the worker has {', '.join(sockets)}" if sockets else "the worker has no socket of the engine"


def _holds_socket(source: str, engine_socket: str | None) -> bool:
    """The socket itself or a directory above it; or another engine's, by its usual name."""
    if PurePath(source).name == ENGINE_SOCKET:
        return True
    return engine_socket is not None and PurePath(_one_run(engine_socket)).is_relative_to(_one_run(source))


def _one_run(path: str) -> str:
    """The same for /run and for its older name, which is a link to it."""
    path = normpath(path)
    return path.removeprefix("/var") if PurePath(path).is_relative_to("/var/run") else path


def cgroup_v2(facts: Facts) -> Found:
    number = str(facts.info.get("CgroupVersion") or "1")
    return number == "2", f"version {number}"


def mitigations(facts: Facts) -> Found:
    said = {path.removeprefix(VULNERABILITIES): text.strip() for path, text in facts.kernel.items() if path.startswith(VULNERABILITIES)}
    if not said:
        return None, "the kernel does not say"
    # «Vulnerable: …» and «Mitigation: …; SMT vulnerable»: the second is the row about hyper-threading.
    bare = sorted(name for name, text in said.items() if text.startswith("Vulnerable"))
    return not bare, f"vulnerable: {_listed(bare)}" if bare else f"{len(said)} kinds, each mitigated or not there"


def switch(path: str, good: Callable[[int], bool]) -> Look:
    def look(facts: Facts) -> Found:
        text = facts.kernel.get(path, "").strip()
        name = path.removeprefix("/proc/sys/").removeprefix("/sys/devices/system/").replace("/", ".")
        return (good(int(text)), f"{name} is {text}") if text.lstrip("-").isdigit() else (None, f"the kernel has no {name}")

    return look


def user_namespaces_shut(facts: Facts) -> Found:
    shut = {
        "/proc/sys/kernel/unprivileged_userns_clone": "0",
        "/proc/sys/user/max_user_namespaces": "0",
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1",
    }
    said = {path: facts.kernel[path].strip() for path in shut if path in facts.kernel}
    if not said:
        return None, "the kernel does not say"
    closing = [path for path, value in said.items() if value == shut[path]]
    shown = closing[0] if closing else next(iter(said))
    return bool(closing), f"{shown.removeprefix('/proc/sys/').replace('/', '.')} is {said[shown]}"


def _release(said: str) -> tuple[int, ...] | None:
    return tuple(map(int, said.split("."))) if re.fullmatch(r"\d+(\.\d+){0,3}", said) else None


def _listed(names: Iterable[object]) -> str:
    return ", ".join(map(str, names)) or "nothing"
