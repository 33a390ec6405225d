"""Reading a request as clients of Azure Machine Learning Studio (classic) write it: tables and parameters in one JSON document.

    {"Inputs": {"input1": {"ColumnNames": ["a", "b"], "Values": [["1", "x"], [2, null]]}}, "GlobalParameters": {"factor": "2"}}

An input may also be an array of records. `input1` is dataset1 and `input2` is dataset2; of inputs that are called otherwise, the first
and the second. These clients write every cell as text: what the columns become is decided in text_columns.py. What the texts among the
parameters become, in parameter_texts.py.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from . import expected, formats, json_in, json_rows, names, tables_in, text_columns
from .described import UNASKED
from .failure import cut
from .refused import Refused
from .rows_in import Rows

FORMAT = "studio"
REQUEST = "The request"
INPUTS, PARAMETERS = "Inputs", "GlobalParameters"
COLUMNS, VALUES, TYPES = "ColumnNames", "Values", "ColumnTypes"
PORTS = {"input1": "dataset1", "input2": "dataset2"}
NAMES = 5
TABLE = f"expected an object of {COLUMNS} and {VALUES}, or an array of records"


@dataclass(frozen=True, slots=True)
class Given:
    """One input. `names`: its columns; None for records. `at`: where the array of its rows or records begins."""

    names: list[str] | None
    at: int


def is_envelope(inputs: dict) -> bool:
    return inputs.get("dataset1", {}).get("format") == FORMAT


def read(path: str, limits: dict, progress, schema: dict | None = None, description=UNASKED) -> tuple[list[tables_in.InputTable], dict]:
    """The tables, in order of their ports, and what the client wrote of the parameters.

    `schema`: by port, the columns that its table must have.

    Raises:
        Refused: `bad_input`, with what was found, where, and what is expected.
    """
    with formats.understood(REQUEST, path, FORMAT, limits):
        document = json_in.Document(json_in.whole_text(REQUEST, path), REQUEST)
        inputs, parameters = outline(document)
        by_port = connected(inputs)
        for port in schema or {}:
            if port not in by_port:
                called = next(name for name, one in PORTS.items() if one == port)
                raise Refused("bad_input", f"{REQUEST} gives no {port}: {named(inputs)}; expected is {called!r}.")
        tables = {port: table_of(document, port, given, limits, progress, (schema or {}).get(port)) for port, given in by_port.items()}
    return [tables_in.shown(port, table, description) for port, table in tables.items()], parameters


def outline(document: json_in.Document) -> tuple[dict[str, Given], dict]:
    """Where each input lies, by name, and the parameters."""
    inputs: dict[str, Given] = {}
    parameters: dict = {}

    def take_input(name: str, at: int) -> int:
        what = f"Input {cut(name, 60)!r}"
        if is_null(document, at):
            return document.value(at, what)[1]
        inputs[name], after = given_at(document, at, what)
        return after

    def take(name: str, at: int) -> int:
        if name not in (INPUTS, PARAMETERS):
            raise Refused("bad_input", f"{REQUEST} has a member {cut(name, 60)!r} ({document.place(at)}); expected {INPUTS} and {PARAMETERS}.")
        if name == INPUTS and not is_null(document, at):
            return read_object(document, at, INPUTS, take_input)
        value, after = document.value(at, name)
        if value is not None and not isinstance(value, dict):
            raise Refused("bad_input", f"{name} of {REQUEST.lower()} is {json_in.what(value)} ({document.place(at)}); expected an object.")
        parameters.update(value or {})
        return after

    document.finish(read_object(document, document.begin, REQUEST, take))
    return inputs, parameters


def is_null(document: json_in.Document, at: int) -> bool:
    return document.has("null", at)


def read_object(document: json_in.Document, at: int, what: str, take: Callable[[str, int], int]) -> int:
    """Where the object ends that begins there; `take(name, at)` reads what a member is and says where that ends."""
    if not document.has("{", at):
        value, _ = document.value(at, what)
        raise Refused("bad_input", f"{what} is {json_in.what(value)} ({document.place(at)}); expected an object.")
    at, seen = document.skip(at + 1), set()
    while not document.has("}", at):
        if seen:
            at = document.expect(",", at)
        if not document.has('"', at):
            raise document.broken(at, "Expecting a name in double quotes")
        name, after = document.value(at, "A name")
        if name in seen:
            raise Refused("bad_input", f"{what} has the member {cut(name, 60)!r} more than once ({document.place(at)}).")
        seen.add(name)
        at = document.skip(take(name, document.expect(":", document.skip(after))))
    return at + 1


def given_at(document: json_in.Document, at: int, what: str) -> tuple[Given, int]:
    """The input that begins there, and where it ends. Its rows are looked at one by one, and kept when they are read."""
    if document.has("[", at):
        return Given(None, at), json_rows.end_of(document, at)
    found, of = {}, f"of i{what[1:]}"

    def take(name: str, at: int) -> int:
        if name not in (COLUMNS, VALUES, TYPES):
            raise Refused("bad_input", f"{what} has a member {cut(name, 60)!r} ({document.place(at)}); {TABLE}.")
        if name == VALUES and document.has("[", at):
            found[VALUES] = at
            return json_rows.end_of(document, at)
        value, after = document.value(at, f"{name} {of}")
        if name == VALUES:
            raise Refused("bad_input", f"{VALUES} {of} is {json_in.what(value)} ({document.place(at)}); expected an array of rows.")
        if name == COLUMNS and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            raise Refused("bad_input", f"{COLUMNS} {of} ({document.place(at)}) is {json_in.what(value)}; expected an array of texts.")
        found[name] = value
        return after

    if not document.has("{", at):
        value, _ = document.value(at, what)
        raise Refused("bad_input", f"{what} is {json_in.what(value)} ({document.place(at)}); {TABLE}.")
    after = read_object(document, at, what, take)
    if lacking := [name for name in (COLUMNS, VALUES) if name not in found]:
        raise Refused("bad_input", f"{what} ({document.place(at)}) has no {lacking[0]}; {TABLE}.")
    return Given(found[COLUMNS], found[VALUES]), after


def connected(inputs: dict[str, Given]) -> dict[str, Given]:
    """The inputs by port, in order of the ports."""
    if len(inputs) > len(PORTS):
        raise Refused("bad_input", f"{REQUEST} has {len(inputs)} inputs: {named(inputs)}; expected at most {len(PORTS)}.")
    if inputs.keys() <= PORTS.keys():
        return {port: inputs[name] for name, port in PORTS.items() if name in inputs}
    return dict(zip(PORTS.values(), inputs.values(), strict=False))


def named(inputs: dict[str, Given]) -> str:
    some = ", ".join(repr(cut(name, 60)) for name in list(inputs)[:NAMES]) + (" and others" if len(inputs) > NAMES else "")
    return f"{INPUTS} has {some}" if inputs else f"{INPUTS} is empty"


def table_of(document: json_in.Document, port: str, given: Given, limits: dict, progress, columns: list[dict] | None) -> pa.Table:
    document = copy.copy(document)
    document.port = port
    if given.names is None:
        parts = lambda: document.records_of(document.elements(given.at, "Record"), given.at)  # noqa: E731
    else:
        unique = names.make_unique_noting(given.names, port, progress)
        found = json_rows.Found(unique, given.at, is_last=False)
        parts = lambda: json_rows.parts(document, found, unique)  # noqa: E731
    texts = json_in.table_of(Rows(port, limits, progress, all_text=True), parts, port, progress)
    if columns is None:
        return text_columns.typed(texts, {})
    wanted = expected.Expected(port, columns, FORMAT)
    if given.names is None and document.has("]", document.skip(given.at + 1)):
        # Records of which there is none lack no column either.
        return wanted.nothing()
    return wanted.hold(text_columns.typed(texts, {one["name"]: one["type"] for one in columns}), progress, texts.select)
