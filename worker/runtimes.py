"""What differs by container runtime: one literal, and what the engine must say of a runtime before sandboxes run on it.

A runtime's name is what the operator registered it under. It tells the family, so that nobody has to be asked for that: `runsc`,
`runsc-kvm` and `io.containerd.runsc.v1` are gVisor's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from worker.seccomp import CLONE3_ABSENT, CLONE3_PASSED_ON

# Seen from a container as well, which /dev/kvm is not.
KVM = Path("/sys/class/misc/kvm")
CGROUP_ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """How a runtime runs the container that `worker.isolation` describes; the defaults are those of runc."""

    second_kernel: bool = False
    """Scripts call a kernel that is not the host's."""
    init_is_watched: bool = False
    """The container's first process, as the host sees it, is the one in whose pid namespace the script runs."""
    changeable: bool = True
    """Memory, processors and processes of a container that lives can be changed."""
    init_is_mortal: bool = False
    """A script can kill the first process of its own pid namespace, which Linux does not allow."""
    tasks_each: int = 1
    """Tasks of the host that one process or thread of a script may take: the engine's limit counts those."""
    tasks_beside: int = 0
    """Tasks of the host that are the runtime's own, inside the container's cgroup."""
    clone3: str = CLONE3_ABSENT
    """The filter's action for that call."""
    closed: Mapping[str, str] = field(default_factory=dict)
    """Places that the runtime would open for writing by itself, and the tmpfs that closes each."""
    demanded: Mapping[str, str] = field(default_factory=dict)
    """Arguments that the runtime must be registered with → why."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Beginnings of arguments that it must not be registered with → why."""
    starts_mapped: bool = True
    """It works with an engine that maps user ids."""
    needs_kvm: bool = False
    pure_cgroups: bool = False
    """It works with cgroup v2, or v1, but not with both at once."""
    weaker: tuple[str, ...] = ()
    """A sentence for every control of the literal that it leaves out."""


RUNC = Family(init_is_watched=True)
UNKNOWN = Family()
FAMILIES: dict[str, Family] = {
    "runsc": Family(
        second_kernel=True,
        changeable=False,
        init_is_mortal=True,
        starts_mapped=False,
        # Measured with the platform ptrace: 8.5 for each of sixty processes that sleep, and 40 of a runner that waits.
        tasks_each=10,
        tasks_beside=64,
        # It has no clone3 and says so, but its filters know no other error than EPERM, with which libc starts no program.
        clone3=CLONE3_PASSED_ON,
        closed={"/tmp": "ro,noexec,nosuid,nodev,size=4096,uid=0,gid=0,mode=0555"},
        demanded={
            "--network=none": "its own network stack is not needed then",
            "--oci-seccomp": "it ignores the list of system calls otherwise",
        },
        refused={
            "--debug": "it writes what scripts do to the host's disk",
            "--strace": "it writes what scripts do to the host's disk",
            "--profile": "it opens files of the host for writing",
            "--host-uds": "sandboxes could speak to sockets of the host",
            "--fsgofer-host-uds": "sandboxes could speak to sockets of the host",
            "--overlay": "outputs would not reach the worker",
            "--ignore-cgroups": "nothing would limit a sandbox",
            "--rootless": "nothing would limit a sandbox",
            "--TESTONLY": "it is for tests of gVisor",
        },
        weaker=(
            "gVisor does not count inodes: many small files end at the memory limit, not before",
            "gVisor does not count threads that sleep: too many of them end at the memory limit, not before",
        ),
    ),
    "kata": Family(second_kernel=True, needs_kvm=True, tasks_beside=64),
    "crun": Family(init_is_watched=True, pure_cgroups=True),
    "runc": RUNC,
}


def family(runtime: str) -> Family:
    return next((found for word, found in FAMILIES.items() if word in runtime), UNKNOWN)


def problems(runtime: str, registered: Mapping[str, Any], *, kvm: Path = KVM, cgroups: Path = CGROUP_ROOT) -> Iterator[str]:
    """`registered` is what the engine says of it: `path` and `runtimeArgs`, both absent where it is built in."""
    ours = family(runtime)
    program = PurePath(str(registered.get("path") or runtime)).name
    if family(program) not in (ours, UNKNOWN):
        yield f"the runtime {runtime} is registered as {program}; expected a name that says so"
    arguments = [_dashed(str(each)) for each in registered.get("runtimeArgs") or []]
    for wanted, why in ours.demanded.items():
        if wanted not in arguments:
            yield f"the runtime {runtime} is registered without {wanted} ({why}); found {' '.join(arguments) or 'no arguments'}"
    for refused, why in ours.refused.items():
        for found in (each for each in arguments if each.startswith(refused)):
            yield f"the runtime {runtime} is registered with {found} ({why}); expected none of these"
    if (ours.needs_kvm or "--platform=kvm" in arguments) and not kvm.exists():
        yield f"the runtime {runtime} needs a kernel with KVM, and {kvm} is not there; expected virtualisation by the processor"
    if ours.pure_cgroups and (cgroups / "unified" / "cgroup.controllers").exists():
        yield f"the runtime {runtime} does not work with cgroup v1 and v2 at once, which this machine has; expected one of them"


def _dashed(argument: str) -> str:
    """Go's programs take one dash or two."""
    return argument if argument.startswith("--") else "-" + argument
