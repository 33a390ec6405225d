"""Every reader of bytes from outside that is pure Python: what is tried, from what it begins, and what it may do.

A target takes bytes. It returns where they were read or refused as documented, and raises anything else, AssertionError included:
that is a defect. The native readers of tables are tried in processes of their own (readers.py).
"""

from __future__ import annotations

import email.parser
import email.policy
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from api.content import Representation, _window, attachment, choose, choose_media
from api.documents import parse_object
from api.drafts import IDEMPOTENCY_KEY
from api.multipart import OF_BATCH, OF_JOB, FormReader, boundary_of
from api.problems import RangeNotSatisfiable
from api.waiting import WAIT_SECONDS_MAX, preferred_wait
from fumehood.blob_store import BlobStore
from fumehood.dataset import FORMATS, format_of
from fumehood.errors import FumehoodError
from fumehood.events import start_of
from fumehood.limits import Limits
from fumehood.outcome import Reason
from fumehood.pages import SEQ_MAX, read_cursor, write_cursor
from fumehood.script_reader import examine
from fumehood.settings import Settings
from fumehood.tenant import key_prefix, new_key
from tests.contract.loading import runner
from worker.attach import FRAME_BYTES, HEADER_BYTES, LINE_BYTES, STDERR_KEPT_BYTES, Lines
from worker.collect import collect
from worker.sandbox import Exit, Stop
from worker.scratch import Scratch
from worker.verdict import judge


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    seeds: tuple[bytes, ...]
    """Valid ones, to be changed."""
    read: Callable[[bytes], object]


def as_header(content: bytes) -> str:
    """As a server hands on what stood in a header."""
    return content.decode("latin-1")


# headers -----------------------------------------------------------------------------------------------------------------
def range_(content: bytes) -> None:
    for total in (0, 1, 1000):
        with suppress(RangeNotSatisfiable):
            begin, end, status = _window(as_header(content), total)
            assert 0 <= begin <= end <= total
            assert status in (200, 206)
            assert status == 206 or (begin, end) == (0, total)
            assert status == 200 or begin < end


def accept(content: bytes) -> None:
    available = [Representation(format=name) for name in ("arrow", "csv", "parquet")]
    with suppress(FumehoodError):
        assert choose(as_header(content), available) in available
    with suppress(FumehoodError):
        assert choose_media(as_header(content), ["text/plain", "text/event-stream"]) in ("text/plain", "text/event-stream")


def prefer(content: bytes) -> None:
    seconds = preferred_wait([as_header(content)])
    assert seconds is None or 0 <= seconds <= WAIT_SECONDS_MAX


def cursor(content: bytes) -> None:
    for text in (as_header(content), content.decode("utf-8", "surrogateescape")):
        with suppress(FumehoodError):
            place = read_cursor(text)
            assert 0 <= place <= SEQ_MAX
            assert read_cursor(write_cursor(place)) == place


def last_event_id(content: bytes) -> None:
    text = start_of(as_header(content))
    assert text == "0" or all(int(number) < 2**64 for number in text.split("-"))


def content_type(content: bytes) -> None:
    text = as_header(content)
    with suppress(FumehoodError):
        assert 1 <= len(boundary_of(text)) <= 70
    assert format_of(text, text) in (None, *FORMATS)


def authorization(content: bytes) -> None:
    prefix = key_prefix(as_header(content))
    assert prefix is None or (len(prefix) == 12 and content.startswith(b"fh_" + prefix.encode() + b"_"))


def idempotency_key(content: bytes) -> None:
    text = as_header(content)
    assert IDEMPOTENCY_KEY.fullmatch(text) is None or text.isprintable()


def file_name(content: bytes) -> None:
    """Out, not in: a name from a script becomes a header of ours, and comes out of it as it was."""
    name = content.decode("utf-8", "surrogateescape")
    header = attachment(name)
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2
    told = email.parser.Parser(policy=email.policy.HTTP).parsestr(f"Content-Disposition: {header}\n\n")
    assert told["content-disposition"].content_disposition == "attachment"
    assert "filename" in told["content-disposition"].params


# documents ---------------------------------------------------------------------------------------------------------------
def document(content: bytes) -> None:
    with suppress(FumehoodError):
        values = parse_object(content)
        assert parse_object(json.dumps(values).encode()) == values


def script(content: bytes) -> None:
    """In the helper's place; what kills the helper (deep nesting, memory) is tried in tests/unit/test_script_check.py."""
    text = content.decode("utf-8", "replace")
    for datasets, bundle in ((0, False), (2, True)):
        finding = examine(text, datasets, bundle)
        assert finding is None or isinstance(finding["detail"], str)
        json.dumps(finding)


