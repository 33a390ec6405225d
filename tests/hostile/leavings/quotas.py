# stays: yes
"""Takes what the kernel counts per user over the whole machine and holds it in a daemon: watches, and the pages of pipes."""

import ctypes
import fcntl
import os
import signal

F_SETPIPE_SZ, PAGES = 1031, 2**20


def leave():
    begun, says = os.pipe()
    if os.fork() == 0:
        os.setsid()
        libc = ctypes.CDLL(None)
        while libc.inotify_init() >= 0:
            pass
        try:
            while True:
                reading, _ = os.pipe()
                fcntl.fcntl(reading, F_SETPIPE_SZ, PAGES)
        except OSError:
            pass
        os.write(says, b"x")
        while True:
            signal.pause()
    os.read(begun, 1)


def look():
    watch = ctypes.CDLL(None).inotify_init()
    if watch < 0:
        return ["no watches are left"]
    os.close(watch)
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(reading, F_SETPIPE_SZ, PAGES)
    except OSError:
        return ["no pages for pipes are left"]
    finally:
        os.close(reading)
        os.close(writing)
    return []
