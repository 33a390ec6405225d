"""Sample calls of a script: for curl, Python and R, with rows made up from the types of its columns.

All that a version says is its tenant's word: names of columns and of parameters, types, values. Each goes into a sample only as a
literal of its language, and a text that a terminal might obey into none that is pasted there.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from api.column_types import column_type
from api.schemas import Column
from api.script_schemas import ParameterRecord, VersionRecord
from fumehood.dataset import ARROW, FORMATS
from fumehood.text import harmless

JSON, CSV = FORMATS["json"][0][0], FORMATS["csv"][0][0]
INLINE_CHARACTERS = 2000
"""A longer table stands in a file."""
SAID_MAX = 10
"""Parameters in a sample; the required ones come first."""
RESERVED = ("version", "alias")
"""In a query they choose the version."""
EMPTY_CELL = '""'
ANSWER_SECONDS = 90
"""The service waits for 60."""
_OF_TYPE = {"int": 1, "float": 1.5, "str": "text", "bool": True}


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    language: str
    format: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A call as one may make it. `columns` is None where the script was published without a table, and is called without one."""

    address: str
    query: list[tuple[str, str]]
    columns: list[Column] | None
    rows: list[dict[str, Any]] = field(default_factory=list)
    chosen: dict[str, str] = field(default_factory=dict)
    """What of the query chooses the version."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """What of it is the script's, as values."""

    @property
    def whole(self) -> str:
        return self.address + (f"?{urlencode(self.query)}" if self.query else "")


def asked(version: VersionRecord, address: str, chosen: dict[str, str]) -> Asked:
    """`address` is that of `score`; `chosen` what a query says to get this version."""
    columns, said = columns_in(version), _said(version)
    query = [*chosen.items(), *((name, as_text(value) or "") for name, value in said.items())]
    rows = example_rows(columns or [])
    return Asked(address=address, query=query, columns=columns, rows=rows, chosen=chosen, parameters=said)


def samples(call: Asked) -> list[Sample]:
    made = [("curl", _curl), ("Python", _python), ("R", _r)]
    forms = [("JSON", JSON), ("CSV", CSV), ("Arrow", ARROW)] if call.columns is not None else [("JSON", JSON)]
    found = [Sample(language=language, format=name, text=make(call, media)) for language, make in made for name, media in forms]
    found.insert(len(forms), Sample(language="Python", format="fumehood.client", text=_client(call)))
    return found


def columns_in(version: VersionRecord) -> list[Column] | None:
    return version.schemas.inputs.get("dataset1") if version.schemas else None


def columns_out(version: VersionRecord) -> list[Column]:
    return version.schemas.outputs.get("result", []) if version.schemas else []


def parameters_of(version: VersionRecord) -> list[ParameterRecord]:
    """Those that a call can say."""
    return [one for one in version.parameters or () if one.name not in RESERVED]


def example_rows(columns: list[Column]) -> list[dict[str, Any]]:
    """Two, in JSON."""
    examples = {column.name: column_type(column.type).examples for column in columns}
    return [{name: pair[row] for name, pair in examples.items()} for row in (0, 1)]


def as_csv(rows: list[dict[str, Any]]) -> str:
    names = list(rows[0])
    lines = [",".join(_cell(name) for name in names), *(",".join(_cell(row[name]) for name in names) for row in rows)]
    # A line without a character would be no row.
    return "".join(f"{line or EMPTY_CELL}\n" for line in lines) if names else ""


