"""The isolation policy: one literal, defaults included, and the comparison that holds a running container against it.

`ISOLATION` is what is the same for every sandbox, `container()` adds what belongs to one. After `start`, `deviations()`
compares both with what the engine says it runs: an old engine drops a field that it does not know without a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fumehood.limits import KIB, MIB, Limits
from worker import runtimes
from worker.scratch import Scratch
from worker.seccomp import CLONE3_ABSENT, profile_text

# A container's name is this and the name of its scratch.
PREFIX = "fumehood-"
LABEL_HOME, LABEL_WORKER, LABEL_SANDBOX = "fumehood.home", "fumehood.worker", "fumehood.sandbox"

# What /proc and /sys would tell about the host: the engine's own list (of a current release; older ones know fewer), and
# hardware names, block devices and kernel build notes. Stating a list replaces the engine's.
MASKED_PATHS = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/kallsyms",
    "/proc/key-users",
    "/proc/softirqs",
    "/proc/diskstats",
    "/proc/partitions",
    "/proc/modules",
    "/proc/cmdline",
    "/sys/block",
    "/sys/class/block",
    "/sys/class/dmi",
    "/sys/class/powercap",
    "/sys/devices/virtual/dmi",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/ext4",
    "/sys/kernel/notes",
    "/sys/kernel/security",
    "/sys/module",
]
READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def security(*, clone3: str = CLONE3_ABSENT) -> list[str]:
    return ["no-new-privileges:true", f"seccomp={profile_text(clone3=clone3)}"]


ISOLATION: dict[str, Any] = {
    # Who it is and what it may do
    "Privileged": False,
    "CapDrop": ["ALL"],
    "CapAdd": [],
    "SecurityOpt": security(),
    "GroupAdd": [],
    "ReadonlyRootfs": True,
    "MaskedPaths": MASKED_PATHS,
    "ReadonlyPaths": READONLY_PATHS,
    # Namespaces: its own of every kind
    "NetworkMode": "none",
    "IpcMode": "private",
    "PidMode": "",
    "UTSMode": "",
    "UsernsMode": "",
    "CgroupnsMode": "private",
    "CgroupParent": "",
    # Nothing of the host
    "Binds": [],
    "VolumesFrom": [],
    "Devices": [],
    "DeviceRequests": [],
    "DeviceCgroupRules": [],
    "PortBindings": {},
    "PublishAllPorts": False,
    "Links": [],
    "ExtraHosts": [],
    "Dns": [],
    "DnsOptions": [],
    "DnsSearch": [],
    "Sysctls": {},
    "StorageOpt": {},
    # Its life is ours to end and to look at
    "AutoRemove": False,
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    "Init": False,
    "LogConfig": {"Type": "none", "Config": {}},
    # Under memory pressure on the host, a sandbox goes before anything else does
    "OomScoreAdj": 900,
    "OomKillDisable": False,
}

CONFIG: dict[str, Any] = {
    "Hostname": "sandbox",
    "Domainname": "",
    "NetworkDisabled": True,
    "WorkingDir": "/job",
    "Tty": False,
    "OpenStdin": True,
    # The engine closes stdin when the attached worker is gone, however it went; the supervisor then ends everything.
    "StdinOnce": True,
    "AttachStdin": True,
    "AttachStdout": True,
    "AttachStderr": True,
    "Healthcheck": {"Test": ["NONE"]},
}

NOFILE = 1024
STACK_BYTES = 8 * MIB
SHM_INODES = 1024
# A bundle's 10,000 entries, each with a link for its Windows name, must fit beside what the script writes.
JOB_INODES = 24_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """What this engine and kernel can do; a control that they cannot is left out and named by `weaker`."""

    runtime: str = "runc"
    cpus: int = 0
    private_cgroup_namespace: bool = True
    swap_limit: bool = True

    def weaker(self) -> list[str]:
        """A sentence for every control of the literal that this host cannot give."""
        sentences = []
        if not self.private_cgroup_namespace:
            sentences.append("the kernel or engine has no private cgroup namespaces: a sandbox can read its container's id")
        if not self.swap_limit:
            sentences.append("the kernel does not account for swap: a sandbox may use swap beyond its memory limit")
        return [*sentences, *runtimes.family(self.runtime).weaker]


def changeable(limits: Limits, *, host: Mapping[str, Any]) -> dict[str, int]:
    """What can be changed of a container that lives, of those values that the configuration `host` states."""
    values = {
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,
        "NanoCpus": int(limits.cpus * 1e9),
        "PidsLimit": tasks(limits.processes, runtime=host["Runtime"]),
    }
    return {key: value for key, value in values.items() if key in host}


def tasks(processes: int, *, runtime: str) -> int:
    """What the host may count of a sandbox whose script has its full number of processes."""
    family = runtimes.family(runtime)
    return family.tasks_beside + family.tasks_each * processes


def processes(tasks: int, *, runtime: str) -> int:
    """The other way round; rounded down where no number of processes has so many."""
    family = runtimes.family(runtime)
    return (tasks - family.tasks_beside) // family.tasks_each


def tmpfs_sizes(limits: Limits) -> tuple[int, int]:
    """Bytes of `/job` and of `/dev/shm`: together exactly `disk_bytes`."""
    shm = min(64 * MIB, limits.disk_bytes // 4) // (4 * KIB) * (4 * KIB)
    return limits.disk_bytes - shm, shm


def container(
    *,
    image: str,
    scratch: Scratch,
    limits: Limits,
    uid: int,
    host: Host,
    labels: Mapping[str, str],
    wait_seconds: float,
    command: Sequence[str] = (),
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The container's configuration and host configuration, in the engine's own terms."""
    job_bytes, shm_bytes = tmpfs_sizes(limits)
    owner = f"uid={uid},gid={uid},mode=0700"
    host_config = ISOLATION | {
        "Runtime": host.runtime,
        "SecurityOpt": security(clone3=runtimes.family(host.runtime).clone3),
        # Counters of heat events tell about neighbours' work; one directory per processor, absent ones are skipped.
        "MaskedPaths": MASKED_PATHS + [f"/sys/devices/system/cpu/cpu{cpu}/thermal_throttle" for cpu in range(host.cpus)],
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,
        "NanoCpus": int(limits.cpus * 1e9),
        "PidsLimit": tasks(limits.processes, runtime=host.runtime),
        "ShmSize": shm_bytes,
        # No `nproc`: the kernel counts it per uid over the whole host; PidsLimit counts per container.
        "Ulimits": [
            _ulimit("core", 0),
            _ulimit("fsize", limits.file_bytes),
            _ulimit("memlock", 64 * KIB),
            _ulimit("msgqueue", 0),
            _ulimit("nofile", NOFILE),
            _ulimit("rtprio", 0),
            _ulimit("sigpending", 1024),
            _ulimit("stack", STACK_BYTES),
        ],
        "Tmpfs": {
            # exec: numba, cffi and extension modules of a bundle map code from there, and noexec would not stop a
            # script that can already run any Python.
            "/job": f"rw,exec,nosuid,nodev,size={job_bytes},nr_inodes={JOB_INODES + limits.disk_bytes // (32 * KIB)},{owner}",
            "/dev/shm": f"rw,noexec,nosuid,nodev,size={shm_bytes},nr_inodes={SHM_INODES},{owner}",
            **runtimes.family(host.runtime).closed,
        },
        "Mounts": [
            _bind(str(scratch.inside), "/in", read_only=True),
            _bind(str(scratch.hosts), "/etc/hosts", read_only=True),
            *(_bind(str(path), f"/out/{output}", read_only=False) for output, path in scratch.outside.items()),
        ],
    }
    if not host.private_cgroup_namespace:
        host_config["CgroupnsMode"] = "host"
    if not host.swap_limit:
        del host_config["MemorySwap"]
    config = CONFIG | {
        "Image": image,
        "User": f"{uid}:{uid}",
        "Env": [f"FUMEHOOD_WAIT_SECONDS={wait_seconds:g}"],
        "Labels": dict(labels),
    }
    if command:
        config["Cmd"] = list(command)
    return config, host_config


