"""Rules 11–14 and the edge case «Names»."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pytest

from tests.contract.samples import IDENTITY, arrow, csv

ONE = csv("a\n1\n")


@pytest.mark.parametrize("value", ["df", "(df,)", "one_element_array(df)"])
def test_a_frame_or_a_sequence_that_begins_with_one_is_the_result(sandbox, value):
    script = f"""
import numpy as np
def one_element_array(df):
    array = np.empty(1, dtype=object)
    array[0] = df
    return array
def azureml_main(df):
    return {value}
"""
    run = sandbox.run(script, inputs={"dataset1": ONE})
    assert run.frame().to_dict("list") == {"a": [1]}
    assert run.report["result2"] is None


def test_a_second_frame_goes_to_result_two_and_the_rest_is_ignored_with_a_note(sandbox):
    script = "def azureml_main(df):\n    return df, df * 2, 'more', 5\n"
    run = sandbox.run(script, inputs={"dataset1": ONE})
    assert run.frame("result2").a.tolist() == [2]
    assert run.notes("ignored_value") == ["azureml_main returned more than tables: str, int ignored."]


def test_arrow_tables_and_polars_frames_count_as_frames(sandbox):
    script = """
import polars, pyarrow
def azureml_main():
    frame = polars.DataFrame({"s": ["x", None], "l": [[1], []]}).with_columns(c=polars.Series(["a", "b"], dtype=polars.Categorical))
    return frame, pyarrow.table([[1], [2]], names=["a", "a"])
"""
    run = sandbox.run(script)
    assert run.table().to_pydict() == {"s": ["x", None], "l": [[1], []], "c": ["a", "b"]}
    assert [column["type"] for column in run.report["result"]["columns"]] == ["string", "list<int64>", "dictionary<string>"]
    assert run.table("result2").to_pydict() == {"a": [1], "a (2)": [2]}


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("None", "returned None (is there a `return` at its end?)"),
        ("df.a", "returned a Series; `.to_frame()` makes a DataFrame of it"),
        ("polars.Series([1])", "returned a value of type polars.series.series.Series"),
    ],
)
def test_anything_else_is_a_bad_return_that_says_what_to_write(sandbox, value, sentence):
    imports = "import polars\n" if "polars" in value else ""
    run = sandbox.run(f"{imports}def azureml_main(df):\n    return {value}\n", inputs={"dataset1": ONE})
    assert run.reason == "bad_return"
    assert sentence in run.report["message"]
    assert run.report["message"].endswith("Write `return dataframe,` or `return dataframe`.")
    assert (run.home / "out" / "result.arrow").stat().st_size == 0


def test_the_index_is_dropped_and_a_meaningful_one_is_mentioned(sandbox):
    script = "def azureml_main(df):\n    return df.groupby('k').sum(), df[df.v > 0].reset_index(drop=True)\n"
    run = sandbox.run(script, inputs={"dataset1": csv("k,v\nx,1\ny,2\nx,3\n")})
    assert run.table().to_pydict() == {"v": [4, 2]}
    assert run.notes("index_dropped") == ["The index (k) of the result was dropped; `reset_index()` makes a column of it."]


def test_names_become_unique_strings_and_renames_are_listed(sandbox):
    script = """
import pandas as pd
def azureml_main():
    first = pd.DataFrame([[1, 2, 3, 4, 5]], columns=["a", "a", "a (2)", 7, None])
    levels = pd.MultiIndex.from_tuples([("x", 1), ("x", ""), ("y", 2)])
    return first, pd.DataFrame([[1, 2, 3]], columns=levels)
"""
    run = sandbox.run(script)
    assert run.table().column_names == ["a", "a (3)", "a (2)", "7", "None"]
    assert run.table("result2").column_names == ["x_1", "x", "y_2"]
    assert [(note["from"], note["to"]) for note in run.report["notes"] if note["kind"] == "rename"] == [("a", "a (3)")]


def test_a_mixed_column_of_plain_values_becomes_text_with_a_note(sandbox):
    script = "import pandas as pd\ndef azureml_main():\n    return pd.DataFrame({'m': [1, 'two', None, 3.5, True]}),\n"
    run = sandbox.run(script)
    assert run.table().to_pydict() == {"m": ["1", "two", None, "3.5", "True"]}
    assert run.notes("mixed_column") == ["Column 'm' holds values of several types; it was written as text."]


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ("[1, 2, object(), 4]", "row 2 holds <object object at"),
        ("[Evil(), 1]", "row 0 holds <Evil without a readable text> (Evil)"),
    ],
)
def test_a_column_that_arrow_cannot_hold_is_named_with_row_and_value(sandbox, values, place):
    script = f"""
