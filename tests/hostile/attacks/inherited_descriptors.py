# expect: ok
# promise: 7
"""Uses what a process that was forked before its job was known may have kept: descriptors, threads, children, environment, timers."""

import os
import signal
import stat
import threading

import pandas


def attack():
    kept = []
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            place, mode = os.readlink(f"/proc/self/fd/{number}"), os.fstat(number).st_mode
        except OSError:
            continue  # The one that listed them.
        own = place == "/dev/null" if number == 0 else stat.S_ISFIFO(mode)
        if not own or stat.S_ISSOCK(mode) or place.startswith(("/out", "/in")):
            kept.append((number, place))
    pipes = {os.fstat(number).st_ino for number in map(int, os.listdir("/proc/self/fd")) if number > 2 and is_pipe(number)}
    # The log, and what the child reports through: the author's word already.
    assert not kept, kept
    assert len(pipes) <= 1, pipes
    assert threading.active_count() == 1
    assert len(os.listdir("/proc/self/task")) == 1, "threads"
    assert sorted(filter(str.isdigit, os.listdir("/proc")), key=int) == ["1", str(os.getpid())], "other processes"
    assert not [name for name in os.environ if "FUMEHOOD" in name], "environment"
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0), "timer"
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()), "blocked signals"


def is_pipe(number):
    try:
        return stat.S_ISFIFO(os.fstat(number).st_mode)
    except OSError:
        return False


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
