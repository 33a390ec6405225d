"""The system calls that a sandbox may make, as an allow-list; everything else answers EPERM.

Denied with intent, because a shared kernel is the thing most worth protecting:

- splice, tee, vmsplice, sendfile, copy_file_range: they move references to the page cache, which is shared by all
  containers; a kernel bug there changes other people's files. Python and the libraries fall back to plain copies.
- io_uring, libaio: operations submitted through a ring pass no system call filter.
- ptrace, process_vm_*, pidfd_getfd, kcmp: reaching into another process; the supervisor has the same uid as the script.
- unshare, setns, clone with a namespace flag: a user namespace would open the privileged half of the kernel.
- mount and its new family, chroot, pivot_root, swapon, kexec, modules, reboot, quotactl, acct: administration.
- keyctl, add_key, request_key: keys outlive the container and are counted per uid.
- bpf, perf_event_open, userfaultfd, memfd_secret, modify_ldt: tools of kernel exploits, needed by no script.
- mq_*, SysV shm, sem, msg: kernel objects beside the tmpfs that bounds memory and dies with the container.
- open_by_handle_at, name_to_handle_at: reach files past the mounts.
- sync, syncfs: flush the whole host's disks, neighbours' included; fsync of one's own file is allowed.
- mincore, cachestat: show which pages of shared files other tenants use.
- mknod: no devices, FIFOs or sockets as files; bind makes sockets where a library needs one.
- fallocate but to lengthen a file or to punch a hole, and ioctl but for terminals, pipes and sockets: both can reserve
  blocks beyond the end of an output, which the size limit of files does not count; ioctl also reaches line disciplines and
  whatever a driver offers.
- setting or removing extended attributes: they take blocks of the host's disk beside the file's size, and would be published.
- prlimit64 on another process, setpriority but for oneself: the supervisor has the script's uid, and must not be starved.
  (sched_setaffinity stays: OpenMP sets it thread by thread, and a supervisor on one processor is only slower.)
- process_madvise, process_mrelease, move_pages, migrate_pages, ioprio_*: more ways to another process.
- landlock, seccomp (prctl sets filters too, so of its options only harmless ones pass), personality other than the query and the
  default: no rules of the script's own, which could write into the host's log, and no weaker layout.
- sockets of any family but UNIX, INET and INET6, raw sockets and unusual protocols: only loopback is ever behind them.

ERRNO rather than KILL, because libraries probe and fall back. 32-bit and x32 entries are no architecture of ours and
kill the thread. Unknown names (an older libseccomp, another architecture) are skipped by the runtime; `pselect` is what gVisor
calls pselect6.
"""

from __future__ import annotations

import json
from typing import Any

EPERM, ENOSYS = 1, 38
# With ENOSYS, libc falls back to clone. A runtime without clone3 answers that by itself.
CLONE3_ABSENT, CLONE3_PASSED_ON = "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"

ALLOWED: dict[str, str] = {
    "files": """
        access chdir chmod chown close close_range creat dup dup2 dup3 faccessat faccessat2 fadvise64 fchdir fchmod fchmodat
        fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fstat fstatfs fsync ftruncate futimesat getcwd
        getdents getdents64 getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch lchown lgetxattr link linkat
        listxattr llistxattr lseek lstat mkdir mkdirat newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev
        pwritev2 read readahead readlink readlinkat readv rename renameat renameat2 rmdir stat statfs statx symlink symlinkat
        sync_file_range truncate umask unlink unlinkat utime utimensat utimes write writev
    """,
    "memory": """
        brk madvise map_shadow_stack membarrier memfd_create mlock mlock2 mmap mprotect mremap mseal msync munlock munmap
    """,
    "processes and threads": """
        arch_prctl capget execve execveat exit exit_group fork futex futex_requeue futex_wait futex_waitv futex_wake
        get_robust_list getcpu getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority getresgid getresuid
        getrlimit getrusage getsid gettid getuid kill pidfd_open pidfd_send_signal restart_syscall rseq
        sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
        sched_rr_get_interval sched_setaffinity sched_yield set_robust_list set_tid_address setpgid setrlimit setsid sysinfo
        tgkill times tkill uname vfork wait4 waitid
    """,
    "signals": """
        alarm pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
        rt_tgsigqueueinfo sigaltstack signalfd signalfd4
    """,
    "time": """
        clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep setitimer time timer_create timer_delete
        timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime
    """,
    "waiting": """
        epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2
        pipe pipe2 poll ppoll pselect pselect6 select
    """,
    "sockets, once they exist": """
        accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg sendto
        setsockopt shutdown
    """,
    "randomness": "getrandom",
}

