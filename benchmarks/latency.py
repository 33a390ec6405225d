"""One job at a time: what its user waits for, and where the time goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from statistics import median

import docker
import httpx

from benchmarks import baselines, jobs
from benchmarks.plan import Plan
from benchmarks.results import Row, quantile, spread
from benchmarks.stand import service

WARM = 2
# Phases that the sandbox costs by itself; everything else of a job's time is the service's.
OF_THE_SANDBOX = ("run.go", "run.end", "erase")


def warm(plan: Plan) -> Iterator[Row]:
    """A 100-row table through a sandbox that waits, against a `docker run` that imports the libraries; in turn."""
    table, ours, baseline = jobs.table(100), list[jobs.Done](), list[float]()
    with service(plan.image, warm_min=WARM) as stand, stand.client() as client:
        caller = jobs.Caller(client, jobs.SCRIPT, table)
        baselines.run_import(plan.image)
        for number in range(plan.count(200) + 3):
            stand.wait_warm(WARM)
            done = caller.run()
            if number >= 3:  # The first ones warm up connections and caches.
                ours.append(done)
            if number % 5 == 0:
                stand.wait_warm(WARM)
                baseline.append(baselines.run_import(plan.image))
        waiting_bytes = stand.sandbox_memory_bytes() // WARM
    plan.keep_phases([done for done in ours if done.record["start"] == "warm"])
    seconds = [done.seconds for done in ours if done.record["start"] == "warm"]
    cold = len(ours) - len(seconds)
    details = {"cold_starts": cold, "samples": len(seconds), "memory_of_a_waiting_sandbox": waiting_bytes}
    yield Row(
        name="warm job, 100 rows, submit → final (erased)",
        ours=f"{spread(seconds)} (p50 / p90 / p99)",
        baseline=f"`docker run`, imports only: {spread(baseline)}",
        value=median(baseline) / median(seconds),
        target=8.0,
        details=details,
    )
    yield Row(
        name="warm job, p99 to p50",
        ours=spread(seconds),
        baseline="its own p50",
        value=quantile(seconds, 0.99) / median(seconds),
        target=3.0,
        at_most=True,
    )
    added = [done.seconds - sum(done.milliseconds.get(phase, 0.0) for phase in OF_THE_SANDBOX) / 1000 for done in ours]
    yield Row(
        name="what the service adds",
        ours=f"{spread(added)} of a warm job",
        baseline="–",
        value=1000 * median(added),
        target=25.0,
        at_most=True,
        unit="ms",
    )


def shapes(plan: Plan) -> Iterator[Row]:
    """The first table of the targets' page: nothing, a little and much through a job, warm and cold, and through the engine."""
    engine = docker.from_env()
    big = jobs.table(plan.count(1_000_000), 8)
    cases: list[tuple[str, str, bytes | None]] = [
        ("`print(1)`", jobs.PRINTS, None),
        ("100 rows", jobs.SCRIPT, jobs.table(100)),
        ("1M × 8 float64", jobs.SCRIPT, big),
    ]
    for name, script, table in cases:
        with ExitStack() as opened:
            place = opened.enter_context(baselines.workplace(script, table or jobs.table(1)))
            runs: dict[str, Callable[[], float]] = {"docker run": partial(baselines.run_script, plan.image, place)}
            if table is None:
                runs = {"docker run": partial(baselines.run_import, plan.image)}
            else:
                runs["the engine's API"] = partial(baselines.run_by_api, engine, plan.image, place)
            stand = opened.enter_context(service(plan.image, warm_min=1))
            runs["warm"] = partial(_seconds, opened.enter_context(stand.client()), script, table)
            other = opened.enter_context(service(plan.image, warm_min=0, warm_max=0))
            runs["cold"] = partial(_seconds, opened.enter_context(other.client()), script, table)
            spent: dict[str, list[float]] = {key: [] for key in runs}
            for _ in range(plan.count(10)):
                for key, run in runs.items():
                    stand.wait_warm(1)
                    spent[key].append(run())
        p50 = {key: median(values) for key, values in spent.items()}
        yield Row(
            name=f"{name}: warm against `docker run`",
            ours=f"warm {1000 * p50['warm']:,.0f} ms, cold {1000 * p50['cold']:,.0f} ms (p50)",
            baseline=", ".join(f"{key} {1000 * p50[key]:,.0f} ms" for key in p50 if key not in ("warm", "cold")),
            value=p50["docker run"] / p50["warm"],
        )
    engine.close()


def _seconds(client: httpx.Client, script: str, table: bytes | None) -> float:
    return jobs.run(client, script, table).seconds