def as_text(value: Any) -> str | None:
    """A parameter's value as a query says it; None for what has no such form."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool | int | float) else None


def _said(version: VersionRecord) -> dict[str, Any]:
    """Parameters that a query can say, with a value for each."""
    found: list[tuple[str, Any]] = []
    for one in sorted(parameters_of(version), key=lambda one: not one.required):
        value = one.default if not one.required else one.example
        if as_text(value) is None and one.required:
            value = _OF_TYPE.get(one.type or "", 1)
        if as_text(value) is not None:
            found.append((one.name, value))
    return dict(found[:SAID_MAX])


def _cell(value: Any) -> str:
    # No cell of CSV holds a list.
    text = "" if value is None or isinstance(value, list) else as_text(value) or ""
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in '",\r\n') or text != text.strip() else text


def _inline(text: str) -> str | None:
    return text if len(text) <= INLINE_CHARACTERS and harmless(text) == text else None


# curl --------------------------------------------------------------------------------------------------------------------


def _curl(call: Asked, media: str) -> str:
    lines = [f"curl -sS --fail-with-body {shlex.quote(call.whole)}", '-H "Authorization: Bearer $FUMEHOOD_KEY"']
    if call.columns is None:
        return " \\\n  ".join([*lines, f"-H 'Accept: {media}'", "-X POST"])
    lines += [f"-H 'Content-Type: {media}'", f"-H 'Accept: {media}'"]
    if media == ARROW:
        lines += ["--data-binary @table.arrow", "-o answer.arrow"]
    else:
        text, name = (json.dumps(call.rows), "rows.json") if media == JSON else (as_csv(call.rows), "rows.csv")
        inline = _inline(text)
        # Not `--data`: it would read a file where the text begins with @.
        lines.append(f"--data-raw {shlex.quote(inline)}" if inline is not None else f"--data-binary @{name}")
    return " \\\n  ".join(lines)


# Python ------------------------------------------------------------------------------------------------------------------


def _python(call: Asked, media: str) -> str:
    imports: list[str] = []
    table: list[str] = []
    given: list[str] = []
    end = "print(answer.json())"
    kind = f", 'Content-Type': {media!r}"
    if call.columns is None:
        kind = ""
    elif media == JSON:
        inline = _inline(json.dumps(call.rows))
        lines = ["rows = [", *(f"    {row!r}," for row in call.rows), "]"]
        imports, table = ([], lines) if inline is not None else (["import json"], ["rows = json.load(open('rows.json'))"])
        given, kind = ["json=rows"], ""
    elif media == CSV:
        inline = _inline(as_csv(call.rows))
        table = [f"table = {inline!r}" if inline is not None else "table = open('rows.csv').read()"]
        given, end = ["content=table.encode()"], "print(answer.text)"
    else:
        table, given = _arrow(call), ["content=sink.getvalue().to_pybytes()"]
        end = "print(pa.ipc.open_file(answer.content).read_pandas())"
    arguments = [
        repr(call.address),
        *([f"params={dict(call.query)!r}"] if call.query else []),
        *given,
        f"headers={{'Authorization': 'Bearer ' + os.environ['FUMEHOOD_KEY']{kind}, 'Accept': {media!r}}}",
        f"timeout={ANSWER_SECONDS}",
    ]
    packages = ["import httpx", *(["import pyarrow as pa"] if call.columns is not None and media == ARROW else [])]
    post = ["answer = httpx.post(", *(f"    {argument}," for argument in arguments), ")", "answer.raise_for_status()", end]
    return "\n".join([*imports, "import os", "", *packages, "", *table, *post])


def _client(call: Asked) -> str:
    """With the client of this service."""
    service, _, path = call.address.partition("/v1/scripts/")
    chosen = {name: int(said) if name == "version" else said for name, said in call.chosen.items()}
    script = ", ".join([repr(path.removesuffix("/score")), *(f"{name}={said!r}" for name, said in chosen.items())])
    table = _arrow_table(call) if call.columns is not None else []
    given = ["table"] if call.columns is not None else []
    if call.parameters:
        given.append(f"parameters={call.parameters!r}")
    lines = [
        *(table if table is not None else ["table = 'rows.csv'"]),
        f"with Client({service!r}, os.environ['FUMEHOOD_KEY']) as client:",
        f"    score = client.script({script})",
        f"    print(score({', '.join(given)}))",
    ]
    return "\n".join(["import os", "", *(["import pyarrow as pa"] if table else []), "from fumehood.client import Client", "", *lines])


def _arrow_table(call: Asked) -> list[str] | None:
    """None where it is too long."""
    columns = []
    for column in call.columns or ():
        kind = column_type(column.type)
        values = [row[column.name] for row in call.rows]
        # pyarrow makes no time of day out of a text.
        if None in values or column.type.startswith(("time32", "time64")):
            made = f"pa.nulls({len(values)}{f', {kind.arrow}' if kind.arrow else ''})"
        else:
            made = f"pa.array({values!r}){f'.cast({kind.arrow})' if kind.arrow else ''}"
        columns.append(f"    {column.name!r}: {made},")
    return ["table = pa.table({", *columns, "})"] if sum(map(len, columns)) <= INLINE_CHARACTERS else None


def _arrow(call: Asked) -> list[str]:
    return [
        *(_arrow_table(call) or ["import pandas as pd", "", "table = pa.Table.from_pandas(pd.read_csv('rows.csv'))"]),
        "sink = pa.BufferOutputStream()",
        "with pa.ipc.new_file(sink, table.schema) as writer:",
        "    writer.write_table(table)",
    ]


# R -----------------------------------------------------------------------------------------------------------------------


def _r(call: Asked, media: str) -> str:
    lines: list[str] = []
    end = "jsonlite::fromJSON(resp_body_string(answer))"
    if call.columns is None:
        body = 'req_method("POST")'
    elif media == ARROW:
        body, end = f'req_body_file("table.arrow", type = "{media}")', "arrow::read_feather(resp_body_raw(answer))"
    elif media == JSON:
        inline = _inline(json.dumps(call.rows))
        lines = [f"frame <- jsonlite::fromJSON({r_text('rows.json' if inline is None else inline)})"]
        body = f'req_body_raw(jsonlite::toJSON(frame, digits = NA, na = "null"), type = "{media}")'
    else:
        inline = _inline(as_csv(call.rows))
        table = '"rows.csv"' if inline is None else f"text = {r_text(inline)}"
        lines = [f"frame <- read.csv({table}, check.names = FALSE)"]
        text = 'paste(capture.output(write.csv(frame, row.names = FALSE, na = "")), collapse = "\\n")'
        body, end = f'req_body_raw({text}, type = "{media}")', "read.csv(text = resp_body_string(answer), check.names = FALSE)"
    steps = [
        f"answer <- request({r_text(call.whole)})",
        'req_auth_bearer_token(Sys.getenv("FUMEHOOD_KEY"))',
        f'req_headers(Accept = "{media}")',
        body,
        "req_perform()",
    ]
    return "\n".join(["library(httr2)", "", *lines, " |>\n  ".join(steps), end])


def r_text(text: str) -> str:
    """A string of R in ASCII. R has none with a NUL."""
    return '"' + "".join(_r_character(character) for character in text) + '"'


def _r_character(character: str) -> str:
    code = ord(character)
    if character in '"\\':
        return f"\\{character}"
    if character == "\n":
        return "\\n"
    if 0x20 <= code < 0x7F:
        return character
    return "\\ufffd" if code == 0 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