# A call that is allowed only with certain arguments: (names, argument tests), one rule each.
AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_TYPE_MASK = 1, 2, 5, 0xF
IPPROTO_DEFAULT, IPPROTO_TCP, IPPROTO_UDP = 0, 6, 17
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. (NEWTIME shares its bit with the exit signal of clone.)
CLONE_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
PERSONALITY_DEFAULT, PERSONALITY_QUERY = 0, 0xFFFFFFFF
PRIO_PROCESS = 0
# No mode: the file grows, which RLIMIT_FSIZE bounds. PUNCH_HOLE with KEEP_SIZE only gives blocks back; `cp` fails without it.
FALLOCATE_LONGER, FALLOCATE_HOLE = 0, 0x03
# What Python and libraries ask of terminals, pipes and sockets. The same numbers on both architectures.
IOCTLS: dict[str, int] = {
    "TCGETS": 0x5401, "TCSETS": 0x5402, "TCSETSW": 0x5403, "TCSETSF": 0x5404,
    # The same four of a newer libc.
    "TCGETS2": 0x802C542A, "TCSETS2": 0x402C542B, "TCSETSW2": 0x402C542C, "TCSETSF2": 0x402C542D,
    "TCSBRK": 0x5409, "TCXONC": 0x540A, "TCFLSH": 0x540B, "TIOCSCTTY": 0x540E, "TIOCGPGRP": 0x540F, "TIOCSPGRP": 0x5410,
    "TIOCOUTQ": 0x5411, "TIOCGWINSZ": 0x5413, "TIOCSWINSZ": 0x5414, "TIOCNOTTY": 0x5422, "TIOCGSID": 0x5429,
    "TIOCGPTN": 0x80045430, "TIOCSPTLCK": 0x40045431, "TIOCGPTPEER": 0x5441,
    "FIONREAD": 0x541B, "FIONBIO": 0x5421, "FIONCLEX": 0x5450, "FIOCLEX": 0x5451, "FIOASYNC": 0x5452,
}  # fmt: skip
# What interpreters, allocators and thread pools ask of their own process. Not among them: filters, capabilities that are kept or
# handed on, the processor's mitigations, the memory map's bounds, and sharing a core's secrets.
PRCTLS: dict[str, int] = {
    "SET_PDEATHSIG": 1, "GET_PDEATHSIG": 2, "GET_DUMPABLE": 3, "SET_DUMPABLE": 4, "GET_KEEPCAPS": 7, "SET_NAME": 15, "GET_NAME": 16,
    "GET_SECCOMP": 21, "CAPBSET_READ": 23, "GET_SECUREBITS": 27, "SET_TIMERSLACK": 29, "GET_TIMERSLACK": 30, "MCE_KILL_GET": 34,
    "SET_CHILD_SUBREAPER": 36, "GET_CHILD_SUBREAPER": 37, "SET_NO_NEW_PRIVS": 38, "GET_NO_NEW_PRIVS": 39, "GET_TID_ADDRESS": 40,
    "SET_THP_DISABLE": 41, "GET_THP_DISABLE": 42, "SVE_SET_VL": 50, "SVE_GET_VL": 51, "GET_SPECULATION_CTRL": 52,
    "SET_MDWE": 65, "GET_MDWE": 66, "GET_AUXV": 0x41555856, "SET_VMA": 0x53564D41,
}  # fmt: skip


# API and worker make no links by name, so they cannot have the engine, which follows them, mount another place of the host than the
# directory that the gate has looked at. They copy files the fast way, as a sandbox must not.
NOT_OF_A_SERVICE = frozenset({"symlink", "symlinkat"})
OF_A_SERVICE = ["copy_file_range", "sendfile"]


def service_profile() -> dict[str, Any]:
    """The profile that `docker-compose.yml` starts API and worker with: a sandbox's, but for two calls more and two less."""
    found = profile()
    for rule in found["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name not in NOT_OF_A_SERVICE]
    found["syscalls"].append(_rule(OF_A_SERVICE))
    return found


def profile(*, clone3: str = CLONE3_ABSENT) -> dict[str, Any]:
    """The profile in the form that the engine takes; `clone3` is the action for a call whose arguments no filter can see."""
    rules: list[dict[str, Any]] = [_rule(names.split()) for names in ALLOWED.values()]
    rules.append(_rule(["clone"], _masked(0, CLONE_NAMESPACES, 0)))
    rules.append({"names": ["clone3"], "action": clone3, "args": []} | ({"errnoRet": ENOSYS} if clone3 == CLONE3_ABSENT else {}))
    rules.extend(_rule(["personality"], _equal(0, value)) for value in (PERSONALITY_DEFAULT, PERSONALITY_QUERY))
    rules.extend(_rule(["fallocate"], _low(1, mode)) for mode in (FALLOCATE_LONGER, FALLOCATE_HOLE))
    rules.extend(_rule(["ioctl"], _low(1, command)) for command in IOCTLS.values())
    rules.extend(_rule(["prctl"], _low(0, option)) for option in PRCTLS.values())
    # Of oneself, or only to read: a new limit is given by pointer.
    rules.extend([_rule(["prlimit64"], _low(0, 0)), _rule(["prlimit64"], _equal(2, 0))])
    rules.append(_rule(["setpriority"], _low(0, PRIO_PROCESS), _low(1, 0)))
    for kind in (SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET):
        rules.append(_rule(["socket", "socketpair"], _equal(0, AF_UNIX), _masked(1, SOCK_TYPE_MASK, kind)))
    for family in (AF_INET, AF_INET6):
        for kind, protocol in ((SOCK_STREAM, IPPROTO_TCP), (SOCK_DGRAM, IPPROTO_UDP)):
            for number in (IPPROTO_DEFAULT, protocol):
                rules.append(_rule(["socket"], _equal(0, family), _masked(1, SOCK_TYPE_MASK, kind), _equal(2, number)))
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "archMap": [{"architecture": f"SCMP_ARCH_{name}", "subArchitectures": []} for name in ("X86_64", "AARCH64")],
        "syscalls": rules,
    }


def profile_text(*, clone3: str = CLONE3_ABSENT) -> str:
    return json.dumps(profile(clone3=clone3), separators=(",", ":"))


def _rule(names: list[str], *tests: dict[str, Any]) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ALLOW", "args": list(tests)}


def _equal(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "valueTwo": 0, "op": "SCMP_CMP_EQ"}


def _masked(index: int, mask: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}


def _low(index: int, value: int) -> dict[str, Any]:
    """The lower half equals `value`: all that the kernel reads of an `int`, whatever a caller leaves in the upper half."""
    return _masked(index, 0xFFFFFFFF, value)
