"""The system call filter: ordinary work passes it, and what it denies would go through without it."""

from __future__ import annotations

import errno
import json
import platform
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fumehood.limits import GIB, MIB
from fumehood.outcome import Reason
from fumehood.settings import Settings
from tests.sandboxes import SMALL, Wall, run_script
from worker import isolation
from worker.docker_sandbox import DockerHost

WORKLOAD = Path(__file__).with_name("workload.py")
ROOMY = replace(SMALL, wall_seconds=180.0, memory_bytes=2 * GIB, disk_bytes=256 * MIB, processes=256, cpus=2.0)

# x86-64 numbers; the arguments are harmless where the call would go through.
DENIED = {
    "io_uring_setup": (425, 4, "buffer"),
    "userfaultfd": (323, 1),
    "bpf": (321, 0, "buffer", 72),
    "perf_event_open": (298, "buffer", 0, -1, -1, 0),
    "keyctl": (250, 0, -3, 1),
    "add_key": (248, "text", "text", 0, 0, -2),
    "request_key": (249, "text", "text", 0, 0),
    "ptrace": (101, 0, 0, 0, 0),
    "process_vm_readv": (310, 1, "buffer", 1, "buffer", 1, 0),
    "process_vm_writev": (311, 1, "buffer", 1, "buffer", 1, 0),
    "kcmp": (312, 1, 1, 0, 0, 0),
    "pidfd_getfd": (438, 3, 0, 0),
    "unshare user": (272, 0x10000000),
    "unshare nothing": (272, 0),
    "setns": (308, -1, 0),
    "mount": (165, "text", "text", "text", 0, 0),
    "umount2": (166, "text", 0),
    "pivot_root": (155, "text", "text"),
    "chroot": (161, "text"),
    "fsopen": (430, "text", 0),
    "open_tree": (428, -100, "text", 0),
    "move_mount": (429, -1, "text", -1, "text", 0),
    "mount_setattr": (442, -100, "text", 0, "buffer", 32),
    "kexec_load": (246, 0, 0, 0, 0),
    "init_module": (175, "buffer", 0, "text"),
    "reboot": (169, 0, 0, 0, 0),
    "swapon": (167, "text", 0),
    "syslog": (103, 3, "buffer", 10),
    "open_by_handle_at": (304, -100, "buffer", 0),
    "name_to_handle_at": (303, -100, "text", "buffer", "buffer", 0),
    "mq_open": (240, "text", 0o102, 0o600, 0),
    "shmget": (29, 0, 4096, 0o1600),
    "msgget": (68, 0, 0o1600),
    "semget": (64, 0, 1, 0o1600),
    "memfd_secret": (447, 0),
    "modify_ldt": (154, 0, "buffer", 16),
    "splice": (275, -1, 0, -1, 0, 1, 0),
    "tee": (276, -1, -1, 1, 0),
    "vmsplice": (278, -1, "buffer", 1, 0),
    "sendfile": (40, -1, -1, 0, 1),
    "copy_file_range": (326, -1, 0, -1, 0, 1, 0),
    "io_setup": (206, 1, "buffer"),
    "sync": (162,),
    "syncfs": (306, 0),
    "mincore": (27, 0, 0, "buffer"),
    "mknod": (133, "text", 0o010600, 0),
    "personality no randomisation": (135, 0x0040000),
    "landlock_create_ruleset": (444, 0, 0, 1),
    "seccomp": (317, 1, 0, 0),
    "prctl set a filter": (157, 22, 2, "buffer", 0, 0),
    "prctl set a filter, upper half": (157, 0x100000016, 2, "buffer", 0, 0),
    "prctl keep capabilities": (157, 8, 1, 0, 0, 0),
    "prctl memory map": (157, 35, 0, 0, 0, 0),
    "prctl mitigations": (157, 53, 0, 0, 0, 0),
    "settimeofday": (164, "buffer", 0),
    "sched_setscheduler": (144, 0, 0, "buffer"),
    "quotactl": (179, 0, "text", 0, 0),
    "fallocate keep size": (285, -1, 1, 0, 1),
    "fallocate keep size, upper half": (285, -1, 0x700000001, 0, 1),
    "fallocate collapse": (285, -1, 8, 0, 1),
    "fallocate zero": (285, -1, 0x10, 0, 1),
    "fallocate insert": (285, -1, 0x20, 0, 1),
    "ioctl reserve": (16, -1, 0x4030582A, "buffer"),
    "ioctl clone": (16, -1, 0x40049409, -1),
    "ioctl clone range": (16, -1, 0x4020940D, "buffer"),
    "ioctl extents": (16, -1, 0xC020660B, "buffer"),
    "ioctl flags": (16, -1, 0x40086602, "buffer"),
    "ioctl type a character": (16, -1, 0x5412, "buffer"),
    "ioctl line discipline": (16, -1, 0x5423, "buffer"),
    "setxattr": (188, "text", "text", "buffer", 1, 0),
    "lsetxattr": (189, "text", "text", "buffer", 1, 0),
    "fsetxattr": (190, -1, "text", "buffer", 1, 0),
    "removexattr": (197, "text", "text"),
    "prlimit of another": (302, 1, 7, "buffer", 0),
    "prlimit of another, upper half": (302, 0x100000001, 7, "buffer", 0),
    "setpriority of another": (141, 0, 999_999, 19),
    "setpriority of the group": (141, 1, 0, 19),
    "setpriority of the user": (141, 2, 0, 19),
    "ioprio_set": (251, 1, 1, 0),
    "sched_setattr": (314, 1, "buffer", 0),
    "process_madvise": (440, -1, "buffer", 0, 0, 0),
    "process_mrelease": (448, -1, 0),
    "move_pages": (279, 1, 0, 0, 0, 0, 0),
    "migrate_pages": (256, 1, 0, "buffer", "buffer"),
    "clone with a user namespace": (56, 0x10000011, 0, 0, 0, 0),
    "socket netlink": (41, 16, 3, 0),
    "socket packet": (41, 17, 3, 0),
    "socket alg": (41, 38, 5, 0),
    "socket vsock": (41, 40, 1, 0),
    "socket xdp": (41, 44, 3, 0),
    "socket rxrpc": (41, 33, 2, 0),
    "socket inet raw": (41, 2, 3, 1),
    "socket inet6 raw": (41, 10, 3, 58),
    "socket inet ping": (41, 2, 2, 1),
    "socket inet sctp": (41, 2, 1, 132),
    "socket inet mptcp": (41, 2, 1, 262),
    "socketpair tipc": (53, 30, 1, 0, "buffer"),
}

