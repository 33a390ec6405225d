"""Tables: what came back as Arrow, checked before it is used, and as pandas shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fumehood.client.errors import ClientError
from fumehood.client.inputs import need

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def read_table(data: bytes | bytearray) -> pa.Table:
    """The table of an Arrow file.

    Raises:
        ClientError: it is none, or does not hold together. A script wrote it, so offsets that point elsewhere must be an error
            here and not a crash of the program.
    """
    pa = need("pyarrow", "tables come as Arrow")
    try:
        table = pa.ipc.open_file(pa.py_buffer(data)).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ClientError(f"the table that came back cannot be read: {error}") from None
    return table


def frame_of(table: pa.Table) -> pd.DataFrame:
    """n × m; index 0…n−1; integers and booleans with gaps keep their type (`Int64`, `boolean`)."""
    pandas = need("pandas", "a frame is a pandas object (.table gives the same as a pyarrow.Table)")
    import pyarrow as pa

    nullable = {pa.bool_(): pandas.BooleanDtype()}
    for bits in (8, 16, 32, 64):
        nullable |= {getattr(pa, f"int{bits}")(): getattr(pandas, f"Int{bits}Dtype")()}
        nullable |= {getattr(pa, f"uint{bits}")(): getattr(pandas, f"UInt{bits}Dtype")()}
    gaps = [n for n, column in enumerate(table.columns) if column.null_count and column.type in nullable]
    if not gaps:
        return _plain(table)
    whole = [n for n in range(table.num_columns) if n not in set(gaps)]
    both = pandas.concat([_plain(table.select(whole)), table.select(gaps).to_pandas(types_mapper=nullable.get)], axis=1)
    order = [*whole, *gaps]
    frame: pd.DataFrame = both.iloc[:, [order.index(n) for n in range(table.num_columns)]]
    return frame


def _plain(table: Any) -> pd.DataFrame:
    frame: pd.DataFrame = table.replace_schema_metadata(None).to_pandas()
    return frame