# reports -----------------------------------------------------------------------------------------------------------------
EXITS = tuple(
    Exit(
        exit_code=code,
        oom_killed=oom,
        stopped=stopped,
        ready=True,
        done=done,
        wall_seconds=1.0,
        cpu_seconds=1.0,
        memory_peak_bytes=1,
    )
    for code, oom, stopped, done in product((0, 137), (False, True), (None, Stop.DEADLINE), (False, True))
)


# Goes away with the process.
_home = cache(lambda: tempfile.TemporaryDirectory(prefix="fumehood-fuzz-"))


@cache
def scratch() -> Scratch:
    """One for the whole process; its files are written anew each time."""
    return Scratch.create(Path(_home().name), worker="w")


def report_of(items: tuple[int, ...]) -> Callable[[bytes], None]:
    def read(content: bytes) -> None:
        made = scratch()
        for output, descriptor in made.descriptors.items():
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, content if output == "report.json" else b"x" * 100, 0)
        report = collect(made, Limits(), items=items)
        assert report.reason is None or not report.problem
        assert report.reason is not None or report.problem
        assert tuple(ended["number"] for ended in report.items) in ((), items)
        assert all(type(ended["number"]) is int for ended in report.items)
        shown = json.dumps(report.for_display(), allow_nan=False)
        assert "\\u0000" not in shown
        for exit in EXITS:
            outcome = judge(exit, report)
            assert isinstance(outcome.reason, Reason)
            assert outcome.reason is not Reason.OK or (report.reason is Reason.OK and exit.done)
            json.dumps(outcome.as_dict(), allow_nan=False).encode()

    return read


REPORT: dict[str, Any] = {
    "version": 1,
    "reason": "ok",
    "message": "m",
    "error": {
        "type": "ValueError",
        "message": "m",
        "traceback": "t",
        "file": "script.py",
        "line": 3,
        "source": "x",
        "frames": [{"file": "f", "line": 1, "function": "g", "source": None}],
    },
    "child": {"exit_code": 0, "signal": None},
    "result": {"rows": 2, "columns": [{"name": "a", "type": "int64", "nullable": True}]},
    "result2": None,
    "files": [{"role": "figure", "name": "a.png", "media_type": "image/png", "offset": 0, "bytes": 9}],
    "log": {"bytes": 100, "truncated": False},
    "notes": [{"kind": "rename", "from": "a", "to": "b", "n": 1.5}],
    "milliseconds": {"import": 12.5},
    "memory_peak_bytes": 1000,
    "oom_kills": 0,
}
ITEM: dict[str, Any] = {
    "reason": "ok",
    "message": "",
    "error": None,
    "result": {"rows": 1, "columns": [], "offset": 0, "bytes": 50},
    "log": {"offset": 0, "bytes": 9, "truncated": False},
    "notes": [],
    "milliseconds": 5,
}


