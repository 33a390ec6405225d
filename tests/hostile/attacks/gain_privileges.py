# expect: ok
# promise: 4
"""Becomes root, gets capabilities back, runs a setuid program."""

import os
import stat
import subprocess

import pandas


def attack():
    for call in (lambda: os.setuid(0), lambda: os.setresuid(0, 0, 0), lambda: os.setgroups([0]), lambda: os.setgid(0)):
        try:
            call()
        except OSError:
            continue
        raise AssertionError("another user was become")
    status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
    assert status["NoNewPrivs"].strip() == "1", "a setuid program would work"
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}, "capabilities can be had"
    assert os.getuid() == os.geteuid() >= 1000
    assert not os.getgroups() or set(os.getgroups()) == {os.getgid()}
    found = []
    for place, _, names in os.walk("/usr"):
        for name in names:
            path = os.path.join(place, name)
            if os.lstat(path).st_mode & (stat.S_ISUID | stat.S_ISGID):
                found.append(path)
    assert not found, found
    assert subprocess.run("su -c id 2>&1; mount 2>&1 -t tmpfs none /job", shell=True, capture_output=True).returncode != 0


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
