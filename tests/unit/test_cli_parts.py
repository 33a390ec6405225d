"""What the command is made of: arguments, what a terminal may see, names of files, the preview."""

from __future__ import annotations

import decimal
import io
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pytest

from cli import arguments
from cli.doctor import mounts_below
from cli.downloads import NAME_BYTES_MAX, safe_name, safe_path
from cli.errors import BadInput
from cli.preview import show_table
from cli.report import failure, state, when
from cli.terminal import LogWriter, Screened, columns, duration, harmless, one_line, size
from fumehood.client.body import Upload

DATASET, JOB = "ds_" + "0" * 32, "job_" + "a" * 32


# arguments -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("1.5", 1.5), ("true", True), ("null", None), ('"5"', "5"), ("[1, 2]", [1, 2]), ('{"a": 1}', {"a": 1}),
        ("plain words", "plain words"), ("", ""), ("a=b", "a=b"), ("NaN", "NaN"), ("-Infinity", "-Infinity"), ("1e999", "1e999"),
        ("007", "007"), ("[1,", "[1,"), ("True", "True"),
    ],
)  # fmt: skip
def test_a_parameter_is_json_where_it_can_be_and_else_a_string(text: str, value: Any) -> None:
    found = arguments.parameters([f"k={text}"])["k"]

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("pairs", [["novalue"], ["=1"], ["a=1", "a=2"]])
def test_a_pair_that_is_none_is_refused(pairs: list[str]) -> None:
    with pytest.raises(BadInput, match=r"--param"):
        arguments.parameters(pairs)


@pytest.mark.parametrize(
    ("pair", "value"), [("wall_seconds=1.5", 1.5), ("memory_bytes=1.5GiB", 3 * 2**29), ("log_bytes=64KiB", 65536), ("figures=0", 0)]
)
def test_a_limit_is_a_number_and_may_name_a_unit_of_bytes(pair: str, value: float) -> None:
    assert list(arguments.limits([pair]).values()) == [value]


@pytest.mark.parametrize("pair", ["cpus=true", "cpus=1GiB", "memory_bytes=lots", "wall_seconds=null", "cpus=NaN"])
def test_a_limit_that_is_no_number_is_refused(pair: str) -> None:
    with pytest.raises(BadInput, match="expected a number"):
        arguments.limits([pair])


def test_a_table_is_a_stored_dataset_or_a_jobs_output_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{DATASET}.csv").touch()

    assert arguments.table("--dataset1", DATASET) == DATASET
    assert arguments.table("--dataset1", f"{JOB}:result2") == {"job": JOB, "output": "result2"}
    upload = arguments.table("--dataset1", f"./{DATASET}.csv")
    assert isinstance(upload, Upload)
    assert upload.media_type == "text/csv"


# the terminal ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("over\rwrite", "over\\rwrite"),
        ("a\x08b\x7f", "a\\x08b\\x7f"),
        ("\u202eevil", "\\u202eevil"),
        ("half \ud800", "half \\ud800"),
        ("tab\tand\nnewline, \u00e9\u65e5\u672c \U0001f600 [bold]", "tab\tand\nnewline, \u00e9\u65e5\u672c \U0001f600 [bold]"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled_out(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_a_name_stays_on_one_line() -> None:
    assert one_line("a\nb\tc") == "a\\nb\\tc"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_on_a_terminal_is_harmless_and_progress_bars_become_lines() -> None:
    screen = Screen()
    writer = LogWriter(screen)
    for text in ("10%\r", "20%\r\n", "\x1b[2Jdone\r", "\n", "last"):
        writer.write(text)
    writer.end_line()
    writer.end_line()

    assert screen.getvalue() == "10%\n20%\n\\x1b[2Jdone\nlast\n"


def test_a_log_in_a_pipe_is_what_it_is() -> None:
    pipe = io.StringIO()
    LogWriter(pipe).write("10%\r20%\x1b[0m\n")

    assert pipe.getvalue() == "10%\r20%\x1b[0m\n"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"\x1b[1;31mred\x1b[0m\r\x1b[K\x08\x07\n", "\x1b[1;31mred\x1b[0m\r\x1b[K\x08\x07\n"),  # what a line editor needs
        (b"\x1b]52;c;cm0gLXJm\x07", "\\x1b]52;c;cm0gLXJm\x07"),  # the clipboard
        (b"\x1b[6n\x1b[c\x1bP$q\x1b\\", "\\x1b[6n\\x1b[c\\x1bP$q\\x1b\\"),  # questions that a terminal answers as if typed
        (b"\x1b[?1049h\x1b[?1000h\x1b[21t", "\\x1b[?1049h\\x1b[?1000h\\x1b[21t"),  # what would stay after the end
        ("\x9b6n\u202e".encode(), "\\x9b6n\\u202e"),
        (b"\xff\xc3\xa9", "\ufffdé"),
        (b"\x1b[" + b"1" * 100, "\\x1b[" + "1" * 100),
    ],
)
def test_a_sandbox_s_terminal_moves_the_cursor_and_nothing_else(sent: bytes, shown: str) -> None:
    whole, bytewise = Screened(), Screened()

    assert whole.take(sent) + whole.rest() == shown
    assert "".join(bytewise.take(bytes([byte])) for byte in sent) + bytewise.rest() == shown


