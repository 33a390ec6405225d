"""The report from untrusted halves, and the description of hostile exceptions. No container."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.loading import runner

report = runner("report")
failure = runner("failure")
places = runner("places")
Log = runner("log").Log
LIMITS = {"wall_seconds": 5, "memory_bytes": 2**30, "disk_bytes": 2**20, "output_bytes": 3 * 2**30, "processes": 20}
REQUEST = {"kind": "script", "limits": LIMITS}
MEBI = 1024 * 1024
TABLE = {"rows": 1, "columns": [{"name": "a", "type": "int64", "nullable": False}]}
WHOLE = b"ARROW1\0\0 a table ARROW1"


@pytest.fixture
def assemble(tmp_path, monkeypatch):
    """`assemble(said, code)`: the report of a child that said so and ended so."""
    for name in ("RESULT", "RESULT2", "LOG"):
        (tmp_path / name).write_bytes(WHOLE)
        monkeypatch.setattr(places, name, str(tmp_path / name))
    monkeypatch.setattr(places, "RESULTS", {"result": places.RESULT, "result2": places.RESULT2})

    def assemble(
        said: bytes, status: int | None = 0, files: dict | None = None, oom_kills: int | None = 0, timed_out: bool = False, **more
    ) -> dict:
        descriptor = os.open(places.LOG, os.O_WRONLY)
        try:
            text = report.assemble(
                said=said, status=status, timed_out=timed_out, request=REQUEST | more, files=files or {}, log=Log(descriptor, 1000),
                milliseconds={"import": 1}, memory_peak_bytes=None, oom_kills=oom_kills,
            )  # fmt: skip
        finally:
            os.close(descriptor)
        assert len(text) <= MEBI
        return json.loads(text)

    return assemble


def words(**facts) -> bytes:
    return b'{"script_started": true}\n' + json.dumps({"reason": "ok", **facts}).encode() + b"\n"


def test_a_good_report_passes_through(assemble):
    got = assemble(words(result=TABLE, milliseconds={"script": 5}))
    assert (got["reason"], got["result"], got["milliseconds"]["script"]) == ("ok", TABLE, 5)


@pytest.mark.parametrize("port", ["RESULT", "RESULT2"])
@pytest.mark.parametrize("content", [b"", b"ARROW1", b"garbage" * 100, WHOLE[:-1], WHOLE[1:]])
def test_a_good_word_about_a_table_that_is_not_there_is_a_crash(assemble, port, content):
    Path(getattr(places, port)).write_bytes(content)
    got = assemble(words(result=TABLE, result2=TABLE))
    assert (got["reason"], got["result"], got["result2"]) == ("crashed", None, None)
    assert got["message"] == "The script ended its process before its result was written."
    assert Path(places.RESULT).stat().st_size == Path(places.RESULT2).stat().st_size == 0


@pytest.mark.parametrize(
    ("answer", "content", "reason"),
    [
        ("csv", b"a\n1\n", "ok"), ("json", b"[]\n", "ok"), ("ndjson", b"\n", "ok"), ("arrow-stream", b"\xff\xff\xff\xff", "ok"),
        ("csv", b"", "crashed"), ("parquet", b"PAR1 a table PAR1", "ok"), ("parquet", WHOLE, "crashed"), ("arrow", WHOLE, "ok"),
        ("arrow", b"a\n1\n", "crashed"),
    ],
)  # fmt: skip
def test_an_answer_is_there_in_its_format_and_the_report_names_it(assemble, answer, content, reason):
    Path(places.RESULT).write_bytes(content)
    got = assemble(words(result=TABLE, answer={"format": "x", "media_type": "text/html"}), answer=answer, kind="score")
    assert got["reason"] == reason
    told = {"format": answer, "media_type": runner("formats").MEDIA_TYPES[answer]}
    assert got.get("answer") == (told if reason == "ok" else None)


ENTRY = {"parameters": [{"name": "n", "type": "int", "required": False, "default": 5}], "more": False, "init": True}
SCHEMAS = {"inputs": {"dataset1": TABLE["columns"]}, "outputs": {"result": TABLE["columns"]}}


def test_a_check_tells_of_entry_point_and_columns_and_nobody_else_does(assemble):
    said = words(result=TABLE, entry=ENTRY, schemas=SCHEMAS)
    got = assemble(said, kind="check")
    assert (got["entry"], got["schemas"]) == (ENTRY, SCHEMAS)
    for kind in ("script", "score"):
        assert not {"entry", "schemas", "answer"} & assemble(said, kind=kind).keys()
    assert not {"entry", "schemas"} & assemble(b'{"reason": "script_error"}\n', kind="check").keys()


@pytest.mark.parametrize(
    "schemas",
    [
        None, 5, "inputs", [], {}, {"inputs": {}}, {"inputs": [], "outputs": 5}, {"inputs": {"dataset1": 5}, "outputs": {}},
        {"inputs": {"dataset1": [5]}, "outputs": {}}, {"inputs": {"dataset1": [{"name": "a"}]}, "outputs": {}},
        {"inputs": {"dataset1": "text"}, "outputs": {}},
    ],
)  # fmt: skip
def test_columns_in_another_shape_are_none(assemble, schemas):
    got = assemble(words(result=TABLE, schemas=schemas, entry=5), kind="check")
    assert (got["reason"], got["entry"], got["schemas"]) == ("ok", None, None)


def test_of_an_entry_point_only_what_is_in_the_shape_is_kept(assemble):
    strange = {"name": 5, "type": "object", "required": 1, "default": [1], "more": "x"}
    got = assemble(words(result=TABLE, entry={"parameters": [strange, 5], "more": 1, "init": "yes", "x": 1}), kind="check")
    assert got["entry"] == {"parameters": [{"name": "", "type": None, "required": False}], "more": False, "init": False}


def test_very_many_columns_of_a_check_still_fit_into_the_report(assemble):
    columns = [{"name": f"c{at}" + "x" * 20, "type": "int64", "nullable": False} for at in range(4_000)]
    schemas = {"inputs": {"dataset1": columns}, "outputs": {}}
    got = assemble(words(result={"rows": 1, "columns": columns[:2_000]}, schemas=schemas), kind="check")
    assert got["schemas"]["inputs"]["dataset1"] == columns


@pytest.mark.parametrize("result", [None, [], "ok"])
def test_a_good_word_about_no_table_is_a_crash(assemble, result):
    assert assemble(words(result=result))["reason"] == "crashed"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"{}\n",
        b"[" * 100_000 + b"\n",
        b"\xff\n",
        b'{"reason": "ok"',
        b'{"reason": []}\n',
        b'{"reason": "timed_out"}\n',
        b'{"reason": "lost"}\n',
    ],
)
def test_a_child_without_a_usable_word_has_crashed(assemble, said):
    got = assemble(said, status=7 << 8)
    assert (got["reason"], got["child"]) == ("crashed", {"exit_code": 7, "signal": None})
    assert Path(places.RESULT).stat().st_size == 0


def test_an_unreported_kill_is_out_of_memory_only_where_the_kernel_says_so(assemble):
    assert assemble(b"", status=9, oom_kills=1)["reason"] == "out_of_memory"
    assert assemble(b"", status=9, oom_kills=0)["reason"] == "crashed"
    assert assemble(b"", status=9, oom_kills=None)["reason"] == "crashed"


def test_the_script_cannot_blame_the_service(assemble):
    assert assemble(words(reason="sandbox_error"))["reason"] == "crashed"
    assert assemble(b'{"reason": "sandbox_error"}\n')["reason"] == "sandbox_error"


def test_the_wall_limit_wins_over_what_the_child_said(assemble):
    got = assemble(words(result={"rows": 1, "columns": []}), status=9, timed_out=True)
    assert (got["reason"], got["result"], got["error"]) == ("timed_out", None, None)


def test_the_largest_possible_report_fits(assemble):
    column = {"name": "\u2028" * 300, "type": "ü" * 300, "nullable": True}
    error = dict.fromkeys(("type", "message", "traceback", "file", "source"), "\u2028" * 70_000)
    error["frames"] = [{"file": "\u2028" * 300, "line": 1, "function": "ü" * 300, "source": "ü" * 500}] * 200
    table = {"rows": 10**30, "columns": [column] * 5000}
    files = {"files": [{"role": "artifact", "name": "\u2028" * 300, "media_type": "x", "offset": 0, "bytes": 0}] * 1000}
    for facts in ({"result": table, "result2": table}, {"reason": "script_error", "error": error}):
        got = assemble(words(notes=[{"kind": "x", "text": "\u2028" * 10_000}] * 500, message="\u2028" * 10_000, **facts), files=files)
        assert got["reason"] in ("ok", "script_error")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "columns", "rows", "kind", "text", "line", "frames"]), inner)
    ),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["message", "error", "notes", "result", "result2", "milliseconds", "exit_code"]), json_values))
def test_whatever_the_child_says_gives_a_report_of_the_agreed_shape(facts):
    cleaned = report.clean_ending(facts | {"reason": "ok"}, True, 0, 0, LIMITS)
    json.dumps([cleaned, report.clean_notes(facts.get("notes")), report.clean_table(facts.get("result")), report.clean_milliseconds(facts)])
    assert isinstance(cleaned["message"], str)


def test_a_note_without_a_kind_is_dropped(assemble):
    """Beyond the wall it would make the whole report unreadable, which is the service's fault."""
    good = {"kind": "warning", "text": "x"}
    assert assemble(words(reason="script_error", notes=[{}, {"text": "x"}, {"kind": 1}, good]))["notes"] == [good]


