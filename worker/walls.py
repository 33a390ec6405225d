"""The walls of a host: what stands between a script and everything else, which of it is active, and the grade that follows.

`WALLS` and `GRADES` are literals over the facts of a host. docs/operations.md states the same rule, and a test holds them together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from worker import wall_looks
from worker.host_check import INDISPENSABLE
from worker.host_facts import Facts


class Kind(StrEnum):
    INDISPENSABLE = "indispensable"
    """Without it a script can take the machine."""
    CONTROL = "control"
    """What every sandbox should have, or a door to the service that should be shut."""
    KERNEL = "kernel"
    """What a hole in the host's kernel would meet next."""
    DEPTH = "depth"
    """Makes such a hole rarer, smaller or less worth."""
    REMARK = "remark"
    """Good to know; no grade asks for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wall:
    name: str
    kind: Kind
    adds: str
    look: wall_looks.Look
    advice: str
    """How to switch it on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A wall that was looked at. `active` is None where nobody can say."""

    wall: Wall
    active: bool | None
    found: str


@dataclass(frozen=True, slots=True)
class Grade:
    letter: str
    rule: str
    missing: Callable[[Sequence[Standing]], list[Standing]]
    """The walls that this grade comes from; empty where the rule does not apply."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    grade: Grade
    missing: tuple[Standing, ...]
    """What would lead to a better grade: the next steps, in the order of the table."""


def look(facts: Facts) -> list[Standing]:
    return [Standing(wall=wall, active=active, found=found) for wall in WALLS for active, found in (wall.look(facts),)]


def judge(standings: Sequence[Standing]) -> Verdict:
    """The first rule that applies gives the grade. What nobody can say counts neither way, but a second kernel has to be seen."""
    return next(
        Verdict(grade=grade, missing=tuple(missing)) for grade in GRADES if (missing := grade.missing(standings)) or grade is GRADES[-1]
    )


def _known_to_be_missing(kind: Kind) -> Callable[[Sequence[Standing]], list[Standing]]:
    return lambda standings: [one for one in standings if one.wall.kind is kind and one.active is False]


def _neither_kernel_wall(standings: Sequence[Standing]) -> list[Standing]:
    walls = [one for one in standings if one.wall.kind is Kind.KERNEL]
    return [] if any(one.active for one in walls) else walls


def _short_of_everything(standings: Sequence[Standing]) -> list[Standing]:
    second = [one for one in standings if one.wall is SECOND_KERNEL and one.active is not True]
    return second + _known_to_be_missing(Kind.DEPTH)(standings)


