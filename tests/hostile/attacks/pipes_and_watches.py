# expect: ok
# promise: 5
"""Takes what the kernel gives without counting memory: pages of pipes, watches, timers, epolls, locks, signals' files."""

import ctypes
import fcntl
import os
import select

import pandas


def azureml_main():
    libc = ctypes.CDLL(None, use_errno=True)
    kept = []
    makers = (lambda: libc.inotify_init(), lambda: libc.timerfd_create(1, 0), lambda: libc.eventfd(0, 0), lambda: libc.signalfd(-1, bytes(128), 0),
              lambda: select.epoll(), lambda: fcntl.fcntl(os.pipe()[0], 1031, 2**20))
    for make in makers:
        for _ in range(5000):
            try:
                made = make()
            except OSError:
                break
            if isinstance(made, int) and made < 0:
                break
            kept.append(made)
    assert len(kept) < 1100, len(kept)
    del kept
    os.closerange(100, 1024)
    return pandas.DataFrame({"harmless": [1]})
