"""The history of a run, written by others than those who are judged, and the checker that reads it.

Every move of a job's row is written down by the database itself, by triggers that the service knows nothing of, in the
transaction that makes the move. What the engine does with containers is its own stream of events. What callers were told is
their own memory. The checker holds the three against each other.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FINAL = ("succeeded", "failed", "cancelled")
# By (was, is): how much the attempt and the fence may rise. A handed-back attempt is not counted where a worker left in order.
MOVES: dict[tuple[str | None, str], tuple[set[int], set[int]]] = {
    (None, "queued"): ({0}, {0}),
    ("queued", "running"): ({1}, {1}),
    ("running", "queued"): ({0, -1}, {1}),
    ("queued", "cancelled"): ({0}, {0}),
    **{("running", state): ({0}, {0}) for state in FINAL},
}

_WATCHED = "state, attempt, fence, worker, sandbox, scratch, outcome, erasure"
_COLUMNS = ("job", "was", "state", "attempt", "fence", "attempt_was", "fence_was", "sandbox", "outcome", "erasure")


def _trigger(name: str, when: str, values: str) -> str:
    now = "(julianday('now') - 2440587.5) * 86400.0"
    columns = ", ".join(("at", *_COLUMNS))
    return f"CREATE TRIGGER watch_{name} AFTER {when} BEGIN INSERT INTO watched ({columns}) VALUES ({now}, {values}); END"


_WATCH = [
    f"CREATE TABLE watched (number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, {', '.join(_COLUMNS)})",
    _trigger(
        "insert",
        "INSERT ON jobs",
        "new.id, NULL, new.state, new.attempt, new.fence, new.attempt, new.fence, new.sandbox, new.outcome, new.erasure",
    ),
    _trigger(
        "update",
        f"UPDATE OF {_WATCHED} ON jobs",
        "new.id, old.state, new.state, new.attempt, new.fence, old.attempt, old.fence, coalesce(new.sandbox, old.sandbox), "
        "new.outcome, new.erasure",
    ),
]


@dataclass(frozen=True, slots=True)
class Move:
    """One write to a job's row. `at` is seconds since the epoch."""

    at: float
    job: str
    was: str | None
    state: str
    attempt: int
    fence: int
    attempt_was: int
    fence_was: int
    sandbox: str | None
    """That of the attempt which the move ends, also where the row names none any more."""
    outcome: str | None
    erasure: str | None

    @property
    def reason(self) -> str | None:
        return json.loads(self.outcome)["reason"] if self.outcome else None

    @property
    def final(self) -> bool:
        return self.state in FINAL


@dataclass(frozen=True, slots=True)
class Happened:
    """Of a container, by the engine."""

    at: float
    container: str
    what: str
    container_id: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a caller knows: `records` are all final ones that it was ever given, `wrong` what the outputs had wrong."""

    job: str
    expected: frozenset[str]
    """Reasons that are right."""
    records: tuple[dict[str, Any], ...]
    wrong: str | None = None


# writing it down -------------------------------------------------------------------------------------------------------------
def watch(database: Path) -> None:
    """From now on each move is written down."""
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        for statement in _WATCH:
            connection.execute(statement)


def read(database: Path) -> list[Move]:
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        return [Move(*row) for row in connection.execute(f"SELECT at, {', '.join(_COLUMNS)} FROM watched ORDER BY number")]


class EngineEvents:
    """Follows an engine's events; where it is killed, from where it comes back."""

    def __init__(self, address: str) -> None:
        self._command = ["docker", "--host", address, "events", "--filter", "type=container", "--format", "{{json .}}"]
        self._over = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._happened: list[Happened] = []
        self._thread = threading.Thread(target=self._follow, name="engine events", daemon=True)

    def __enter__(self) -> EngineEvents:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._process is not None:
            self._process.kill()
        self._thread.join(30)

    def seen(self) -> list[Happened]:
        return list(self._happened)

    def _follow(self) -> None:
        while not self._over.wait(0.05):
            with subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as self._process:
                if self._over.is_set():
                    self._process.kill()
                for line in self._process.stdout or ():
                    event = json.loads(line)
                    actor = event["Actor"]
                    self._happened.append(Happened(event["timeNano"] / 1e9, actor["Attributes"]["name"], event["Action"], actor["ID"]))


# judging it ------------------------------------------------------------------------------------------------------------------
def violations(moves: Sequence[Move], happened: Sequence[Happened], told: Sequence[Told]) -> list[str]:
    """One sentence for each promise that the history breaks; empty where all are kept."""
    by_job: Mapping[str, list[Move]] = _grouped(moves, lambda move: move.job)
    known = {each.job: each for each in told}
    found = [f"{job}: is in the store, but nobody was told of it" for job in by_job.keys() - known.keys()]
    for job, each in known.items():
        found += [f"{job}: {problem}" for problem in (*_of_row(by_job.get(job, [])), *_of_answers(by_job.get(job, []), each))]
    return sorted(found + _of_containers(moves, happened) + _of_receipts(moves, happened))


