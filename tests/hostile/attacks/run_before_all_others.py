# expect: ok
# promise: 5
"""Asks for the processor before everybody else, neighbours and the host's own processes included."""

import os
import resource

import pandas


def attack():
    had = []
    for policy in (os.SCHED_FIFO, os.SCHED_RR):
        try:
            os.sched_setscheduler(0, policy, os.sched_param(1))
            had.append(policy)
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        except OSError:
            pass
    try:
        had.append(os.nice(-5))
    except OSError:
        pass
    assert not had, had
    assert resource.getrlimit(resource.RLIMIT_RTPRIO) == (0, 0)


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
