"""Bytes from outside, made up and mutated: whatever comes, the answer is the documented refusal, and nothing stays.

The report's fuzzing stands with its tests (test_collect.py), that of the runner's readers in test_runner_formats.py and
test_runner_random_tables.py. `FUMEHOOD_TEST_EXAMPLES` says how many examples each of these tries.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from api.multipart import OF_BATCH, OF_JOB, FormReader
from fumehood.blob_store import BlobStore
from fumehood.errors import FumehoodError
from fumehood.settings import Settings
from worker.attach import FRAME_BYTES, HEADER_BYTES, LINE_BYTES, STDERR_KEPT_BYTES, Lines

EXAMPLES = hypothesis_settings(max_examples=int(os.environ.get("FUMEHOOD_TEST_EXAMPLES", "400")))


@st.composite
def mutated(draw: st.DrawFn, valid: st.SearchStrategy[bytes]) -> bytes:
    """Valid bytes with some of them changed, cut out, doubled or put elsewhere."""
    content = bytearray(draw(valid))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 40)))
        match draw(st.sampled_from(["change", "cut", "double", "move", "insert"])):
            case "change" if start < len(content):
                content[start] = draw(st.integers(0, 255))
            case "cut":
                del content[start:end]
            case "double":
                content[start:start] = content[start:end]
            case "move":
                piece = content[start:end]
                del content[start:end]
                place = draw(st.integers(0, len(content)))
                content[place:place] = piece
            case _:
                content[start:start] = draw(st.binary(max_size=40))
    return bytes(content)


def in_pieces(content: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({min(cut, len(content)) for cut in cuts} | {0, len(content)})
    return [content[start:end] for start, end in pairwise(places)]


# the attach stream -----------------------------------------------------------------------------------------------------------
def frame(kind: int, payload: bytes) -> bytes:
    return bytes([kind, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
EVENTS = st.sampled_from(["ready", "log", "done"]).map(lambda name: {"event": name}) | st.fixed_dictionaries({"event": JSON, "bytes": JSON})
LINE = (EVENTS | JSON).map(lambda value: json.dumps(value).encode() + b"\n")
SPOKEN = st.lists(st.builds(frame, st.sampled_from([1, 1, 1, 2]), EVENTS.map(lambda event: json.dumps(event).encode() + b"\n"))).map(
    b"".join
)
TAIL = (
    st.just(b"")
    | st.integers(1, 900).map(lambda count: frame(1, b"x" * count))
    | st.builds(frame, st.integers(0, 3), LINE | st.binary(max_size=99))
)
FRAMES = st.builds(lambda spoken, tail: spoken + tail, SPOKEN, TAIL)


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


@EXAMPLES
@given(content=mutated(FRAMES) | st.binary(max_size=2000), cuts=st.lists(st.integers(0, 3000), max_size=8))
def test_an_attach_stream_is_heard_alike_in_whatever_pieces_it_comes(content: bytes, cuts: list[int]) -> None:
    whole, pieces = heard([content]), heard(in_pieces(content, cuts))
    assert whole == pieces
    assert all(isinstance(event["event"], str) for event in whole[0])


# forms -----------------------------------------------------------------------------------------------------------------------
BOUNDARY = b"edge"


def part(name: bytes, file_name: bytes | None, media_type: bytes, content: bytes) -> bytes:
    disposition = b'Content-Disposition: form-data; name="%s"' % name
    disposition += b'; filename="%s"' % file_name if file_name is not None else b""
    return b"--edge\r\n%s\r\nContent-Type: %s\r\n\r\n%s\r\n" % (disposition, media_type, content)


NAMES = st.sampled_from([b"job", b"batch", b"script", b"dataset1", b"dataset2", b"bundle", b"item", b"other", b""])
MEDIA = st.sampled_from(
    [b"text/csv", b"application/json", b"text/x-python", b"application/zip", b"application/vnd.apache.arrow.file", b"x"]
)
FILE_NAMES = st.none() | st.sampled_from([b"a.csv", b"../../etc/passwd", b"a\\b", b"\xff\xfe", b"%0d%0aX: y", b""])
FORMS = st.lists(st.builds(part, NAMES, FILE_NAMES, MEDIA, st.binary(max_size=300)), max_size=5).map(
    lambda parts: b"".join(parts) + b"--edge--\r\n"
)


@EXAMPLES
@given(
    content=mutated(FORMS) | st.binary(max_size=500),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
    parts=st.sampled_from([OF_JOB, OF_BATCH]),
)
def test_a_form_is_read_or_refused_and_leaves_nothing(content: bytes, cuts: list[int], parts: Any) -> None:
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        settings = Settings(home=home, disk_floor_bytes=0, dataset_bytes=200, script_bytes=100, bundle_bytes=100, document_bytes=100)
        blobs = BlobStore(home)
        with ExitStack() as stack:
            reader = FormReader(BOUNDARY, parts=parts, blobs=blobs, settings=settings, stack=stack)
            with suppress(FumehoodError):
                for piece in in_pieces(content, cuts):
                    reader.feed(piece)
                form = reader.finish()
                assert all(arrived.incoming.bytes <= 200 for arrived in form.files.values())
                assert len(form.script or b"") <= 100
        assert list((home / "incoming").iterdir()) == []
        assert [path for path in (home / "blobs").rglob("*") if path.is_file()] == []
