"""The walls of made-up hosts, and the grades that follow."""

from __future__ import annotations

import re
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fumehood.settings import Settings
from fumehood.testing import RedisServer, free_port
from worker import host_facts, walls
from worker.host_facts import CGROUP_NAMESPACE, VULNERABILITIES, Facts, Mode
from worker.runtimes import FAMILIES
from worker.walls import Kind

ROOT = Path(__file__).resolve().parents[2]
SYSCTL = "/proc/sys/kernel/"
BPF = SYSCTL + "unprivileged_bpf_disabled"
SMT = "/sys/devices/system/cpu/smt/active"
GOOD = Facts(
    info={
        "Runtimes": {"runc": {"path": "runc"}, "runsc": {"path": "/usr/bin/runsc"}, "second": {"runtimeType": "io.containerd.kata.v2"}},
        "SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin", "name=userns", "name=cgroupns"],
        **dict.fromkeys(("MemoryLimit", "PidsLimit", "CpuCfsQuota", "SwapLimit"), True),
        "CgroupVersion": "2",
        "LiveRestoreEnabled": False,
    },
    version={"Version": "28.1.0", "ApiVersion": "1.49", "Components": [{"Name": "runc", "Version": "1.3.3"}]},
    runtime="runsc",
    image="sha256:" + "0" * 64,
    home=Mode(uid=10900, bits=0o700),
    owner=10900,
    secrets={"redis_password": Mode(uid=10900, bits=0o600)},
    redis_password=True,
    listens=["127.0.0.1", "::1"],
    worker_mounts=[["/srv/fumehood", "/sys/fs/cgroup", "/run/fumehood"]],
    engine_socket="/var/run/docker.sock",
    kernel={
        CGROUP_NAMESPACE: "",
        VULNERABILITIES + "meltdown": "Not affected\n",
        VULNERABILITIES + "spectre_v2": "Mitigation: Retpolines; SMT vulnerable\n",
        SMT: "0\n",
        BPF: "2\n",
        SYSCTL + "io_uring_disabled": "2\n",
        SYSCTL + "unprivileged_userns_clone": "0\n",
        "/proc/swaps": "Filename Type Size Used Priority\n",
    },
)


def facts(**changes: Any) -> Facts:
    """The good host, but for this; entries of `info`, `version` and `kernel` that are None are not there."""
    for name in ("info", "version", "kernel"):
        entries = getattr(GOOD, name) | changes.get(name, {})
        changes[name] = {key: value for key, value in entries.items() if value is not None}
    return replace(GOOD, **changes)


def runc(version: str) -> dict[str, Any]:
    return {"version": {"Components": [{"Name": "runc", "Version": version}]}, "runtime": "runc"}


# wall → what makes it missing, and what hides it
ILL: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "memory limits": ({"info": {"MemoryLimit": False}}, {"info": {"MemoryLimit": None}}),
    "process limits": ({"info": {"PidsLimit": False}}, {"info": {"PidsLimit": None}}),
    "CPU limits": ({"info": {"CpuCfsQuota": False}}, {"info": {"CpuCfsQuota": None}}),
    "system call filter": ({"info": {"SecurityOptions": ["name=apparmor", "name=userns"]}}, {"info": {"SecurityOptions": None}}),
    "engine's API": ({"version": {"ApiVersion": "1.40"}}, {"version": {"ApiVersion": None}}),
    "runtime known": ({"runtime": "runsc-2"}, None),
    "private cgroup namespace": ({"info": {"CgroupVersion": "1"}, "kernel": {CGROUP_NAMESPACE: None}}, None),
    "swap limit": ({"info": {"SwapLimit": False}, "kernel": {"/proc/swaps": "Filename\n/dev/sda2 partition 9 0 -2\n"}}, None),
    "image pinned": ({"image": "fumehood-anaconda:latest"}, {"image": None}),
    "home shut": ({"home": Mode(uid=10900, bits=0o750)}, {"home": None}),
    "secrets shut": ({"secrets": {"redis_password": Mode(uid=10900, bits=0o640)}}, {"secrets": {}}),
    "Redis password": ({"redis_password": False}, {"redis_password": None}),
    "API on loopback": ({"listens": ["127.0.0.1", "0.0.0.0"]}, {"listens": []}),
    "second kernel": ({"runtime": "runc"}, None),
    "user namespaces": ({"info": {"SecurityOptions": ["name=apparmor", "name=seccomp"]}}, {"info": {"SecurityOptions": None}}),
    "gate before the engine": ({"worker_mounts": [["/srv/fumehood", "/run/docker.sock"]]}, {"worker_mounts": []}),
    "AppArmor or SELinux": ({"info": {"SecurityOptions": ["name=seccomp", "name=userns"]}}, {"info": {"SecurityOptions": None}}),
    "processor's mitigations": (
        {"kernel": {VULNERABILITIES + "mds": "Vulnerable: Clear CPU buffers attempted, no microcode"}},
        {"kernel": {path: None for path in GOOD.kernel if path.startswith(VULNERABILITIES)}},
    ),
    "no hyper-threading": ({"kernel": {SMT: "1\n"}}, {"kernel": {SMT: None}}),
    "engine's version": ({"version": {"Version": "20.10.24"}}, {"version": {"Version": "20.10.24+dfsg1"}}),
    "runc's version": (runc("1.2.5"), runc("1.1.5+ds1")),
    "no unprivileged bpf": (
        {"kernel": {SYSCTL + "unprivileged_bpf_disabled": "0"}},
        {"kernel": {SYSCTL + "unprivileged_bpf_disabled": None}},
    ),
    "no io_uring": ({"kernel": {SYSCTL + "io_uring_disabled": "1"}}, {"kernel": {SYSCTL + "io_uring_disabled": None}}),
    "cgroup v2": ({"info": {"CgroupVersion": "1"}}, None),
    "no user namespaces for all": (
        {"kernel": {SYSCTL + "unprivileged_userns_clone": "1"}},
        {"kernel": {SYSCTL + "unprivileged_userns_clone": None}},
    ),
    "no swap": ({"kernel": {"/proc/swaps": "Filename\n/swapfile file 9 0 -2\n"}}, {"kernel": {"/proc/swaps": None}}),
    "no live-restore": ({"info": {"LiveRestoreEnabled": True}}, {"info": {"LiveRestoreEnabled": None}}),
}


