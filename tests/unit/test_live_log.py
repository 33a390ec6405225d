"""The live log: what is published while a script runs, in order, whole letters, bounded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fumehood.testing import MemoryEvents, job
from tests.unit.workbench import Clock
from worker.live_log import BYTES_PER_SECOND, CHUNK_BYTES, PAUSE_SECONDS, LiveLog
from worker.scratch import Scratch
from worker.testing import write


@pytest.fixture
def scratch(home: Path) -> Iterator[Scratch]:
    home.mkdir()
    scratch = Scratch.create(home, worker="wrk_test")
    yield scratch
    scratch.erase()


def told(events: MemoryEvents, job_id: str) -> list[tuple[int, str]]:
    return [(event.data["offset"], event.data["text"]) for event in events.published(job_id)]


def test_a_letter_that_is_cut_in_two_is_told_whole(scratch: Scratch) -> None:
    events, running = MemoryEvents(), job(attempt=2)
    live = LiveLog(running, scratch, events, monotonic=Clock())
    write(scratch, "log", "añb€".encode())
    for size in (2, 3, 4, 6, 7):
        live.grown(size)
    assert told(events, running.id) == [(0, "a"), (1, "ñ"), (3, "b"), (4, "€")]
    assert {event.data["attempt"] for event in events.published(running.id)} == {2}


def test_what_is_no_text_is_told_with_replacements(scratch: Scratch) -> None:
    events, running = MemoryEvents(), job()
    write(scratch, "log", b"a\xff\xfeb")
    LiveLog(running, scratch, events, monotonic=Clock()).grown(4)
    assert told(events, running.id) == [(0, "a��b")]


def test_much_at_once_comes_in_chunks_that_are_contiguous(scratch: Scratch) -> None:
    events, running = MemoryEvents(), job()
    content = b"0123456789" * 5000
    write(scratch, "log", content)
    LiveLog(running, scratch, events, monotonic=Clock()).grown(len(content))
    chunks = told(events, running.id)
    assert "".join(text for _, text in chunks).encode() == content
    assert max(len(text) for _, text in chunks) == CHUNK_BYTES
    assert [offset for offset, _ in chunks] == [0, CHUNK_BYTES, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES]


def test_a_flood_is_told_by_its_newest_part_at_a_bounded_rate(scratch: Scratch) -> None:
    events, running, clock = MemoryEvents(), job(), Clock()
    live = LiveLog(running, scratch, events, monotonic=clock)
    size = 8 * BYTES_PER_SECOND
    write(scratch, "log", b"x" * size)
    live.grown(size // 2)
    live.grown(size)  # in the same instant: nothing left to spend
    assert sum(len(text) for _, text in told(events, running.id)) == BYTES_PER_SECOND
    assert told(events, running.id)[0][0] == size // 2 - BYTES_PER_SECOND
    clock.seconds += 1
    live.grown(size)
    assert sum(len(text) for _, text in told(events, running.id)) == 2 * BYTES_PER_SECOND
    assert told(events, running.id)[-1][0] == size - CHUNK_BYTES


def test_half_a_letter_before_a_gap_is_forgotten(scratch: Scratch) -> None:
    events, running = MemoryEvents(), job()
    live = LiveLog(running, scratch, events, monotonic=Clock())
    write(scratch, "log", b"\xc3" + b"x" * 2 * BYTES_PER_SECOND)
    live.grown(1)
    live.grown(1 + 2 * BYTES_PER_SECOND)
    offset, text = told(events, running.id)[0]
    assert (offset, text[0]) == (BYTES_PER_SECOND + 2, "x")


def test_a_supervisor_that_says_more_than_there_is_is_not_believed(scratch: Scratch) -> None:
    events, running = MemoryEvents(), job()
    write(scratch, "log", b"abc")
    LiveLog(running, scratch, events, monotonic=Clock()).grown(10**15)
    assert told(events, running.id) == [(0, "abc")]


class SlowEvents(MemoryEvents):
    """A Redis that takes a second for each event."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def publish(self, job_id: str, kind: str, data: dict[str, Any]) -> None:
        super().publish(job_id, kind, data)
        self.clock.seconds += 1


def test_a_redis_that_hangs_is_left_alone_for_a_while(scratch: Scratch) -> None:
    """The caller also drains the sandbox's pipe and watches its deadline."""
    clock = Clock()
    events, running = SlowEvents(clock), job()
    live = LiveLog(running, scratch, events, monotonic=clock)
    write(scratch, "log", b"x" * 4 * CHUNK_BYTES)
    live.grown(4 * CHUNK_BYTES)
    live.grown(4 * CHUNK_BYTES)
    assert len(events.published(running.id)) == 1
    clock.seconds += PAUSE_SECONDS
    live.grown(4 * CHUNK_BYTES)
    assert len(events.published(running.id)) == 2


def test_a_log_that_cannot_be_read_does_not_disturb_the_run(home: Path) -> None:
    home.mkdir()
    scratch = Scratch.create(home, worker="wrk_test")
    live = LiveLog(job(), scratch, MemoryEvents(), monotonic=Clock())
    scratch.erase()
    live.grown(10)
