#!/usr/bin/env python3
"""`make audit`: writes what is inside (out/sbom-service.cdx.json, out/sbom-image.cdx.json) and asks what is known against it.

Python packages are looked up at the Python Package Index, through pip-audit; Debian's are listed and not looked up. What is known and
accepted stands in images/accepted-advisories.toml, with a reason and a day on which it must be thought of again.

Ends with 0 where nothing is known that is not accepted, with 1 where something is, and with 3 where that could not be found out.
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import sbom
from catalogue import HERE, REPOSITORY, SUITE

OUT = REPOSITORY / "out"
ACCEPTED = HERE / "accepted-advisories.toml"
FOUND, NOT_AUDITED = 1, 3
LOOK_UP_SECONDS = 600
# Name of the SBOM → the image that build.py knows, and its lock.
SUBJECTS = {"service": ("service", HERE / "service" / "requirements.lock"), "image": ("anaconda", HERE / "anaconda" / "requirements.lock")}


class NotAudited(Exception):
    """The source of advisories did not answer, or does not know what it was asked about; says which."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Advisory:
    package: str
    version: str
    names: tuple[str, ...]
    """Its own and its aliases: PYSEC-…, GHSA-…, CVE-…."""
    fixed_in: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """`until` is the last day on which it counts."""

    advisory: str
    package: str
    reason: str
    until: dt.date


def read_accepted(path: Path) -> list[Accepted]:
    """Raises ValueError where an entry has other fields than these, or none of its reasons."""
    entries = []
    for number, entry in enumerate(tomllib.loads(path.read_text()).get("accepted", []), 1):
        kinds = {"advisory": str, "package": str, "reason": str, "until": dt.date}
        wrong = [name for name, kind in kinds.items() if type(entry.get(name)) is not kind or not entry[name]]
        if wrong or entry.keys() != kinds.keys():
            raise ValueError(f"{path.name}: entry {number} has {sorted(entry)}; expected {sorted(kinds)}, until as a date")
        entries.append(Accepted(**entry))
    return entries


def look_up(packages: Iterable[sbom.Pinned]) -> list[Advisory]:
    """What the index knows against them. Raises NotAudited."""
    rounds: list[dict[str, sbom.Pinned]] = []
    for package in packages:
        # Two locks may pin two versions of one package, and pip-audit takes one at a time.
        fitting = next((one for one in rounds if package.name not in one), None)
        if fitting is None:
            rounds.append(fitting := {})
        fitting[package.name] = package
    return [advisory for one in rounds for advisory in _look_up(list(one.values()))]


def _look_up(packages: Sequence[sbom.Pinned]) -> list[Advisory]:
    with tempfile.TemporaryDirectory() as directory:
        wanted, answer = Path(directory, "packages.txt"), Path(directory, "answer.json")
        # Without markers: what is installed on another Python is looked up too.
        wanted.write_text("".join(f"{package.name}=={package.version}\n" for package in packages))
        options = ["--requirement", wanted, "--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json", "--output", answer]
        command = [sys.executable, "-m", "pip_audit", *map(str, options)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LOOK_UP_SECONDS)
        except subprocess.TimeoutExpired:
            raise NotAudited(f"the package index did not answer within {LOOK_UP_SECONDS} s") from None
        if not answer.exists():
            raise NotAudited((done.stderr.strip().splitlines() or [f"pip-audit ended with {done.returncode}"])[-1][:300])
        return read_answer(json.loads(answer.read_text()), expected=len(packages))


def read_answer(answer: dict[str, Any], *, expected: int) -> list[Advisory]:
    """pip-audit ends well where the index knows nothing of a package: that is no answer. Raises NotAudited."""
    listed = answer["dependencies"]
    unknown = [one["skip_reason"] for one in listed if "skip_reason" in one]
    if unknown or len(listed) != expected:
        raise NotAudited(f"{max(len(unknown), expected - len(listed))} of {expected} packages: {(unknown or ['no answer'])[0][:200]}")
    return [
        Advisory(package=one["name"], version=one["version"], names=(known["id"], *known["aliases"]), fixed_in=tuple(known["fix_versions"]))
        for one in listed
        for known in one["vulns"]
    ]


def judge(found: Sequence[Advisory], accepted: Sequence[Accepted], *, today: dt.date) -> tuple[list[list[str]], bool]:
    """A line for each advisory and for each acceptance that nothing needs, and whether all of it is accepted."""
    rows, fine, used = [], True, set()
    for advisory in found:
        named = [one for one in accepted if one.package == advisory.package and one.advisory in advisory.names]
        used.update(named)
        valid = [one for one in named if today <= one.until]
        fine &= bool(valid)
        if valid:
            said = f"accepted until {valid[0].until}: {valid[0].reason}"
        else:
            said = f"NOT ACCEPTED any more, since {named[0].until}" if named else "NOT ACCEPTED"
        fixed = ", ".join(advisory.fixed_in) or "none"
        rows.append([f"{advisory.package} {advisory.version}", " ".join(advisory.names), f"fixed in {fixed}", said])
    rows += [[one.package, one.advisory, "", "accepted, and not known any more: take it out"] for one in accepted if one not in used]
    return rows, fine


def audit(
    packages: Sequence[sbom.Pinned],
    *,
    accepted: Path = ACCEPTED,
    today: dt.date,
    source: Callable[[Sequence[sbom.Pinned]], list[Advisory]] = look_up,
) -> int:
    """Look everything up and print a table. The exit code."""
    known = read_accepted(accepted)
    try:
        found = source(packages)
    except NotAudited as error:
        print(f"\n*** NOT AUDITED: {error}\n*** Nothing is known of these {len(packages)} packages, neither good nor bad. ***", flush=True)
        return NOT_AUDITED
    rows, fine = judge(found, known, today=today)
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, (32, 48, 24, 0), strict=True)).rstrip())
    print(f"{len(packages)} packages looked up: {len(found)} advisories{'' if fine else ', not all of them accepted'}", flush=True)
    return 0 if fine else FOUND


def write_sboms() -> None:
    OUT.mkdir(exist_ok=True)
    for name, (image, lock) in SUBJECTS.items():
        asked = subprocess.run(
            [sys.executable, HERE / "build.py", image, "--print-id"], capture_output=True, text=True, check=False, timeout=60
        )
        if asked.returncode:
            sys.exit(f"the image {image} is not built: {asked.stderr.strip() or asked.stdout.strip()}")
        digest = asked.stdout.split()[-1]
        path = OUT / f"sbom-{name}.cdx.json"
        inside = sbom.ask(digest)
        path.write_text(sbom.document(f"fumehood-{name}", lock, inside, image=digest, distribution=SUITE))
        print(
            f"{path.relative_to(REPOSITORY)}: {len(list(sbom.read_lock(lock)))} Python packages, {len(inside.debian)} of Debian", flush=True
        )


def main() -> int:
    write_sboms()
    pinned = {(package.name, package.version): package for _, lock in SUBJECTS.values() for package in sbom.read_lock(lock)}
    return audit([pinned[key] for key in sorted(pinned)], today=dt.date.today())


if __name__ == "__main__":
    sys.exit(main())
