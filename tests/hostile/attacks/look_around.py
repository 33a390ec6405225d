# expect: ok
# promise: 4
"""Reads what /proc, /sys and the environment tell about the host, the service and others."""

import os

import pandas

CLOSED = ["/proc/interrupts", "/proc/keys", "/proc/timer_list", "/proc/kallsyms", "/proc/kcore", "/proc/diskstats", "/proc/partitions",
          "/proc/cmdline", "/sys/firmware", "/sys/block", "/sys/module", "/sys/class/dmi", "/proc/acpi"]
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
    others = [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in (1, os.getpid())]
    assert not others, others


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
