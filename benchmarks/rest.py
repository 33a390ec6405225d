"""A service that nobody uses, and a store that is full."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks import store_scale
from benchmarks.plan import Plan
from benchmarks.results import Row
from benchmarks.stand import service


def idle(plan: Plan) -> Iterator[Row]:
    """CPU of the service's processes while nothing is asked of it, and what its waiting sandboxes hold."""
    with service(plan.image, warm_min=1) as stand:
        stand.wait_warm(1)
        before, began = stand.cpu_seconds(), time.monotonic()
        time.sleep(2 if plan.quick else 60)
        seconds = time.monotonic() - began
        used = {name: 100 * (after - before[name]) / seconds for name, after in stand.cpu_seconds().items()}
        memory = {name: size // 2**20 for name, size in stand.memory_bytes().items()}
        waiting = stand.sandbox_memory_bytes() // 2**20
    yield Row(
        name="idle",
        ours=", ".join(f"{name} {percent:.2f} %" for name, percent in used.items()) + f"; a waiting sandbox {waiting} MiB",
        baseline="nothing",
        value=sum(used.values()),
        target=0.5,
        at_most=True,
        unit="% of a CPU",
        details={"memory_mib": memory},
    )


def scale(plan: Plan) -> Iterator[Row]:
    """Verbs of the store with 10,000 jobs queued and 100,000 records, against an empty one; in turn."""
    with store_scale.two_sqlite_stores() as (empty, full):
        queued, records = (100, 100) if plan.quick else (store_scale.QUEUED, store_scale.RECORDS)
        compared = store_scale.compare(empty, full, queued=queued, records=records, rounds=plan.count(store_scale.ROUNDS))
    for verb in ("submit", "claim", "page"):
        each = next(found for found in compared if found.verb == verb)
        yield Row(
            name=f"{verb}, {queued:,} jobs queued, {records:,} records (SQLite)",
            ours=f"{each.full.p50:.2f} / {each.full.p99:.2f} ms (p50 / p99)",
            baseline=f"empty: {each.empty.p50:.2f} / {each.empty.p99:.2f} ms",
            value=each.ratio,
            target=1.5,
            at_most=True,
        )
