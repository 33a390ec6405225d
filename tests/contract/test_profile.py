"""The request `profile`: one JSON document about every column, whatever its type, in a few seconds."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa

from tests.contract.samples import arrow
from tests.contract.test_tables_in import ALL

MEBI = 1024 * 1024


def profile(sandbox, table: pa.Table, form: str | None = None, **limits):
    given = arrow(table) if form is None else (form, table)
    run = sandbox.run(kind="profile", inputs={"dataset1": given}, **limits)
    assert run.reason == "ok", run.report
    data = (run.home / "out" / "result.arrow").read_bytes()
    assert len(data) <= 2 * MEBI
    return json.loads(data, parse_constant=no_constant), run


def no_constant(name: str) -> float:
    raise AssertionError(f"{name} is not JSON")


def test_every_column_type_has_a_profile(sandbox):
    found, run = profile(sandbox, ALL)
    assert (found["rows"], [column["name"] for column in found["columns"]]) == (3, ALL.column_names)
    assert run.report["result"]["rows"] == 3
    for column in found["columns"]:
        gaps = ALL.column(column["name"]).null_count
        assert (column["count"], column["nulls"]) == (3 - gaps, gaps), column
    by_name = {column["name"]: column for column in found["columns"]}
    assert by_name["int8"] == {
        "name": "int8", "type": "int8", "count": 3, "nulls": 0, "distinct": 3, "distinct_exact": True,
        "min": 1, "max": 3, "mean": 2.0, "std": 1.0, "histogram": {"edges": [1, 2, 3, 4], "counts": [1, 1, 1]}, "top": None,
    }  # fmt: skip
    ends = {name: (by_name[name]["min"], by_name[name]["max"]) for name in by_name}
    assert ends["large_int_gap"] == (str(2**53 + 1), str(2**63 - 1))
    assert ends["date"] == ("0001-01-01", "9999-12-31")
    assert ends["timestamp_ms_zone"] == ("2024-02-29T13:30:15.000+01:00",) * 2
    assert ends["decimal"] == ("-99999.99", "1.50")
    assert ends["category_ordered"] == ("low", "high")
    assert ends["string"] == ("", "a")
    assert (by_name["bool"]["top"], by_name["category"]["top"]) == ([[True, 2], [False, 1]], [["x", 1], ["y", 1]])
    assert (by_name["list"]["distinct"], by_name["list"]["distinct_exact"], ends["struct"]) == (None, False, (None, None))
    assert found["head"]["columns"] == ALL.column_names
    first = dict(zip(ALL.column_names, found["head"]["rows"][0], strict=True))
    assert (first["list"], first["struct"], first["bytes"], first["null"]) == ("[1, 2]", '{"x": 1, "y": "a"}', "AP8=", None)


def test_numbers_without_an_end_and_values_without_a_bound(sandbox):
    table = pa.table(
        {
            "f": [math.inf, -math.inf, math.nan, 1.0],
            "far": [1.7e308, -1.7e308, 0.0, None],
            "u": pa.array([2**64 - 1, 0, 1, None], pa.uint64()),
            "text": ["ä" * 1_000_000, "", "\0", None],
            "deep": [[[0] * 1_000_000], [], None, [None]],
            "moment": pa.array([2**62, -(2**62), 0, None]).cast(pa.timestamp("s")),
        }
    )
    found, _ = profile(sandbox, table)
    f, far, u, text, deep, moment = found["columns"]
    assert (f["count"], f["nulls"], f["min"], f["max"], f["mean"], f["histogram"]) == (
        3, 1, "-Infinity", "Infinity", None, {"edges": [1.0, 1.0], "counts": [1]},
    )  # fmt: skip
    assert (sum(far["histogram"]["counts"]), far["histogram"]["edges"][0], far["histogram"]["edges"][-1]) == (3, -1.7e308, 1.7e308)
    assert (u["min"], u["max"], sum(u["histogram"]["counts"])) == (0, str(2**64 - 1), 3)
    assert (len(text["max"]), text["max"][-1]) == (200, "…")
    assert (deep["count"], sum(moment["histogram"]["counts"])) == (3, 3)
    assert all(len(cell) <= 200 for row in found["head"]["rows"] for cell in row if isinstance(cell, str))


def test_a_profile_of_any_format_and_of_nothing(sandbox):
    found, _ = profile(sandbox, b"a,b\n", form="csv")
    assert (found["rows"], [column["distinct"] for column in found["columns"]]) == (0, [0, 0])
    assert found["head"] == {"columns": ["a", "b"], "rows": []}


def test_a_very_wide_table_is_cut_and_says_so(sandbox):
    table = pa.table({f"{number} " + "n" * 300: ["x" * 300] * 60 for number in range(1_200)})
    found, run = profile(sandbox, table)
    assert len(found["columns"]) == len(found["head"]["columns"]) == 1_000
    assert run.notes("columns_capped")[0] == "Only the first 1,000 of 1,200 columns are in the profile."


def test_a_million_rows_of_ten_columns_take_seconds(sandbox):
    chance, rows = np.random.default_rng(0), 1_000_000
    table = pa.table(
        {
            "id": np.arange(rows),
            "number": chance.normal(size=rows),
            "gaps": pa.array(chance.normal(size=rows), mask=chance.random(rows) > 0.5),
            "whole": chance.integers(0, 10**9, rows),
            "few": chance.integers(0, 5, rows),
            "name": pa.array([f"name {number}" for number in chance.integers(0, rows, rows)]),
            "letter": pa.array(np.array(list("abcde"))[chance.integers(0, 5, rows)]),
            "category": pa.array(np.array(list("abcde"))[chance.integers(0, 5, rows)]).dictionary_encode(),
            "moment": chance.integers(0, 2**40, rows).astype("M8[us]"),
            "flag": chance.random(rows) > 0.5,
        }
    )
    found, run = profile(sandbox, table, wall_seconds=30)
    spent = run.report["milliseconds"]["read"] + run.report["milliseconds"]["write"]
    assert spent < 15_000  # two seconds where nobody else computes
    by_name = {column["name"]: column for column in found["columns"]}
    assert (by_name["id"]["distinct"], by_name["id"]["distinct_exact"], by_name["few"]["distinct"]) == (rows, True, 5)
    assert sum(by_name["number"]["histogram"]["counts"]) == rows
    assert sum(count for _, count in by_name["letter"]["top"]) == rows
    assert abs(by_name["number"]["mean"]) < 0.01


def test_more_different_values_than_the_bound_are_not_counted(sandbox):
    # Two million numbers in a column, each once: the count would be a guess, so there is none.
    found, _ = profile(sandbox, pa.table({"id": np.arange(2_100_000)}))
    assert (found["columns"][0]["distinct"], found["columns"][0]["distinct_exact"]) == (None, False)
