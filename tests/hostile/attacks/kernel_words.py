# expect: ok
# promise: 4
"""Reads the host's log, load of neighbours, and the kernel's settings that only root should see."""

import ctypes
import os

import pandas

CLOSED = ["/proc/kmsg", "/dev/kmsg", "/proc/kpagecount", "/proc/kpageflags", "/proc/slabinfo", "/proc/vmallocinfo", "/proc/pagetypeinfo", "/proc/1/stack", "/proc/1/syscall",
          "/proc/1/io", "/proc/1/pagemap", "/proc/1/smaps", "/proc/1/auxv", "/proc/1/wchan", "/proc/sys/kernel/cad_pid", "/sys/kernel/debug", "/sys/kernel/tracing", "/sys/fs/bpf", "/sys/fs/pstore"]


def attack():
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(4096)
    assert libc.klogctl(3, buffer, 4096) < 0, "the kernel's log was read"
    shown = []
    for path in CLOSED:
        try:
            content = os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(100)
        except OSError:
            continue
        if content and content != b"0":
            shown.append((path, content))
    assert not shown, shown


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