# streams, forms, bundles -------------------------------------------------------------------------------------------------
def frame(kind: int, payload: bytes) -> bytes:
    return bytes([kind, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


def in_pieces(content: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({min(cut, len(content)) for cut in cuts} | {0, len(content)})
    return [content[start:end] for start, end in pairwise(places)]


def heard(pieces: list[bytes]) -> tuple[list[dict[str, Any]], bool]:
    """The events, and whether the stream was found to be none of ours."""
    events: list[dict[str, Any]] = []
    lines = Lines(events.append)
    for piece in pieces:
        try:
            lines.feed(piece)
        except ValueError:
            return events, True
        # What it holds is bounded, whatever came.
        assert len(lines._line) <= LINE_BYTES
        assert len(lines._header) < HEADER_BYTES
        assert lines._left <= FRAME_BYTES
        assert len(lines.stderr) <= STDERR_KEPT_BYTES
    return events, False


def attach_stream(content: bytes) -> None:
    whole = heard([content])
    assert whole == heard(in_pieces(content, range(0, len(content), 7)))
    assert all(isinstance(event["event"], str) for event in whole[0])


def form(content: bytes, cuts: Iterable[int] = (3, 40), parts: Any = OF_JOB) -> None:
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        settings = Settings(home=home, disk_floor_bytes=0, dataset_bytes=200, script_bytes=100, bundle_bytes=100, document_bytes=100)
        blobs = BlobStore(home)
        with ExitStack() as stack:
            reader = FormReader(b"edge", parts=parts, blobs=blobs, settings=settings, stack=stack)
            with suppress(FumehoodError):
                for piece in in_pieces(content, cuts):
                    reader.feed(piece)
                read = reader.finish()
                assert all(arrived.incoming.bytes <= 200 for arrived in read.files.values())
                assert len(read.script or b"") <= 100
        assert list((home / "incoming").iterdir()) == []
        assert [path for path in (home / "blobs").rglob("*") if path.is_file()] == []


def part(name: bytes, file_name: bytes | None, media_type: bytes, content: bytes) -> bytes:
    disposition = b'Content-Disposition: form-data; name="%s"' % name
    disposition += b'; filename="%s"' % file_name if file_name is not None else b""
    return b"--edge\r\n%s\r\nContent-Type: %s\r\n\r\n%s\r\n" % (disposition, media_type, content)


FORM = part(b"job", None, b"application/json", b"{}") + part(b"dataset1", b"a.csv", b"text/csv", b"a\n1\n") + b"--edge--\r\n"
BUNDLE_LIMITS = {"bundle_entries": 20, "bundle_unpacked_bytes": 100_000}


def bundle(content: bytes) -> None:
    """Unpacked by the rules or refused; nothing of it lies outside its directory, and no more than allowed inside."""
    refused, reader = runner("refused").Refused, runner("bundle")
    with tempfile.TemporaryDirectory() as directory:
        path, inside = Path(directory, "bundle.zip"), Path(directory, "work", "Script Bundle")
        path.write_bytes(content)
        inside.parent.mkdir()
        try:
            reader.unpack(str(path), str(inside), BUNDLE_LIMITS)
            entries = reader.check(str(path), BUNDLE_LIMITS, "dataset1")
            assert entries <= BUNDLE_LIMITS["bundle_entries"]
        except refused as error:
            if error.reason != "bad_input":
                raise
        there = [each for each in Path(directory).rglob("*") if each.is_file() and not each.is_symlink()]
        assert all(each == path or inside in each.parents for each in there)
        assert all(inside.resolve() in each.resolve().parents or each.resolve() == inside.resolve() for each in inside.parent.rglob("*"))
        assert sum(each.stat().st_size for each in there if each != path) <= BUNDLE_LIMITS["bundle_unpacked_bytes"]


def zipped(method: int) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        archive.writestr("a.py", "print(1)\n" * 5)
        archive.writestr("deep/b.txt", b"\0" * 100)
        archive.writestr("pure-1-py3-none-any.whl", b"PK\x05\x06" + bytes(18))
    return sink.getvalue()


SCRIPTS = (
    b"def azureml_main(dataframe1=None, dataframe2=None):\n    return dataframe1,\n",
    b"# coding: latin-1\nfrom x import azureml_main as y\nmatch y:\n    case {'a': 1, **azureml_main}: pass\n"
    b"azureml_main = lambda a, /, *b, c=1, **d: a\n",
    b"class A:\n\tasync def azureml_main(self): yield f'{self!r:>{10}}'\ntry:\n\tpass\nexcept* E as azureml_main:\n\tpass\n",
)
TARGETS: dict[str, Target] = {
    "range": Target(seeds=(b"bytes=0-99", b"bytes=-5", b"bytes=7-", b"bytes=0-1,3-4"), read=range_),
    "accept": Target(seeds=(b"text/csv;q=0.5, application/*; q=0.1, */*;q=0", b"text/event-stream"), read=accept),
    "prefer": Target(seeds=(b'respond-async, wait="10"; foo=1', b"wait=999999999"), read=prefer),
    "cursor": Target(seeds=(write_cursor(1).encode(), write_cursor(SEQ_MAX).encode()), read=cursor),
    "last-event-id": Target(seeds=(b"1700000000000-0", b"9999999999999999999-9999999999999999999"), read=last_event_id),
    "content-type": Target(seeds=(b'multipart/form-data; boundary="edge"', b"text/csv; charset=utf-8; x*=UTF-8''%c3"), read=content_type),
    "authorization": Target(seeds=(new_key().encode(),), read=authorization),
    "idempotency-key": Target(seeds=(b"0f8fad5b-d9cb-469f-a165-70867728950e",), read=idempotency_key),
    "file name": Target(seeds=(b"plot one.png", "models/ä b.bin".encode(), b'a"; filename=x\r\nX: y'), read=file_name),
    "document": Target(seeds=(b'{"script": "x", "parameters": {"a": [1, -2.5e10, null, true]}}',), read=document),
    "script": Target(seeds=SCRIPTS, read=script),
    "report": Target(seeds=(json.dumps(REPORT).encode(), json.dumps(REPORT | {"reason": "crashed"}).encode()), read=report_of(())),
    "report of a chunk": Target(
        seeds=(json.dumps(REPORT | {"items": [ITEM | {"number": number} for number in (4, 5)]}).encode(),), read=report_of((4, 5))
    ),
    "attach stream": Target(
        seeds=(frame(1, b'{"event": "ready"}\n') + frame(2, b"words") + frame(1, b'{"event": "log", "bytes": 5}\n'),), read=attach_stream
    ),
    "form": Target(seeds=(FORM,), read=form),
    "form of a batch": Target(
        seeds=(FORM.replace(b'"dataset1"', b'"item"').replace(b'"job"', b'"batch"'),), read=lambda content: form(content, parts=OF_BATCH)
    ),
    "bundle": Target(seeds=(zipped(zipfile.ZIP_STORED), zipped(zipfile.ZIP_DEFLATED)), read=bundle),
}
