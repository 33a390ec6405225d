"""What a container used, and whether anything of it lives, read from its cgroup: cgroup v1, hybrid and v2 in one place.

The engine would tell too, but Engine 20.10 measures once a second for everybody who asks, so its answer takes up to a second;
these files answer at once. A worker in a container sees them where the host's /sys/fs/cgroup is mounted (read-only is enough).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
# Where engines put a container, by cgroup driver (cgroupfs, systemd).
PLACES = ("docker/{id}", "system.slice/docker-{id}.scope")


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """Files below a place, and how to read CPU seconds from the first."""

    cpu: tuple[str, ...]
    cpu_key: str | None
    cpu_unit: float
    memory_peak: tuple[str, ...]
    oom: str
    tasks: str


VERSIONS = (
    Version(
        cpu=("{place}/cpu.stat",),
        cpu_key="usage_usec",
        cpu_unit=1e-6,
        memory_peak=("{place}/memory.peak",),
        oom="{place}/memory.events",
        tasks="{place}/pids.current",
    ),
    Version(
        cpu=("cpuacct/{place}/cpuacct.usage", "cpu,cpuacct/{place}/cpuacct.usage"),
        cpu_key=None,
        cpu_unit=1e-9,
        memory_peak=("memory/{place}/memory.max_usage_in_bytes",),
        oom="memory/{place}/memory.oom_control",
        # A count, which is true in every pid namespace; v1's list of processes leaves out those that the reader cannot name.
        tasks="pids/{place}/pids.current",
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What the kernel counted of one container so far."""

    cpu_seconds: float
    memory_peak_bytes: int
    """0 where the kernel keeps none (v2 before Linux 5.19)."""
    oom_kills: int | None
    """None where the kernel does not count them (v1 before Linux 4.13)."""
    tasks: int | None
    """Processes and threads that live now; None where they are not counted."""


def usage(container: str, *, root: Path = ROOT) -> Seen | None:
    """Of a live container, by its full id. None where its cgroup cannot be seen from here."""
    if not container:  # It would name the parent of all containers.
        return None
    for version in VERSIONS:
        for place in (place.format(id=container) for place in PLACES):
            for name in version.cpu:
                text = _text(root / name.format(place=place))
                if text is not None:
                    peaks = (_text(root / peak.format(place=place)) for peak in version.memory_peak)
                    oom = _text(root / version.oom.format(place=place)) or ""
                    return Seen(
                        cpu_seconds=_figure(text, version.cpu_key) * version.cpu_unit,
                        memory_peak_bytes=max((_figure(peak, None) for peak in peaks if peak), default=0),
                        oom_kills=_figure(oom, "oom_kill") if "oom_kill " in oom else None,
                        tasks=None if (tasks := _text(root / version.tasks.format(place=place))) is None else _figure(tasks, None),
                    )
    return None


def is_empty(container: str, *, root: Path = ROOT) -> bool:
    """Whether nothing of it lives. To be asked only of a container that `usage` just saw with its tasks counted: what is not
    there any more has been removed, which the kernel allows of an empty one alone."""
    counts = (_text(root / version.tasks.format(place=place.format(id=container))) for version in VERSIONS for place in PLACES)
    return bool(container) and all(count is None or not _figure(count, None) for count in counts)


def _text(path: Path) -> str | None:
    try:
        with path.open() as file:
            return file.read(4096)
    except OSError:
        return None


def _figure(text: str, key: str | None) -> int:
    """The number in a file of one number, or behind `key` in one of many lines."""
    for line in text.splitlines():
        words = line.split()
        if words[-1:] and words[-1].isdigit() and (key is None or words[0] == key):
            return int(words[-1])
    return 0