import pandas as pd
class Evil:
    def __repr__(self): raise KeyboardInterrupt
def azureml_main():
    return pd.DataFrame({{"fine": range(len({values})), "bad": {values}}})
"""
    run = sandbox.run(script)
    assert run.reason == "bad_return"
    assert "Column 'bad' of the result" in run.report["message"]
    assert place in run.report["message"]


def test_columns_that_pandas_alone_knows_have_a_plain_form(sandbox):
    script = """
import pandas as pd
def azureml_main():
    return pd.DataFrame({
        "period": pd.period_range("2024-01", periods=2, freq="M"),
        "interval": pd.interval_range(0, 2),
        "sparse": pd.arrays.SparseArray([0, 1]),
        "arrow": pd.array(["x", None], dtype="string[pyarrow]"),
    })
"""
    assert sandbox.run(script).table().to_pydict() == {
        "period": ["2024-01", "2024-02"],
        "interval": [{"left": 0, "right": 1}, {"left": 1, "right": 2}],
        "sparse": [0, 1],
        "arrow": ["x", None],
    }


def test_what_was_put_into_a_column_wins_over_the_type_it_came_with(sandbox):
    table = pa.table(
        {
            "bytes": pa.array([b"a"]),
            "struct": pa.array([{"x": 1}]),
            "list": pa.array([[1]], pa.list_(pa.int8())),
            "date": pa.array([0], pa.int32()).cast(pa.date32()),
        }
    )
    script = """
def azureml_main(df):
    df["bytes"] = ["text"]
    df["struct"] = [{"x": 1, "new": 2}]
    df["list"] = [[1000]]
    df["bytes"] = df["bytes"].astype(object)
    df["date"] = [None]
    return df,
"""
    run = sandbox.run(script, inputs={"dataset1": arrow(table)})
    assert run.table().to_pydict() == {"bytes": ["text"], "struct": [{"x": 1, "new": 2}], "list": [[1000]], "date": [None]}
    assert {note["column"] for note in run.report["notes"] if note["kind"] == "dtype_change"} == {"bytes", "struct", "list"}


def test_a_pickle_survives_in_a_column_of_bytes(sandbox):
    script = "import pandas, pickle\ndef azureml_main():\n    return pandas.DataFrame({'model': [pickle.dumps({'k': [1, 2]})]}),\n"
    assert pickle.loads(sandbox.run(script).frame().model[0]) == {"k": [1, 2]}


def test_the_result_is_one_plain_record_batch(sandbox):
    script = "import pandas as pd\ndef azureml_main(df):\n    return pd.concat([df, df, df]).reset_index(drop=True),\n"
    run = sandbox.run(script, inputs={"dataset1": csv("a,s\n1,x\n")})
    with pa.OSFile(str(run.home / "out" / "result.arrow")) as file:
        reader = pa.ipc.open_file(file)
        assert (reader.num_record_batches, reader.schema.metadata) == (1, None)
    assert run.report["result"]["rows"] == 3


def test_a_table_without_columns_and_one_without_rows_are_results(sandbox):
    script = "import pandas as pd\ndef azureml_main():\n    return pd.DataFrame(), pd.DataFrame({'a': []})\n"
    run = sandbox.run(script)
    assert run.reason == "ok", run.report
    assert (run.table().num_columns, run.table("result2").column_names) == (0, ["a"])


def test_the_default_script_of_the_module_runs(sandbox):
    assert sandbox.run(IDENTITY, inputs={"dataset1": ONE}).frame().to_dict("list") == {"a": [1]}


def test_new_columns_of_any_type_may_stand_beside_those_that_came(sandbox):
    script = "def azureml_main(df):\n    return df.assign(half=df.a / 2, name='x', flag=True)\n"
    run = sandbox.run(script, inputs={"dataset1": ONE})
    assert run.frame().to_dict("list") == {"a": [1], "half": [0.5], "name": ["x"], "flag": [True]}
