"""`python -m benchmarks [--quick] [ROW …]`: measure, and tell. `make bench` sets up what is needed first."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

from benchmarks import chart, gigabyte, latency, rest, scoring, throughput, transfer
from benchmarks.plan import Plan
from benchmarks.results import HERE, Row, keep, show

PHASES = HERE / "phases.png"
ROWS: dict[str, Callable[[Plan], Iterator[Row]]] = {
    "warm": latency.warm,
    "sustained": throughput.sustained,
    "batch": throughput.batch,
    "scoring": scoring.scoring,
    "calls": scoring.calls,
    "gigabyte": gigabyte.gigabyte,
    "transfer": transfer.transfer,
    "scale": rest.scale,
    "workers": throughput.workers,
    "idle": rest.idle,
    "shapes": latency.shapes,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure the service against its baselines, in turn, in one run.")
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], metavar="ROW", help=f"which of {', '.join(ROWS)}; all when none is named")
    parser.add_argument("--quick", action="store_true", help="only look that it runs; nothing is kept")
    given = parser.parse_args()
    plan = Plan(image=_image(), quick=given.quick)
    rows: list[Row] = []
    for name in given.rows or ROWS:
        print(f"── {name}: {(ROWS[name].__doc__ or '').splitlines()[0]}", flush=True)
        for row in ROWS[name](plan):
            print(f"   {row.name}: {row.cells()[3]} ({row.ours})", flush=True)
            rows.append(row)
    show(rows)
    if given.quick:
        return
    if not given.rows:
        keep(rows)
    if plan.phases:
        chart.draw(plan.phases, PHASES)


def _image() -> str:
    """The sandbox image of this checkout, which must be built."""
    if named := os.environ.get("FUMEHOOD_IMAGE"):
        return named
    build = [sys.executable, str(HERE.parent / "images" / "build.py"), "anaconda", "--print-id"]
    found = subprocess.run(build, capture_output=True, text=True, timeout=120)
    if found.returncode:
        sys.exit(f"{found.stderr.strip() or found.stdout.strip()}")
    return found.stdout.split()[-1]


if __name__ == "__main__":
    main()
