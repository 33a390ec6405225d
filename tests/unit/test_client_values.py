"""What goes into a table and a bundle, what comes out of one, and how it is shown."""

from __future__ import annotations

import builtins
import datetime
import decimal
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from fumehood.client.display import Glance, html, line
from fumehood.client.errors import NotSendable
from fumehood.client.figures import Figure
from fumehood.client.inputs import BUNDLE_ENTRIES_MAX, bundle_input, table_input
from fumehood.client.progress import Progress, progress
from fumehood.client.tables import frame_of, read_table
from tests.unit.cli_desk import PNG

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e&\"'"


def sent(value: Any, place: Path) -> pa.Table:
    upload = table_input("dataset1", value, place)
    return read_table(upload.path.read_bytes())  # type: ignore[union-attr]


def test_the_types_of_a_frame_are_kept_both_ways(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "bool": [True, False],
            "gaps": pd.array([2**60 + 1, None], dtype="Int64"),
            "maybe": pd.array([True, None], dtype="boolean"),
            "small": np.array([1, 2], dtype="uint8"),
            "text": ["a", None],
            "kind": pd.Categorical(["u", "v"], categories=["v", "u"], ordered=True),
            "zone": pd.to_datetime(["2024-01-01", None]).tz_localize("Europe/Berlin"),
            "span": pd.to_timedelta([1, 2], unit="s"),
            "date": [datetime.date(2024, 1, 2), None],
            "money": [decimal.Decimal("1.50"), None],
            "bytes": [b"\0", None],
            "list": [[1, 2], None],
        }
    )

    table = sent(frame, tmp_path)

    assert [str(table.field(name).type) for name in ("gaps", "maybe", "small", "money")] == ["int64", "bool", "uint8", "decimal128(3, 2)"]
    back = frame_of(table)
    assert back.dtypes.astype(str).to_dict() == frame.dtypes.astype(str).to_dict()
    assert back["gaps"][0] == 2**60 + 1
    assert back["kind"].cat.ordered
    assert back.drop(columns="list").equals(frame.drop(columns="list"))
    assert table.schema.metadata is None


def test_names_become_text_and_may_repeat(tmp_path: Path) -> None:
    frame = pd.DataFrame([[1, 2, 3]], columns=pd.Index([1, "a", "a"], dtype=object))
    assert sent(frame, tmp_path).column_names == ["1", "a", "a"]
    frame.columns = pd.MultiIndex.from_tuples([("x", "mean"), ("x", ""), ("y", 1)])
    assert sent(frame, tmp_path).column_names == ["x_mean", "x", "y_1"]


@pytest.mark.parametrize(
    "index", [pd.Index([0, 1], name="n"), pd.Index([1, 2]), pd.Index(["a", "b"]), pd.MultiIndex.from_tuples([(1, 2), (3, 4)])]
)
def test_an_index_that_says_something_is_left_out_with_a_warning_where_the_call_stands(index: Any, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"dataset1: the index is not sent; frame.reset_index") as caught:
        sent(pd.DataFrame({"a": [1, 2]}, index=index), tmp_path)
    assert caught[0].filename == __file__


def test_a_default_index_needs_no_warning(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        for index in (pd.RangeIndex(2), pd.Index([0, 1])):
            sent(pd.DataFrame({"a": [1, 2]}, index=index), tmp_path)
        sent(pd.DataFrame({"a": []}), tmp_path)
    assert caught == []


def test_a_table_is_one_record_batch(tmp_path: Path) -> None:
    upload = table_input("dataset1", pa.concat_tables([pa.table({"a": [1]}), pa.table({"a": [2]})]), tmp_path)
    assert pa.ipc.open_file(upload.path).num_record_batches == 1  # type: ignore[union-attr]


def test_whatever_hands_over_arrow_is_a_table(tmp_path: Path) -> None:
    class Frame:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return pa.table({"a": [1]}).__arrow_c_stream__(requested_schema)

    class Number:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return pa.chunked_array([[1]]).__arrow_c_stream__(requested_schema)

    assert sent(Frame(), tmp_path) == sent(pa.record_batch({"a": [1]}), tmp_path) == pa.table({"a": [1]})
    with pytest.raises(NotSendable, match="this Number is no Arrow table"):
        sent(Number(), tmp_path)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (pd.DataFrame({"x": [1, "a"]}), r"dataset1: the column 'x' cannot be sent: .*astype\(str\)"),
        (pd.DataFrame({"x": [1j]}), "the column 'x' cannot be sent"),
        (pd.DataFrame({"x": pd.period_range("2024", periods=1)}), "the column 'x' has the type period"),
        (pd.Series([1]), r"is a Series; expected a DataFrame: use .to_frame\(\)"),
        ([[1]], "dataset1 is a list; expected a DataFrame"),
        ("nowhere.csv", "there is no file 'nowhere.csv'"),
        (__file__, "does not end in .arrow"),
    ],
)
def test_what_is_no_table_is_refused_by_name(value: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(NotSendable, match=says):
        table_input("dataset1", value, tmp_path)


def test_a_directory_becomes_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "mine" / "inner").mkdir(parents=True)
    (tmp_path / "mine" / "__pycache__").mkdir()
    for name in ("helper.py", "inner/data.txt", "__pycache__/helper.pyc"):
        (tmp_path / "mine" / name).write_text("x")

    def names() -> list[str]:
        upload = bundle_input(tmp_path / "mine", tmp_path)
        return zipfile.ZipFile(upload.path).namelist()  # type: ignore[union-attr]

    assert names() == ["helper.py", "inner/data.txt"]
    (tmp_path / "mine" / "__init__.py").touch()
    assert names() == ["mine/__init__.py", "mine/helper.py", "mine/inner/data.txt"]
    for n in range(BUNDLE_ENTRIES_MAX):
        (tmp_path / "mine" / f"{n}").touch()
    with pytest.raises(NotSendable, match="10,003 files; the limit is 10,000"):
        names()


