"""What a notebook user's `load` shows, where plain pandas would show something else."""

from __future__ import annotations

import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather

from fumehood.local import call, load, to_frame, unique


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text('whole,flag,text,day,word,gap\n1,true,"",2024-02-29,NA,NA\n,,,,x,1\n')
    return path


def test_integers_and_booleans_with_gaps_keep_their_type(csv: Path) -> None:
    frame = load(csv)

    assert frame.dtypes[["whole", "flag", "gap"]].map(str).to_dict() == {"whole": "Int64", "flag": "boolean", "gap": "Int64"}
    assert frame["whole"].isna().tolist() == [False, True]


def test_an_empty_cell_is_missing_and_a_quoted_empty_one_is_not(csv: Path) -> None:
    assert load(csv)["text"].isna().tolist() == [False, True]


def test_a_word_like_na_is_missing_among_numbers_and_text_among_words(csv: Path) -> None:
    frame = load(csv)

    assert frame["word"].tolist() == ["NA", "x"]
    assert frame["gap"].isna().tolist() == [True, False]


def test_dates_in_csv_are_dates(csv: Path) -> None:
    assert load(csv)["day"].tolist() == [datetime.date(2024, 2, 29), None]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.json", '[{"a": 1, "b": "x"}, {"b": "y"}]'),
        ("t.json", '{"a": [1, null], "b": ["x", "y"]}'),
        ("t.json", '{"a": {"0": 1, "1": null}, "b": {"0": "x", "1": "y"}}'),
        ("t.json", '{"columns": ["a", "b"], "values": [[1, "x"], [null, "y"]]}'),
        ("t.ndjson", '{"a": 1, "b": "x"}\n\n{"b": "y"}\n'),
    ],
)
def test_json_is_records_or_columns(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)

    frame = load(tmp_path / name)

    assert frame.dtypes.map(str).to_dict() == {"a": "Int64", "b": "str"}
    assert frame["b"].tolist() == ["x", "y"]


def test_lists_are_lists_and_metadata_of_pandas_is_ignored(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": pd.array([1, 2], "Int64")}, index=pd.Index([5, 6], name="key"))
    feather.write_feather(pa.Table.from_pandas(frame).append_column("l", pa.array([[1], None])), tmp_path / "t.arrow")

    found = load(tmp_path / "t.arrow")

    assert found["l"].tolist() == [[1], None]
    assert str(found["a"].dtype) == "int64"
    assert list(found.index) == [0, 1]


def test_repeated_names_get_a_number(tmp_path: Path) -> None:
    assert unique(["a", "a", "a (2)"]) == ["a", "a (3)", "a (2)"]
    assert list(to_frame(pa.table([[1], [2]], names=["a", "a"])).columns) == ["a", "a (2)"]


def test_another_ending_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"table\.xlsx does not end in \.csv"):
        load(tmp_path / "table.xlsx")


SCRIPTS = [
    # Parameters of the function, the tables, and what it is called with.
    ("a, context", ["one"], ("one", "made")),
    ("context, a", ["one"], ("made", "one")),
    ("a=None, context=None, b=None", ["one", "two"], ("one", "made", "two")),
    ("a, context=5", [], (None, "made")),
    ("a, *, context", ["one"], ("one", "made")),
    ("a", ["one"], ("one",)),
]


@pytest.mark.parametrize(("signature", "frames", "given"), SCRIPTS)
def test_a_function_is_called_with_its_context_as_in_a_sandbox(signature: str, frames: list[Any], given: tuple[Any, ...]) -> None:
    names = [part.partition("=")[0].strip() for part in signature.split(",") if part.strip() != "*"]
    script = ModuleType("script")
    init = "made = []\ndef init():\n    made.append(1)\n    return 'made'\n"
    exec(f"{init}def azureml_main({signature}):\n    return {', '.join(names)},\n", vars(script))

    assert call(script, *frames) == given
    assert call(script.azureml_main, *frames) == given
    assert len(script.made) == (2 if "context" in names else 0)


def test_without_init_context_is_its_default_or_none() -> None:
    def azureml_main(frame: Any, context: Any = 5, *, n: int = 1) -> Any:
        return frame, context, n

    assert call(azureml_main, "one", n=2) == ("one", 5, 2)
    assert call(lambda frame, *, context: (frame, context), "one") == ("one", None)
    assert call(lambda *context: context, "one") == ("one",)
