"""What differs by runtime, and what the engine must say of one. No engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.differences import DIFFERENCES
from fumehood.limits import Limits
from tests.walls import GVISOR_ARGUMENTS
from worker import host_check, isolation, runtimes
from worker.recipe import Recipe
from worker.runtimes import FAMILIES, UNKNOWN, Family, family
from worker.scratch import Scratch
from worker.seccomp import CLONE3_ABSENT, CLONE3_PASSED_ON

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "stronger-walls.md"
GVISOR = {"path": "/usr/bin/runsc", "runtimeArgs": GVISOR_ARGUMENTS}


@pytest.fixture
def kvm(tmp_path: Path) -> Path:
    (tmp_path / "kvm").mkdir()
    return tmp_path / "kvm"


def problems(runtime: str, registered: dict[str, Any], kvm: Path, cgroups: Path | None = None) -> list[str]:
    return list(runtimes.problems(runtime, registered, kvm=kvm, cgroups=cgroups or kvm))


@pytest.mark.parametrize(
    ("runtime", "word"),
    [
        ("runc", "runc"), ("io.containerd.runc.v2", "runc"), ("crun", "crun"), ("runsc", "runsc"), ("runsc-kvm", "runsc"),
        ("io.containerd.runsc.v1", "runsc"), ("kata", "kata"), ("io.containerd.kata.v2", "kata"),
    ],
)  # fmt: skip
def test_the_name_tells_the_family(runtime: str, word: str) -> None:
    assert family(runtime) is FAMILIES[word]


def test_of_an_unknown_runtime_nothing_is_taken_for_granted() -> None:
    assert family("youki") is UNKNOWN
    assert not UNKNOWN.init_is_watched


def test_a_runtime_that_is_registered_well_has_no_problems(kvm: Path) -> None:
    assert problems("runc", {}, kvm) == problems("runc", {"path": "runc"}, kvm) == []
    assert problems("runsc", GVISOR, kvm) == []
    assert problems("runsc", GVISOR | {"runtimeArgs": [each.removeprefix("-") for each in GVISOR_ARGUMENTS]}, kvm) == []
    assert problems("crun", {"path": "/usr/bin/crun"}, kvm) == problems("kata", {"path": "/usr/bin/kata-runtime"}, kvm) == []


@pytest.mark.parametrize("missing", FAMILIES["runsc"].demanded)
def test_gvisor_without_a_demanded_argument_is_a_problem(missing: str, kvm: Path) -> None:
    found = problems("runsc", GVISOR | {"runtimeArgs": [each for each in GVISOR_ARGUMENTS if each != missing]}, kvm)
    assert len(found) == 1
    assert missing in found[0]
    assert all(each in found[0] for each in GVISOR_ARGUMENTS if each != missing)


@pytest.mark.parametrize("more", ["--debug-log=/var/log/runsc/", "-strace", "--host-uds=all", "--overlay2=all:memory", "--ignore-cgroups"])
def test_gvisor_with_an_argument_that_opens_the_wall_is_a_problem(more: str, kvm: Path) -> None:
    assert len(problems("runsc", GVISOR | {"runtimeArgs": [*GVISOR_ARGUMENTS, more]}, kvm)) == 1


def test_a_runtime_under_anothers_name_is_a_problem(kvm: Path) -> None:
    assert "is registered as runsc" in problems("strong", GVISOR, kvm)[0]
    assert "is registered as crun" in problems("runc", {"path": "/usr/bin/crun"}, kvm)[0]


def test_kata_needs_a_kernel_with_kvm(tmp_path: Path, kvm: Path) -> None:
    assert "KVM" in problems("kata", {}, tmp_path / "no")[0]
    assert "KVM" in problems("runsc", GVISOR | {"runtimeArgs": [*GVISOR_ARGUMENTS, "--platform=kvm"]}, tmp_path / "no")[0]


def test_crun_needs_one_version_of_cgroups(tmp_path: Path, kvm: Path) -> None:
    (tmp_path / "unified").mkdir()
    (tmp_path / "unified" / "cgroup.controllers").touch()
    assert "v1 and v2 at once" in problems("crun", {}, kvm, tmp_path)[0]
    assert problems("runc", {}, kvm, tmp_path) == []


def test_an_engine_that_maps_user_ids_needs_sandboxes_with_low_ones() -> None:
    mapped = {"SecurityOptions": ["name=seccomp,profile=default", "name=userns"]}
    assert list(host_check.problems_of_user_ids({"SecurityOptions": []}, runtime="runc", last=2**30)) == []
    assert list(host_check.problems_of_user_ids(mapped, runtime="runc", last=65_535)) == []
    assert "sandbox_uid_first" in next(host_check.problems_of_user_ids(mapped, runtime="runc", last=65_536))
    assert "runsc" in next(host_check.problems_of_user_ids(mapped, runtime="runsc", last=30_000))


def test_a_container_has_what_its_runtime_needs(home: Path) -> None:
    scratch = Scratch.create(home, worker="w")
    made = {
        runtime: isolation.container(
            image="sha256:0", scratch=scratch, limits=Limits(), uid=5000, host=isolation.Host(runtime=runtime), labels={}, wait_seconds=1
        )[1]
        for runtime in ("runc", "runsc")
    }
    scratch.erase()
    assert made["runc"]["PidsLimit"] == Limits().processes
    assert made["runsc"]["PidsLimit"] == 64 + 10 * Limits().processes
    assert made["runsc"]["Tmpfs"].keys() - made["runc"]["Tmpfs"].keys() == {"/tmp"}
    assert [f'"clone3"],"action":"{action}"' in made[runtime]["SecurityOpt"][1] for runtime, action in
            (("runc", CLONE3_ABSENT), ("runsc", CLONE3_PASSED_ON))] == [True, True]  # fmt: skip
    assert isolation.changeable(Limits(), host=made["runsc"])["PidsLimit"] == made["runsc"]["PidsLimit"]
    assert isolation.Host(runtime="runsc").weaker()


def test_where_nothing_can_be_changed_only_a_job_with_the_same_limits_gets_one_that_waits() -> None:
    fixed = Recipe(limits=Limits(), at_least=1, at_most=1, changeable=False)
    assert fixed.unfit(replace(Limits(), wall_seconds=7.0)) is None
    for name, value in {"memory_bytes": 2**30, "cpus": 0.5, "processes": 20}.items():
        assert name in (fixed.unfit(replace(Limits(), **{name: value})) or "")
        assert replace(fixed, changeable=True).unfit(replace(Limits(), **{name: value})) is None


def test_the_page_shows_every_difference_of_gvisor() -> None:
    page = PAGE.read_text()
    lines = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("| `")}
    for name, difference in DIFFERENCES.items():
        endings = " or ".join(f"`{reason}`" for reason in difference.reasons)
        assert lines.get(f"`{name}`", "") == f"| `{name}` | {endings} | {difference.why} |"
    for sentence in family("runsc").weaker:
        assert sentence in page
    for argument in FAMILIES["runsc"].demanded:
        assert f'"{argument}"' in page


def test_a_family_is_a_literal_of_what_differs_from_runc() -> None:
    assert Family() == UNKNOWN
    assert FAMILIES["runc"] == Family(init_is_watched=True)


def test_no_container_of_the_service_itself_is_mapped() -> None:
    """Each states its user once, in a block of its own or in the one that API and worker share."""
    compose = (PAGE.parents[2] / "docker-compose.yml").read_text()
    assert compose.count("userns_mode: host") == compose.count('user: "${FUMEHOOD_UID}') == 3
