"""Each control of what is read of a dead sandbox, and of who may have which file, taken away: then an attack must succeed.

No container is needed: the attacks write what a sandbox could have written, and the rest is the service's own code.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fumehood.blob_store import BlobStore
from fumehood.errors import NotFound, SandboxError
from fumehood.limits import KIB, MIB, Limits
from fumehood.outcome import Reason
from tests.services import until
from worker import attach, collect, verdict
from worker.sandbox import Exit
from worker.scratch import Scratch

LIMITS = Limits(output_bytes=64 * KIB, log_bytes=4 * KIB, disk_bytes=1 * MIB)
SECRET = b"a neighbour's table"
GOOD = {"version": 1, "reason": "ok"}
# Of a run that ended well as far as the engine can say.
ENDED = Exit(
    exit_code=0, oom_killed=False, stopped=None, ready=True, done=True, wall_seconds=1.0, cpu_seconds=1.0, memory_peak_bytes=1
)  # fmt: skip


@contextmanager
def left(home: Path, report: Any = GOOD, **outputs: bytes) -> Iterator[Scratch]:
    scratch = Scratch.create(home, worker="w1")
    try:
        scratch.outside["report.json"].write_bytes(report if isinstance(report, bytes) else json.dumps(report).encode())
        for name, content in outputs.items():
            scratch.outside[name if name == "log" else f"{name}.{'bin' if name == 'files' else 'arrow'}"].write_bytes(content)
        yield scratch
    finally:
        scratch.erase()


# attacks: each says how it ended ---------------------------------------------------------------------------------------------
def a_long_report(home: Path) -> str:
    """Memory of the worker's."""
    with left(home, json.dumps(GOOD | {"x": "x" * 2 * MIB}).encode()) as scratch:
        return "taken" if collect.collect(scratch, LIMITS).reason else "refused"


def a_report_with_constants(home: Path) -> str:
    """A number that no reader of JSON takes."""
    with left(home, b'{"version": 1, "reason": "ok", "x": NaN}') as scratch:
        return "taken" if collect.collect(scratch, LIMITS).reason else "refused"


def a_reason_of_the_service_s(home: Path) -> str:
    """A run that counts as nobody's, or as another's."""
    with left(home, GOOD | {"reason": "lost"}) as scratch:
        return str(collect.collect(scratch, LIMITS).reason)


def a_large_result(home: Path) -> str:
    """More than the limit of the job, within the number that caps every file."""
    with left(home, result=bytes(LIMITS.output_bytes + 1)) as scratch:
        report = collect.collect(scratch, LIMITS)
        return f"{verdict.judge(ENDED, report).reason}, {scratch.size('result.arrow')} bytes"


def a_long_log(home: Path) -> str:
    with left(home, log=bytes(4 * LIMITS.log_bytes + collect.LOG_SLACK_BYTES)) as scratch:
        collect.collect(scratch, LIMITS)
        return "cut" if scratch.size("log") == LIMITS.log_bytes + collect.LOG_SLACK_BYTES else f"{scratch.size('log')} bytes"


def a_file_beyond_the_end(home: Path) -> str:
    """What lies behind the files of the job."""
    entry = {"role": "artifact", "name": "a", "media_type": "a/b", "offset": 0, "bytes": 2**40}
    with left(home, GOOD | {"files": [entry]}, files=b"x") as scratch:
        return "listed" if collect.collect(scratch, LIMITS).files else "refused"


def a_media_type_with_a_line(home: Path) -> str:
    """A header of one's own where the file is served."""
    entry = {"role": "artifact", "name": "a", "media_type": "text/html\r\nX: 1", "offset": 0, "bytes": 1}
    with left(home, GOOD | {"files": [entry]}, files=b"x") as scratch:
        return str(collect.collect(scratch, LIMITS).files[0]["media_type"])


def a_link_in_place_of_an_output(home: Path) -> str:
    """A file of the host's as one's own result."""
    home.mkdir()
    (home / "secret").write_bytes(SECRET)
    with left(home) as scratch:
        scratch.outside["log"].unlink()
        scratch.outside["log"].symlink_to(home / "secret")
        return "read" if scratch.read("log", limit_bytes=100) == SECRET else "not read"


def a_published_link(home: Path) -> str:
    """The same, as a blob for good."""
    blobs = BlobStore(home)
    (home / "secret").write_bytes(SECRET)
    with left(home) as scratch:
        scratch.outside["log"].unlink()
        os.link(home / "secret", scratch.outside["log"])
        try:
            blobs.publish(scratch.descriptors["log"], scratch.outside["log"], "ten_a", "jobs/j/1/log")
        except SandboxError:
            return "refused"
        with blobs.open("ten_a", "jobs/j/1/log") as blob:
            return "published" if blob.read() == SECRET else "refused"


def a_good_word_for_a_bad_end(home: Path) -> str:
    """A success that none was."""
    with left(home, GOOD | {"child": {"signal": 11}}) as scratch:
        return str(verdict.judge(ENDED, collect.collect(scratch, LIMITS)).reason)


def a_good_word_of_one_that_was_killed(home: Path) -> str:
    """A success of a sandbox whose supervisor is gone: the script's own report."""
    with left(home) as scratch:
        return str(verdict.judge(replace(ENDED, done=False, exit_code=139), collect.collect(scratch, LIMITS)).reason)


def told(said: bytes) -> str:
    """What becomes of a stream on which this is said in one frame after the other."""
    ours, theirs = socket.socketpair()
    stream = attach.AttachStream(ours, name="attack")
    stream.begin()
    try:
        for begin in range(0, len(said), attach.FRAME_BYTES):
            piece = said[begin : begin + attach.FRAME_BYTES]
            theirs.sendall(b"\1\0\0\0" + len(piece).to_bytes(4, "big") + piece)
        theirs.close()
        until(lambda: stream.ended, seconds=20, what="the end of the stream")
        return "flooded" if stream.flooded else "believed"
    finally:
        stream.close()