# Within a kind the most useful step comes first: the missing ones are shown in this order.
SECOND_KERNEL = Wall(
    name="second kernel",
    kind=Kind.KERNEL,
    adds="a script meets gVisor's kernel or a virtual machine's, not the host's",
    look=wall_looks.second_kernel,
    advice="install gVisor (`runsc`), register it with the engine, set `FUMEHOOD_RUNTIME=runsc`, and try it with your scripts",
)
WALLS: tuple[Wall, ...] = (
    *(
        Wall(
            name=what,
            kind=Kind.INDISPENSABLE,
            adds="one script cannot take the whole machine",
            look=wall_looks.flag(key),
            advice="mount the cgroup controllers, or use a kernel that has them",
        )
        for key, what in INDISPENSABLE.items()
    ),
    Wall(
        name="system call filter",
        kind=Kind.INDISPENSABLE,
        adds="most of the kernel cannot be called at all",
        look=wall_looks.option("seccomp"),
        advice="use an engine and a kernel with seccomp",
    ),
    Wall(
        name="engine's API",
        kind=Kind.INDISPENSABLE,
        adds="the engine knows every field of the isolation policy",
        look=wall_looks.api,
        advice="use Docker Engine 20.10 or later",
    ),
    Wall(
        name="runtime known",
        kind=Kind.INDISPENSABLE,
        adds="sandboxes start in the runtime that the setting names",
        look=wall_looks.knows_runtime,
        advice="register the runtime with the engine, or correct `FUMEHOOD_RUNTIME`",
    ),
    Wall(
        name="private cgroup namespace",
        kind=Kind.CONTROL,
        adds="a sandbox cannot read its container's id, nor see other groups",
        look=wall_looks.cgroup_namespace,
        advice="use a kernel of 4.6 or later, and an engine of 20.10 or later",
    ),
    Wall(
        name="swap limit",
        kind=Kind.CONTROL,
        adds="a memory limit is one, and not the beginning of swapping",
        look=wall_looks.swap,
        advice="switch swap off, or start the kernel with `swapaccount=1`",
    ),
    Wall(
        name="image pinned",
        kind=Kind.CONTROL,
        adds="sandboxes run the very bytes that were built and tried",
        look=wall_looks.image,
        advice="set `FUMEHOOD_IMAGE` to the image's id, `sha256:…`",
    ),
    Wall(
        name="home shut",
        kind=Kind.CONTROL,
        adds="no other account of the machine reads tables, results or keys",
        look=wall_looks.home,
        advice="`chmod 700` the home, and give it to the service's user",
    ),
    Wall(
        name="secrets shut",
        kind=Kind.CONTROL,
        adds="no other account reads a password or the first key",
        look=wall_looks.secrets,
        advice="`chmod 600` the files, then make the secrets anew",
    ),
    Wall(
        name="Redis password",
        kind=Kind.CONTROL,
        adds="nobody else on the network reads live logs or sends tickets",
        look=wall_looks.redis,
        advice="give Redis a password, and name its file in `FUMEHOOD_REDIS_PASSWORD_FILE`",
    ),
    Wall(
        name="API on loopback",
        kind=Kind.CONTROL,
        adds="keys do not cross a network in clear text",
        look=wall_looks.loopback,
        advice="listen on 127.0.0.1, behind a proxy that speaks TLS",
    ),
    SECOND_KERNEL,
    Wall(
        name="user namespaces",
        kind=Kind.KERNEL,
        adds="root inside of a container is nobody outside",
        look=wall_looks.option("userns", "rootless"),
        advice="start the engine with `userns-remap`, and keep `FUMEHOOD_SANDBOX_UID_FIRST` and `_COUNT` within the ids that it maps",
    ),
    Wall(
        name="gate before the engine",
        kind=Kind.DEPTH,
        adds="a worker that was taken over gets sandboxes from the engine, and not the machine",
        look=wall_looks.gate,
        advice="start the service as `docker-compose.yml` does, with `python -m gate` between the worker and the engine's socket",
    ),
    Wall(
        name="AppArmor or SELinux",
        kind=Kind.DEPTH,
        adds="a process that got out of its namespaces may still do little",
        look=wall_looks.option("apparmor", "selinux"),
        advice="boot with one of them, then restart the engine",
    ),
    Wall(
        name="processor's mitigations",
        kind=Kind.DEPTH,
        adds="code on the same processor reads no memory of others",
        look=wall_looks.mitigations,
        advice="update kernel and microcode, and boot without `mitigations=off`",
    ),
    Wall(
        name="no hyper-threading",
        kind=Kind.DEPTH,
        adds="no two tenants share a core at the same moment",
        look=wall_looks.switch("/sys/devices/system/cpu/smt/active", lambda value: value == 0),
        advice="boot with `nosmt`, or give each trust a machine",
    ),
    Wall(
        name="engine's version",
        kind=Kind.DEPTH,
        adds="known holes of the engine are closed",
        look=wall_looks.engine_version,
        advice=f"use Docker Engine {wall_looks.ENGINE_MIN[0]} or later, or a distribution that mends its own",
    ),
    Wall(
        name="runc's version",
        kind=Kind.DEPTH,
        adds="known ways out of a container are closed",
        look=wall_looks.runc_version,
        advice="use " + " or ".join(".".join(map(str, closed)) for closed in wall_looks.RUNC_CLOSED.values()) + ", or later",
    ),
    Wall(
        name="no unprivileged bpf",
        kind=Kind.DEPTH,
        adds="the kernel's compiler is nobody's, should the filter fail",
        look=wall_looks.switch("/proc/sys/kernel/unprivileged_bpf_disabled", lambda value: value > 0),
        advice="`sysctl kernel.unprivileged_bpf_disabled=1`",
    ),
    Wall(
        name="no io_uring",
        kind=Kind.DEPTH,
        adds="calls cannot go around the filter, should it let one in",
        look=wall_looks.switch("/proc/sys/kernel/io_uring_disabled", lambda value: value == 2),
        advice="`sysctl kernel.io_uring_disabled=2`, where no other program needs it",
    ),
    Wall(
        name="cgroup v2",
        kind=Kind.REMARK,
        adds="limits are accounted for in one place",
        look=wall_looks.cgroup_v2,
        advice="boot with `systemd.unified_cgroup_hierarchy=1`",
    ),
    Wall(
        name="no user namespaces for all",
        kind=Kind.REMARK,
        adds="an account without rights cannot reach what only root of a namespace may call",
        look=wall_looks.user_namespaces_shut,
        advice="`sysctl kernel.unprivileged_userns_clone=0` where the kernel has it; gVisor and rootless engines may need them",
    ),
    Wall(
        name="no swap",
        kind=Kind.REMARK,
        adds="what a script held in memory is never on a disk",
        look=wall_looks.no_swap,
        advice="switch swap off, or encrypt it",
    ),
    Wall(
        name="no live-restore",
        kind=Kind.REMARK,
        adds="sandboxes end with the engine at once, not at their deadlines",
        look=wall_looks.no_live_restore,
        advice="leave `live-restore` out of the engine's configuration",
    ),
)

GRADES: tuple[Grade, ...] = (
    Grade("F", "an indispensable wall is missing", _known_to_be_missing(Kind.INDISPENSABLE)),
    Grade("D", "a control is missing, or a door of the service is open", _known_to_be_missing(Kind.CONTROL)),
    Grade("C", "there is neither a second kernel nor user namespaces: a hole in the kernel is a hole in the wall", _neither_kernel_wall),
    Grade("B", "there is one of the two, but not all that A needs", _short_of_everything),
    Grade("A", "there is a second kernel, and nothing in depth is known to be missing", lambda standings: []),
)
