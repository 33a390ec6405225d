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
- landlock, seccomp, personality other than the query and the default: no rules of the script's own, no weaker layout.
- sockets of any family but UNIX, INET and INET6, raw sockets and unusual protocols: only loopback is ever behind them.

ERRNO rather than KILL, because libraries probe and fall back. 32-bit and x32 entries are no architecture of ours and
kill the thread. Unknown names (an older libseccomp, another architecture) are skipped by the runtime.
"""

from __future__ import annotations

import json
from typing import Any

EPERM, ENOSYS = 1, 38

ALLOWED: dict[str, str] = {
    "files": """
        access chdir chmod chown close close_range creat dup dup2 dup3 faccessat faccessat2 fadvise64 fallocate fchdir fchmod
        fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstatfs fsync
        ftruncate futimesat getcwd getdents getdents64 getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
        ioctl lchown lgetxattr link linkat listxattr llistxattr lremovexattr lseek lsetxattr lstat mkdir mkdirat newfstatat open
        openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr
        rename renameat renameat2 rmdir setxattr stat statfs statx symlink symlinkat sync_file_range truncate umask unlink
        unlinkat utime utimensat utimes write writev
    """,
    "memory": """
        brk madvise map_shadow_stack membarrier memfd_create mlock mlock2 mmap mprotect mremap mseal msync munlock munmap
    """,
    "processes and threads": """
        arch_prctl capget execve execveat exit exit_group fork futex futex_requeue futex_wait futex_waitv futex_wake
        get_robust_list getcpu getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority getresgid getresuid
        getrlimit getrusage getsid gettid getuid kill pidfd_open pidfd_send_signal prctl prlimit64 restart_syscall rseq
        sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
        sched_rr_get_interval sched_setaffinity sched_yield set_robust_list set_tid_address setpgid setpriority setrlimit setsid
        sysinfo tgkill times tkill uname vfork wait4 waitid
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
        pipe pipe2 poll ppoll pselect6 select
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


def profile() -> dict[str, Any]:
    """The profile in the form that the engine takes."""
    rules: list[dict[str, Any]] = [_rule(names.split()) for names in ALLOWED.values()]
    rules.append(_rule(["clone"], _masked(0, CLONE_NAMESPACES, 0)))
    rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS, "args": []})  # libc falls back to clone
    rules.extend(_rule(["personality"], _equal(0, value)) for value in (PERSONALITY_DEFAULT, PERSONALITY_QUERY))
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


def profile_text() -> str:
    return json.dumps(profile(), separators=(",", ":"))


def _rule(names: list[str], *tests: dict[str, Any]) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ALLOW", "args": list(tests)}


def _equal(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "valueTwo": 0, "op": "SCMP_CMP_EQ"}


def _masked(index: int, mask: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
