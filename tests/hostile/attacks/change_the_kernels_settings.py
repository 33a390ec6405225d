# expect: ok
# promise: 4
"""Opens the kernel's settings for writing: the program that gets core dumps runs on the host, the magic key ends it."""

import os

import pandas

# A kernel of the sandbox's own may have no interrupts to tell of.
INTERRUPTS = os.listdir("/proc/irq") if os.path.isdir("/proc/irq") else []
FILES = ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/drop_caches", "/proc/sys/net/ipv4/ip_forward", "/proc/sysrq-trigger",
         *(os.path.join("/proc/irq", number, "smp_affinity") for number in INTERRUPTS if number.isdigit()), "/proc/irq/default_smp_affinity"]


def attack():
    opened = []
    for path in FILES:
        try:
            # Not written: where the wall is open, this is the host's own.
            os.close(os.open(path, os.O_WRONLY))
            opened.append(path)
        except OSError:
            pass
    assert not opened, opened


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
