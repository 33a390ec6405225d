# expect: ok
# promise: 2
"""Leaves keys in the kernel's rings: they outlive the container, and are counted per user."""

import ctypes

import pandas

ADD_KEY, REQUEST_KEY, KEYCTL = 248, 249, 250
USER_RING, SESSION_RING, JOIN, DESCRIBE = -4, -3, 1, 6


def attack():
    libc = ctypes.CDLL(None, use_errno=True)
    calls = {
        "a session": (KEYCTL, JOIN, None), "a key": (ADD_KEY, b"user", b"left-behind", b"x", 1, SESSION_RING),
        "a user's key": (ADD_KEY, b"user", b"left-behind", b"x", 1, USER_RING), "found": (REQUEST_KEY, b"user", b"left-behind", None, USER_RING),
        "described": (KEYCTL, DESCRIBE, USER_RING, None, 0),
    }  # fmt: skip
    made = [name for name, arguments in calls.items() if libc.syscall(*arguments) >= 0]
    assert not made, made


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
