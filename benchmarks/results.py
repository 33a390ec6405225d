"""What a benchmark gives: rows of a figure, a baseline and a target, and how they are told."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
LATEST = HERE / "results" / "latest.json"
README = HERE / "README.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """`ours` and `baseline` in words, with their units; `value` is what is held against `target`."""

    name: str
    ours: str
    baseline: str
    value: float | None
    target: float | None = None
    at_most: bool = False
    """Whether the target is an upper bound."""
    unit: str = "×"
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool | None:
        """None where there is no target, or nothing to hold against it."""
        if self.value is None or self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target

    def cells(self) -> tuple[str, str, str, str, str, str]:
        sign = "≤" if self.at_most else "≥"
        value = "–" if self.value is None else f"{self.value:.3g} {self.unit}"
        target = "–" if self.target is None else f"{sign} {self.target:g} {self.unit}"
        return self.name, self.ours, self.baseline, value, target, {True: "yes", False: "**no**", None: "–"}[self.holds]


HEADINGS = ("what", "Fumehood", "baseline", "measured", "target", "holds")


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all do not exceed. Raises ValueError where there are none."""
    if not values:
        raise ValueError("there is no quantile of nothing; expected at least one value")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(seconds: Sequence[float]) -> str:
    """p50, p90 and p99 in milliseconds."""
    return " / ".join(f"{1000 * quantile(seconds, share):,.0f}" for share in (0.5, 0.9, 0.99)) + " ms"


def machine() -> dict[str, str]:
    """What the figures depend on, and nothing that names this machine."""
    engine = subprocess.run(["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, timeout=30)
    model = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "?")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processors": f"{os.cpu_count()} × {model}",
        "memory": f"{pages / 2**30:.0f} GiB",
        "kernel": platform.release().partition("-")[0],
        "engine": f"Docker Engine {engine.stdout.strip()}",
        "python": platform.python_version(),
    }


def show(rows: Sequence[Row]) -> None:
    table = Table(*HEADINGS)
    for row in rows:
        table.add_row(*row.cells())
    Console().print(table)


def markdown(rows: Sequence[Row], facts: dict[str, str]) -> str:
    lines = [", ".join(f"{name} {value}" for name, value in facts.items()) + ".", "", _line(HEADINGS), _line(["---"] * len(HEADINGS))]
    return "\n".join([*lines, *(_line(row.cells()) for row in rows)])


def keep(rows: Sequence[Row]) -> None:
    """Write the JSON, and the table into the README between its marks; rows of an earlier run that were not measured now go."""
    facts = machine()
    LATEST.parent.mkdir(exist_ok=True)
    LATEST.write_text(json.dumps({"machine": facts, "rows": [asdict(row) for row in rows]}, indent=1, ensure_ascii=False) + "\n")
    before, _, rest = README.read_text().partition(BEGIN)
    README.write_text(f"{before}{BEGIN}\n\n{markdown(rows, facts)}\n\n{END}{rest.partition(END)[2]}")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
