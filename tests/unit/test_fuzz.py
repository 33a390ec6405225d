"""Bytes from outside, made up and mutated: whatever comes, the answer is the documented refusal, and nothing stays.

What is tried stands in tests/fuzz/targets.py; the readers of tables, which are native code, in tests/fuzz/readers.py. The runner's JSON,
made up, is in test_runner_formats.py. `FUMEHOOD_TEST_EXAMPLES` says how many examples each of these tries; `python -m tests.fuzz`
goes on for as long as it is told.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections import Counter as Counted
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from api.multipart import OF_BATCH, OF_JOB
from tests.fuzz import readers
from tests.fuzz.mutations import mutated
from tests.fuzz.targets import ITEM, REPORT, TARGETS, form, frame, heard, in_pieces, part
from tests.unit.front_desk import ARROW, Counter

EXAMPLES = int(os.environ.get("FUMEHOOD_TEST_EXAMPLES", "400"))
MANY = hypothesis_settings(max_examples=EXAMPLES)
SOME = hypothesis_settings(max_examples=EXAMPLES // 4, suppress_health_check=list(HealthCheck))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


# each reader -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", TARGETS)
def test_changed_bytes_are_read_or_refused(name: str) -> None:
    target = TARGETS[name]

    @SOME
    @given(content=mutated(st.sampled_from(target.seeds)) | st.binary(max_size=200))
    def reads(content: bytes) -> None:
        target.read(content)

    reads()


@MANY
@given(values=st.dictionaries(st.sampled_from(sorted(REPORT)), JSON, max_size=3))
def test_a_report_that_is_made_up_is_a_report_or_none_and_can_be_judged(values: dict[str, Any]) -> None:
    TARGETS["report"].read(json.dumps(REPORT | values).encode())


@MANY
@given(values=st.dictionaries(st.sampled_from(sorted(ITEM)) | st.just("number"), JSON, max_size=3))
def test_an_item_that_is_made_up_is_an_ending_or_none(values: dict[str, Any]) -> None:
    items = [ITEM | {"number": 4}, ITEM | {"number": 5} | values]
    TARGETS["report of a chunk"].read(json.dumps(REPORT | {"items": items}).encode())


@pytest.mark.parametrize("number", ["4.0", "4"])
def test_the_number_of_an_item_is_the_chunks_own(number: str) -> None:
    items = json.dumps([ITEM | {"number": "<4>"}, ITEM | {"number": 5}]).replace('"<4>"', number)
    TARGETS["report of a chunk"].read(json.dumps(REPORT | {"items": "<items>"}).replace('"<items>"', items).encode())


# the attach stream -----------------------------------------------------------------------------------------------------------
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


@MANY
@given(content=mutated(FRAMES) | st.binary(max_size=2000), cuts=st.lists(st.integers(0, 3000), max_size=8))
def test_an_attach_stream_is_heard_alike_in_whatever_pieces_it_comes(content: bytes, cuts: list[int]) -> None:
    whole, pieces = heard([content]), heard(in_pieces(content, cuts))
    assert whole == pieces
    assert all(isinstance(event["event"], str) for event in whole[0])


# forms -----------------------------------------------------------------------------------------------------------------------
NAMES = st.sampled_from([b"job", b"batch", b"script", b"dataset1", b"dataset2", b"bundle", b"item", b"other", b""])
MEDIA = st.sampled_from(
    [b"text/csv", b"application/json", b"text/x-python", b"application/zip", b"application/vnd.apache.arrow.file", b"x"]
)
FILE_NAMES = st.none() | st.sampled_from([b"a.csv", b"../../etc/passwd", b"a\\b", b"\xff\xfe", b"%0d%0aX: y", b""])
FORMS = st.lists(st.builds(part, NAMES, FILE_NAMES, MEDIA, st.binary(max_size=300)), max_size=5).map(
    lambda parts: b"".join(parts) + b"--edge--\r\n"
)


@MANY
@given(
    content=mutated(FORMS) | st.binary(max_size=500),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
    parts=st.sampled_from([OF_JOB, OF_BATCH]),
)
def test_a_form_is_read_or_refused_and_leaves_nothing(content: bytes, cuts: list[int], parts: Any) -> None:
    form(content, cuts, parts)


# whole requests --------------------------------------------------------------------------------------------------------------
HEADERS = {
    "range": "Range",
    "accept": "Accept",
    "prefer": "Prefer",
    "last-event-id": "Last-Event-ID",
    "content-type": "Content-Type",
    "authorization": "Authorization",
    "idempotency-key": "Idempotency-Key",
}
ENDLESS = b"text/event-stream"


@st.composite
def headers(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    names = draw(st.lists(st.sampled_from(sorted(HEADERS)), min_size=1, max_size=4))
    # A server lets no control character pass, and cuts spaces at both ends.
    allowed = {number: None for number in (*range(32), 127)}
    given_ = [(HEADERS[name], draw(mutated(st.sampled_from(TARGETS[name].seeds)))) for name in names]
    return [(name.encode(), value.translate(None, bytes(allowed)).strip()) for name, value in given_ if ENDLESS not in value]


@hypothesis_settings(SOME)
@given(headers=headers(), cursor=mutated(st.sampled_from(TARGETS["cursor"].seeds)))
def test_no_header_is_answered_with_an_error_of_ours(us: Counter, headers: list[tuple[bytes, bytes]], cursor: bytes) -> None:
    dataset = us.dataset(b"arrow bytes", ARROW)
    known = [] if any(name == b"Authorization" for name, _ in headers) else [(b"Authorization", us.headers["Authorization"].encode())]
    for method, path, request in (
        ("GET", f"/v1/datasets/{dataset}/content", {}),
        ("GET", "/v1/jobs", {"params": {"cursor": cursor}}),
        ("POST", "/v1/jobs", {"content": b'{"script": "x ="}'}),
        ("POST", "/v1/datasets", {"content": b"a\n1\n"}),
    ):
        answer = us.served.request(method, path, headers=[*known, *headers], **request)
        assert answer.status_code < 500, (method, path, headers, answer.text)
        assert answer.status_code < 400 or answer.json()["status"] == answer.status_code


# tables ----------------------------------------------------------------------------------------------------------------------
def laid_out(directory: Path, form: str, contents: list[bytes]) -> Path:
    for number, content in enumerate(contents):
        (directory / f"{number}.{form}").write_bytes(content)
    return directory


@pytest.mark.parametrize("form", readers.seeds())
def test_a_changed_file_is_a_table_or_bad_input(form: str, tmp_path: Path) -> None:
    valid = readers.seeds()[form]
    said = readers.tried(laid_out(tmp_path, form, [*valid, *readers.cases(form, EXAMPLES, seed=0)]))
    assert [each for each in said if not each.fine] == []
    assert [each.how for each in said[: len(valid)]] == ["table"] * len(valid)
    assert Counted(each.how for each in said)["refused"] > EXAMPLES // 4


def test_what_ends_the_process_is_found_and_the_rest_is_tried(tmp_path: Path) -> None:
    reader = tmp_path / "reader.py"
    reader.write_text(
        "import ctypes, pathlib, sys\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir())[int(sys.argv[2]):]:\n"
        "    path.read_bytes() == b'crash' and ctypes.string_at(0)\n"
        "    print('\"table\"', flush=True)\n"
    )
    (tmp_path / "cases").mkdir()
    cases = laid_out(tmp_path / "cases", "csv", [b"", b"crash", b"", b"crash"])
    said = readers.tried(cases, reader=(sys.executable, str(reader)))
    assert [each.fine for each in said] == [True, False, True, False]
    assert said[1].how.startswith("ended the process with -11")


def test_what_asks_for_more_memory_than_there_is_was_damaged(tmp_path: Path) -> None:
    """The length of a compressed buffer, before its bytes: a reader takes that much at once."""
    content = readers.seeds()["arrow"][2]
    place = content.index((24).to_bytes(8, "little"), content.index(b"\x04\x22\x4d\x18") - 8)
    damaged = content[:place] + (2**61).to_bytes(8, "little") + content[place + 8 :]
    assert [each.how for each in readers.tried(laid_out(tmp_path, "arrow", [damaged]))] == ["refused"]


def test_a_decimal_that_python_cannot_hold_is_refused(tmp_path: Path) -> None:
    numbers = pa.Array.from_buffers(pa.decimal128(22, 16_711_682), 1, [None, pa.py_buffer((5).to_bytes(16, "little"))])
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, pa.schema({"x": numbers.type})) as writer:
        writer.write_batch(pa.record_batch([numbers], names=["x"]))
    assert [each.how for each in readers.tried(laid_out(tmp_path, "arrow", [sink.getvalue()]))] == ["refused"]
