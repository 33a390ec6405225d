"""The life of jobs as a machine of rules: the real store, and beside it a small model of what exists outside.

Hypothesis picks the rules and their order. Whoever claimed a job goes on at any later time or never, so every worker is one that
may freeze and wake up; the reaper looks, erases and hands back in steps of its own. Tickets are lost and doubled. What a worker
makes (directory, inputs, container) is three sets of names; a receipt can only be had from `World.erase`.

After each step `nothing_is_wrong` compares every row with what it was before. At the end whoever is still at work is dead: the
reaper and one honest worker alone have to bring every job to its end, and when all are deleted the tables are empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from sqlalchemy import delete, func, select

from fumehood.errors import Conflict, IdempotencyReuse, LeaseLost, NotFound
from fumehood.job import Input, Job, Lane, State
from fumehood.job_store import Idempotency, JobStore
from fumehood.memory import MemoryQueue
from fumehood.outcome import Erasure, Reason
from fumehood.rows import job_from_row
from fumehood.schema import HOLDINGS, JOBS, LANES, METADATA, SHARES, USAGE
from fumehood.testing import job, outcome
from tests.unit.store_world import STEPS, Attempt, Overdue, World, broken
from tests.unit.stores import Clock, counted, shares

Answer = TypeVar("Answer")

BUDGET = 2**60
ATTEMPTS_MAX = 3
ENDS = (Reason.OK, Reason.SCRIPT_ERROR, Reason.LOST, "shut down")
REAPERS = ("look", "erase", "give back")
DEEDS = ("claim", "claim again", "claim ready", "1", "2", "2", "5", "renew", "end", *REAPERS)
LOST = outcome(Reason.LOST)


class Life(RuleBasedStateMachine):
    jobs = Bundle("jobs")

    def __init__(self, store: JobStore, clock: Clock) -> None:
        super().__init__()
        self.store, self.clock, self.queue, self.world = store, clock, MemoryQueue(), World()
        self.failed = False
        self.numbers = Counter[str]()
        # What was acknowledged and not deleted, in the order of the queue, as it was last seen.
        self.known: dict[str, Job] = {}
        self.keys: dict[tuple[str, str], tuple[str, str, float]] = {}
        self.counted = Counter[str]()
        self.receipts: dict[str, Erasure] = {}
        self.attempts: list[Attempt] = []
        self.overdue: list[Overdue] = []
        with store._database.writing() as connection:
            for table in reversed(METADATA.sorted_tables):
                connection.execute(delete(table))

    @initialize(target=jobs, allowed=st.lists(st.integers(1, ATTEMPTS_MAX), min_size=1, max_size=4))
    def begin(self, allowed: list[int]) -> Any:
        """Some jobs to begin with: a life without any is none."""
        asked = [job(id=self.name("job"), tenant="ten_a", attempts_max=each) for each in allowed]
        return multiple(*(self._acknowledged(self.store.submit(each).job, tickets=1) for each in asked))

    # the desk --------------------------------------------------------------------------------------------------------
    @rule(
        target=jobs,
        tenant=st.sampled_from(["ten_a", "ten_b"]),
        attempts_max=st.integers(1, ATTEMPTS_MAX),
        key=st.sampled_from([None, None, "key-1", "key-2"]),
        request=st.sampled_from("ab"),
        tickets=st.sampled_from([1, 1, 0, 2]),
        reads=st.booleans(),
        hours=st.sampled_from([0, 0, 23]),
    )
    def submit(self, tenant: str, attempts_max: int, key: str | None, request: str, tickets: int, reads: bool, hours: int) -> Any:
        self.clock.now += hours * 3600
        inputs = {"script": Input(blob="b", format="py", bytes=1)}
        own = [each for each in self.known.values() if each.tenant == tenant]
        if reads and own:
            inputs["dataset1"] = Input(blob="b", format="arrow", bytes=1, source={"job": own[-1].id, "output": "result"})
        asked = job(id=self.name("job"), tenant=tenant, attempts_max=attempts_max, labels={"team": tenant}, inputs=inputs)
        idempotency = Idempotency(key, request * 64) if key is not None else None
        first = self.keys.get((tenant, key or ""))
        if first is not None and self.clock() - first[2] >= 24 * 3600:
            first = None
        try:
            submitted = self.store.submit(asked, idempotency=idempotency)
        except IdempotencyReuse:
            self.check(first is not None and first[1] != request, f"key {key} was refused, and stands for no other request")
            return multiple()
        self.check(first is None or first[1] == request, f"key {key} was taken for another request")
        self.check(submitted.replayed == (first is not None), f"key {key}: replayed is {submitted.replayed}, the key stands for {first}")
        if first is not None:
            self.check(submitted.job.id == first[0], f"key {key} answers with {submitted.job.id}, and made {first[0]}")
            return multiple()
        if key is not None:
            self.keys[tenant, key] = (asked.id, request, self.clock())
        return self._acknowledged(submitted.job, tickets=tickets)

    def _acknowledged(self, submitted: Job, *, tickets: int) -> str:
        self.numbers["acknowledged"] += 1
        self.known[submitted.id] = replace(submitted, queue_position=None)
        for _ in range(tickets):  # none: it was lost on the way
            self.queue.send_ticket(Lane.JOBS)
        return submitted.id

    @rule(of=jobs)
    def cancel(self, of: str) -> None:
        known = self.known.get(of)
        try:
            self.store.request_cancel(known.tenant if known else "ten_a", of)
        except NotFound:
            self.check(known is None, f"{of} was acknowledged and is not there")
        except Conflict:
            self.check(known is not None and known.state.final, f"{of} has not ended, and cannot be cancelled")

    @rule(of=jobs)
    def forget(self, of: str) -> None:
        known = self.known.get(of)
        waiting = [each for each in self.rows().values() if not each.state.final and "dataset1" in each.inputs]
        needed = [each.id for each in waiting if each.inputs["dataset1"].source == {"job": of, "output": "result"}]
        try:
            self.store.delete_job(known.tenant if known else "ten_a", of)
        except NotFound:
            self.check(known is None, f"{of} was acknowledged and is not there")
        except Conflict:
            self.check(known is not None and (not known.state.final or bool(needed)), f"{of} has ended, and cannot be deleted")
        else:
            self.check(known is not None and known.state.final, f"{of} was deleted before its end")
            self.check(not needed, f"{of} was deleted, and {needed} need it")
            del self.known[of]
            self.keys = {key: made for key, made in self.keys.items() if made[0] != of}

    # workers ---------------------------------------------------------------------------------------------------------
    @rule(deeds=st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(0, 3), st.sampled_from(ENDS)), min_size=1, max_size=8))
    def machine_room(self, deeds: list[tuple[str, int, str]]) -> None:
        """One rule for workers and reaper, because Hypothesis leaves out half of the rules in each life. Which of the attempts
        so far goes on is counted from the newest."""
        for deed, which, how in deeds:
            if deed in REAPERS:
                self.reaper(deed)
            elif deed.startswith("claim"):
                self.claim(why=deed.removeprefix("claim "), ready=deed == "claim ready")
            elif self.attempts:
                attempt = self.attempts[-1 - which % len(self.attempts)]
                if deed == "renew":
                    self.renew(attempt)
                elif deed.isdigit():
                    self.work(attempt, int(deed))
                else:
                    self.end(attempt, how)
            self.nothing_is_wrong()

    def claim(self, why: str, ready: bool) -> None:
        """A slot that was woken by a ticket, or one that has just ended another job and claims again without one."""
        if why == "claim" and self.store.queued(Lane.JOBS) and not self.queue.depth(Lane.JOBS):
            self.queue.send_ticket(Lane.JOBS)
        if why != "again" and not self.queue.take_ticket(Lane.JOBS):
            return
        before, name = self.rows(), self.name("sandbox")
        waiting = [each for each in self.known if before[each].state is State.QUEUED]
        first = {before[each].tenant: each for each in reversed(waiting)}
        if ready:
            self.world.directories.add(name)
            self.world.containers.add(name)
        named = {"sandbox": name, "scratch": name} if ready else {}
        claimed = self.store.claim(worker=name, lane=Lane.JOBS, disk_budget_bytes=BUDGET, **named)
        if claimed is None:
            self.check(not waiting, f"{waiting} wait, and nothing was claimed")
            self.world.discard(name)
            return
        self.check(before[claimed.id].state is State.QUEUED, f"{claimed.id} was claimed by two: it was {before[claimed.id].state}")
        self.check(claimed.id == first[claimed.tenant], f"{claimed.id} was claimed before {first[claimed.tenant]}")
        self.counted[claimed.id] += 1
        self.attempts.append(Attempt(claimed, name, next=2 if ready else 0))

    def work(self, attempt: Attempt, steps: int) -> None:
        for _ in range(steps):
            if attempt.receipt is not None:
                return
            went_well = getattr(self, f"_{STEPS[attempt.next]}")(attempt)
            attempt.next = attempt.next + 1 if went_well else STEPS.index("erase")

    def _make(self, attempt: Attempt) -> bool:
        self.world.directories.add(attempt.name)
        return True

    def _name(self, attempt: Attempt) -> bool:
        call = lambda: self.store.name_sandbox(attempt.job, sandbox=attempt.name, scratch=attempt.name)  # noqa: E731
        return self.move("name_sandbox", attempt.job, call) is not None

    def _lay(self, attempt: Attempt) -> bool:
        return self._where_it_has_a_directory(attempt, self.world.inputs)

    def _start(self, attempt: Attempt) -> bool:
        # The engine refuses a container whose mounts have no source.
        return self._where_it_has_a_directory(attempt, self.world.containers)

    def _where_it_has_a_directory(self, attempt: Attempt, names: set[str]) -> bool:
        there = attempt.name in self.world.directories
        if there:
            names.add(attempt.name)
        return there

    def _erase(self, attempt: Attempt) -> bool:
        attempt.receipt = self.world.erase(attempt.name, attempt.job, at=self.clock())
        return False

    def renew(self, attempt: Attempt) -> None:
        cancelled = self.rows().get(attempt.job.id, attempt.job).cancel_requested
        lease = self.move("renew", attempt.job, lambda: self.store.renew(attempt.job))
        self.check(lease is None or lease.cancel_requested == cancelled, "a renewal says nothing of the cancel")

    def end(self, attempt: Attempt, how: str) -> None:
        """As the journey does: whatever happened, erase, and then end what has a receipt."""
        receipt = attempt.receipt = attempt.receipt or self.world.erase(attempt.name, attempt.job, at=self.clock())
        if how in (Reason.OK, Reason.SCRIPT_ERROR):
            self.finish(attempt.job, receipt, Reason(how))
        else:
            self.give_back(attempt.job, receipt, counts=how == Reason.LOST)

    def finish(self, held: Job, receipt: Erasure, reason: Reason) -> None:
        ended = self.move("finish", held, lambda: self.store.finish(held, outcome(reason), receipt))
        if ended is not None:
            self.receipts[ended.id] = receipt
            self.check(ended.outcome == outcome(reason), f"{ended.id} ended as {ended.outcome}; its attempt said {reason}")

    def give_back(self, held: Job, receipt: Erasure, *, counts: bool = True, beat: int | None = None) -> None:
        call = lambda: self.store.give_back(held, receipt, LOST, beat=beat, count_attempt=counts)  # noqa: E731
        after = self.move("give_back", held, call, beat=beat)
        if after is not None:
            self.receipts[after.id] = receipt
            self.counted[after.id] -= int(not counts and after.state is State.QUEUED)

    # the reaper ------------------------------------------------------------------------------------------------------
    def reaper(self, what: str) -> None:
        """Whoever holds a lease at a look is frozen since a whole one, so that every beat stands still."""
        if what == "look":
            self.overdue = [Overdue(each) for each in self.store.running()]
        elif self.overdue:
            late = self.overdue[-1]
            late.receipt = late.receipt or self.world.erase(late.job.sandbox, late.job, at=self.clock())
            if what == "give back":
                self.overdue.pop()
                self.give_back(late.job, late.receipt, beat=late.job.beat)

    # what must hold --------------------------------------------------------------------------------------------------
    def move(self, verb: str, held: Job, call: Callable[[], Answer], *, beat: int | None = None) -> Answer | None:
        """A move that names its fence: taken where that is the row's, refused without a trace where it is not."""
        before = self.rows()
        row = before.get(held.id)
        holds = row is not None and row.state is State.RUNNING and row.fence == held.fence and beat in (None, row.beat)
        try:
            answer = call()
        except LeaseLost:
            self.check(not holds, f"{verb} was refused to the holder of {held.id}")
            self.check(self.rows() == before, f"a {verb} that was refused changed something")
            return None
        self.check(holds, f"a stale {verb} of {held.id} was taken: it names fence {held.fence}, beat {beat}; the row was {row}")
        return answer

    @invariant()
    def nothing_is_wrong(self) -> None:
        rows = self.rows()
        self.check(rows.keys() <= self.known.keys(), f"nobody was told of {sorted(rows.keys() - self.known.keys())}")
        for job_id, before in self.known.items():
            row = rows.get(job_id)
            self.check(row is not None, f"{job_id} was acknowledged and is not there")
            assert row is not None
            for sentence in self.wrong(before, row):
                self.check(False, f"{job_id} {sentence}")
            self.known[job_id] = row
        self.check(shares(self.store) == counted(self.store), f"the shares count {shares(self.store)}, and there are {counted(self.store)}")

    def wrong(self, before: Job, row: Job) -> list[str]:
        over = [each for each in self.attempts if each.job.id == row.id and (row.state is not State.RUNNING or each.job.fence != row.fence)]
        left = {each.name for each in over} & (self.world.inputs | self.world.containers)
        return broken(before, row, started=self.counted[row.id], left=left, receipt=self.receipts.get(row.id))

    def check(self, holds: bool, sentence: str) -> None:
        if not holds:
            self.failed = True
            raise AssertionError(sentence)

    def rows(self) -> dict[str, Job]:
        with self.store._database.reading() as connection:
            return {row.id: job_from_row(row) for row in connection.execute(select(JOBS).order_by(JOBS.c.seq))}

    def name(self, prefix: str) -> str:
        self.numbers[prefix] += 1
        return f"{prefix}_{self.numbers[prefix]}"

    # the end ---------------------------------------------------------------------------------------------------------
    def teardown(self) -> None:
        if not self.failed:
            self.nothing_is_wrong()
            self._everybody_dies_and_every_job_ends()
            self._when_all_are_deleted_nothing_is_left()

    def _everybody_dies_and_every_job_ends(self) -> None:
        woken = list(self.attempts)
        for _ in range(2 + (1 + len(self.known)) * ATTEMPTS_MAX):
            self.reaper("look")
            while self.overdue:
                self.reaper("give back")
                self.nothing_is_wrong()
            before = len(self.attempts)
            self.claim(why="claim", ready=False)
            self.nothing_is_wrong()
            if len(self.attempts) > before:
                self.work(self.attempts[-1], len(STEPS))
                self.end(self.attempts[-1], Reason.OK)
                self.nothing_is_wrong()
        late = [each.id for each in self.known.values() if not each.state.final]
        self.check(not late, f"{late} never end")
        # Whoever wakes up now is too late for everything, and a stranger always was.
        for attempt in woken:
            self.work(attempt, len(STEPS))
            self.renew(attempt)
            self.end(attempt, Reason.OK)
            self.end(attempt, "shut down")
        for job_id in self.known:
            self._a_stranger_gets_nothing(job_id)
        self.nothing_is_wrong()

    def _a_stranger_gets_nothing(self, job_id: str) -> None:
        for verb in (self.store.get_job, self.store.request_cancel, self.store.delete_job):
            try:
                verb("ten_other", job_id)
            except NotFound:
                continue
            self.check(False, f"{verb.__name__} answers a stranger")

    def _when_all_are_deleted_nothing_is_left(self) -> None:
        for job_id in list(self.known):
            self.forget(job_id)
        with self.store._database.reading() as connection:
            # What a tenant has used, and how far a lane has come, is not forgotten with its jobs.
            own = [table for table in METADATA.sorted_tables if table not in (SHARES, LANES, USAGE)]
            tables = {table.name: select(func.count()).select_from(table) for table in own}
            # A row for a tenant that had something; it has to say that it has nothing.
            tables["holdings"] = select(func.count()).where(HOLDINGS.c.bytes != 0)
            counts = {name: connection.execute(count).scalar_one() for name, count in tables.items()}
            used = select(func.sum(USAGE.c.succeeded + USAGE.c.failed + USAGE.c.cancelled)).where(USAGE.c.label_name == "")
            ended = int(connection.execute(used).scalar_one())
        self.check(ended == self.numbers["acknowledged"], f"{self.numbers['acknowledged']} jobs ended; usage counts {ended}")
        self.check(not any(counts.values()), f"everything was deleted, and left: {counts}")
        exist = self.world.inputs | self.world.containers | self.world.directories
        self.check(not exist, f"everything has ended, and left: {sorted(exist)}")
