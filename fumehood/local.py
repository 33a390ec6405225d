"""Tables in a notebook as a sandbox shows them: `load("table.csv")`, for the environment that `fumehood images export` wrote; and
`call(azureml_main, table)` where a script has an `init()`.

Needs pandas and pyarrow and nothing else of Fumehood: import it, or copy this file beside a notebook. `pandas.read_csv` and its
siblings show most tables the same way. They do not where integers or booleans have gaps (pandas makes floats or objects of them), for
dates and quoted empty strings in CSV, and for lists, which come as arrays from Parquet and Arrow.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import csv, feather, parquet

# Integers and booleans with gaps keep their type; without gaps they are NumPy's.
GAPPY: dict[Any, Any] = {
    pa.bool_(): pd.BooleanDtype(),
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}


def load(path: str | Path) -> pd.DataFrame:
    """The table in a file, whose ending says the format: n × m; the index is 0…n−1; column names are unique strings.

    Raises:
        ValueError: another ending, or a file that cannot be read (pyarrow's own errors are ValueErrors too).
    """
    path = Path(path)
    if path.suffix.lower() not in READERS:
        raise ValueError(f"{path.name} does not end in {', '.join(READERS)}, which say the format")
    return to_frame(READERS[path.suffix.lower()](path))


def call(given: Any, *frames: pd.DataFrame, **parameters: Any) -> Any:
    """What `azureml_main` returns for tables and parameters, called as in a sandbox: one that has a parameter `context` gets what `init()`
    returns, which is called for it, once; without `init`, its default or None.

    `given`: the function, beside which its `init` is looked for, or the script as a module.
    """
    beside = vars(given) if isinstance(given, ModuleType) else getattr(inspect.unwrap(given), "__globals__", {})
    function = beside["azureml_main"] if isinstance(given, ModuleType) else given
    try:
        known = inspect.signature(function).parameters
    except (TypeError, ValueError):
        # Written in C, it may not say what it takes.
        return function(*frames, **parameters)
    place = known.get("context")
    if place is None or place.kind in (place.VAR_POSITIONAL, place.VAR_KEYWORD):
        return function(*frames, **parameters)
    default = None if place.default is place.empty else place.default
    context = beside["init"]() if "init" in beside else default
    if place.kind is place.KEYWORD_ONLY:
        return function(*frames, **parameters, context=context)
    waiting, arguments = list(frames), []
    for one in known.values():
        if one is place:
            break
        # What stands before it and is not connected gets its default, as if it were not given.
        arguments.append(waiting.pop(0) if waiting else None if one.default is one.empty else one.default)
    return function(*arguments, context, *waiting, **parameters)


def to_frame(table: Any) -> pd.DataFrame:
    """A `pyarrow.Table` as a DataFrame, column by column; what pandas left in its metadata is ignored."""
    columns = [_column(column) for column in table.columns]
    frame = pd.concat(columns, axis="columns") if columns else pd.DataFrame(index=range(table.num_rows))
    frame.columns = pd.Index(unique(table.column_names), dtype="str")
    return frame


def _column(column: Any) -> Any:
    if column.null_count and column.type in GAPPY:
        return column.to_pandas(types_mapper=GAPPY.get)
    if pa.types.is_nested(column.type):
        return pd.Series(column.to_pylist(), dtype=object)
    return column.to_pandas()


def unique(names: list[str]) -> list[str]:
    """`a, a, a` becomes `a, a (2), a (3)`; a number that a column has already is passed over."""
    found: list[str] = []
    for name in names:
        number, new = 1, name
        while new in found or (number > 1 and new in names):
            number += 1
            new = f"{name} ({number})"
        found.append(new)
    return found


def _read_csv(path: Path) -> Any:
    """An empty cell is missing and a quoted empty one is not; words like NA are, in columns that are otherwise not text."""

    def read(**convert: Any) -> Any:
        options = csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False, **convert)
        return csv.read_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True), convert_options=options)

    table, with_words = read(null_values=[""]), read()
    columns = [
        plain if not pa.types.is_string(plain.type) or pa.types.is_string(worded.type) or pa.types.is_null(worded.type) else worded
        for plain, worded in zip(table.columns, with_words.columns, strict=True)
    ]
    return pa.table(columns, names=table.column_names)


def _read_json(path: Path) -> Any:
    """A list of records, an object of columns, or names and rows."""
    document = json.loads(path.read_text("utf-8-sig"))
    if isinstance(document, list):
        return _records(document)
    if _is_rows(document):
        names, rows = unique(document["columns"]), document["values"]
        return pa.table({name: [row[position] for row in rows] for position, name in enumerate(names)})
    # pandas writes a column as an object by row label.
    return pa.table({name: list(cells.values()) if isinstance(cells, dict) else cells for name, cells in document.items()})


def _is_rows(document: dict[str, Any]) -> bool:
    """`{"columns": [names], "values": [rows]}`; an object of columns may have two that are called so, too."""
    names, rows = document.get("columns"), document.get("values")
    if document.keys() != {"columns", "values"} or not isinstance(names, list) or not isinstance(rows, list):
        return False
    return all(isinstance(name, str) for name in names) and all(isinstance(row, list) for row in rows[:1])


def _read_ndjson(path: Path) -> Any:
    return _records([json.loads(line) for line in path.read_text("utf-8-sig").splitlines() if line.strip()])


def _records(records: list[dict[str, Any]]) -> Any:
    names = dict.fromkeys(name for record in records for name in record)
    return pa.table({name: [record.get(name) for record in records] for name in names})


READERS: dict[str, Callable[[Path], Any]] = {
    ".csv": _read_csv,
    ".parquet": parquet.read_table,
    ".arrow": feather.read_table,
    ".feather": feather.read_table,
    ".json": _read_json,
    ".ndjson": _read_ndjson,
    ".jsonl": _read_ndjson,
}