def test_columns_are_aligned_also_where_characters_are_wide(capsys: pytest.CaptureFixture[str]) -> None:
    columns(("A", "B"), [("\u65e5\u672c", 1), ("abc", "\x1b[2J")])

    assert capsys.readouterr().out == "A     B\n\u65e5\u672c  1\nabc   \\x1b[2J\n"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (1, "1 byte"), (1023, "1,023 bytes"), (1536, "1.5 KiB"), (5 * 2**40, "5,120.0 GiB")]
)
def test_sizes_are_told_in_units(count: int, text: str) -> None:
    assert size(count) == text


def test_durations_are_told_in_units() -> None:
    assert [duration(seconds) for seconds in (0.126, 59.0, 61.4)] == ["0.13 s", "59.00 s", "1 min 1 s"]


# file names ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("plot one.png", "plot one.png"), ("\u00fcber \u65e5\u672c.png", "\u00fcber \u65e5\u672c.png"),
        ("../../etc/passwd", "__.._etc_passwd"),
        ("..", "_"), ("", "_"), (".bashrc", "_bashrc"), ("-rf.png", "_rf.png"), ("a\x1b[2J\n.png", "a_[2J_.png"), ("C:\\x", "C__x"),
        ("con.png", "_con.png"), ("x\u202egnp.exe", "x_gnp.exe"), ("trailing. ", "trailing"),
    ],
)  # fmt: skip
def test_a_file_name_becomes_one_without_surprises(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_a_long_name_keeps_its_ending_and_fits() -> None:
    name = safe_name("\u00e9" * 300 + ".png")

    assert name.endswith("\u00e9.png")
    assert len(name.encode()) <= NAME_BYTES_MAX


def test_an_artifacts_path_never_leaves_its_directory() -> None:
    assert safe_path("/a/../b//c d.bin") == PurePosixPath("a/_/b/c d.bin")
    assert not safe_path("///").is_absolute()


# the preview -----------------------------------------------------------------------------------------------------------
def preview(tmp_path: Path, capsys: pytest.CaptureFixture[str], table: pa.Table, *, batches: int = 1) -> str:
    with pa.ipc.new_file(tmp_path / "t", table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, -(-table.num_rows // batches)))
    show_table(tmp_path / "t")
    return capsys.readouterr().out


def test_the_preview_shows_names_types_and_every_kind_of_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pa.table(
        {
            "id": pa.array([1, None], pa.int32()),
            "share": [0.25, 12.5],
            "when": pa.array([datetime(2024, 5, 1, 12, tzinfo=UTC), None], pa.timestamp("ns", "UTC")),
            "day": [date(2024, 5, 1), None],
            "kind": pa.array(["a", None]).dictionary_encode(),
            "price": [decimal.Decimal("1.50"), None],
            "list": [[1, 2], None],
            "raw": [b"\x00\xff", None],
        }
    )

    shown = preview(tmp_path, capsys, table)

    for part in ("id", "int32", "share", "double", "0.25", "12.50", "2024-05-01 12:00:00+00:00", "category", "1.50", "[1, 2]", "missing"):
        assert part in shown
    assert "2 rows and 8 columns\n" in shown


def test_the_preview_of_a_hostile_table_moves_no_cursor_and_takes_no_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pa.table({"[red]na\x1bme\n": ["\x1b[2J[bold]x[/bold]", "\r\n\u202e"]})

    shown = preview(tmp_path, capsys, table)

    assert "\x1b" not in shown
    assert "[red]na\\x1bme\\n" in shown
    assert "\\x1b[2J[bold]x[/bold]" in shown
    assert "\\r\\n\\u202e" in shown


def test_a_large_table_shows_its_first_rows_and_its_whole_shape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = preview(tmp_path, capsys, pa.table({"n": range(1000, 3500)}), batches=300)

    assert "1009" in shown
    assert "1010" not in shown
    assert "2,500 rows and 1 column, the first 10 shown" in shown


def test_a_wide_table_says_how_many_columns_are_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = preview(tmp_path, capsys, pa.table({f"column {n}": [n] for n in range(500)}))

    assert "column 0" in shown
    assert "column 499" not in shown
    assert "more" in shown
    assert "1 row and 500 columns" in shown
    assert max(map(len, shown.splitlines())) <= 160


@pytest.mark.parametrize("table", [pa.table({}), pa.table({"a": pa.array([], pa.int64())}), pa.table({"a": pa.nulls(2)})])
def test_an_empty_table_has_a_preview(tmp_path: Path, capsys: pytest.CaptureFixture[str], table: pa.Table) -> None:
    assert "row" in preview(tmp_path, capsys, table)


@pytest.mark.parametrize("values", [[float("nan"), float("inf"), 1.0], [1e300, 1e-300], [1e12, 2.5], [0.0, -0.0], [None, None]])
def test_floats_of_any_size_have_a_preview_that_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], values: list[float | None]
) -> None:
    shown = preview(tmp_path, capsys, pa.table({"x": pa.array(values, pa.float64())}))

    assert max(map(len, shown.splitlines())) < 40


def test_what_is_no_arrow_file_is_an_error_that_can_be_told(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"ARROW1 but not really")

    with pytest.raises(ValueError, match=r"."):
        show_table(tmp_path / "t")


# the record in words ---------------------------------------------------------------------------------------------------
def test_the_function_named_in_a_failure_is_the_one_that_holds_the_line() -> None:
    frames = [{"file": "script.py", "line": 3, "function": "helper"}, {"file": "library.py", "line": 9, "function": "_inner"}]
    record = {"message": "", "error": {"type": "E", "message": "m", "file": "script.py", "line": 3, "frames": frames}}

    assert list(failure(record)) == ["script.py, line 3, in helper", "E: m"]


def test_a_hint_is_said_once() -> None:
    error = {"type": "KeyError", "message": "'x' (The columns are 'a'.)", "file": "script.py", "line": 2}
    record = {"reason": "script_error", "message": "KeyError: 'x' (line 2 of script.py). The columns are 'a'.", "error": error}

    assert list(failure(record)) == ["script.py, line 2", "KeyError: 'x' (The columns are 'a'.)"]


SOON = "2025-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"state": "queued", "queue_position": 0}, "queued, next of yours"),
        ({"state": "queued", "queue_position": 2}, "queued, 2 jobs of yours ahead"),
        ({"state": "queued", "queue_position": 1, "estimated_start_at": SOON}, f"queued, 1 job of yours ahead, starts about {when(SOON)}"),
        ({"state": "queued", "queue_position": 1000}, "queued, 1,000 or more jobs of yours ahead"),
        ({"state": "running", "attempt": 2, "attempts_max": 3}, "running, attempt 2 of 3"),
        ({"state": "running", "attempt": 1, "cancel_requested": True}, "running, cancel requested"),
        ({"state": "succeeded", "reason": "ok"}, "succeeded"),
        ({"state": "failed", "reason": "timed_out"}, "failed (timed_out)"),
        ({"state": "cancelled", "reason": "cancelled"}, "cancelled"),
    ],
)
def test_a_state_in_words(record: dict[str, Any], words: str) -> None:
    assert state(record) == words


def test_a_mount_inside_the_home_is_found_and_one_beside_it_is_not() -> None:
    text = (
        "36 35 8:1 / /srv rw - ext4 /dev/a rw\n37 35 8:2 / /srv/home/blobs\\040x rw - ext4 /dev/b rw\n"
        "38 35 8:3 / /srv/home rw - ext4 /dev/c rw\n39 35 8:3 / /srv/homes rw - ext4 /dev/c rw\n"
    )

    assert mounts_below(Path("/srv/home"), text) == ["/srv/home/blobs x"]
    assert mounts_below(Path("/srv/homes"), text) == []
