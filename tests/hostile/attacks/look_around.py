# expect: ok
# promise: 4
"""Reads what /proc, /sys and the environment tell about the host, the service and others."""

import os

import pandas

CLOSED = ["/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
          "/proc/timer_list", "/proc/timer_stats", "/proc/kallsyms", "/proc/key-users", "/proc/softirqs", "/proc/diskstats", "/proc/partitions",
          "/proc/modules", "/proc/cmdline", "/sys/block", "/sys/class/block", "/sys/class/dmi", "/sys/class/powercap", "/sys/devices/virtual/dmi",
          "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/ext4", "/sys/kernel/notes", "/sys/kernel/security", "/sys/module",
          "/sys/devices/system/cpu/cpu0/thermal_throttle"]
SECRETS = ("SECRET", "PASSWORD", "TOKEN", "BOOTSTRAP", "REDIS", "DATABASE", "PROXY")


def seen(path):
    try:
        return os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(200)
    except OSError:
        return b""


def attack():
    shown = {path: seen(path) for path in CLOSED if seen(path)}
    assert not shown, shown
    names = [name for name in os.environ if any(word in name.upper() for word in SECRETS)]
    assert not names, names
    mounts = open("/proc/self/mountinfo").read()
    assert "NEIGHBOUR" not in mounts
    assert "tenant" not in mounts
    # The kernel shows where a mount comes from; of the names there, ours say nothing.
    sources = [line.split()[3] for line in mounts.splitlines() if line.split()[4].startswith(("/in", "/out"))]
    assert sources and all(len(source.split("/scratch/")[1].split("/")[0]) == 32 for source in sources), sources
    cgroups = {line.rpartition(":")[2] for line in open("/proc/self/cgroup").read().splitlines()}
    assert cgroups == {"/"}, cgroups
    assert os.uname().nodename == "sandbox"
    assert seen("/proc/sys/kernel/domainname").strip() in (b"(none)", b""), seen("/proc/sys/kernel/domainname")
    servers = seen("/etc/resolv.conf")
    assert not servers, servers
    others = [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in (1, os.getpid())]
    assert not others, others


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