def active(host: Facts) -> dict[str, bool | None]:
    return {one.wall.name: one.active for one in walls.look(host)}


def letter(host: Facts) -> str:
    return walls.judge(walls.look(host)).grade.letter


def missing(host: Facts) -> list[str]:
    return [one.wall.name for one in walls.judge(walls.look(host)).missing]


def test_a_good_host_has_every_wall_and_the_best_grade() -> None:
    assert set(active(GOOD).values()) == {True}
    assert list(active(GOOD)) == list(ILL)
    assert (letter(GOOD), missing(GOOD)) == ("A", [])


@pytest.mark.parametrize("name", ILL)
def test_a_wall_is_missing_where_its_facts_say_so_and_unknown_where_they_say_nothing(name: str) -> None:
    ill, hidden = ILL[name]
    assert active(facts(**ill))[name] is False
    if hidden is not None:
        assert active(facts(**hidden))[name] is None


@pytest.mark.parametrize("name", ILL)
def test_one_missing_wall_gives_the_grade_of_its_kind_and_is_the_next_step(name: str) -> None:
    host = facts(**ILL[name][0])
    kind = next(wall.kind for wall in walls.WALLS if wall.name == name)
    expected = {Kind.INDISPENSABLE: "F", Kind.CONTROL: "D", Kind.DEPTH: "B", Kind.REMARK: "A"}
    # With a second kernel there is no need of user namespaces; without one, those are at least something.
    grade = {"second kernel": "B", "user namespaces": "A"}.get(name) or expected[kind]
    assert letter(host) == grade
    assert (name in missing(host)) == (grade != "A")


@pytest.mark.parametrize("name", [name for name, (_, hidden) in ILL.items() if hidden])
def test_what_nobody_can_say_makes_no_grade_worse(name: str) -> None:
    hidden = ILL[name][1] or {}
    assert letter(replace(facts(**hidden), runtime="runsc")) == "A"


@pytest.mark.parametrize("socket", ["/var/run/docker.sock", "/run/docker.sock"])
@pytest.mark.parametrize("source", ["/run/docker.sock", "/var/run/docker.sock", "/run", "/var/run", "/run/", "/var/run/../run", "/"])
def test_a_worker_with_a_directory_that_the_engines_socket_lies_in_has_the_socket(socket: str, source: str) -> None:
    host = facts(worker_mounts=[["/srv/fumehood", source]], engine_socket=socket)
    (found,) = [one for one in walls.look(host) if one.wall.name == "gate before the engine"]
    assert (found.active, found.found) == (False, f"the worker has {source}")


def test_a_socket_of_another_name_is_the_engines_where_the_settings_say_so() -> None:
    seen = {"worker_mounts": [["/srv/fumehood", "/opt/engine"]]}
    assert active(facts(**seen, engine_socket="/opt/engine/api.sock"))["gate before the engine"] is False
    assert active(facts(**seen, engine_socket="/opt/engine-2/api.sock"))["gate before the engine"] is True
    assert active(facts(worker_mounts=[["/srv/docker.sock"]], engine_socket=None))["gate before the engine"] is False


@pytest.mark.parametrize("word", FAMILIES)
def test_a_runtime_is_a_second_kernel_where_its_family_says_so(word: str) -> None:
    for program in ({"path": f"/usr/bin/{word}"}, {"runtimeType": f"io.containerd.{word}.v2"}):
        assert active(facts(runtime="ours", info={"Runtimes": {"ours": program}}))["second kernel"] is FAMILIES[word].second_kernel
    assert active(facts(runtime=word, info={"Runtimes": {word: {}}}))["second kernel"] is FAMILIES[word].second_kernel