def a_flood_of_events(home: Path) -> str:
    """The engine, which waits for whoever does not read; and the worker's processor."""
    return told(b'{"event": "log", "bytes": 1}\n' * 100_000)


def a_line_without_end(home: Path) -> str:
    """Memory of the worker's."""
    return told(b" " * 2000 + b'{"event": "ready"}\n')


def an_event_of_one_s_own(home: Path) -> str:
    return told(b'{"event": "erased"}\n')


def a_blob_of_another(home: Path) -> str:
    """A key that both tenants could have."""
    blobs = BlobStore(home)
    with blobs.incoming() as incoming:
        incoming.write(SECRET)
        blobs.keep(incoming, "ten_theirs", "datasets/d/original")
    try:
        with blobs.open("ten_ours", "datasets/d/original") as blob:
            return "read" if blob.read() == SECRET else "not there"
    except NotFound:
        return "not there"


def a_key_that_climbs(home: Path) -> str:
    blobs = BlobStore(home)
    (home / "secret").write_bytes(SECRET)
    (home / "blobs" / "ten_ours").mkdir()
    try:
        with blobs.open("ten_ours", "../../secret") as blob:
            return "read" if blob.read() == SECRET else "refused"
    except ValueError:
        return "refused"


# what is taken away ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Mutation:
    attack: Callable[[Path], str]
    holds: str
    """How the attack ends with the control, and without it."""
    ends: str
    away: Mapping[str, Any]


def by_path(self: Scratch, output: str, *, offset: int = 0, limit_bytes: int) -> bytes:
    return self.outside[output].read_bytes()[offset:][:limit_bytes]


def without(*rows: str) -> tuple[verdict.Row, ...]:
    assert set(rows) <= {row.name for row in verdict.TABLE}
    return tuple(row for row in verdict.TABLE if row.name not in rows)


class Anything:
    """In place of a pattern."""

    def fullmatch(self, text: str) -> bool:
        return True


ALL_REASONS = {str(reason): reason for reason in Reason}
MUTATIONS: dict[str, Mutation] = {
    "size of a report": Mutation(attack=a_long_report, holds="refused", ends="taken", away={"worker.collect.REPORT_BYTES": 8 * MIB}),
    "a report is strict JSON": Mutation(
        attack=a_report_with_constants, holds="refused", ends="taken", away={"worker.collect._no_constant": float}
    ),
    "reasons that a runner can give": Mutation(
        attack=a_reason_of_the_service_s, holds="None", ends="lost", away={"worker.shapes.REASONS": ALL_REASONS}
    ),
    "size of a result": Mutation(
        attack=a_large_result,
        holds="output_too_large, 0 bytes",
        ends=f"ok, {LIMITS.output_bytes + 1} bytes",
        away={"worker.collect._cut": lambda scratch, limits: ()},
    ),
    "size of a log": Mutation(
        attack=a_long_log,
        holds="cut",
        ends=f"{4 * LIMITS.log_bytes + collect.LOG_SLACK_BYTES} bytes",
        away={"worker.collect._cut": lambda scratch, limits: ()},
    ),
    "files lie in their file": Mutation(
        attack=a_file_beyond_the_end, holds="refused", ends="listed", away={"worker.collect.file_of": lambda entry, at, size: entry}
    ),
    "media types are plain": Mutation(
        attack=a_media_type_with_a_line,
        holds="application/octet-stream",
        ends="text/html\r\nX: 1",
        away={"worker.shapes.MEDIA_TYPE": Anything()},
    ),
    "outputs are read by descriptor": Mutation(
        attack=a_link_in_place_of_an_output, holds="not read", ends="read", away={"worker.scratch.Scratch.read": by_path}
    ),
    "what is published is what was made": Mutation(
        attack=a_published_link, holds="refused", ends="published", away={"fumehood.blob_store.is_at": lambda path, facts: True}
    ),
    "a signal is no success": Mutation(
        attack=a_good_word_for_a_bad_end, holds="crashed", ends="ok", away={"worker.verdict.TABLE": without("good word, bad end")}
    ),
    "the supervisor's end is seen": Mutation(
        attack=a_good_word_of_one_that_was_killed, holds="crashed", ends="ok", away={"worker.verdict.TABLE": without("no word")}
    ),
    "a budget of words": Mutation(attack=a_flood_of_events, holds="flooded", ends="believed", away={"worker.attach.STREAM_BYTES": 2**40}),
    "size of a line": Mutation(attack=a_line_without_end, holds="flooded", ends="believed", away={"worker.attach.LINE_BYTES": 2**20}),
    "events that are known": Mutation(
        attack=an_event_of_one_s_own,
        holds="flooded",
        ends="believed",
        away={"worker.attach.AttachStream._on_event": lambda self, event: None},
    ),
    "a directory for each tenant": Mutation(
        attack=a_blob_of_another,
        holds="not there",
        ends="read",
        away={"fumehood.blob_store.BlobStore._place": lambda self, tenant, key: self._blobs / key},
    ),
    "keys that do not climb": Mutation(
        attack=a_key_that_climbs, holds="refused", ends="read", away={"fumehood.blob_store._STEP": Anything()}
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_attack_ends_as_it_says(name: str, home: Path) -> None:
    assert MUTATIONS[name].attack(home) == MUTATIONS[name].holds


@pytest.mark.parametrize("name", MUTATIONS)
def test_without_the_control_the_attack_succeeds(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation = MUTATIONS[name]
    for place, value in mutation.away.items():
        monkeypatch.setattr(place, value)
    assert mutation.attack(home) == mutation.ends
