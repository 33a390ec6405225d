"""What a check is told of a script: what its entry point takes, and the columns of its tables. In the child, and for display only."""

import inspect
import json
import math

import pyarrow as pa

from . import context, entry_point, places, type_words
from .failure import cut

PARAMETERS = 1_000
DEFAULT_CHARACTERS = 1_000
INTEGER_MOST = 2**63 - 1


def entry_of(function, init: context.Init) -> dict:
    """`parameters`: those that a job can give, each with a simple type or None; `more`: others are taken as well; `init`: it is called."""
    known = entry_point.signature(function) or []
    parameters = [parameter_of(one) for one in list(entry_point.keywords_of(known).values())[:PARAMETERS]]
    return {
        "parameters": parameters,
        "more": any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known),
        "init": init.is_there() and context.parameter_of(known) is not None,
    }


def parameter_of(parameter: inspect.Parameter) -> dict:
    """Name, type, whether it is required; and its default, where JSON can say it."""
    wanted = entry_point.simple_of(parameter)
    required = parameter.default is inspect.Parameter.empty
    if wanted is None and not required:
        wanted = next((kind for kind in entry_point.SIMPLE if type(parameter.default) is kind), None)
    described = {"name": cut(parameter.name, places.NAME_CHARACTERS), "type": wanted and wanted.__name__, "required": required}
    return described | ({"default": parameter.default} if not required and is_plain(parameter.default) else {})


def is_plain(value: object) -> bool:
    """True for what can stand in a report as it is."""
    if type(value) is str:
        return len(value) <= DEFAULT_CHARACTERS
    if type(value) is int:
        return abs(value) <= INTEGER_MOST
    return value is None or type(value) is bool or (type(value) is float and math.isfinite(value))


class Unasked:
    """Nobody wants to know."""

    def entry(self, function, init: context.Init) -> None:
        pass

    def input(self, port: str, table: pa.Table) -> None:
        pass

    def output(self, port: str, table: pa.Table) -> None:
        pass


UNASKED = Unasked()


class Description(Unasked):
    """What a run shows of its script; the tables' columns as long as all of them together are no more than can be told."""

    def __init__(self):
        self._entry: dict | None = None
        self._inputs: dict[str, list[dict]] = {}
        self._outputs: dict[str, list[dict]] = {}
        self._left_bytes = places.SCHEMAS_BYTES
        self._is_cut = False

    def entry(self, function, init: context.Init) -> None:
        self._entry = entry_of(function, init)

    def input(self, port: str, table: pa.Table) -> None:
        self._inputs[port] = self._columns(table)

    def output(self, port: str, table: pa.Table) -> None:
        self._outputs[port] = self._columns(table)

    def words(self, progress) -> dict:
        """For the report. All columns or none: of a part nobody could tell what is missing."""
        if self._is_cut:
            text = f"The columns are too many to be described: expected are at most {places.SCHEMA_COLUMNS:,} of a table, and names that are not very long."
            progress.note("columns_capped", text)
            return {"entry": self._entry, "schemas": None}
        return {"entry": self._entry, "schemas": {"inputs": self._inputs, "outputs": self._outputs}}

    def _columns(self, table: pa.Table) -> list[dict]:
        columns: list[dict] = []
        if table.num_columns > places.SCHEMA_COLUMNS:
            self._is_cut = True
        for field, column in zip(table.schema, table.columns, strict=True):
            if self._is_cut:
                break
            described = {"name": field.name, "type": type_words.text_of(field.type), "nullable": column.null_count > 0}
            self._left_bytes -= len(json.dumps(described)) + 2
            self._is_cut = self._left_bytes < 0 or max(len(described["name"]), len(described["type"])) > places.SCHEMA_CHARACTERS
            columns.append(described)
        return columns