def test_a_frame_without_pandas_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "pandas":
            raise ImportError(name)
        return usual(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "pandas")
    monkeypatch.setitem(sys.modules, "pandas", None)  # type: ignore[arg-type]
    with pytest.raises(NotSendable, match="pip install pandas"):
        frame_of(pa.table({"a": [1]}))


def test_the_client_brings_neither_the_service_nor_pandas() -> None:
    program = "import sys, fumehood.client; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True).stdout.split()
    assert not {
        "celery",
        "sqlalchemy",
        "alembic",
        "docker",
        "fastapi",
        "uvicorn",
        "redis",
        "pandas",
        "pyarrow",
        "numpy",
        "IPython",
    } & set(loaded)


# display ------------------------------------------------------------------------------------------------------------------
RECORD = {
    "id": "job_1", "state": "succeeded", "reason": "ok", "usage": {"wall_seconds": 1.5}, "figures": 3, "artifacts": 0,
    "result": {"rows": 1, "columns": [{"name": HOSTILE}], "bytes": 10}, "notes": [{"kind": "rename", "text": HOSTILE}],
    "erasure": {"container": "abc", "files": 5, "bytes": 2048, "erased_at": "2024-01-01T00:00:00Z"},
}  # fmt: skip
FIGURES = [
    Figure(HOSTILE, "image/png", PNG),
    Figure("b.svg", "image/svg+xml", f"<svg>{HOSTILE}</svg>".encode()),
    Figure("c.html", "text/html", f'<p>{HOSTILE}"</p>'.encode()),
    Figure("d", 'x/y"><script>', b""),
]


def test_nothing_of_a_script_becomes_markup() -> None:
    shown = html(RECORD, Glance(head=pa.table({HOSTILE: [HOSTILE]}), figures=FIGURES, hint=HOSTILE))

    assert "<script" not in shown
    page = shown[: shown.index("<iframe")] + shown[shown.index("</iframe>") :]
    assert not {"\x1b", "\u202e"} & set(page)
    assert "&lt;script&gt;" in shown
    assert shown.count("<iframe sandbox title=") == 1
    assert "allow-scripts" not in shown
    assert "default-src" in shown
    assert "<svg" not in shown
    assert "data:image/svg+xml;base64," in shown
    assert 'srcdoc="&lt;meta http-equiv=&quot;Content-Security-Policy&quot;' in shown
    assert "container abc; 5 files, 2.0 KiB" in shown


def test_no_cell_is_read_as_a_formula() -> None:
    shown = html(RECORD, Glance(head=pa.table({"a": [r"$\href{https://example.org}{click}$"]}), figures=[], hint=""))

    classes = shown[: shown.index(">")]
    assert "tex2jax_ignore" in classes
    assert "mathjax_ignore" in classes


def test_a_png_is_shown_as_one_and_an_svg_never_becomes_part_of_the_page() -> None:
    assert FIGURES[0]._repr_png_() == PNG
    assert FIGURES[0]._repr_html_() is None
    assert FIGURES[1]._repr_png_() is None
    assert (FIGURES[1]._repr_html_() or "").startswith("<img ")
    assert not hasattr(FIGURES[1], "_repr_svg_")


def test_a_figure_is_saved(tmp_path: Path) -> None:
    assert FIGURES[0].save(tmp_path / "x.png").read_bytes() == PNG


def test_many_figures_are_counted_and_not_all_shown() -> None:
    shown = html(RECORD, Glance(figures=[FIGURES[0]] * 25))
    assert shown.count("<img ") == 20
    assert "… and 5 more figures" in shown


def test_a_record_in_one_line() -> None:
    assert line(RECORD) == "job_1 succeeded: 1 row × 1 column, 3 figures, 1.50 s"
    assert line({"id": "job_1", "state": "failed", "reason": "timed_out"}) == "job_1 failed (timed_out)"


# progress -----------------------------------------------------------------------------------------------------------------
class Told:
    def __init__(self) -> None:
        self.said: list[tuple[str, float | None]] = []

    def say(self, text: str, share: float | None) -> None:
        self.said.append((text, share))


def test_progress_says_bytes_then_the_queue_then_the_last_line_of_the_log() -> None:
    told = Told()
    shown = Progress(told)
    shown.begin_upload(2048)
    shown.sent(1024)
    shown.sent(2048)
    shown.state({"state": "queued", "queue_position": 2})
    shown.state({"state": "running"})
    shown.log("\x1b[2Jhello")

    assert told.said[:2] == [("uploading 1.0 KiB of 2.0 KiB", 0.5), ("uploading 2.0 KiB of 2.0 KiB", 1.0)]
    assert told.said[2:] == [("queued, 2 ahead 0 s", None), ("running 0 s", None), ("running 0 s · \\x1b[2Jhello", None)]


@pytest.mark.parametrize(
    ("wish", "terminal", "visible"), [(None, False, False), (None, True, True), (False, True, False), (True, False, True)]
)
def test_progress_is_shown_where_somebody_looks(
    wish: bool | None, terminal: bool, visible: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", "dumb")
    with progress(wish) as shown:
        assert shown.visible is visible
        shown.sent(1)
    assert capsys.readouterr().out == ""
