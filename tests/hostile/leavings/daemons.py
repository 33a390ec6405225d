# stays: yes
"""Daemons: forked twice, in sessions of their own, deaf to signals; one holds a socket by name, a port and a lock."""

import ctypes
import os
import signal
import socket

NAME = b"left-behind"


def leave():
    begun, says = os.pipe()
    for holds in (False, True):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for number in range(1, 65):
                    try:
                        signal.signal(number, signal.SIG_IGN)
                    except (OSError, ValueError):
                        pass
                ctypes.CDLL(None).prctl(15, NAME, 0, 0, 0)
                if holds:
                    doors = [socket.socket(socket.AF_UNIX), socket.create_server(("127.0.0.1", 4711))]
                    doors[0].bind(b"\0" + NAME)
                    doors[0].listen()
                os.write(says, b"x")
                while True:
                    signal.pause()
            os._exit(0)
        os.wait()
        os.read(begun, 1)


def look():
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm", "rb") as file:
                if file.read().strip() == NAME:
                    found.append(pid)
        except OSError:
            pass
    for family, address in ((socket.AF_UNIX, b"\0" + NAME), (socket.AF_INET, ("127.0.0.1", 4711))):
        with socket.socket(family) as door:
            door.settimeout(5)
            try:
                door.connect(address)
                found.append(repr(address))
            except OSError:
                pass
    return found