def test_a_name_makes_no_second_kernel_of_a_program_that_is_none() -> None:
    assert active(facts(info={"Runtimes": {"runsc": {"path": "/usr/bin/runc"}}}))["second kernel"] is False
    assert active(facts(info={"Runtimes": {"runsc": {"path": "/opt/gvisor/start"}}}))["second kernel"] is True


def test_one_kernel_and_no_user_namespaces_are_c_whatever_else_is_good_or_bad() -> None:
    bare = {"runtime": "runc", "info": {"SecurityOptions": ["name=seccomp"]}}
    assert (letter(facts(**bare)), missing(facts(**bare))) == ("C", ["second kernel", "user namespaces"])
    assert letter(facts(**bare, redis_password=False)) == "D"
    assert letter(facts(**bare | {"info": {"SecurityOptions": []}})) == "F"


def test_user_namespaces_alone_are_b_and_the_second_kernel_comes_first() -> None:
    host = facts(runtime="runc", kernel={SMT: "1"})
    assert (letter(host), missing(host)) == ("B", ["second kernel", "no hyper-threading"])


@pytest.mark.parametrize("runtime", ["runsc", "second"])
def test_a_second_kernel_is_known_by_name_and_by_program(runtime: str) -> None:
    assert active(facts(runtime=runtime))["second kernel"] is True


def test_rootless_engines_have_user_namespaces() -> None:
    assert active(facts(info={"SecurityOptions": ["name=seccomp", "name=rootless"]}))["user namespaces"] is True


@pytest.mark.parametrize(
    ("version", "closed"),
    [("1.1.15", False), ("1.2.7", False), ("1.2.8", True), ("1.3.2", False), ("1.3.3", True), ("1.4.0", True), ("1.3.0-rc.2", None)],
)
def test_releases_of_runc_are_judged_by_their_own_line(version: str, closed: bool | None) -> None:
    assert active(facts(**runc(version)))["runc's version"] is closed


def test_a_home_of_somebody_else_is_open() -> None:
    assert active(facts(home=Mode(uid=1000, bits=0o700)))["home shut"] is False
    assert active(facts(home=Mode(uid=1000, bits=0o700), owner=None))["home shut"] is True


def test_swap_that_is_not_there_needs_no_accounting() -> None:
    assert active(facts(info={"SwapLimit": False}))["swap limit"] is True


# the facts -------------------------------------------------------------------------------------------------------------
TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:223D 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 00000000:223E 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   2: 0100007F:223D 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
"""
TCP6 = """  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:223D 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
"""


@pytest.mark.skipif(__import__("sys").byteorder != "little", reason="the tables are of a machine with the little end first")
def test_who_listens_is_read_from_the_kernels_tables() -> None:
    assert list(host_facts.listening(TCP, 0x223D)) == ["127.0.0.1"]
    assert list(host_facts.listening(TCP, 0x223E)) == ["0.0.0.0"]
    assert list(host_facts.listening(TCP6, 0x223D)) == ["::1"]
    assert list(host_facts.listening(TCP, 80)) == []


def test_a_redis_is_asked_whether_it_wants_a_password(redis: RedisServer) -> None:
    assert host_facts.asks_for_a_password(redis.url) is True
    assert host_facts.asks_for_a_password(f"redis://127.0.0.1:{free_port()}/0") is None
    assert host_facts.asks_for_a_password("rediss://127.0.0.1/0") is None
    with socket.create_server(("127.0.0.1", 0)) as open_to_all:

        def answer() -> None:
            line, _ = open_to_all.accept()
            with line:
                line.recv(64)
                line.sendall(b"+PONG\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert host_facts.asks_for_a_password(f"redis://127.0.0.1:{open_to_all.getsockname()[1]}/0") is False
        thread.join(10)


def test_facts_of_this_machine_are_gathered_with_the_modes_of_the_home(home: Path) -> None:
    (home / "secrets").mkdir(parents=True)
    home.chmod(0o755)
    secret = home / "secrets" / "redis_password"
    secret.write_text("x\n")
    secret.chmod(0o640)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        found = host_facts.gather(Settings(home=home), info={}, version={}, port=port, owner=None)
    assert found.home is not None
    assert found.home.bits == 0o755
    assert {name: mode.bits for name, mode in found.secrets.items()} == {"redis_password": 0o640}
    assert found.redis_password is True
    assert list(found.listens) == ["127.0.0.1"]
    assert "/proc/swaps" in found.kernel
    assert found.engine_socket == "/var/run/docker.sock"
    over_tcp = Settings(home=home, docker_host="tcp://127.0.0.1:2375")
    assert host_facts.gather(over_tcp, info={}, version={}, port=port, owner=None).engine_socket is None


# the page ----------------------------------------------------------------------------------------------------------------
def test_the_page_states_the_rule_as_the_table_does() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    section = page.partition("## How strong the walls are")[2].partition("\n## ")[0]
    assert re.findall(r"^\| \*\*([A-F])\*\* \| (.*) \|$", section, re.M) == [(grade.letter, grade.rule) for grade in walls.GRADES]
