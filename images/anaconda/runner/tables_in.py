"""From an input file to the DataFrame the script gets."""

import codecs
import functools
import os
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from . import columns_in, csv_in, expected, formats, places
from .described import UNASKED
from .failure import in_a_sentence
from .refused import Refused

# Above this, columns stay where they are; below, many small columns are better joined (pandas warns about fragments).
JOIN_BYTES = 16 * 1024 * 1024
NO_RECORD = {"json": b"[]", "ndjson": b""}
NO_RECORD_BYTES = 1024


@dataclass(slots=True)
class InputTable:
    """One connected dataset.

    `frame`: n × m; the index is always 0…n−1; column names are unique strings. None once it was taken.
    `arrow_types`, `dtypes`: by column name, as it came.
    """

    port: str
    frame: pd.DataFrame | None
    arrow_types: dict[str, pa.DataType]
    dtypes: dict[str, object]

    def take_frame(self) -> pd.DataFrame:
        """Hand the frame over: from now on it is the script's alone."""
        frame, self.frame = self.frame, None
        return frame


def read(port: str, form: str, limits: dict, progress, columns: list[dict] | None = None, description=UNASKED) -> InputTable:
    """The table of a port; `columns`: those that it must have, each with a name and a type (expected.py).

    Raises:
        Refused: `bad_input`, naming the port and the place.
    """
    path = places.INPUTS[port]
    table = formats.read(port, path, form, limits, progress)
    if columns is not None:
        wanted = expected.Expected(port, columns, form)
        as_text = functools.partial(csv_in.as_text, port, path) if form == "csv" else nothing_more
        table = wanted.nothing() if has_no_record(path, form) else wanted.hold(table, progress, as_text)
    return shown(port, table, description)


def shown(port: str, table: pa.Table, description=UNASKED) -> InputTable:
    """The table for the script, once `description` was shown its columns."""
    description.input(port, table)
    return from_arrow(port, table)


def has_no_record(path: str, form: str) -> bool:
    """True for records of which there is none, so that none lacks a column either."""
    if form not in NO_RECORD or os.stat(path).st_size > NO_RECORD_BYTES:
        return False
    with open(path, "rb") as file:
        return b"".join(file.read().removeprefix(codecs.BOM_UTF8).split()) == NO_RECORD[form]


def nothing_more(_names: list[str]) -> None:
    """Other formats say as much of a value as they will ever."""


def from_arrow(port: str, table: pa.Table) -> InputTable:
    """Convert column by column, each type by its own rule (columns_in.py)."""
    columns = {}
    for name in table.column_names:
        try:
            columns[name] = columns_in.to_pandas(table.column(name))
        except formats.READING as error:
            kind = table.schema.field(name).type
            raise Refused("bad_input", f"Column {name[:100]!r} of {port} ({in_a_sentence(kind, 100)}) cannot become a pandas column: {in_a_sentence(error, 200)}.") from None
    joined = table.nbytes <= JOIN_BYTES
    frame = pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows), columns=pd.Index(table.column_names, dtype=columns_in.TEXT), copy=joined)
    return InputTable(
        port=port,
        frame=frame,
        arrow_types={field.name: field.type for field in table.schema},
        dtypes=dict(zip(frame.columns, frame.dtypes, strict=True)),
    )