def _of_row(moves: list[Move]) -> Iterable[str]:
    if not moves:
        yield "was acknowledged and never stored"
        return
    ended: Move | None = None
    for move in moves:
        if ended is not None:
            yield f"was {ended.state} with fence {ended.fence}, then written again as {move.state} with fence {move.fence}"
            continue
        if move.was != move.state or move.was is None:
            attempts, fences = MOVES.get((move.was, move.state), (set(), set()))
            if move.attempt - move.attempt_was not in attempts or move.fence - move.fence_was not in fences:
                yield f"went from {_at(move.was, move.attempt_was, move.fence_was)} to {_at(move.state, move.attempt, move.fence)}"
        elif (move.attempt, move.fence) != (move.attempt_was, move.fence_was):
            yield f"changed its attempt or fence without a move, while {move.state}"
        if move.final:
            ended = move
            if move.erasure is None or move.erasure == "null":
                yield "ended without a receipt"
    if ended is None:
        yield f"never ended: it is {moves[-1].state}"


def _of_answers(moves: list[Move], told: Told) -> Iterable[str]:
    ended = next((move for move in moves if move.final), None)
    if ended is not None and ended.reason not in told.expected:
        yield f"ended as {ended.reason}; expected {' or '.join(sorted(told.expected))}"
    if not told.records:
        yield "its caller never saw it end"
    elif any(record != told.records[0] for record in told.records):
        yield "its caller was told of more than one end"
    elif ended is not None and (told.records[0]["state"], told.records[0]["reason"]) != (ended.state, ended.reason):
        yield f"its caller was told {told.records[0]['state']}, the row says {ended.state}"
    if told.wrong is not None:
        yield told.wrong


def _of_containers(moves: Sequence[Move], happened: Sequence[Happened]) -> list[str]:
    """The engine's word against the rows': nothing runs of what has ended, no attempt beside the next one, no sandbox twice.

    An engine that answers late makes a container after its worker has stopped waiting and handed the job on. It never starts and holds
    nothing: the reaper takes it away, and whoever reckons looks that none is left.
    """
    found = []
    starts: Mapping[str, list[Happened]] = _grouped((each for each in happened if each.what == "start"), lambda each: each.container)
    gone = {each.container: each.at for each in happened if each.what == "destroy"}
    for container, started in starts.items():
        if len(started) > 1:
            found.append(f"{container}: was started {len(started)} times")
    used: dict[str, tuple[str, int]] = {}
    for move in moves:
        if not (move.was == "running" and move.state != "running" and move.sandbox):
            continue
        user = (move.job, move.fence)
        if move.reason not in (None, "lost", "sandbox_error") and used.setdefault(move.sandbox, user) != user:
            found.append(f"{move.sandbox}: was used for {used[move.sandbox][0]} and for {move.job}")
        late = [each for each in starts.get(move.sandbox, []) if each.at > move.at + CLOCKS_SECONDS]
        if late:
            found.append(f"{move.job}: its container {move.sandbox} was started {late[0].at - move.at:.3f} s after it ended")
        if move.sandbox in starts and gone.get(move.sandbox, move.at) > move.at + CLOCKS_SECONDS:
            found.append(f"{move.job}: its container {move.sandbox} was removed {gone[move.sandbox] - move.at:.3f} s after it ended")
    return found


def _of_receipts(moves: Sequence[Move], happened: Sequence[Happened]) -> list[str]:
    """Each attempt's receipt is its own, and names the container that the engine started for it, by the engine's own id."""
    found = []
    ids = {each.container: each.container_id for each in happened if each.what == "start"}
    for move in moves:
        if not (move.was == "running" and move.state != "running" and move.erasure):
            continue
        receipt = json.loads(move.erasure)
        if receipt.get("fence") != move.fence_was:
            found.append(f"{move.job}: its attempt with fence {move.fence_was} ended with a receipt of fence {receipt.get('fence')}")
        name, container_id = receipt.get("container"), receipt.get("container_id")
        # What one reaper has swept, another's receipt does not name; who has run a script to its end knows in what.
        if name is None and move.reason in (None, "lost", "sandbox_error", "cancelled"):
            continue
        # An attempt that ran no script may have had one that a full disk kept out of its row.
        sandbox = move.sandbox or (name if move.reason in (None, "lost", "sandbox_error") else None)
        # One that was made and never started is in no start of the engine's, nor what it started just before it was killed.
        started = ids.get(sandbox or "", container_id)
        if (name, container_id) != (sandbox, started):
            found.append(f"{move.job}: its receipt names {name} {container_id}; the engine started {sandbox} {started}")
    return found


CLOCKS_SECONDS = 0.002
"""The database's clock counts milliseconds."""


def _at(state: str | None, attempt: int, fence: int) -> str:
    return f"{state} (attempt {attempt}, fence {fence})"


def _grouped(values: Iterable[Any], key: Callable[[Any], str]) -> Mapping[str, list[Any]]:
    groups: dict[str, list[Any]] = defaultdict(list)
    for value in values:
        groups[key(value)].append(value)
    return groups
