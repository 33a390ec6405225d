# expect: ok
# promise: 7
"""Attaches to the supervisor as a debugger would, and copies into its memory."""

import ctypes
import os

import pandas


class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def attack():
    libc = ctypes.CDLL(None, use_errno=True)
    for request in (16, 0x4206):  # PTRACE_ATTACH, PTRACE_SEIZE
        assert libc.ptrace(request, 1, None, None) < 0, "the supervisor is traced"
    page = ctypes.create_string_buffer(16)
    here, there = Vector(ctypes.addressof(page), 16), Vector(0x400000, 16)
    for call in (libc.process_vm_readv, libc.process_vm_writev):
        assert call(1, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) < 0, "the supervisor's memory is open"
    descriptor = libc.pidfd_open(1, 0)
    assert libc.pidfd_getfd(descriptor, 1, 0) < 0, "the supervisor's stdout was taken"
    assert libc.syscall(312, 1, os.getpid(), 0, 1, 1) < 0, "the supervisor's descriptors were compared"


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
