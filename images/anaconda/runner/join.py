"""Many results as one table: a column for the item's number, one for its name, then every column that any result has.

Columns of one name are one column. Where some results do not have it, their rows are missing there; where its types differ, it gets the
least one that holds all of them (whole numbers and fractions, times of different units); where there is none, nothing is written.
Categories become their values: each result has its own. Two passes, and few results at a time: memory is needed for some, not for all.
"""

import os

import pyarrow as pa

from . import formats, item, names, places, tables_out, type_words
from .arrow_guard import check_type
from .failure import cut, in_a_sentence
from .refused import Refused

OWN = {"item": pa.int32(), "item_name": pa.string()}
COLUMNS = 20_000
# What is put together to one record batch; each result that is open costs two file descriptors.
GATHERED, GATHERED_BYTES = 100, 64 * 1024 * 1024


class Joined:
    """The columns of the table, as far as results were looked at."""

    def __init__(self):
        self.types: dict[str, pa.DataType] = {}
        self._first: dict[str, dict] = {}

    def add(self, one: dict, schema: pa.Schema) -> None:
        """Raises Refused: says which column is of which type in which two items."""
        for field in schema:
            known = self.types.get(field.name)
            if known is None:
                self.types[field.name], self._first[field.name] = field.type, one
            elif known != field.type:
                self.types[field.name] = self._common(field, known, one)
        if len(self.types) > COLUMNS:
            raise Refused("bad_input", f"The results have more than {COLUMNS:,} different columns together, which is the limit.")

    def schema(self) -> pa.Schema:
        """The result's columns make way where one is called like ours."""
        unique = names.make_unique([*OWN, *self.types])
        return pa.schema(list(zip(unique, [*OWN.values(), *self.types.values()], strict=True)))

    def rows_of(self, one: dict, table: pa.Table, schema: pa.Schema) -> pa.Table:
        """The rows of one result in the columns of all."""
        rows = table.num_rows
        columns = [pa.array([one["number"]] * rows, OWN["item"]), pa.array([one["name"]] * rows, OWN["item_name"])]
        there = set(table.column_names)
        for name, kind in self.types.items():
            columns.append(_cast(table.column(name), kind, name, one) if name in there else pa.nulls(rows, kind))
        return pa.table(columns, schema=schema)

    def _common(self, field: pa.Field, known: pa.DataType, one: dict) -> pa.DataType:
        try:
            merged = pa.unify_schemas(
                [pa.schema([pa.field("c", known)]), pa.schema([pa.field("c", field.type)])], promote_options="permissive"
            )
            return merged.field("c").type
        except pa.ArrowException:
            found, first = (cut(type_words.text_of(kind), 100) for kind in (field.type, known))
            where = f"is {found} in {_called(one)} and {first} in {_called(self._first[field.name])}"
            raise Refused("bad_input", f"Column {cut(field.name, 100)!r} {where}; expected types that agree.") from None


def write(request: dict, path: str, progress) -> None:
    """Join the results that the request lists, in their order."""
    limits, items = request["limits"], request["items"]
    if request.get("missing"):
        raise Refused("bad_input", "Some of the results are not there any more.")
    joined = Joined()
    with progress.part("read"):
        for one in items:
            with _Opened(one, limits, progress) as table:
                joined.add(one, table.schema)
    schema = joined.schema()
    for field in schema:
        check_type(field.type, f"Column {cut(field.name, 100)!r}", "bad_input")
    rows, nulls = 0, [0] * len(schema)
    with (
        progress.part("write"),
        tables_out.output_limit(limits["output_bytes"], "result"),
        pa.OSFile(path, "wb") as file,
        pa.ipc.new_file(file, schema) as writer,
    ):
        for table in _gathered(items, joined, schema, limits, progress):
            rows += table.num_rows
            nulls = [count + column.null_count for count, column in zip(nulls, table.columns, strict=True)]
            writer.write_table(table)
    described = tables_out.describe(schema.empty_table())
    columns = [column | {"nullable": count > 0} for column, count in zip(described["columns"], nulls, strict=False)]
    progress.results["result"] = {"rows": rows, "columns": columns}


def _gathered(items: list, joined: Joined, schema: pa.Schema, limits: dict, progress):
    """The rows of all items, those of some at a time in one piece."""
    some: list[pa.Table] = []
    opened: list[_Opened] = []
    size = 0
    for one in items:
        opened.append(_Opened(one, limits, progress))
        some.append(joined.rows_of(one, opened[-1].table, schema))
        size += some[-1].nbytes
        if len(some) == GATHERED or size >= GATHERED_BYTES:
            yield pa.concat_tables(some).combine_chunks()
            while opened:
                opened.pop().close()
            some, size = [], 0
    if some:
        yield pa.concat_tables(some).combine_chunks()


class _Opened:
    """One result, read and checked like any table that comes from outside."""

    def __init__(self, one: dict, limits: dict, progress):
        path, self._copy = f"{places.IN}/{one['file']}", None
        if one.get("offset") is not None:
            path = self._copy = item.cut(_called(one), path, one["offset"], one["bytes"])
        table = formats.read(_called(one), path, "arrow", limits, progress)
        self.table = pa.table([_values(column) for column in table.columns], names=table.column_names) if table.num_columns else table

    def __enter__(self) -> pa.Table:
        return self.table

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.table = None
        if self._copy is not None:
            os.close(int(self._copy.rsplit("/", 1)[1]))
            self._copy = None


def _values(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _cast(column: pa.ChunkedArray, kind: pa.DataType, name: str, one: dict) -> pa.ChunkedArray:
    if column.type == kind:
        return column
    try:
        return column.cast(kind)
    except pa.ArrowException as error:
        text = f"Column {cut(name, 100)!r} of {_called(one)} cannot become {cut(type_words.text_of(kind), 100)}, which others need"
        raise Refused("bad_input", f"{text}: {in_a_sentence(error, 200)}.") from None


def _called(one: dict) -> str:
    name = f" ({cut(one['name'], 60)!r})" if one["name"] else ""
    return f"item {one['number']}{name}"
