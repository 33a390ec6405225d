"""The policy as a literal: complete, and held against what an engine says, field by field. Also uids, filter, host, usage."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fumehood.errors import SandboxError
from fumehood.limits import GIB, MIB, Limits
from fumehood.settings import Settings
from worker import cgroup, host_check, isolation, seccomp
from worker.attach import FRAME_BYTES, LINE_BYTES, Lines
from worker.cgroup import Seen
from worker.isolation import Host
from worker.scratch import Scratch
from worker.uids import take_uid

Made = tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture
def scratch(home: Path) -> Iterator[Scratch]:
    scratch = Scratch.create(home, worker="w1")
    yield scratch
    scratch.erase()


def made(scratch: Scratch, *, limits: Limits | None = None, host: Host | None = None) -> Made:
    return isolation.container(
        image="sha256:x",
        scratch=scratch,
        limits=limits or Limits(),
        uid=200_123,
        host=host or Host(),
        labels={"fumehood.home": "h"},
        wait_seconds=60,
    )


def answer(made: Made) -> dict[str, Any]:
    """What an engine that did everything would say."""
    config, host_config = copy.deepcopy(made)
    mounts = [{"Destination": mount["Target"], "RW": not mount["ReadOnly"]} for mount in host_config["Mounts"]]
    config["Env"] += ["PATH=/bin"]
    return {"Config": config, "HostConfig": host_config, "Mounts": mounts, "NetworkSettings": {"Networks": {"none": {}}}}


def test_an_engine_that_did_everything_deviates_nowhere(scratch: Scratch) -> None:
    wanted = made(scratch)
    assert isolation.deviations(answer(wanted), config=wanted[0], host_config=wanted[1]) == []


def test_every_control_that_is_dropped_or_changed_is_named(scratch: Scratch) -> None:
    wanted = made(scratch)
    config, host_config = wanted
    for section, values in (("Config", config), ("HostConfig", host_config)):
        for key, value in values.items():
            changed = answer(wanted)
            if value:
                del changed[section][key]
            else:
                changed[section][key] = ["something"]
            found = isolation.deviations(changed, config=config, host_config=host_config)
            assert [line.startswith(f"{section}.{key} is ") for line in found] == [True], (section, key, found)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SecurityOpt", ["no-new-privileges:true"]),
        ("CapDrop", []),
        ("NetworkMode", "bridge"),
        ("Memory", 0),
        ("PidsLimit", None),
        ("MaskedPaths", isolation.MASKED_PATHS[1:]),
        ("Privileged", True),
        ("Tmpfs", {"/job": "rw"}),
    ],
)
def test_a_weaker_value_is_found(key: str, value: Any, scratch: Scratch) -> None:
    wanted = made(scratch)
    weaker = answer(wanted)
    weaker["HostConfig"][key] = value
    assert len(isolation.deviations(weaker, config=wanted[0], host_config=wanted[1])) == 1


def test_a_mount_too_many_or_one_that_can_be_written_is_found(scratch: Scratch) -> None:
    wanted = made(scratch)
    for mounts in (
        [*answer(wanted)["Mounts"], {"Destination": "/host", "RW": True}],
        [mount | {"RW": True} for mount in answer(wanted)["Mounts"]],
        answer(wanted)["Mounts"][1:],
    ):
        assert isolation.deviations(answer(wanted) | {"Mounts": mounts}, config=wanted[0], host_config=wanted[1])


def test_a_network_besides_none_is_found(scratch: Scratch) -> None:
    wanted = made(scratch)
    networks = {"Networks": {"none": {}, "bridge": {}}}
    assert isolation.deviations(answer(wanted) | {"NetworkSettings": networks}, config=wanted[0], host_config=wanted[1])


def test_limits_become_the_engines_numbers(scratch: Scratch) -> None:
    limits = Limits(memory_bytes=GIB, disk_bytes=256 * MIB, cpus=1.5, processes=77, output_bytes=3 * GIB)
    config, host_config = made(scratch, limits=limits)
    assert {key: host_config[key] for key in ("Memory", "MemorySwap", "NanoCpus", "PidsLimit")} == {
        "Memory": GIB, "MemorySwap": GIB, "NanoCpus": 1_500_000_000, "PidsLimit": 77,
    }  # fmt: skip
    ulimits = {each["Name"]: each["Hard"] for each in host_config["Ulimits"]}
    assert ulimits["fsize"] == 3 * GIB
    assert "nproc" not in ulimits, "it counts per uid over the whole host"
    assert "uid=200123,gid=200123" in host_config["Tmpfs"]["/job"]
    assert config["User"] == "200123:200123"
    assert config["Env"] == ["FUMEHOOD_WAIT_SECONDS=60"]


@pytest.mark.parametrize("disk", [MIB, 100 * MIB + 1, GIB])
def test_both_tmpfs_together_are_exactly_the_disk_limit(disk: int) -> None:
    job, shm = isolation.tmpfs_sizes(Limits(disk_bytes=disk, memory_bytes=4 * GIB))
    assert job + shm == disk
    assert shm <= 64 * MIB
    assert shm <= disk / 4


def test_a_host_that_lacks_something_gets_the_rest_and_says_so(scratch: Scratch) -> None:
    weak = Host(private_cgroup_namespace=False, swap_limit=False)
    _, host_config = made(scratch, host=weak)
    assert host_config["CgroupnsMode"] == "host"
    assert "MemorySwap" not in host_config
    assert len(weak.weaker()) == 2
    assert Host().weaker() == []


def test_making_a_container_never_changes_the_literal(scratch: Scratch) -> None:
    before = copy.deepcopy((isolation.ISOLATION, isolation.CONFIG))
    made(scratch, host=Host(private_cgroup_namespace=False, cpus=4))
    assert before == (isolation.ISOLATION, isolation.CONFIG)


def test_calls_that_a_worker_must_never_make_stand_nowhere() -> None:
    source = "\n".join(path.read_text() for path in Path(isolation.__file__).parent.glob("*.py"))
    for call in (
        ".stop(self",
        "_client.stop",
        "put_archive",
        "get_archive",
        "exec_create",
        "_client.logs",
        "copy(",
        '"AutoRemove": True',
        "prune",
    ):
        assert call not in source, call


# the system call filter -------------------------------------------------------------------------------------------------


def test_no_call_stands_in_two_groups_and_every_group_is_sorted() -> None:
    groups = [names.split() for names in seccomp.ALLOWED.values()]
    assert len({name for group in groups for name in group}) == sum(map(len, groups))
    assert all(group == sorted(group) for group in groups)


def test_the_profile_denies_unless_it_allows_and_knows_no_second_architecture() -> None:
    profile = json.loads(seccomp.profile_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert all(entry["subArchitectures"] == [] for entry in profile["archMap"])
    assert {rule["action"] for rule in profile["syscalls"]} == {"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"}
    conditional = {name for rule in profile["syscalls"] if rule["args"] for name in rule["names"]}
    free = {name for rule in profile["syscalls"] if not rule["args"] and rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert conditional == {"clone", "personality", "socket", "socketpair", "fallocate", "ioctl", "prctl", "prlimit64", "setpriority"}
    assert not conditional & free


def test_only_harmless_commands_pass_ioctl_and_each_by_its_lower_half() -> None:
    tests = [rule["args"] for rule in seccomp.profile()["syscalls"] if "ioctl" in rule["names"]]
    assert [(test["index"], test["op"], test["value"]) for (test,) in tests] == [(1, "SCMP_CMP_MASKED_EQ", 0xFFFFFFFF)] * len(tests)
    allowed = {test["valueTwo"] for (test,) in tests}
    # Their own group and number, never the generic file system commands ('f', 'X') or a typed character (TIOCSTI), a line discipline.
    assert {command >> 8 & 0xFF for command in allowed} == {ord("T")}
    assert not allowed & {0x5412, 0x5423, 0x541C, 0x541D}


# user ids ----------------------------------------------------------------------------------------------------------------


def test_a_uid_is_held_by_one_until_it_is_released(home: Path) -> None:
    held = [take_uid(home, first=5000, count=3) for _ in range(3)]
    assert sorted(uid.number for uid in held) == [5000, 5001, 5002]
    with pytest.raises(SandboxError, match="all 3 user ids"):
        take_uid(home, first=5000, count=3)
    held[1].release()
    held[1].release()
    again = take_uid(home, first=5000, count=3)
    assert again.number == held[1].number
    for uid in (*held, again):
        uid.release()


def test_the_uids_of_sandboxes_are_nobody_elses() -> None:
    """Per-uid quotas of the kernel would be shared with whoever else runs as one of them."""
    first, count = (Settings.model_fields[f"sandbox_uid_{name}"].default for name in ("first", "count"))
    # Accounts, what `useradd` gives rootless containers (SUB_UID_MAX), systemd's containers; and the engine's own bound.
    for others in (range(65_536), range(100_000, 600_100_001), range(0x0008_0000, 0x7000_0000)):
        assert not range(max(first, others.start), min(first + count, others.stop))
    assert first + count <= 2**31 - 1


# the host ----------------------------------------------------------------------------------------------------------------

INFO: dict[str, Any] = {
    "Runtimes": {"runc": {}}, "SecurityOptions": ["name=seccomp,profile=default"],
    "MemoryLimit": True, "PidsLimit": True, "CpuCfsQuota": True, "SwapLimit": True, "CgroupVersion": "2", "NCPU": 2,
}  # fmt: skip


def problems(info: dict[str, Any], api: str = "1.41") -> list[str]:
    return list(host_check.problems_of_engine({"ApiVersion": api}, INFO | info, runtime="runc"))


def test_a_good_engine_has_no_problems_and_each_lack_is_one() -> None:
    assert problems({}) == problems({}, "1.51") == []
    lacks: list[dict[str, Any]] = [
        {"Runtimes": {"runsc": {}}}, {"SecurityOptions": []}, {"MemoryLimit": False}, {"PidsLimit": False}, {"CpuCfsQuota": False},
    ]  # fmt: skip
    assert [len(problems(lack)) for lack in lacks] == [1] * len(lacks)
    assert len(problems({}, "1.40")) == 1


def test_cgroup_version_2_always_has_private_namespaces() -> None:
    assert host_check.capabilities(INFO, runtime="runc") == Host(runtime="runc", cpus=2)
    assert host_check.capabilities(INFO | {"SwapLimit": False}, runtime="runc").weaker()


def test_blobs_and_scratch_on_one_mount_are_fine_and_a_refused_link_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(host_check.problems_of_home(home)) == []
    assert list((home / "blobs").iterdir()) == list((home / "scratch").iterdir()) == []

    def refuse(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    assert ["Invalid cross-device link" in problem for problem in host_check.problems_of_home(home)] == [True]
    assert list((home / "blobs").iterdir()) == []


# usage -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "files",
    [
        {"docker/abc/cpu.stat": "usage_usec 1500000\nuser_usec 1\n", "docker/abc/memory.peak": "4096\n"},
        {"system.slice/docker-abc.scope/cpu.stat": "usage_usec 1500000\n", "system.slice/docker-abc.scope/memory.peak": "4096\n"},
        {"cpuacct/docker/abc/cpuacct.usage": "1500000000\n", "memory/docker/abc/memory.max_usage_in_bytes": "4096\n"},
        {"cpu,cpuacct/system.slice/docker-abc.scope/cpuacct.usage": "1500000000\n",
         "memory/system.slice/docker-abc.scope/memory.max_usage_in_bytes": "4096\n"},
    ],
)  # fmt: skip
def test_usage_is_found_in_every_layout(files: dict[str, str], tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    seen = cgroup.usage("abc", root=tmp_path)
    assert seen is not None
    assert (seen.cpu_seconds, seen.memory_peak_bytes) == (1.5, 4096)
    assert cgroup.usage("other", root=tmp_path) is None
    assert cgroup.usage("", root=tmp_path) is None


def test_a_kernel_without_a_peak_says_0(tmp_path: Path) -> None:
    (tmp_path / "docker/abc").mkdir(parents=True)
    (tmp_path / "docker/abc/cpu.stat").write_text("usage_usec 1500000\n")
    assert cgroup.usage("abc", root=tmp_path) == Seen(cpu_seconds=1.5, memory_peak_bytes=0, oom_kills=None, tasks=None)


@pytest.mark.parametrize(
    ("cpu", "oom", "tasks"),
    [
        ("cpuacct/docker/abc/cpuacct.usage", "memory/docker/abc/memory.oom_control", "pids/docker/abc/pids.current"),
        ("docker/abc/cpu.stat", "docker/abc/memory.events", "docker/abc/pids.current"),
    ],
)
def test_kills_for_memory_and_living_tasks_are_counted(cpu: str, oom: str, tasks: str, tmp_path: Path) -> None:
    for name, text in ((cpu, "usage_usec 1\n"), (oom, "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), (tasks, "3\n")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    seen = cgroup.usage("abc", root=tmp_path)
    assert seen is not None
    assert (seen.oom_kills, seen.tasks) == (2, 3)
    assert not cgroup.is_empty("abc", root=tmp_path)
    (tmp_path / tasks).write_text("0\n")
    assert cgroup.is_empty("abc", root=tmp_path)
    (tmp_path / tasks).unlink()
    assert cgroup.is_empty("abc", root=tmp_path), "the kernel removes only what is empty"
    assert not cgroup.is_empty("", root=tmp_path)


# the attach stream --------------------------------------------------------------------------------------------------------


def frame(data: bytes, kind: int = 1) -> bytes:
    return bytes([kind, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


@pytest.mark.parametrize("size", [1, 3, 8, 1000])
def test_events_come_out_whatever_the_pieces_are(size: int) -> None:
    events: list[dict[str, Any]] = []
    lines = Lines(events.append)
    data = frame(b'{"event": "ready"}\n{"eve') + frame(b"a warning\n", 2) + frame(b'nt": "log", "bytes": 5}\n')
    for at in range(0, len(data), size):
        lines.feed(data[at : at + size])
    assert events == [{"event": "ready"}, {"event": "log", "bytes": 5}]
    assert lines.stderr == b"a warning\n"


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 500 Internal\r\n",
        frame(b"x" * (FRAME_BYTES + 1)),
        frame(b"", 3) + frame(b""),
        frame(b"x" * (LINE_BYTES + 1)),
        frame(b'{"event": "' + b"x" * LINE_BYTES + b'"}\n'),
        frame(b"no json\n"),
        frame(b"[]\n"),
        frame(b'{"event": 5}\n'),
        frame(b"\n"),
    ],
)
def test_a_stream_that_is_not_a_supervisors_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Lines(lambda event: None).feed(data)


def test_little_is_kept_of_much_stderr() -> None:
    lines = Lines(lambda event: None)
    for count in range(1000):
        lines.feed(frame(f"{count:04d}".encode() * 100, 2))
    assert len(lines.stderr) == 2048
    assert lines.stderr.endswith(b"0999")
