"""How attacks of the corpus end on gVisor where that is not as on runc, and why. docs/how-to/stronger-walls.md shows the same table."""

from __future__ import annotations

from collections.abc import Iterable
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
    at_times: bool = False
    """Which of its own processes are started in time, or what gVisor's clocks guess, may let it end as on runc."""
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
    "inode_bomb_at_home": Difference(
        reasons=(Reason.OUT_OF_MEMORY, Reason.CRASHED), why="gVisor's tmpfs does not count inodes; the memory limit ends the run"
    ),
    "stop_the_others": Difference(
        reasons=(Reason.OUT_OF_MEMORY, Reason.CRASHED),
        why=f"{GUEST_MEMORY}; a script can also stop the supervisor, its own one, and the run ends at its deadline then",
        instead=(("range(20)", "range(2)"), ("    os.kill(1, signal.SIGSTOP)\n    os.kill(1, signal.SIGTSTP)\n", "")),
    ),
    "more_than_its_processor": Difference(
        reasons=(Reason.OUT_OF_MEMORY, Reason.CRASHED, Reason.SCRIPT_ERROR),
        says="seconds of processor time",
        at_times=True,
        why=f"{GUEST_MEMORY}; what gVisor tells of processor time is a guess, the host's limit holds",
        instead=(("range(4)", "range(2)"), ('    assert used < 0.35 * SECONDS, f"{used} seconds of processor time in {SECONDS}"\n', "")),
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
    "nudge_others": Difference(
        reasons=(Reason.SCRIPT_ERROR,),
        why="there is no `pidfd_open`; what the attack would do with it is asked without",
        says="Function not implemented",
        instead=(("os.pidfd_open(1)", "-1"),),
    ),
    "run_before_all_others": Difference(
        reasons=(Reason.SCRIPT_ERROR,),
        why="`nice` changes a number inside gVisor; to the host, all of the sandbox stays as it was started",
        says="[-5]",
        instead=(("not had, had", "had == [-5], had"),),
    ),
    "go_last_for_memory": Difference(
        reasons=(Reason.SCRIPT_ERROR,),
        why="`oom_score_adj` is a number inside gVisor; to the host, gVisor itself keeps 900, and all of the sandbox ends with it",
        says="oom_score_adj",
        instead=(
            ('    assert int(open("/proc/1/oom_score_adj").read()) == 900\n', ""),
            ('raise AssertionError(f"its score is {better}")', 'assert open("/proc/1/oom_score_adj").read().strip() == "0"'),
        ),
    ),
    "kernel_words": Difference(
        reasons=(Reason.SCRIPT_ERROR,),
        why="a script sees where its supervisor, its own one, has what in memory; the rest of the words are not there",
        says="/proc/1/smaps",
        instead=(('"/proc/1/smaps", "/proc/1/auxv", ', ""),),
    ),
    "run_from_shared_memory": Difference(
        reasons=(Reason.SCRIPT_ERROR,),
        why="`noexec` keeps programs from running, but not code from being mapped, which `/job` allows everywhere",
        says="code was mapped",
        instead=(('    raise AssertionError("code was mapped")\n', ""),),
    ),
    "queue_signals": Difference(
        reasons=(Reason.SCRIPT_ERROR,),
        why="timers are not counted, but they are gVisor's own and take of the sandbox's memory; of signals it queues 32",
        says="AssertionError: (2200, 32)",
        instead=(("timers + queued <= MOST", "queued <= 32"),),
    ),
    "make_a_device": Difference(
        reasons=(Reason.SCRIPT_ERROR,),
        why="`/dev/fuse` and `/dev/net/tun` are gVisor's own, and are of no use without capabilities",
        says="'fuse'",
        instead=(('"core", "console"}', '"core", "console", "fuse", "net"}'),),
    ),
    # Which of the two depends on whether the supervisor's own word comes before the forged one.
    "speak_for_the_supervisor": Difference(
        reasons=(Reason.SCRIPT_ERROR, Reason.CRASHED),
        why="a script reaches its supervisor's descriptors and speaks for it: a forged report fools its author, as everywhere",
        says="'/proc/1/environ', '/proc/1/maps']",
    ),
}


def heard(reasons: Iterable[Reason], *, runtime: str) -> frozenset[Reason]:
    """`reasons` with what stands for them on this runtime: at its memory limit a sandbox of gVisor ends as a whole, and may be gone
    before the engine hears of the kill. It has crashed then."""
    found = frozenset(reasons)
    return found | {Reason.CRASHED} if GVISOR in runtime and Reason.OUT_OF_MEMORY in found else found