def test_a_supervisor_that_fails_tells_so_in_the_agreed_shape():
    whole = json.loads(report.of_failure("crashed", OSError(22, "x" * 10**6)))
    assert (whole["version"], whole["reason"], whole["files"], whole["result"]) == (1, "crashed", [], None)
    assert len(whole["message"]) <= places.MESSAGE_CHARACTERS
    assert "OSError" in whole["message"]


class Hostile(Exception):
    def __str__(self):
        raise SystemExit

    __repr__ = __str__


def raised(exception: BaseException) -> BaseException:
    try:
        raise exception
    except BaseException as caught:
        return caught


def test_hostile_exceptions_have_a_bounded_description():
    deep = None
    for number in range(3000):
        error = ValueError(number)
        error.__cause__ = deep
        deep = error
    for exception in (Hostile(), ValueError("x" * 10**7), deep, ExceptionGroup("g", [Hostile()] * 500), UnicodeError("\udcff")):
        described = failure.describe(raised(exception))
        assert len(described["traceback"]) <= places.TRACEBACK_CHARACTERS
        assert len(described["message"]) <= places.MESSAGE_CHARACTERS


@pytest.mark.parametrize(
    ("exception", "reason", "sentence"),
    [
        (MemoryError("Unable to allocate 7 TiB"), "out_of_memory", "took more memory than the limit of 1 GiB (memory_bytes): Unable to"),
        (OSError(28, "No space left on device"), "disk_full", "disk space of 1 MiB (disk_bytes) is used up"),
        (OSError(27, "File too large"), "output_too_large", "limits allow, 3 GiB (output_bytes)"),
        (RuntimeError("can't start new thread"), "too_many_processes", "threads than the limit of 20 (processes)"),
        (BlockingIOError(11, "nothing to read"), "script_error", "BlockingIOError: [Errno 11] nothing to read"),
        (SystemExit(3), "crashed", "ended itself with exit code 3"),
        (SystemExit(), "crashed", "ended itself with exit code 0"),
        (KeyboardInterrupt(), "script_error", "KeyboardInterrupt (line "),
        (ValueError("* * *\n" + "*" * 70 + "\n  two\n"), "script_error", "ValueError: * * * two (line "),
    ],
)
def test_every_exception_has_its_reason_and_its_sentence(exception, reason, sentence):
    judged = failure.judge(raised(exception), LIMITS, script_has_started=True)
    assert judged["reason"] == reason
    assert sentence in judged["message"]


