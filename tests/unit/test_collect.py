"""Reading what a sandbox left: the documented report passes whole, anything else is cut, dropped or no report at all."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from fumehood.limits import KIB, MIB, Limits
from fumehood.outcome import Reason
from tests.unit.reserved import reserve
from worker import shapes
from worker.collect import LOG_SLACK_BYTES, REPORT_BYTES, Report, collect
from worker.scratch import Scratch

LIMITS = Limits(output_bytes=64 * KIB, log_bytes=4 * KIB, disk_bytes=1 * MIB)
WALL = Path(__file__).resolve().parents[2] / "docs" / "wall.md"
OK: dict[str, Any] = {"version": 1, "reason": "ok"}


@pytest.fixture
def scratch(home: Path) -> Iterator[Scratch]:
    scratch = Scratch.create(home, worker="w1")
    yield scratch
    scratch.erase()


def collected(scratch: Scratch, report: Any) -> Report:
    data = report if isinstance(report, bytes) else json.dumps(report).encode()
    scratch.outside["report.json"].write_bytes(data)
    return collect(scratch, LIMITS)


def test_the_report_in_the_documentation_passes_whole(scratch: Scratch) -> None:
    text = WALL.read_text().partition("## `/out/report.json`")[2]
    example = json.loads(re.findall(r"```json\n(.*?)```", text, re.DOTALL)[0])
    scratch.outside["result.arrow"].write_bytes(b"x")
    scratch.outside["files.bin"].write_bytes(bytes(5123))
    scratch.outside["log"].write_bytes(bytes(1234))
    report = collected(scratch, example)
    assert report.problem == ""
    assert report.reason is Reason.OK
    assert report.error == example["error"]
    shown = ("result", "result2", "files", "notes", "log", "entry", "schemas", "answer")
    assert report.for_display() == {key: example[key] for key in shown}
    assert (report.exit_code, report.signal) == (0, None)
    assert report.milliseconds == example["milliseconds"]
    assert (report.memory_peak_bytes, report.oom_kills) == (73400320, 0)


@pytest.mark.parametrize(
    "report",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b"null",
        b'{"version": 1, "reason": "ok", "x": NaN}',
        b'{"version": 1, "reason": "ok", "x": -Infinity}',
        b'{"version": 1, "reason": "ok"} trailing',
        b'{"version": 1, "reason": "ok", "x": ' + b"9" * 5000 + b"}",
        b'{"version": 1, "reason": "ok", "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"version": 1, "reason": "ok", "x": "' + b"x" * REPORT_BYTES + b'"}',
        {"version": 2, "reason": "ok"},
        {"reason": "ok"},
        OK | {"reason": "cancelled"},
        OK | {"reason": "expired"},
        OK | {"reason": "lost"},
        OK | {"reason": "OK"},
        OK | {"reason": None},
        OK | {"reason": ["ok"]},
        OK | {"message": 5},
        OK | {"child": []},
        OK | {"child": {"exit_code": "0"}},
        OK | {"child": {"signal": -1}},
        OK | {"child": {"signal": True}},
        OK | {"result": {"rows": -1, "columns": []}},
        OK | {"result": {"rows": 2**63, "columns": []}},
        OK | {"result": {"rows": 1.5, "columns": []}},
        OK | {"result": {"rows": 1, "columns": [{"name": "a", "type": 5}]}},
        OK | {"result": {"rows": 1, "columns": [{"name": "a", "type": "int64"}]}},
        OK | {"files": [{"role": "figure", "name": "a.png", "media_type": "image/png", "offset": 0, "bytes": 1}]},
        OK | {"files": [{"role": "figure", "name": "a.png", "media_type": "image/png", "offset": -1, "bytes": 1}]},
        OK | {"files": {"0": {}}},
        OK | {"notes": [5]},
        OK | {"notes": [{"text": "no kind"}]},
        OK | {"log": {"truncated": "no"}},
        OK | {"milliseconds": {"import": -1}},
        OK | {"milliseconds": {"import": "fast"}},
        OK | {"memory_peak_bytes": -5},
        OK | {"error": "text"},
        OK | {"entry": []},
        OK | {"entry": {"parameters": [5]}},
        OK | {"entry": {"parameters": [{"name": "a", "type": "object", "required": True}]}},
        OK | {"entry": {"parameters": [{"name": "a", "type": ["int"], "required": True}]}},
        OK | {"entry": {"parameters": [{"name": "a", "type": None}]}},
        OK | {"entry": {"parameters": [], "init": 1}},
        OK | {"schemas": []},
        OK | {"schemas": {"inputs": {}}},
        OK | {"schemas": {"inputs": {"dataset1": [{"name": "a"}]}, "outputs": {}}},
        OK | {"answer": "csv"},
        OK | {"answer": {"format": 5}},
    ],
)  # fmt: skip
def test_what_is_not_in_the_shape_is_no_report(report: Any, scratch: Scratch) -> None:
    found = collected(scratch, report)
    assert found.reason is None
    assert found.problem


@pytest.mark.parametrize(("report", "told"), [(b"", 0), (b"{", 1), ({"version": 1, "reason": 5}, 1), (OK, 0)])
def test_a_report_that_cannot_be_used_is_told_to_the_operator_once(report: Any, told: int, scratch: Scratch) -> None:
    with capture_logs() as logs:
        collected(scratch, report)
    assert [entry["event"] for entry in logs] == ["report not usable"] * told


def test_nothing_of_a_check_or_an_answer_is_carried_on_where_there_is_none(scratch: Scratch) -> None:
    assert collected(scratch, OK).for_display().keys() == {"result", "result2", "files", "notes", "log"}


def test_more_columns_than_a_schema_may_have_are_no_schema(scratch: Scratch) -> None:
    def told(columns: int) -> Any:
        table = [{"name": f"{at:05}", "type": "bool"} for at in range(columns)]
        return collected(scratch, OK | {"schemas": {"inputs": {}, "outputs": {"result": table}}}).schemas

    assert len(told(10_000)["outputs"]["result"]) == 10_000
    assert told(10_001) is None


def test_a_media_type_or_default_of_a_strange_kind_is_not_kept(scratch: Scratch) -> None:
    parameters = [{"name": "a", "type": None, "required": False, "default": value} for value in ([1], "x", None)]
    report = collected(scratch, OK | {"answer": {"format": "csv", "media_type": "text/csv\r\nX: y"}, "entry": {"parameters": parameters}})
    assert report.answer == {"format": "csv", "media_type": "application/octet-stream"}
    assert report.entry is not None
    assert [one["default"] for one in report.entry["parameters"]] == [None, "x", None]


def test_a_missing_word_is_not_missed(scratch: Scratch) -> None:
    report = collected(scratch, OK)
    assert (report.reason, report.problem, report.files, report.notes, report.result) == (Reason.OK, "", (), (), None)


def test_unknown_fields_are_dropped(scratch: Scratch) -> None:
    report = collected(
        scratch, OK | {"admin": True, "result": {"rows": 0, "columns": [], "path": "/etc"}, "log": {"truncated": True, "x": 1}}
    )
    assert report.for_display() == {
        "result": {"rows": 0, "columns": []}, "result2": None, "files": [], "notes": [], "log": {"bytes": 0, "truncated": True},
    }  # fmt: skip


def test_long_texts_and_lists_are_cut(scratch: Scratch) -> None:
    error = {"type": "E" * 5000, "message": "m", "traceback": "t" * 200_000, "frames": [{"file": "f", "line": 1, "function": "g"}] * 500}
    report = collected(scratch, OK | {"message": "m" * 9999, "error": error, "notes": [{"kind": "k", "text": "t" * 9999}] * 20})
    assert len(report.message) == shapes.SENTENCE
    assert report.error is not None
    assert (len(report.error["type"]), len(report.error["traceback"]), len(report.error["frames"])) == (
        shapes.SHORT,
        shapes.TEXT,
        shapes.FRAMES,
    )
    assert len(report.notes[0]["text"]) == shapes.SENTENCE


def test_what_no_encoding_or_database_takes_is_replaced(scratch: Scratch) -> None:
    report = collected(scratch, b'{"version": 1, "reason": "ok", "message": "a\\ud800b\\u0000c"}')
    assert report.message == "a?b\ufffdc"
    report.message.encode()


def test_a_note_keeps_texts_and_numbers_only(scratch: Scratch) -> None:
    report = collected(scratch, OK | {"notes": [{"kind": "k", "n": 1, "f": 0.5, "b": True, "big": 10**40, "list": [], "none": None}]})
    assert report.notes == ({"kind": "k", "n": 1, "f": 0.5, "b": True},)


@pytest.mark.parametrize(
    "media_type", ["text/html\r\nX: y", "a" * 300, "no-slash", "text/", "IMAGE/PNG", "text/html; charset=x", 5, None, "täxt/x"]
)
def test_a_media_type_that_could_not_be_a_header_is_replaced(media_type: Any, scratch: Scratch) -> None:
    report = collected(scratch, OK | {"files": [{"role": "artifact", "name": "a", "media_type": media_type, "offset": 0, "bytes": 0}]})
    assert report.files[0]["media_type"] == "application/octet-stream"


def test_an_output_past_its_own_cap_is_cut_away_and_forgotten(scratch: Scratch) -> None:
    files = [{"role": "figure", "name": "a.png", "media_type": "image/png", "offset": 0, "bytes": 1}]
    table = {"rows": 1, "columns": [{"name": "a", "type": "int64"}]}
    for output, cap in (("result.arrow", LIMITS.output_bytes), ("files.bin", LIMITS.disk_bytes)):
        scratch.outside[output].write_bytes(bytes(cap + 1))
    scratch.outside["log"].write_bytes(b"x" * (LIMITS.log_bytes + LOG_SLACK_BYTES + 1))
    report = collected(scratch, OK | {"files": files, "result": table})
    assert report.too_large == ("result.arrow", "files.bin", "log")
    assert (report.reason, report.result, report.files) == (Reason.OK, None, ())
    assert [scratch.size(output) for output in report.too_large] == [0, 0, LIMITS.log_bytes + LOG_SLACK_BYTES]


def test_an_output_at_its_cap_stays(scratch: Scratch) -> None:
    scratch.outside["result.arrow"].write_bytes(bytes(LIMITS.output_bytes))
    scratch.outside["files.bin"].write_bytes(bytes(LIMITS.disk_bytes))
    report = collected(scratch, OK)
    assert report.too_large == ()
    assert scratch.size("result.arrow") == LIMITS.output_bytes


def test_a_sparse_output_counts_by_its_size(scratch: Scratch) -> None:
    with scratch.outside["result2.arrow"].open("wb") as file:
        file.truncate(10 * 2**40)
    assert collected(scratch, OK).too_large == ("result2.arrow",)


def test_blocks_reserved_beyond_an_outputs_end_are_given_back_and_what_was_written_stays(scratch: Scratch) -> None:
    for output, descriptor in scratch.descriptors.items():
        scratch.outside[output].write_bytes(b"kept")
        reserve(descriptor, MIB)
    collect(scratch, LIMITS)
    for output, descriptor in scratch.descriptors.items():
        assert os.fstat(descriptor).st_blocks * 512 <= 64 * KIB, output
        assert scratch.read(output, limit_bytes=10) == b"kept"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("message", "error", "child", "result", "result2", "files", "log", "notes", "milliseconds", "memory_peak_bytes", "oom_kills")


@hypothesis_settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_nothing_in_a_report_raises_and_what_passes_is_strict_json(values: dict[str, Any], scratch: Scratch) -> None:
    report = collected(scratch, OK | values)
    assert report.reason is Reason.OK or report.problem
    json.dumps(report.for_display(), allow_nan=False).encode()
