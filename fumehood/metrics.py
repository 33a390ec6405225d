"""Metrics: every number that the service tells of itself, in one table, and the tally that a process keeps of those it counts.

A worker has no port. It writes its tally into its own row of the store with every beat, and the API tells all of them, each with
the worker's id, so that one address says everything however many workers there are. Labels have closed vocabularies: no tenant,
and nothing that a tenant chose, is ever one.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from typing import Any

from fumehood.job import Kind, Lane
from fumehood.outcome import Blame, Reason

ROOMS = ("stage", "run", "collect", "publish", "erase")
"""What a worker does with an attempt, by the names that an outcome's times have."""
LEFTOVERS = ("container", "scratch", "blobs")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other")
NO_ROUTE = "none"

_ROOM_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_WAIT_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)
_REQUEST_SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Type(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Source(StrEnum):
    """Who knows the number."""

    STORE = "store"
    """Read from the database and from Redis when somebody asks, a second old at most."""
    WORKER = "worker"
    """A worker counts it; told with the label `worker`."""
    ROW = "row"
    """Stands in a worker's row; told with the label `worker`."""
    API = "api"
    """The process that answers."""


ANY: tuple[str, ...] = ()
"""Values that the code gives out and no caller chooses: routes, statuses, ids of workers, the version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    name: str
    type: Type
    source: Source
    help: str
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Name → the values that it may have."""
    buckets: tuple[float, ...] = ()
    from_zero: bool = False
    """Told before anything was counted: what should stay 0 must be seen to be 0."""


_LANES = tuple(lane.value for lane in Lane)
_LANE = {"lane": _LANES}
STARTS = ("prepared", "warm", "cold")
_KINDS, _REASONS, _BLAMES = (tuple(each.value for each in names) for names in (Kind, Reason, Blame))
_ROUTE = {"method": METHODS, "route": ANY}
_ENDING = {"kind": _KINDS, "reason": _REASONS, "blame": _BLAMES}
_TABLE: tuple[tuple[str, Type, Source, str, dict[str, tuple[str, ...]]], ...] = (
    ("queued_jobs", Type.GAUGE, Source.STORE, "Jobs that wait for a slot.", _LANE),
    ("oldest_queued_age_seconds", Type.GAUGE, Source.STORE, "Age of the job that has waited longest; 0 where none waits.", _LANE),
    ("running_jobs", Type.GAUGE, Source.STORE, "Jobs that a worker has claimed and not ended.", _LANE),
    ("workers", Type.GAUGE, Source.STORE, "Workers that were seen lately.", {"state": ("ready", "not_ready")}),
    ("store_up", Type.GAUGE, Source.STORE, "1 where the job store answers.", {}),
    ("redis_up", Type.GAUGE, Source.STORE, "1 where Redis answers.", {}),
    ("queued_tickets", Type.GAUGE, Source.STORE, "Tickets in Redis; a ticket names no job.", _LANE),
    ("worker_ready", Type.GAUGE, Source.ROW, "1 where the worker takes jobs.", {}),
    ("worker_slots", Type.GAUGE, Source.ROW, "Jobs that the worker runs at once.", _LANE),
    ("worker_warm_sandboxes", Type.GAUGE, Source.ROW, "Sandboxes that wait ready for a job.", _LANE),
    ("worker_prepared_sandboxes", Type.GAUGE, Source.ROW, "Sandboxes that wait with a script open.", {}),
    ("worker_disk_budget_bytes", Type.GAUGE, Source.ROW, "Free disk that jobs may reserve.", {}),
    ("sandbox_starts_total", Type.COUNTER, Source.WORKER, "Attempts by how their sandbox started.", _LANE | {"start": STARTS}),
    ("queue_wait_seconds", Type.HISTOGRAM, Source.WORKER, "From submission to the first claim.", _LANE),
    ("room_seconds", Type.HISTOGRAM, Source.WORKER, "Time that an attempt spent in a room of the journey.", {"room": ROOMS}),
    ("outcomes_total", Type.COUNTER, Source.WORKER, "Jobs that a worker ended.", _ENDING),
    ("handed_back_total", Type.COUNTER, Source.WORKER, "Attempts that the service lost, and that are run again.", _ENDING),
    ("leftovers_total", Type.COUNTER, Source.WORKER, "What a sweep found of attempts and requests that are over.", {"what": LEFTOVERS}),
    ("cancelled_before_start_total", Type.COUNTER, Source.API, "Jobs that were cancelled while they were queued.", {}),
    ("http_requests_total", Type.COUNTER, Source.API, "Requests answered.", _ROUTE | {"status": ANY}),
    ("http_request_seconds", Type.HISTOGRAM, Source.API, "From a request's head to the end of its answer.", _ROUTE),
    ("http_requests_in_progress", Type.GAUGE, Source.API, "Requests that are being handled.", {}),
    ("disk_free_bytes", Type.GAUGE, Source.API, "Free disk where the blobs are.", {}),
    ("disk_floor_bytes", Type.GAUGE, Source.API, "Free disk below which no work is taken.", {}),
    ("build_info", Type.GAUGE, Source.API, "Always 1; the version is a label.", {"version": ANY}),
)  # fmt: skip
_BUCKETS = {"queue_wait_seconds": _WAIT_SECONDS, "room_seconds": _ROOM_SECONDS, "http_request_seconds": _REQUEST_SECONDS}
_FROM_ZERO = {"sandbox_starts_total", "leftovers_total", "cancelled_before_start_total"}

METRICS: dict[str, Metric] = {
    f"fumehood_{name}": Metric(
        name=f"fumehood_{name}",
        type=type,
        source=source,
        help=help,
        labels={"worker": ANY, **labels} if source in (Source.WORKER, Source.ROW) else labels,
        buckets=_BUCKETS.get(name, ()),
        from_zero=name in _FROM_ZERO,
    )
    for name, type, source, help, labels in _TABLE
}

Counts = dict[tuple[str, ...], float]
Observed = dict[tuple[str, ...], list[float]]
Document = dict[str, list[list[Any]]]
"""Name → rows of [label values, number], or of [label values, [count of each bucket and of what is above, sum]]."""


class Tally:
    """What one process has counted since it began. Safe between threads."""

    def __init__(self, source: Source) -> None:
        self._lock = threading.Lock()
        self._source = source
        kept = [metric for metric in METRICS.values() if metric.source is source]
        self._counts: dict[str, Counts] = {metric.name: {} for metric in kept if metric.type is Type.COUNTER}
        self._observed: dict[str, Observed] = {metric.name: {} for metric in kept if metric.type is Type.HISTOGRAM}
        for metric in kept:
            if metric.from_zero:
                self._counts[metric.name] = dict.fromkeys(product(*own_labels(metric).values()), 0.0)

    def count(self, name: str, *values: str, by: int = 1) -> None:
        """Raises KeyError for a name, ValueError for a label's value, that is not in the table."""
        counts = self._counts[name]
        self._check(name, values, known=values in counts)
        with self._lock:
            counts[values] = counts.get(values, 0.0) + by

    def observe(self, name: str, number: float, *values: str) -> None:
        """Raises as `count`."""
        observed, buckets = self._observed[name], METRICS[name].buckets
        self._check(name, values, known=values in observed)
        with self._lock:
            row = observed.setdefault(values, [0.0] * (len(buckets) + 2))
            row[bisect_left(buckets, number)] += 1
            row[-1] += number

    def _check(self, name: str, values: tuple[str, ...], *, known: bool) -> None:
        if known:
            return
        labels = own_labels(METRICS[name])
        if len(values) != len(labels):
            raise ValueError(f"{name} was given {len(values)} label values; expected {len(labels)}: {', '.join(labels)}")
        for value, (label, allowed) in zip(values, labels.items(), strict=True):
            if allowed and value not in allowed:
                raise ValueError(f"{label} of {name} is {value!r}; expected one of {', '.join(allowed)}")

    def document(self) -> Document:
        """As it stands in a worker's row: plain JSON, and a part of it where the text that Prometheus reads is long."""
        with self._lock:
            told: Document = {name: [[list(values), number] for values, number in counts.items()] for name, counts in self._counts.items()}
            told |= {name: [[list(values), list(row)] for values, row in rows.items()] for name, rows in self._observed.items()}
        return told


def own_labels(metric: Metric) -> Mapping[str, tuple[str, ...]]:
    """Those that the process itself gives; `worker` is added by who tells it."""
    return {name: values for name, values in metric.labels.items() if name != "worker"}
