"""A storm: hundreds of jobs while parts of the service are killed every few seconds, then calm, then the reckoning."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import httpx
import pytest

from fumehood.receipt import ReceiptRefused, SigningKey, verify
from tests.faults.chaos import FAULTS, Chaos, Fault
from tests.faults.history import FINAL, EngineEvents, Move, Told, read, violations, watch
from tests.faults.load import SORTS, Caller, Load, Sort
from tests.faults.service import Service, standing
from tests.services import until

JOB_SECONDS = 6.0
"""So long a job takes at the very most, all waits counted, with as many callers as there are."""
CALM_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Reckoning:
    broken: list[str]
    """One sentence for each promise that was broken."""
    left: list[str]
    """Containers, files and keys that nobody took away."""
    faults: Counter[str]
    reasons: Counter[str]
    attempts: Counter[int]
    seconds: float

    def text(self) -> str:
        lines = [
            f"{self.reasons.total()} jobs in {self.seconds:.0f} s: {_counts(self.reasons)}",
            f"attempts: {_counts(self.attempts)}",
            f"{self.faults.total()} faults: {_counts(self.faults)}",
            *(f"BROKEN {each}" for each in self.broken),
            *(f"LEFT {each}" for each in self.left),
        ]
        return "\n".join(lines if self.broken or self.left else [*lines, "nothing lost, nothing doubled, nothing left"])


def storm(
    service: Service,
    *,
    jobs: int,
    every_seconds: float,
    seed: int,
    say: Callable[[str], None] = lambda line: None,
    faults: Mapping[Fault, int] = FAULTS,
    sorts: Sequence[Sort] = SORTS,
    callers: int = 8,
    patience_seconds: float = 15.0,
) -> Reckoning:
    """Start `service`, send `jobs` through it, with a fault every `every_seconds` and one more job ended (see Chaos), and stop it."""
    database, began = service.home / "fumehood.db", time.monotonic()
    watch(database)
    load = Load(service.client, jobs=jobs, callers=callers, seed=seed, sorts=sorts)
    with EngineEvents(service.engine.address) as engine, standing(service):

        def told_by_chaos(fault: str) -> None:
            say(f"{time.monotonic() - began:6.1f} s  {load.ended:5} ended  {fault}")

        with Chaos(
            service,
            every_seconds=every_seconds,
            seed=seed,
            say=told_by_chaos,
            faults=faults,
            ended=lambda: load.ended,
            patience_seconds=patience_seconds,
        ) as chaos:
            load.start()
            told = load.wait(60 + JOB_SECONDS * jobs)
        service.ready(seconds=CALM_SECONDS)
        with service.client() as client:
            told = [_asked_again(each, client) for each in told]
            left = _stale_results(service, read(database)) + _delete_all(service, client, told)
        left += _keys(service)
        service.stop()
        left += [*service.containers(), *service.files_of_runs()]
        happened = engine.seen()
    moves = read(database)
    ends = [move for move in moves if move.final]
    return Reckoning(
        broken=violations(moves, happened, told) + _receipts(service, told),
        left=left,
        faults=chaos.done,
        reasons=Counter(str(move.reason) for move in ends),
        attempts=Counter(move.attempt for move in ends),
        seconds=time.monotonic() - began,
    )


def _asked_again(told: Told, client: httpx.Client) -> Told:
    """After the calm the record is the one that its caller was given."""
    return replace(told, records=(*told.records, Caller(client).record(told.job)))


def _receipts(service: Service, told: list[Told]) -> list[str]:
    """What callers can check by themselves: every receipt is signed, unless its job never ran."""
    key, found = SigningKey(service.receipt_key), []
    for each in told:
        receipt = each.records[-1]["erasure"]
        try:
            if receipt["job"] != each.job:
                raise ReceiptRefused(f"it is of {receipt['job']}")
            if (receipt["attempt"], receipt["container"], receipt["worker"]) != (0, None, None):
                verify(receipt, [key.public])
        except ReceiptRefused as error:
            found.append(f"{each.job}: its receipt is refused: {error}")
    return found


def _stale_results(service: Service, moves: list[Move]) -> list[str]:
    """Outputs of attempts that do not count. Each attempt's lie below its fence."""
    fences = {move.job: str(move.fence) for move in moves if move.state in FINAL}
    jobs = [path for path in (service.home / "blobs").glob("*/jobs/*") if path.name in fences]
    outputs = [path for job in jobs for path in job.iterdir() if path.is_dir()]
    return [str(path) for path in outputs if path.name != fences[path.parent.name]]


def _delete_all(service: Service, client: httpx.Client, told: list[Told]) -> list[str]:
    """What is left of the jobs after their callers have deleted them."""
    for each in told:
        assert client.delete(f"/v1/jobs/{each.job}").status_code in (200, 204), each.job
    return [str(path) for path in (service.home / "blobs").rglob("*") if path.is_file()]


def _keys(service: Service) -> list[str]:
    """Keys that stay in Redis without an end of their own: all but tickets, which are taken, and what Celery writes about its queues."""
    with service.redis() as client:

        def kept() -> list[str]:
            keys = [str(key) for key in client.scan_iter("*") if not str(key).startswith("_kombu.")]
            return [f"{key} in Redis" for key in keys if client.ttl(key) == -1]

        with suppress(pytest.fail.Exception):
            until(lambda: not kept(), seconds=20, what="Redis keeps nothing")
        return kept()


def _counts(counter: Counter[str] | Counter[int]) -> str:
    return ", ".join(f"{key} {count}" for key, count in sorted(counter.items(), key=lambda pair: str(pair[0])))
