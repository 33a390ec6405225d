"""What a check tells of a script, and answers in a format that was asked for (rules 28 and 29). No container."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fumehood.dataset import FORMATS, TABLE_FORMATS
from tests.contract.loading import runner
from tests.unit.runner_desk import LIMITS, Desk, csv, desk

__all__ = ["desk"]

child = runner("child")
context = runner("context")
described = runner("described")
formats = runner("formats")
places = runner("places")
report = runner("report")
Refused = runner("refused").Refused

SCRIPT = """
def init():
    return 2
def azureml_main(df, context, *, n: int, scale: float = 1, word="x", deep=(), flag=True, free=None, text: "str" = "y"):
    return df.assign(y=df["x"] * context), df[["x"]]
"""


def test_a_check_describes_the_entry_point_and_all_tables(desk: Desk) -> None:
    told = desk.run(SCRIPT, kind="check", inputs=csv("x,t\n1,a\n,b\n"), parameters={"n": 1}).described
    assert told["entry"] == {
        "parameters": [
            {"name": "n", "type": "int", "required": True},
            {"name": "scale", "type": "float", "required": False, "default": 1},
            {"name": "word", "type": "str", "required": False, "default": "x"},
            {"name": "deep", "type": None, "required": False},
            {"name": "flag", "type": "bool", "required": False, "default": True},
            {"name": "free", "type": None, "required": False, "default": None},
            {"name": "text", "type": "str", "required": False, "default": "y"},
        ],
        "more": False,
        "init": True,
    }
    x, t = {"name": "x", "type": "int64", "nullable": True}, {"name": "t", "type": "string", "nullable": False}
    assert told["schemas"] == {
        "inputs": {"dataset1": [x, t]},
        "outputs": {"result": [x, t, {"name": "y", "type": "int64", "nullable": True}], "result2": [x]},
    }


def test_nobody_else_is_told(desk: Desk) -> None:
    for kind in ("script", "score"):
        assert desk.run(SCRIPT, kind=kind, inputs=csv("x\n1\n"), parameters={"n": 1}).described == {}


def test_an_entry_point_may_take_more_and_an_init_that_is_not_called_is_none(desk: Desk) -> None:
    told = desk.run("def init(): return 1\ndef azureml_main(df, **more):\n    return df\n", kind="check", inputs=csv("x\n1\n")).described
    assert told["entry"] == {"parameters": [], "more": True, "init": False}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**70, "x" * 5_000, [1], b"x"])
def test_a_default_that_json_cannot_say_is_left_out(value: Any) -> None:
    def azureml_main(*, n: Any = value) -> None: ...

    entry = described.entry_of(azureml_main, context.Init())
    assert entry["parameters"][0].keys() == {"name", "type", "required"}


@pytest.mark.parametrize(
    ("names", "cut"), [([f"c{at}" for at in range(4_000)], False), ([f"c{at}" for at in range(10_001)], True), (["x" * 2_001], True),
                       ([f"{at}{'x' * 1_500}" for at in range(400)], True)],
)  # fmt: skip
def test_columns_are_told_whole_or_not_at_all(desk: Desk, names: list[str], cut: bool) -> None:
    script = "import pandas as pd\ndef azureml_main(*, names):\n    return pd.DataFrame({name: [1] for name in names})\n"
    progress = desk.run(script, kind="check", parameters={"names": names})
    schemas = progress.described["schemas"]
    assert (schemas is None) is cut
    assert cut or [column["name"] for column in schemas["outputs"]["result"]] == names
    assert ("columns_capped" in [note["kind"] for note in progress.notes if "too many to be described" in note["text"]]) is cut
    assert cut is False or len(json.dumps(progress.described)) < places.SCHEMAS_BYTES


READ = {
    "arrow": lambda data: pa.ipc.open_file(data).read_all().to_pylist(),
    "arrow-stream": lambda data: pa.ipc.open_stream(data).read_all().to_pylist(),
    "csv": lambda data: data,
    "json": json.loads,
    "ndjson": lambda data: [json.loads(line) for line in data.splitlines()],
    "parquet": lambda data: pq.read_table(io.BytesIO(data)).to_pylist(),
}
TWO = "import pandas as pd\ndef azureml_main():\n    return pd.DataFrame({'a': [1, 2]}), pd.DataFrame({'b': [3]})\n"


@pytest.mark.parametrize("form", TABLE_FORMATS)
def test_the_result_is_written_in_the_format_that_was_asked_for(desk: Desk, form: str) -> None:
    progress = desk.run(TWO, answer=form)
    assert READ[form](desk.raw()) == (b'"a"\n1\n2\n' if form == "csv" else [{"a": 1}, {"a": 2}])
    assert desk.result("result2") == [{"b": 3}]
    assert progress.results["result"] == {"rows": 2, "columns": [{"name": "a", "type": "int64", "nullable": False}]}


@pytest.mark.parametrize("form", TABLE_FORMATS)
def test_a_result_without_columns_is_an_answer_too(desk: Desk, form: str) -> None:
    """The supervisor takes a file without a byte for one that was never written."""
    desk.run("import pandas as pd\ndef azureml_main():\n    return pd.DataFrame()\n", answer=form)
    assert report.has_both_marks(str(desk.home / "result"), report.MARKS.get(form, b""))


def test_media_types_are_those_that_the_service_says() -> None:
    said = {form: FORMATS[form][0][0] for form in TABLE_FORMATS}
    assert formats.WRITERS.keys() == said.keys()
    assert formats.ANSWERS.keys() == formats.MEDIA_TYPES.keys()
    assert {form: media_type for form, media_type in formats.MEDIA_TYPES.items() if form in said} == said


@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_a_result_that_the_format_cannot_hold_is_a_bad_return_with_its_column(desk: Desk, form: str) -> None:
    twice = "pa.StructArray.from_arrays([pa.array([1])] * 2, names=['a', 'a'])"
    script = f"import pyarrow as pa\ndef azureml_main():\n    return pa.table({{'ok': [1], 'far': {twice}}})\n"
    desk.run(script, answer="arrow")
    with pytest.raises(Refused, match="Column 'far'") as refused:
        desk.run(script, answer=form)
    assert refused.value.reason == "bad_return"


def test_an_unknown_format_is_refused_before_the_script_runs(desk: Desk) -> None:
    with pytest.raises(Refused, match="Tables cannot be written as 'xlsx'; possible are arrow, arrow-stream, csv"):
        desk.run("raise SystemExit\n", answer="xlsx")


def said_by_a_child(desk: Desk, kind: str, table: str, **more: Any) -> dict[str, Any]:
    """What a child of the supervisor's sends, as the supervisor reads it."""
    (desk.home / "script.py").write_text(SCRIPT)
    (desk.home / "dataset1").write_text(table)
    (desk.home / "result").touch()
    request = {
        "kind": kind, "inputs": {"dataset1": {"format": "csv"}}, "limits": LIMITS | {"cpus": 1}, "parameters": {"n": 1}, **more,
    }  # fmt: skip
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            child.work(request, child.Progress(writing), child.kind_of(request, frozenset(sys.modules)))
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as said:
        words, started = report.read_words(said.read())
    os.waitpid(pid, 0)
    assert started is (words["reason"] != "bad_input")
    return words


def test_the_words_of_a_child_have_what_a_check_asks_for(desk: Desk) -> None:
    words = said_by_a_child(desk, "check", "x\n1\n")
    assert (words["reason"], report.clean_entry(words["entry"]), report.clean_schemas(words["schemas"])) == (
        "ok", words["entry"], words["schemas"],
    )  # fmt: skip
    assert words["schemas"]["inputs"] == {"dataset1": [{"name": "x", "type": "int64", "nullable": False}]}


def test_the_words_of_a_child_name_the_column_that_does_not_fit(desk: Desk) -> None:
    words = said_by_a_child(desk, "score", "x\nfar\n", schema={"dataset1": [{"name": "x", "type": "int64"}]}, answer="json")
    assert (words["reason"], words["message"]) == ("bad_input", "Column 'x' of dataset1 is string; expected int64.")
    assert [(note["kind"], note["column"]) for note in report.clean_notes(words["notes"])] == [("unexpected_column", "x")]
    assert not {"entry", "schemas"} & words.keys()
