"""Ways to take one control of the isolation literal away, and what attack then succeeds.

An attack that expects `ok` asserts that everything it tried failed, so any other ending is its success. Where two controls
stand behind each other, both are taken away.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fumehood.limits import GIB, MIB
from fumehood.outcome import Reason
from tests.hostile.runner import runner_with
from tests.sandboxes import PYTHON
from worker import seccomp

Literal = dict[str, Any]
Change = Callable[[Literal], Literal]


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """`attack` succeeds once the literal is changed: `ends` is how. `script_error` is its own assertion, which saw a success."""

    attack: str
    ends: Reason = Reason.SCRIPT_ERROR
    error: str = "AssertionError"
    host_config: Literal | Change = field(default_factory=dict)
    config: Literal = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    """Of the attack's, so that one that now goes on for ever ends soon."""
    tries: int = 1
    """How often an attacker may try: where others take the processors, one try may get no more than its share."""
    unseen: bool = False
    """The running container is not compared with the policy, which would find this and refuse it."""


def together(*changes: Literal | Change) -> Change:
    def change(host_config: Literal) -> Literal:
        changed: Literal = {}
        for each in changes:
            changed |= each(host_config | changed) if callable(each) else each
        return changed

    return change


def without_seccomp(host_config: Literal) -> Literal:
    return {"SecurityOpt": ["no-new-privileges:true", "seccomp=unconfined"]}


