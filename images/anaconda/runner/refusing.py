"""Saying which column cannot be written, and telling that apart from limits that were reached."""

import pyarrow as pa

from .failure import cut, safe_text
from .refused import Refused

NAME_CHARACTERS = 100
WHY_CHARACTERS = 200


def column_refused(field: pa.Field, error: Exception, form: str) -> Exception:
    """What to raise for a column that cannot be written: the limits of memory and disk keep their own names."""
    if is_limit(error):
        return error
    name, kind = cut(field.name, NAME_CHARACTERS), cut(str(field.type), NAME_CHARACTERS)
    return Refused("bad_input", f"Column {name!r} ({kind}) cannot be written as {form}: {cut(safe_text(error).rstrip('.'), WHY_CHARACTERS)}.")


def is_limit(error: Exception) -> bool:
    """True for memory and disk. Arrow also raises an OSError for a type that a format does not know, but without a number."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None)


def whole_refused(table: pa.Table, error: Exception, form: str, write_one, came_as: pa.Schema) -> Exception:
    """What to raise where writing the whole table failed: the first column that `write_one(table)` cannot write by itself.

    `came_as`: the fields before they were made ready to be written.
    """
    if is_limit(error):
        return error
    for field, column in zip(came_as, table.columns, strict=True):
        try:
            write_one(pa.table([column], names=[field.name]))
        except Exception as why:
            return column_refused(field, why, form)
    return error
