"""`make audit`: the SBOMs list what the locks pin, and what is known against it is told, accepted for a time, or not known."""

from __future__ import annotations

import datetime as dt
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parents[2]
TODAY = dt.date(2026, 12, 1)
LOCKS = [ROOT / "images" / "service" / "requirements.lock", ROOT / "images" / "anaconda" / "requirements.lock"]


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(ROOT / "images")
    before = set(sys.modules)
    yield importlib.import_module("audit")
    for name in set(sys.modules) - before:
        if name in ("audit", "sbom", "catalogue", "wheels"):
            del sys.modules[name]


@pytest.fixture
def sbom(audit: ModuleType) -> ModuleType:
    return sys.modules["sbom"]


# SBOMs -------------------------------------------------------------------------------------------------------------------
def listed(lock: Path) -> dict[str, tuple[str, set[str]]]:
    """Name → version and hashes, read in another way than the program does."""
    packages: dict[str, tuple[str, set[str]]] = {}
    for line in lock.read_text().splitlines():
        if found := re.match(r"([a-z0-9-]+)==([^ \\]+)", line):
            name = found[1]
            packages[name] = (found[2], set())
        elif "sha256:" in line:
            packages[name][1].add(line.partition("sha256:")[2].strip(" \\"))
    return packages


def made(sbom: ModuleType, lock: Path) -> str:
    inside = sbom.Inside(
        debian=(("libc6", "2.41-12", "amd64"), ("tzdata", "2025b-4", "all")),
        licences={"pandas": "BSD-3-Clause", "numpy": "BSD-3-Clause AND 0BSD", "click": "BSD License and so on", "idna": ""},
    )
    written: str = sbom.document("fumehood-test", lock, inside, image="sha256:" + "1" * 64, distribution="trixie")
    return written


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.parent.name)
def test_an_sbom_lists_what_the_lock_pins_and_what_debian_brought(sbom: ModuleType, lock: Path) -> None:
    components = json.loads(made(sbom, lock))["components"]
    python = {one["name"]: one for one in components if one["purl"].startswith("pkg:pypi/")}
    expected = listed(lock)
    assert len(expected) > 50
    assert {name: (one["version"], {each["content"] for each in one["hashes"]}) for name, one in python.items()} == expected
    assert all(one["purl"] == f"pkg:pypi/{name}@{expected[name][0]}" for name, one in python.items())
    assert python["pandas"]["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]
    assert python["numpy"]["licenses"] == [{"expression": "BSD-3-Clause AND 0BSD"}]
    debian = [one["purl"] for one in components if one["purl"].startswith("pkg:deb/")]
    assert debian == ["pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=trixie", "pkg:deb/debian/tzdata@2025b-4?arch=all&distro=trixie"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.parent.name)
def test_an_sbom_keeps_to_the_schema_and_is_the_same_each_time(sbom: ModuleType, lock: Path) -> None:
    written = made(sbom, lock)
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(written) is None
    assert validator.validate_str(written.replace('"bomFormat"', '"form"')) is not None
    assert made(sbom, lock) == written


def test_a_lock_with_a_line_that_is_not_understood_is_refused(sbom: ModuleType, tmp_path: Path) -> None:
    for line in ("-e .", "package", "package==1.0", "package>=1 \\\n    --hash=sha256:" + "0" * 64):
        (tmp_path / "requirements.lock").write_text(f"{line}\n")
        with pytest.raises(ValueError, match="expected name==version and hashes"):
            list(sbom.read_lock(tmp_path / "requirements.lock"))


# advisories --------------------------------------------------------------------------------------------------------------
@pytest.fixture
def run(audit: ModuleType, tmp_path: Path) -> Callable[..., int]:
    """The audit of two packages, one of which has an advisory."""

    def run(*accepted: str, today: dt.date = TODAY, source: Callable[[Any], Any] | None = None) -> int:
        path = tmp_path / "accepted.toml"
        path.write_text("\n".join(accepted))
        planted = audit.Advisory(package="bad", version="1.0", names=("PYSEC-2026-1", "CVE-2026-1"), fixed_in=("1.1",))
        packages = list(audit.sbom.read_lock(LOCKS[0]))[:2]
        code: int = audit.audit(packages, accepted=path, today=today, source=source or (lambda _: [planted]))
        return code

    return run


def accepting(advisory: str = "CVE-2026-1", package: str = "bad", until: str = "2026-12-01") -> str:
    return f'[[accepted]]\nadvisory = "{advisory}"\npackage = "{package}"\nreason = "not reached"\nuntil = {until}\n'


def test_what_is_known_and_not_accepted_fails(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 1
    told = capsys.readouterr().out
    assert re.search(r"bad 1\.0 +PYSEC-2026-1 CVE-2026-1 +fixed in 1\.1 +NOT ACCEPTED\n", told)


def test_what_is_accepted_passes_until_its_day_is_over(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(accepting()) == 0
    assert "accepted until 2026-12-01: not reached" in capsys.readouterr().out
    assert run(accepting(), today=TODAY + dt.timedelta(days=1)) == 1
    assert "NOT ACCEPTED any more, since 2026-12-01" in capsys.readouterr().out


@pytest.mark.parametrize("other", [accepting(advisory="CVE-2026-2"), accepting(package="good")])
def test_what_is_accepted_is_one_advisory_of_one_package(run: Callable[..., int], other: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(other) == 1
    assert "not known any more: take it out" in capsys.readouterr().out


def test_nothing_known_is_good(run: Callable[..., int]) -> None:
    assert run(source=lambda _: []) == 0


@pytest.mark.parametrize(
    "entry", [accepting().replace('reason = "not reached"\n', ""), accepting(until='"soon"'), accepting() + "more = 1\n"]
)
def test_an_acceptance_needs_a_reason_and_a_day(run: Callable[..., int], entry: str) -> None:
    with pytest.raises(ValueError, match="expected \\['advisory', 'package', 'reason', 'until'\\]"):
        run(entry)


def test_a_source_that_cannot_be_asked_is_told_loudly_and_apart(
    audit: ModuleType, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    def away(_: object) -> None:
        raise audit.NotAudited("connection refused")

    assert run(source=away) == 3
    assert "*** NOT AUDITED: connection refused" in capsys.readouterr().out


def test_a_source_that_does_not_know_a_package_has_not_answered(audit: ModuleType) -> None:
    known = {"name": "a", "version": "1", "vulns": [{"id": "X-1", "aliases": ["Y-1"], "fix_versions": [], "description": "d"}]}
    (advisory,) = audit.read_answer({"dependencies": [known]}, expected=1)
    assert (advisory.package, advisory.names) == ("a", ("X-1", "Y-1"))
    for dependencies in ([known, {"name": "b", "skip_reason": "not found"}], [known]):
        with pytest.raises(audit.NotAudited, match="1 of 2 packages"):
            audit.read_answer({"dependencies": dependencies}, expected=2)


def test_an_index_that_is_not_there_is_not_audited(audit: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real pip-audit, with a proxy that nobody listens at."""
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(audit.NotAudited):
        audit.look_up(list(audit.sbom.read_lock(LOCKS[0]))[:1])


@pytest.mark.parametrize(("code", "ends_with"), [(0, 0), (3, 0), (1, 1), (2, 1)])
def test_ci_fails_for_what_is_found_and_not_for_a_source_that_is_away(tmp_path: Path, code: int, ends_with: int) -> None:
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "run").write_bytes((ROOT / ".ci" / "run").read_bytes())
    for name, text in (("make", "exit 0"), ("python3", f"exit {code}")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(["bash", tmp_path / ".ci" / "run"], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, timeout=30, check=False)
    assert done.returncode == ends_with
