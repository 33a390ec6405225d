# expect: ok
# promise: 4
"""Makes rules of its own: a filter that writes into the host's log, a file system's rules, memory that always lies at one place."""

import ctypes
import os

import pandas

SECCOMP, LANDLOCK, PERSONALITY, PRCTL = 317, 444, 135, 157
NO_RANDOMISATION, READ_IMPLIES_EXEC = 0x0040000, 0x0400000
ALLOW_BUT_LOG = 0x7FFC0000


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


def attack():
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(b"\x06\0\0\0" + ALLOW_BUT_LOG.to_bytes(4, "little"))
    program = Program(1, ctypes.addressof(code))
    calls = {
        "seccomp": (SECCOMP, 1, 0, ctypes.byref(program)), "prctl": (PRCTL, 22, 2, ctypes.byref(program)),
        "prctl, upper half": (PRCTL, ctypes.c_long(0x100000016), 2, ctypes.byref(program)),
        "landlock": (LANDLOCK, ctypes.byref(ctypes.c_ulong(1)), 8, 0),
        "layout": (PERSONALITY, NO_RANDOMISATION), "executable data": (PERSONALITY, READ_IMPLIES_EXEC),
    }  # fmt: skip
    made = []
    for name, arguments in calls.items():
        if (child := os.fork()) == 0:
            os._exit(libc.syscall(*arguments) >= 0)
        if os.waitpid(child, 0)[1]:
            made.append(name)
    assert not made, made


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