def with_calls(names: str, *, original: Callable[[], Literal] = seccomp.profile) -> Change:
    """The filter as it is, but these calls pass with all arguments."""

    def change(host_config: Literal) -> Literal:
        profile = original()
        # A call that is refused with an error of its own would stay so.
        rules = [rule for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" or not set(rule["names"]) & set(names.split())]
        rules.append({"names": names.split(), "action": "SCMP_ACT_ALLOW", "args": []})
        return {"SecurityOpt": ["no-new-privileges:true", f"seccomp={json.dumps(profile | {'syscalls': rules})}"]}

    return change


def with_root(host_config: Literal) -> Literal:
    return {"Tmpfs": {path: re.sub(r"(uid|gid)=\d+", r"\1=0", options) for path, options in host_config["Tmpfs"].items()}}


def with_ulimit(name: str, value: int | None) -> Change:
    """Another number; None for that of the engine itself, above which not every engine may go."""

    def change(host_config: Literal) -> Literal:
        others = [limit for limit in host_config["Ulimits"] if limit["Name"] != name]
        return {"Ulimits": [*others, *([] if value is None else [{"Name": name, "Soft": value, "Hard": value}])]}

    return change


def with_tmpfs(path: str, **options: str) -> Change:
    """Other values of options."""

    def change(host_config: Literal) -> Literal:
        kept = [part for part in host_config["Tmpfs"][path].split(",") if part.partition("=")[0] not in options]
        return {"Tmpfs": host_config["Tmpfs"] | {path: ",".join([*kept, *(f"{key}={value}" for key, value in options.items())])}}

    return change


def without_tmpfs(path: str, option: str) -> Change:
    """`noexec` becomes `exec`: the engine has options of its own for what is not said."""

    def change(host_config: Literal) -> Literal:
        kept = [part.removeprefix("no") if part == option else part for part in host_config["Tmpfs"][path].split(",")]
        return {"Tmpfs": host_config["Tmpfs"] | {path: ",".join(kept)}}

    return change


def with_host_mount(host_config: Literal) -> Literal:
    return {"Mounts": [*host_config["Mounts"], {"Type": "bind", "Source": "/", "Target": "/mnt", "ReadOnly": True}]}


def with_writable(*targets: str) -> Change:
    def change(host_config: Literal) -> Literal:
        return {"Mounts": [mount | ({"ReadOnly": False} if mount["Target"] in targets else {}) for mount in host_config["Mounts"]]}

    return change


def showing(*paths: str) -> Change:
    def change(host_config: Literal) -> Literal:
        return {"MaskedPaths": [path for path in host_config["MaskedPaths"] if path not in paths]}

    return change


def without_shm_tmpfs(host_config: Literal) -> Literal:
    return {"Tmpfs": {"/job": host_config["Tmpfs"]["/job"]}, "ShmSize": 128 * MIB}


ROOT_USER = {"User": "0:0"}
# Of the masked paths, those that belong together. Which of them there are depends on the kernel.
MASKED_GROUPS: dict[str, tuple[str, ...]] = {
    "what interrupts the host": ("/proc/interrupts", "/proc/softirqs"),
    "the host's keys": ("/proc/keys", "/proc/key-users"),
    "the host's timers and tasks": ("/proc/timer_list", "/proc/timer_stats", "/proc/latency_stats", "/proc/sched_debug"),
    "the kernel's insides": ("/proc/kallsyms", "/proc/kcore", "/proc/modules", "/sys/module", "/sys/kernel/notes", "/sys/kernel/security"),
    "how the host was booted": ("/proc/cmdline",),
    "the host's disks": ("/proc/diskstats", "/proc/partitions", "/proc/scsi", "/sys/block", "/sys/class/block", "/sys/fs/ext4"),
    "the host's hardware": (
        "/proc/acpi",
        "/proc/asound",
        "/sys/class/dmi",
        "/sys/class/powercap",
        "/sys/devices/virtual/dmi",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ),
}

OF_SECCOMP = {
    "seccomp": Mutation(attack="socket_families", host_config=without_seccomp),
    "seccomp: page cache": Mutation(attack="move_pages", host_config=with_calls("splice tee vmsplice sendfile copy_file_range")),
    "seccomp: io_uring": Mutation(attack="io_uring", host_config=with_calls("io_uring_setup")),
    "seccomp: libaio": Mutation(attack="io_uring", host_config=with_calls("io_setup")),
    "seccomp: other processes' memory": Mutation(
        attack="trace_the_supervisor",
        # Whom it traces is stopped.
        ends=Reason.TIMED_OUT,
        limits={"wall_seconds": 1.0},
        host_config=with_calls("ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp"),
        config={"Entrypoint": runner_with("processes.set_dumpable = lambda dumpable: None")},
    ),
    "seccomp: namespaces": Mutation(attack="new_namespaces", host_config=with_calls("unshare setns clone clone3")),
    "seccomp: mounts": Mutation(
        attack="mount_something", host_config=with_calls("unshare mount chroot fsopen open_tree pivot_root umount2 move_mount")
    ),
    "seccomp: keys": Mutation(attack="keys_of_the_kernel", host_config=with_calls("keyctl add_key request_key")),
    "seccomp: tools of exploits": Mutation(
        attack="tools_of_exploits", host_config=with_calls("bpf perf_event_open userfaultfd memfd_secret modify_ldt")
    ),
    "seccomp: kernel objects": Mutation(attack="message_queues", host_config=with_calls("shmget msgget semget")),
    "seccomp: queues, and their limit": Mutation(
        attack="message_queues", host_config=together(with_calls("mq_open"), with_ulimit("msgqueue", None))
    ),
    "seccomp: files by number": Mutation(attack="files_by_number", host_config=with_calls("name_to_handle_at open_by_handle_at")),
    "seccomp: sync": Mutation(attack="flush_the_host", host_config=with_calls("sync syncfs")),
    "seccomp: whose pages": Mutation(attack="see_whose_pages", host_config=with_calls("mincore cachestat")),
    "seccomp: nodes": Mutation(attack="write_everywhere", host_config=with_calls("mknod mknodat")),
    "seccomp: blocks beyond the end": Mutation(attack="reserve_past_the_end", host_config=with_calls("fallocate ioctl")),
    "seccomp: attributes": Mutation(attack="reserve_past_the_end", host_config=with_calls("setxattr lsetxattr fsetxattr removexattr")),
    "seccomp: others' limits": Mutation(attack="starve_the_supervisor", host_config=with_calls("prlimit64")),
    "seccomp: others' priority": Mutation(attack="starve_the_supervisor", host_config=with_calls("setpriority")),
    "seccomp: others' pages and disks": Mutation(
        attack="nudge_others", host_config=with_calls("process_madvise process_mrelease move_pages migrate_pages ioprio_set sched_setattr")
    ),
    "seccomp: rules of one's own": Mutation(attack="own_rules", host_config=with_calls("seccomp landlock_create_ruleset")),
    "seccomp: filters by prctl": Mutation(attack="own_rules", host_config=with_calls("prctl")),
    "seccomp: layout": Mutation(attack="own_rules", host_config=with_calls("personality")),
    "seccomp: socket families": Mutation(attack="socket_families", host_config=with_calls("socket socketpair")),
}
OF_WHO_IT_IS = {
    "privileged": Mutation(attack="make_a_device", host_config={"Privileged": True}, unseen=True),
    "capabilities": Mutation(attack="gain_privileges", host_config={"CapDrop": []}),
    "one capability": Mutation(attack="gain_privileges", host_config={"CapAdd": ["NET_RAW"]}),
    # The filter denies what the runtime needs to become the user; it only takes hold late enough with no-new-privileges.
    "no new privileges": Mutation(attack="gain_privileges", host_config={"SecurityOpt": ["seccomp=unconfined"]}),
    "user": Mutation(attack="gain_privileges", host_config=with_root, config=ROOT_USER),
    "groups": Mutation(attack="gain_privileges", host_config={"GroupAdd": ["0"]}),
    "read-only root, and a user that owns nothing": Mutation(
        attack="write_everywhere", host_config=together(with_root, {"ReadonlyRootfs": False}), config=ROOT_USER
    ),
    "read-only inputs, and a user that owns nothing": Mutation(
        attack="write_everywhere", host_config=together(with_root, with_writable("/in", "/etc/hosts")), config=ROOT_USER
    ),
    "read-only paths, and a user that owns nothing": Mutation(
        attack="change_the_kernels_settings", host_config=together(with_root, {"ReadonlyPaths": []}), config=ROOT_USER
    ),
    "capabilities and filter, for files by number": Mutation(
        attack="reach_the_canary",
        host_config=together(with_root, with_calls("open_by_handle_at"), {"CapAdd": ["DAC_READ_SEARCH"]}),
        config=ROOT_USER,
    ),
}
OF_NAMESPACES = {
    "network": Mutation(attack="reach_out", host_config={"NetworkMode": "bridge"}, config={"NetworkDisabled": False}),
    "IPC namespace": Mutation(attack="namespaces_of_the_host", host_config={"IpcMode": "host"}, unseen=True),
    "name's namespace": Mutation(attack="namespaces_of_the_host", host_config={"UTSMode": "host"}, config={"Hostname": ""}, unseen=True),
    "cgroup namespace": Mutation(attack="look_around", host_config={"CgroupnsMode": "host"}),
    "hostname": Mutation(attack="look_around", config={"Hostname": "worker-7"}),
    "domain": Mutation(attack="look_around", config={"Domainname": "example.internal"}),
    # The engine then copies the host's name servers and domains into the sandbox, or writes those that are stated.
    "network's files": Mutation(attack="look_around", config={"NetworkDisabled": False}),
    "name servers, and network's files": Mutation(
        attack="look_around",
        host_config={"Dns": ["192.0.2.53"], "DnsSearch": ["example.internal"], "DnsOptions": ["ndots:3"]},
        config={"NetworkDisabled": False},
    ),
    "environment": Mutation(attack="look_around", config={"Env": ["FUMEHOOD_WAIT_SECONDS=60", "SERVICE_PASSWORD=open"]}),
    "health checks": Mutation(
        attack="somebody_else_inside",
        config={"Healthcheck": {"Test": ["CMD", PYTHON, "-S", "-c", "import time; time.sleep(0.3)"], "Interval": 100_000_000}},
    ),
}
OF_THE_HOST = {
    "masked paths": Mutation(attack="look_around", host_config={"MaskedPaths": []}),
    "mounts, and a user that owns nothing": Mutation(
        attack="reach_the_canary", host_config=together(with_root, with_host_mount), config=ROOT_USER
    ),
    "binds, and a user that owns nothing": Mutation(
        attack="reach_the_canary", host_config=together(with_root, {"Binds": ["/:/mnt:ro"]}), config=ROOT_USER, unseen=True
    ),
    "devices": Mutation(
        attack="make_a_device",
        host_config={"Devices": [{"PathOnHost": "/dev/kmsg", "PathInContainer": "/dev/kmsg", "CgroupPermissions": "rwm"}]},
    ),
    "nodes, rules for devices, and a user that owns nothing": Mutation(
        attack="make_a_device",
        host_config=together(
            with_root,
            with_calls("mknod mknodat"),
            without_tmpfs("/job", "nodev"),
            {"CapDrop": [], "DeviceCgroupRules": ["b *:* rwm", "c *:* rwm"]},
        ),
        config=ROOT_USER,
    ),
}
OF_RESOURCES = {
    "processes": Mutation(attack="many_processes", host_config={"PidsLimit": 500}),
    "memory": Mutation(attack="memory_bomb", ends=Reason.OK, host_config={"Memory": 2 * GIB, "MemorySwap": 2 * GIB}),
    "an end for whoever takes all memory": Mutation(
        attack="memory_bomb", ends=Reason.TIMED_OUT, host_config={"OomKillDisable": True}, limits={"wall_seconds": 2.0}
    ),
    "who goes last for memory": Mutation(attack="go_last_for_memory", host_config={"OomScoreAdj": 0}),
    "processors": Mutation(attack="more_than_its_processor", host_config={"NanoCpus": 2 * 10**9}, tries=10),
    "size of /job": Mutation(attack="disk_bomb", ends=Reason.BAD_RETURN, host_config=with_tmpfs("/job", size=str(128 * MIB))),
    "size of /dev/shm": Mutation(
        attack="shared_memory_bomb", ends=Reason.BAD_RETURN, host_config=with_tmpfs("/dev/shm", size=str(128 * MIB))
    ),
    "size of the engine's own /dev/shm": Mutation(attack="shared_memory_bomb", ends=Reason.BAD_RETURN, host_config=without_shm_tmpfs),
    "inodes of /dev/shm": Mutation(attack="inode_bomb", ends=Reason.BAD_RETURN, host_config=with_tmpfs("/dev/shm", nr_inodes="200000")),
    "inodes of /job": Mutation(attack="inode_bomb_at_home", ends=Reason.OK, host_config=with_tmpfs("/job", nr_inodes="200000")),
    "no programs in /dev/shm": Mutation(attack="run_from_shared_memory", host_config=without_tmpfs("/dev/shm", "noexec")),
    "core dumps": Mutation(attack="core_dump", host_config=with_ulimit("core", GIB)),
    "locked memory": Mutation(attack="message_queues", host_config=with_ulimit("memlock", None)),
    "descriptors": Mutation(attack="descriptor_bomb", ends=Reason.BAD_RETURN, host_config=with_ulimit("nofile", 9000)),
    "signals": Mutation(attack="queue_signals", host_config=with_ulimit("sigpending", None)),
    "real time": Mutation(
        attack="run_before_all_others",
        host_config=together(with_root, with_calls("sched_setscheduler"), {"CapAdd": ["SYS_NICE"]}),
        config=ROOT_USER,
    ),
    # The attack itself gives up then.
    "stack": Mutation(attack="stack_overflow", error="RuntimeError", host_config=with_ulimit("stack", GIB)),
}
# What the runner adds to the literal. Others of its controls stand in runner_mutations.py.
OF_THE_SUPERVISOR = {
    # `done` in the supervisor's place, so we took what there was: no report.
    "dumpable": Mutation(
        attack="speak_for_the_supervisor",
        ends=Reason.CRASHED,
        config={"Entrypoint": runner_with("processes.set_dumpable = lambda dumpable: None")},
    ),
}
MUTATIONS = OF_SECCOMP | OF_WHO_IT_IS | OF_NAMESPACES | OF_THE_HOST | OF_RESOURCES | OF_THE_SUPERVISOR
MUTATIONS |= {
    # Some of them are for root alone to read, who is kept away as well.
    f"masked paths: {name}": Mutation(attack="look_around", host_config=together(with_root, showing(*paths)), config=ROOT_USER)
    for name, paths in MASKED_GROUPS.items()
}