@pytest.mark.parametrize(
    ("exception", "reason"),
    [
        (MemoryError(), "out_of_memory"),
        (OSError(28, ""), "disk_full"),
        (PermissionError(13, ""), "sandbox_error"),
        (SystemExit(), "sandbox_error"),
    ],
)
def test_before_the_script_starts_only_limits_are_the_tenants(exception, reason):
    judged = failure.judge(raised(exception), LIMITS, script_has_started=False)
    assert judged["reason"] == reason
    assert "The script" not in judged["message"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(2**30, "1 GiB"), (512 * 2**20, "512 MiB"), (1_500_000_000, "1,500,000,000 bytes"), (1536, "1,536 bytes"), (0, "0 bytes")],
)
def test_sizes_are_written_in_the_largest_unit_that_leaves_nothing_over(count, text):
    assert failure.bytes_text(count) == text


def test_a_text_given_to_exit_is_written_and_told(capfd):
    judged = failure.judge(raised(SystemExit("nothing\nto do")), LIMITS, script_has_started=True)
    assert (judged["reason"], judged["exit_code"]) == ("crashed", 1)
    assert judged["message"].endswith("before azureml_main returned: nothing to do.")
    assert capfd.readouterr().err == "nothing\nto do\n"


def test_code_given_to_exec_is_told_with_the_line_that_gave_it(monkeypatch):
    monkeypatch.setattr(places, "JOB", str(Path(__file__).parent))
    monkeypatch.setattr(failure, "is_own", lambda file: file == Path(__file__).name)
    try:
        exec("a b")
    except SyntaxError as error:
        described = failure.describe(error)
    assert [frame["file"] for frame in described["frames"]] == [Path(__file__).name, "<string>"]
    assert described["message"] == "invalid syntax"
    assert described["frames"][1]["source"] == "a b"


@pytest.mark.parametrize(
    ("free", "sentence"),
    [
        ({"/job": 5, "/dev/shm": 5}, "The sandbox's disk space of 1 MiB (disk_bytes) is used up"),
        ({"/job": 0, "/dev/shm": 0}, "The sandbox's disk space of 1 MiB (disk_bytes) is used up"),
        ({"/job": 5, "/dev/shm": 0}, "/dev/shm is full: it holds 40 KiB, a part of the job's disk_bytes"),
        ({"/job": None, "/dev/shm": 0}, "The sandbox has no room for more files: it holds at most 50,000 files and directories"),
    ],
)
def test_a_full_disk_is_told_by_what_of_it_is_full(monkeypatch, free, sentence):
    def statvfs(path: str) -> SimpleNamespace:
        return SimpleNamespace(f_bavail=free[path] or 0, f_favail=int(free[path] is not None), f_files=50_000, f_blocks=10, f_frsize=4096)

    monkeypatch.setattr(os, "statvfs", statvfs)
    assert failure.full_disk(LIMITS) == sentence
