"""From an input file to the DataFrame the script gets."""

from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from . import columns_in, formats, places
from .failure import in_a_sentence
from .refused import Refused

# Above this, columns stay where they are; below, many small columns are better joined (pandas warns about fragments).
JOIN_BYTES = 16 * 1024 * 1024


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


def read(port: str, form: str, limits: dict, progress) -> InputTable:
    """The table of a port.

    Raises:
        Refused: `bad_input`, naming the port and the place.
    """
    table = formats.read(port, places.INPUTS[port], form, limits, progress)
    return from_arrow(port, table)


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