def deviations(inspected: Mapping[str, Any], *, config: Mapping[str, Any], host_config: Mapping[str, Any]) -> list[str]:
    """Where the container that runs differs from the one that was asked for; empty when nowhere.

    Names and values of ours only, so that a line may go into a log; nothing here is for a tenant.
    """
    found = []
    for section, wanted in (("HostConfig", host_config), ("Config", config)):
        actual = inspected.get(section, {})
        for key, value in wanted.items():
            if not _same(key, value, actual.get(key)):
                found.append(f"{section}.{key} is {_shown(actual.get(key))}; expected {_shown(value)}")
    mounted = {mount.get("Destination"): bool(mount.get("RW")) for mount in inspected.get("Mounts", [])}
    wanted_mounts = {mount["Target"]: not mount["ReadOnly"] for mount in host_config["Mounts"]}
    # Some engines list the tmpfs mounts here as well.
    for path in host_config["Tmpfs"]:
        mounted.pop(path, None)
    if mounted != wanted_mounts:
        found.append(f"Mounts are {_shown(mounted)}; expected {_shown(wanted_mounts)}")
    networks = set(inspected.get("NetworkSettings", {}).get("Networks") or {})
    if not networks <= {host_config["NetworkMode"]}:
        found.append(f"networks are {sorted(networks)}; expected at most {host_config['NetworkMode']}")
    return found


def _same(key: str, wanted: Any, actual: Any) -> bool:
    if key == "Env":  # The image adds its own.
        return set(wanted) <= set(actual or [])
    if key == "Labels":
        return set(wanted.items()) <= set((actual or {}).items())
    if key == "Mounts":
        return [_without_empty(mount) for mount in wanted] == [_without_empty(mount) for mount in actual or []]
    if not wanted and not actual:  # None, [], {}, "", False: the engine's several ways of saying nothing.
        return True
    return bool(wanted == actual)


def _without_empty(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_empty(item) for key, item in value.items() if item not in (None, "", False, [], {})}
    return value


def _ulimit(name: str, value: int) -> dict[str, Any]:
    return {"Name": name, "Soft": value, "Hard": value}


def _bind(source: str, target: str, *, read_only: bool) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": source,
        "Target": target,
        "ReadOnly": read_only,
        "BindOptions": {"Propagation": "rprivate", "NonRecursive": True},
    }


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "…"