TRY = """
import ctypes, json
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
stand_in = {"buffer": ctypes.create_string_buffer(4096), "text": ctypes.c_char_p(b"/job/none")}
said = {}
for name, (number, *arguments) in CALLS.items():
    ctypes.set_errno(0)
    plain = [stand_in[item] if isinstance(item, str) else ctypes.c_long(item) for item in arguments]
    result = libc.syscall(ctypes.c_long(number), *plain)
    said[name] = ctypes.get_errno() if result < 0 else "done"
print(json.dumps(said))
"""


@pytest.fixture
def host(image: str, sandbox_home: Path) -> Iterator[DockerHost]:
    host = DockerHost(Settings(home=sandbox_home, image=image), worker_id="w1")
    yield host
    host.close()


def test_ordinary_work_passes_the_filter(host: DockerHost, sandbox_home: Path) -> None:
    ran = run_script(host, sandbox_home, WORKLOAD.read_text(), limits=ROOMY)
    assert ran.outcome.reason is Reason.OK, (ran.outcome, ran.log)
    assert "Traceback" not in ran.log, ran.log


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
def test_every_call_on_the_list_is_refused(wall: Wall) -> None:
    said = wall.say(TRY.replace("CALLS", repr(DENIED)))
    assert {name: code for name, code in said.items() if code != errno.EPERM} == {}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
def test_without_the_filter_most_of_them_reach_the_kernel(wall: Wall) -> None:
    """Refused for another reason than permission, or done: so the filter is what stands in between."""
    calls = {name: call for name, call in DENIED.items() if name not in ("clone with a user namespace", "ptrace")}
    options = [option for option in isolation.ISOLATION["SecurityOpt"] if not option.startswith("seccomp=")]
    said = wall.say(TRY.replace("CALLS", repr(calls)), host_config={"SecurityOpt": [*options, "seccomp=unconfined"]})
    reached = {name for name, code in said.items() if code != errno.EPERM}
    assert {"splice", "vmsplice", "sendfile", "shmget", "process_vm_readv", "socket netlink", "personality no randomisation"} <= reached
    assert {"fallocate keep size", "ioctl reserve", "ioctl line discipline", "setxattr", "prlimit of another, upper half"} <= reached
    assert len(reached) > len(calls) / 2, sorted(set(calls) - reached)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
def test_what_the_tested_arguments_allow_still_goes_through(wall: Wall) -> None:
    """Each reaches the kernel, which has its own reason to refuse or none."""
    calls = {
        "fallocate": (285, -1, 0, 0, 1), "hole": (285, -1, 3, 0, 1), "FIONREAD": (16, -1, 0x541B, "buffer"),
        "TCGETS": (16, -1, 0x5401, "buffer"), "high bit": (16, -1, 0x80045430, "buffer"), "sign-extended": (16, -1, -0x7FFBABD0, "buffer"),
        "prlimit of oneself": (302, 0, 7, 0, "buffer"), "prlimit that reads": (302, 1, 7, 0, 0), "nice": (141, 0, 0, 5),
    }  # fmt: skip
    done = dict.fromkeys(("prlimit of oneself", "prlimit that reads", "nice"), "done")
    assert wall.say(TRY.replace("CALLS", repr(calls))) == dict.fromkeys(calls, errno.EBADF) | done


def test_clone3_says_that_it_does_not_exist_so_that_libc_falls_back(wall: Wall) -> None:
    calls = {"clone3": (435, "buffer", 88)}
    assert wall.say(TRY.replace("CALLS", repr(calls))) == {"clone3": errno.ENOSYS}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="a 32-bit entry of x86-64")
@pytest.mark.parametrize(("entry", "code"), [("32 bit", b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"), ("x32", b"\xb8\x27\x00\x00\x40\x0f\x05\xc3")])
def test_another_entry_to_the_kernel_is_closed(entry: str, code: bytes, wall: Wall) -> None:
    """getpid through `int 0x80`, and through x32's number: neither may answer with a process id."""
    run = f"""
import ctypes, json, mmap, os
child = os.fork()
if child == 0:
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write({code!r})
    answer = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
    os._exit(0 if answer > 0 else 1)
print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
"""
    assert wall.say(run) != 0, json.dumps(entry)
