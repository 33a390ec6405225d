"""Every control of the isolation literal and of the runner, and what shows that it is one.

A control is shown by mutations (`by`), by a test that takes it away (`test`), or, where nothing can be made to go wrong here
without it, there is a sentence that says why (`why`). test_completeness.py holds the tables against the code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.hostile.mutations import MASKED_GROUPS
from worker import seccomp


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    by: tuple[str, ...] = ()
    """Names in MUTATIONS or, for the runner, in WEAKER."""
    test: str = ""
    """file::name below tests/hostile."""
    why: str = ""


def by(*names: str) -> Shown:
    return Shown(by=names)


def test(name: str) -> Shown:
    return Shown(test=name)


def why(sentence: str) -> Shown:
    return Shown(why=sentence)


LIFELINES = "test_lifelines.py::"
CLOSED = LIFELINES + "test_without_it_no_script_ever_runs"
NO_NETWORK = "There is no network for it to work in; `network` takes that away."
ONE_USER = (
    "Nobody in the sandbox has another user id, so whose the directory is keeps nobody out; with another owner the runner does not start."
)

HOST_CONFIG: dict[str, Shown] = {
    "Privileged": by("privileged"),
    "CapDrop": by("capabilities"),
    "CapAdd": by("one capability", "capabilities and filter, for files by number"),
    "SecurityOpt no-new-privileges": by("no new privileges"),
    "SecurityOpt seccomp": by("seccomp"),
    "GroupAdd": by("groups"),
    "ReadonlyRootfs": by("read-only root, and a user that owns nothing"),
    "ReadonlyPaths": by("read-only paths, and a user that owns nothing"),
    "NetworkMode": by("network"),
    "IpcMode": by("IPC namespace"),
    "PidMode": test(CLOSED),
    "UTSMode": by("name's namespace"),
    "UsernsMode": why("It says only whether the engine's own mapping of users is left out, and the engine here has none."),
    "CgroupnsMode": by("cgroup namespace"),
    "CgroupParent": why("Where its cgroup hangs cannot be seen from inside; the limits of its own cgroup hold anywhere."),
    "Binds": by("binds, and a user that owns nothing"),
    "VolumesFrom": test(LIFELINES + "test_with_volumes_of_another_container_a_canary_is_reached"),
    "Devices": by("devices"),
    "DeviceRequests": why("It asks for graphics processors, by a driver that the engine here does not have."),
    "DeviceCgroupRules": by("nodes, rules for devices, and a user that owns nothing"),
    "PortBindings": why(NO_NETWORK),
    "PublishAllPorts": why(NO_NETWORK),
    "Links": why(NO_NETWORK),
    "ExtraHosts": why("They are written into /etc/hosts, over which the worker mounts its own."),
    "Dns": by("name servers, and network's files"),
    "DnsOptions": by("name servers, and network's files"),
    "DnsSearch": by("name servers, and network's files"),
    "Sysctls": why("The few that an engine lets one set belong to the sandbox's own network and IPC namespaces, where nobody else is."),
    "StorageOpt": why("It sizes the root, which is read-only."),
    "AutoRemove": test(LIFELINES + "test_with_removal_by_the_engine_nobody_can_see_how_a_sandbox_ended"),
    "RestartPolicy": test(LIFELINES + "test_without_the_restart_policy_a_sandbox_is_used_twice"),
    "Init": test(CLOSED),
    "LogConfig": test(LIFELINES + "test_without_the_log_driver_the_engine_keeps_what_a_sandbox_says"),
    "OomScoreAdj": by("who goes last for memory"),
    "OomKillDisable": by("an end for whoever takes all memory"),
    "Runtime": why("A choice of the operator's and no control: the corpus runs on each."),
    "Memory": by("memory"),
    "MemorySwap": by("memory"),
    "NanoCpus": by("processors"),
    "PidsLimit": by("processes"),
    "ShmSize": by("size of the engine's own /dev/shm"),
    "Ulimits core": by("core dumps"),
    "Ulimits fsize": test("test_mutations.py::test_without_the_cap_on_files_a_sparse_output_succeeds"),
    "Ulimits memlock": by("locked memory"),
    "Ulimits msgqueue": by("seccomp: queues, and their limit"),
    "Ulimits nofile": by("descriptors"),
    "Ulimits rtprio": by("real time"),
    "Ulimits sigpending": by("signals"),
    "Ulimits stack": by("stack"),
    "Tmpfs /job rw": why("It is a permission: without it nothing can be written."),
    "Tmpfs /job exec": why("It is a permission: libraries map code from there."),
    "Tmpfs /job nosuid": why(
        "Only root could leave a program there that makes root of others; `gain_privileges` looks for such everywhere else."
    ),
    "Tmpfs /job nodev": by("nodes, rules for devices, and a user that owns nothing"),
    "Tmpfs /job size": by("size of /job"),
    "Tmpfs /job nr_inodes": by("inodes of /job"),
    "Tmpfs /job uid": why(ONE_USER),
    "Tmpfs /job gid": why(ONE_USER),
    "Tmpfs /job mode": why(ONE_USER),
    "Tmpfs /dev/shm rw": why("It is a permission: without it nothing can be written."),
    "Tmpfs /dev/shm noexec": by("no programs in /dev/shm"),
    "Tmpfs /dev/shm nosuid": why("As in /job."),
    "Tmpfs /dev/shm nodev": why("As in /job, where `nodes, rules for devices, and a user that owns nothing` takes it away."),
    "Tmpfs /dev/shm size": by("size of /dev/shm"),
    "Tmpfs /dev/shm nr_inodes": by("inodes of /dev/shm"),
    "Tmpfs /dev/shm uid": why(ONE_USER),
    "Tmpfs /dev/shm gid": why(ONE_USER),
    "Tmpfs /dev/shm mode": why(ONE_USER),
    "Mounts /in": by("read-only inputs, and a user that owns nothing", "mounts, and a user that owns nothing"),
    "Mounts /etc/hosts": by("read-only inputs, and a user that owns nothing"),
    **{
        f"Mounts /out/{name}": why(
            "It is a permission, to write this one file; `reserve_past_the_end` and `sparse_output` attack its bounds."
        )
        for name in ("result.arrow", "result2.arrow", "report.json", "files.bin", "log")
    },
    "MaskedPaths": by("masked paths", *(f"masked paths: {name}" for name in MASKED_GROUPS)),
}
CONFIG: dict[str, Shown] = {
    "Hostname": by("hostname"),
    "Domainname": by("domain"),
    "NetworkDisabled": by("network", "network's files"),
    "WorkingDir": why("The runner goes to /job by itself."),
    "Tty": test(CLOSED),
    "OpenStdin": test(CLOSED),
    "StdinOnce": test(LIFELINES + "test_without_it_a_sandbox_outlives_its_worker"),
    "AttachStdin": why("The engine keeps it as a note for its own client; whoever attaches says again what to."),
    "AttachStdout": why("As AttachStdin."),
    "AttachStderr": why("As AttachStdin."),
    "Healthcheck": by("health checks"),
    "Image": why("It is what runs, by its digest; `leavings/image.py` tries to change it."),
    "User": by("user"),
    "Env": by("environment"),
    "Labels": why("They say whose a container is, and cannot be read from inside."),
}
# By the beginning of a line of the docstring of worker/seccomp.py.
SECCOMP: dict[str, Shown] = {
    "splice, tee": by("seccomp: page cache"),
    "io_uring, libaio": by("seccomp: io_uring", "seccomp: libaio"),
    "ptrace, process_vm_*": by("seccomp: other processes' memory"),
    "unshare, setns, clone": by("seccomp: namespaces"),
    "mount and its new family": by("seccomp: mounts"),
    "keyctl, add_key": by("seccomp: keys"),
    "bpf, perf_event_open": by("seccomp: tools of exploits"),
    "mq_*, SysV shm": by("seccomp: kernel objects", "seccomp: queues, and their limit"),
    "open_by_handle_at": by("seccomp: files by number", "capabilities and filter, for files by number"),
    "sync, syncfs": by("seccomp: sync"),
    "mincore, cachestat": by("seccomp: whose pages"),
    "mknod": by("seccomp: nodes"),
    "fallocate but": by("seccomp: blocks beyond the end"),
    "setting or removing extended attributes": by("seccomp: attributes"),
    "prlimit64 on another process": by("seccomp: others' limits", "seccomp: others' priority"),
    "process_madvise": by("seccomp: others' pages and disks"),
    "landlock, seccomp": by("seccomp: rules of one's own", "seccomp: filters by prctl", "seccomp: layout"),
    "sockets of any family": by("seccomp: socket families"),
}
ITSELF = "It runs in the script's own process: what is broken there breaks the author's own job."
RUNNER: dict[str, Shown] = {
    "__init__": why("It is empty."),
    "__main__": by("the environment is replaced", "the runner's modules have names of their own"),
    "ahead": why("It runs before there is a job, and reads what the image holds."),
    "arrow_guard": by(
        "Arrow: columns are validated",
        "Arrow: what a column claims",
        "Arrow: types that cannot be read",
        "Arrow: so many columns",
        "Arrow: nested so deep",
        "Arrow: names so long",
    ),
    "arrow_in": by("Arrow: batches named again and again"),
    "attempt": by("what the child left is killed", "the wall limit", "how much the child may say"),
    "batch": test("test_flipped.py::test_an_item_of_bad_bytes_hurts_no_other"),
    "bundle": by(
        "a zip's names",
        "a zip's kinds",
        "a zip's overlaps",
        "a zip's size",
        "a zip's entries",
        "a zip's names once",
        "a wheel's compiled code",
    ),
    "cells": why(ITSELF),
    "child": by(
        "the child's descriptors are closed",
        "the child hears nothing of the worker",
        "the child's signals are a program's",
        "the child goes first when memory runs out",
        "only the process that was asked reports",
        "nothing runs on after the report",
    ),
    "collector": by(
        "links are not followed", "a PNG is one", "so many figures", "so many files, with names so long", "files so deep", "paths so long"
    ),
    "columns_in": why("What it is given was checked before; `arrow_guard` is taken away."),
    "columns_out": why(ITSELF),
    "context": why(ITSELF),
    "csv_in": by("CSV: text only"),
    "csv_out": why(ITSELF),
    "debug": why("A debugger's sandbox is its author's alone, and has attacks of its own in tests/journey."),
    "debugger": why("As `debug`."),
    "described": why(ITSELF),
    "disk": by("the disk is full when we see it"),
    "entry_point": why(ITSELF),
    "environment": by("the environment is replaced"),
    "expected": why(ITSELF),
    "failure": why(ITSELF),
    "figures": why(ITSELF),
    "forkable": why("It makes forks cheap and holds nothing back."),
    "formats": why("It chooses among readers, of which each has its own controls."),
    "hints": why(ITSELF),
    "histogram": why(ITSELF),
    "item": test("test_flipped.py::test_an_item_of_bad_bytes_hurts_no_other"),
    "join": why("It reads with `formats`, of which each reader has its own controls; its bounds keep a sandbox within its memory limit."),
    "json_in": by("JSON: keys once"),
    "json_out": why(ITSELF),
    "json_rows": why("It reads with `json_in` and `rows_in`, which have their controls."),
    "kinds": why("It is the order of the others."),
    "log": by("the log's cap", "the log is cut to what was said"),
    "missing_module": why(ITSELF),
    "names": why(ITSELF),
    "parameter_texts": why(ITSELF),
    "parquet_in": by("Parquet: what a footer claims, and what comes out"),
    "parquet_out": why(ITSELF),
    "places": why("Its bounds have a table of their own."),
    "placed": why(ITSELF),
    "plain": why("What it is given was checked before; `arrow_guard` is taken away."),
    "processes": by("dumpable", "what the child left is killed"),
    "profile": why(ITSELF),
    "profile_cells": why(ITSELF),
    "refused": why("It is a name."),
    "refusing": why(ITSELF),
    "rehearsal": why("It runs before there is a job."),
    "report": by(
        "a report that fits",
        "a good word needs a table",
        "the disk is full when we see it",
        "words are held against their shape",
        "half a table is none",
    ),
    "report_file": by("the report is written after the child's death", "the report is cut to its length"),
    "rows_in": by("JSON: so many columns", "JSON: what rows claim"),
    "script_module": why(ITSELF),
    "studio_in": why("It reads with `json_in` and `rows_in`, which have their controls."),
    "studio_out": why(ITSELF),
    "supervisor": by("the clock decides, not a signal", "an interrupt is ignored"),
    "sweeping": test("test_flipped.py::test_without_sweeping_an_item_finds_what_another_left"),
    "tables_in": why("What it is given was checked before; `arrow_guard` is taken away."),
    "tables_out": by("a table's size"),
    "text_in": by("CSV: text only"),
    "text_columns": why(ITSELF),
    "type_words": why(ITSELF),
    "waiting": by("the child's descriptors are closed"),
}
SHORT = "It keeps what is shown short; `a report that fits` holds the whole."
PLACES: dict[str, Shown] = {
    "GO_LINE_BYTES": why("Only the worker writes it."),
    "REQUEST_BYTES": why("Only the worker writes it."),
    "SCRIPT_BYTES": why("The API refuses a longer script first."),
    "EVENT_LINE_BYTES": why("Lines are made of numbers of the supervisor's own, and are never so long."),
    "REPORT_BYTES": by("a report that fits"),
    "SCHEMA_COLUMNS": why(SHORT),
    "SCHEMA_CHARACTERS": why(SHORT),
    "SCHEMAS_BYTES": why(SHORT),
    "CHILD_REPORT_BYTES": by("how much the child may say"),
    "TRACEBACK_CHARACTERS": why(SHORT),
    "MESSAGE_CHARACTERS": why(SHORT),
    "NAME_CHARACTERS": why(SHORT),
    "SOURCE_CHARACTERS": why(SHORT),
    "FRAMES": why(SHORT),
    "NOTES": why(SHORT),
    "COLUMNS_REPORTED": why(SHORT),
    "COLUMNS_CHARACTERS": why(SHORT),
    "ARTIFACTS": by("so many files, with names so long"),
    "ARTIFACT_PATH_BYTES": by("paths so long"),
    "ARTIFACT_DEPTH": by("files so deep"),
    "DIRECTORY_ENTRIES": why("The inodes of /job end before; `inodes of /job` takes those away."),
}


def of_host_config(host_config: dict[str, Any]) -> Iterator[str]:
    """The name of each control in what the engine is asked for."""
    for key, value in host_config.items():
        if key == "SecurityOpt":
            yield from (f"{key} {re.split('[:=]', each)[0]}" for each in value)
        elif key == "Ulimits":
            yield from (f"{key} {limit['Name']}" for limit in value)
        elif key == "Tmpfs":
            yield from (f"{key} {path} {option.split('=')[0]}" for path, options in value.items() for option in options.split(","))
        elif key == "Mounts":
            yield from (f"{key} {mount['Target']}" for mount in value)
        else:
            yield key


def of_seccomp() -> list[str]:
    """What the filter denies with intent, a line each."""
    return re.findall(r"^- ([^:]+):", seccomp.__doc__ or "", re.MULTILINE)
