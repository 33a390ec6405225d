# expect: ok
# promise: 2
"""Writes to every place a later job could read: the root, packages, the inputs, the runner, devices, cgroups."""

import os
import site
import sys

import pandas

PLACES = ["/", "/etc", "/tmp", "/var/tmp", "/run", "/home", "/usr/local", "/in", "/out", "/opt/fumehood", "/opt/fumehood/runner", "/dev",
          "/sys/fs/cgroup", "/proc/sys/kernel", os.path.dirname(os.__file__), os.path.dirname(pandas.__file__), *site.getsitepackages()]
FILES = ["/etc/passwd", "/etc/hosts", "/in/script.py", "/in/request.json", "/opt/fumehood/runner/__main__.py", "/opt/fumehood/imports.marshal", sys.executable, pandas.__file__,
         "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"]


def attack():
    open_to_us = []
    for place in PLACES:
        try:
            with open(os.path.join(place, "canary"), "w") as file:
                file.write("left behind")
            open_to_us.append(place)
        except OSError:
            pass
    for path in FILES:
        for change in (lambda: open(path, "a").write("x"), lambda: os.chmod(path, 0o777), lambda: os.rename(path, path + "2"), lambda: os.unlink(path)):
            try:
                change()
            except OSError:
                continue
            open_to_us.append(path)
    assert not open_to_us, open_to_us
    for kind, name in ((0o020666, "character device"), (0o060666, "block device"), (0o010666, "FIFO")):
        try:
            os.mknod("/job/node", kind, os.makedev(1, 1))
        except OSError:
            continue
        raise AssertionError(f"a {name} was made")


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
