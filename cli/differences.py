"""How attacks of the corpus end on gVisor where that is not as on runc, and why. docs/how-to/stronger-walls.md shows the same table."""

from __future__ import annotations

from dataclasses import dataclass

from fumehood.outcome import Reason

GVISOR = "runsc"
"""A runtime whose name holds this is gVisor."""
# `runsc --version` of the release on which all of these were seen; of another one, fewer may hold.
SEEN_ON = "0.0~20221219.0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    reasons: tuple[Reason, ...]
    why: str
    says: str = ""
    """Stands in the error of a script that fails for this and nothing else; other endings have none."""
    instead: tuple[tuple[str, str], ...] = ()
    """Lines of the attack that do not hold there, and what is asked instead: the rest of it must end as it says."""


GUEST_MEMORY = "each process is one of gVisor's too and takes 20 to 40 MB; at the memory limit all of the sandbox ends, not one process"
DIFFERENCES: dict[str, Difference] = {
    "fork_bomb": Difference(reasons=(Reason.OUT_OF_MEMORY, Reason.CRASHED), why=GUEST_MEMORY),
    "many_processes": Difference(reasons=(Reason.OUT_OF_MEMORY, Reason.CRASHED), why=GUEST_MEMORY),
    "memory_bomb_in_a_child": Difference(reasons=(Reason.OUT_OF_MEMORY, Reason.CRASHED), why=GUEST_MEMORY),
    "spin": Difference(reasons=(Reason.OUT_OF_MEMORY, Reason.CRASHED), why=GUEST_MEMORY),
    "thread_bomb": Difference(
        reasons=(Reason.OUT_OF_MEMORY, Reason.CRASHED), why="threads that sleep are not counted by the host; their stacks are, as memory"
    ),
    "inode_bomb": Difference(
        reasons=(Reason.OUT_OF_MEMORY, Reason.CRASHED), why="gVisor's tmpfs does not count inodes; the memory limit ends the run"
    ),
    "kill_everybody": Difference(
        reasons=(Reason.CRASHED,), why="a script can kill the supervisor, its own one; the run has crashed then, and is not run again"
    ),
    "gain_privileges": Difference(
        reasons=(Reason.SCRIPT_ERROR,),
        why="`/proc/self/status` has no lines `NoNewPrivs` and `CapAmb`; setuid programs gain nothing",
        says="NoNewPrivs",
        instead=(('    assert status["NoNewPrivs"].strip() == "1", "a setuid program would work"\n', ""), (', "CapAmb")', ")")),
    ),
    "look_around": Difference(
        reasons=(Reason.SCRIPT_ERROR,),
        why="`/proc/cmdline` and the like are gVisor's own, the same on every host; `/proc/self/cgroup` is empty",
        says="vmlinuz-4.4.0-gvisor",
        instead=(
            ('"/proc/cmdline", ', ""),
            (
                'sources and all(len(source.split("/scratch/")[1].split("/")[0]) == 32 for source in sources), sources',
                'set(sources) == {"/"}',
            ),
            ('cgroups == {"/"}', "not cgroups"),
        ),
    ),
    "reach_out": Difference(
        reasons=(Reason.SCRIPT_ERROR,),
        why="what is nowhere is «no route to host», not «network is unreachable»",
        says="No route to host",
        instead=(("errno.EACCES)", "errno.EACCES, errno.EHOSTUNREACH)"),),
    ),
    # Which of the two depends on whether the supervisor's own word comes before the forged one.
    "speak_for_the_supervisor": Difference(
        reasons=(Reason.SCRIPT_ERROR, Reason.CRASHED),
        why="a script reaches its supervisor's descriptors and speaks for it: a forged report fools its author, as everywhere",
        says="'/proc/1/environ', '/proc/1/maps']",
    ),
}
