"""The OpenAPI document of one version of a script: only its own calls, with the columns and the parameters that its check recorded.

What it shares with the document of the service (records, problems, the key) is taken from there. Names and texts in it are the
tenant's word.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from api.answers import binary, headers, problems
from api.column_types import column_type
from api.schemas import Column
from api.script_samples import CSV, JSON, as_csv, as_text, columns_in, columns_out, example_rows, parameters_of
from api.script_schemas import ParameterRecord, VersionRecord
from fumehood.dataset import FORMATS, TABLE_FORMATS
from fumehood.text import one_line

Document = dict[str, Any]

SPECIFICATION = "3.1.0"
TABLES = [FORMATS[name][0][0] for name in TABLE_FORMATS]
_PREFIX = "#/components/schemas/"
# How a parameter of the query is written, by the type that the version records.
_OF_TYPE: dict[str | None, Document] = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "str": {"type": "string"},
    "bool": {"type": "boolean"},
}
_UNTYPED = "A number, true, false or null, else text."
# What an answer of `score` means here; the rest is as everywhere.
_SCORE_PROBLEMS = {
    400: "The script failed: `error` says with what, and in which line.",
    404: "There is no such script, or no such version.",
    408: "The table stopped coming.",
    409: "The version is not ready, or the call was cancelled.",
    413: "The table has more bytes than the limit.",
    415: "No reader knows this media type.",
    422: "A column or a parameter is missing, not known, or of another type; the problem names it.",
    429: "More calls at once than the version allows, or a quota of the tenant is used up.",
    503: "The service cannot take the call now, or could not finish it; the script has nothing to do with it.",
    504: "The call did not end in time, and was cancelled.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    address: str
    """A whole one: what is external to OpenAPI is named by a URI."""
    format: str


def script_document(version: VersionRecord, chosen: dict[str, str], service: Document, sample: Sample | None) -> Document:
    """`chosen`: what a query says to get this version, nothing where it is the latest. `service`: the document of the service.
    `sample`: None where it has none."""
    own = {**_table_schemas(version), "Parameters": _parameters_object(version)}
    paths = {
        f"/v1/scripts/{version.script}/{call}": {"post": operation}
        for call, operation in (
            ("score", _score(version, chosen, sample)),
            ("jobs", _submit("job", "ScriptJobDocument", "JobRecord", chosen)),
            ("batches", _submit("batch", "ScriptBatchDocument", "BatchRecord", chosen)),
        )
    }
    shared = service["components"]["schemas"]
    bodies = {name: _with_its_parameters(shared[name]) for name in ("ScriptJobDocument", "ScriptBatchDocument")}
    return {
        "openapi": SPECIFICATION,
        "info": {"title": version.script, "version": str(version.number), "description": one_line(version.description)},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": own | bodies | _needed(shared, [*bodies.values(), *paths.values()], known={*own, *bodies}),
            "securitySchemes": deepcopy(service["components"]["securitySchemes"]),
        },
    }


# calls -------------------------------------------------------------------------------------------------------------------


def _score(version: VersionRecord, chosen: dict[str, str], sample: Sample | None) -> Document:
    answers = binary(*TABLES)
    answers[JSON] = {"schema": {"$ref": f"{_PREFIX}Results"}}
    answers[CSV] = {"schema": {"type": "string"}}
    return {
        "operationId": "score",
        "summary": "Call the script",
        "description": "Runs it once on a table, in a sandbox of its own, and answers with its first result. `Accept` chooses the format.",
        "security": [{"key": ["submit"]}],
        "parameters": [*_choosing(chosen), *(_parameter(one) for one in parameters_of(version))],
        **({"requestBody": _table(version, sample)} if columns_in(version) is not None else {}),
        "responses": {
            "200": {"description": "The result.", "headers": headers("Vary") | _SCORED, "content": answers},
            **_refusals(_SCORE_PROBLEMS, 401, 403, 406),
        },
    }


def _submit(name: str, document: str, record: str, chosen: dict[str, str]) -> Document:
    content = {JSON: {"schema": {"$ref": f"{_PREFIX}{record}"}}}
    told = headers("Location", "Retry-After")
    return {
        "operationId": f"submit_{name}",
        "summary": f"Submit a {name} of the script",
        "description": f"As any {name}; script, bundle and limits are the version's, and limits may be lowered.",
        "security": [{"key": ["submit"]}],
        "parameters": _choosing(chosen),
        "requestBody": {"required": True, "content": {JSON: {"schema": {"$ref": f"{_PREFIX}{document}"}}}},
        "responses": {
            "202": {"description": f"Its record; the {name} is on disk.", "headers": told, "content": content},
            **_refusals({404: _SCORE_PROBLEMS[404], 409: "The version is not ready."}, 400, 401, 403, 408, 413, 415, 422, 429, 503),
        },
    }


_SCORED: Document = {
    "Fumehood-Job": {"description": "Id of the job that the call was.", "schema": {"type": "string"}},
    "Fumehood-Script": {"description": "`name/number`: the version that was called.", "schema": {"type": "string"}},
}


def _refusals(said: dict[int, str], *others: int) -> Document:
    described = problems(*said, *others)
    return {str(status): described[status] | ({"description": said[status]} if status in said else {}) for status in sorted(described)}


def _choosing(chosen: dict[str, str]) -> list[Document]:
    """A document of a certain version, or of an alias, is one of the calls that say so."""
    said: dict[str, Document] = {
        "version": {"description": "Number of the version.", "schema": {"type": "integer"}},
        "alias": {"description": "Name of the alias.", "schema": {"type": "string"}},
    }
    found = []
    for name, value in chosen.items():
        one = {**said[name], "name": name, "in": "query", "required": True}
        one["schema"] = {**one["schema"], "const": int(value) if name == "version" else value}
        found.append(one)
    return found


def _parameter(one: ParameterRecord) -> Document:
    schema, example = _typed(one), one.default if one.example is None and not one.required else one.example
    text = one_line(one.description) or ("" if one.type in _OF_TYPE else _UNTYPED)
    # An example of no simple kind cannot be said in a query.
    shown = {"example": example} if as_text(example) is not None else {}
    return {"name": one.name, "in": "query", "required": one.required, "description": text, "schema": schema, **shown}


def _typed(one: ParameterRecord) -> Document:
    default = {"default": one.default} if not one.required and as_text(one.default) is not None else {}
    return {**_OF_TYPE.get(one.type, {}), **default}


# tables ------------------------------------------------------------------------------------------------------------------


def _table(version: VersionRecord, sample: Sample | None) -> Document:
    """The sample is shown by its address alone: nobody here reads it."""
    rows = example_rows(columns_in(version) or [])
    content = binary(*TABLES)
    content[JSON] = {"schema": {"oneOf": [{"$ref": f"{_PREFIX}{name}"} for name in ("Rows", "Table")]}}
    content[CSV] = {"schema": {"type": "string"}}
    content[JSON]["examples"] = {
        "rows": {"summary": "Rows", "value": rows},
        "table": {
            "summary": "Names of columns with values",
            "value": {"columns": list(rows[0]), "values": [list(row.values()) for row in rows]},
        },
    }
    content[CSV]["examples"] = {"rows": {"summary": "Rows", "value": as_csv(rows)}}
    if sample is not None and sample.format in TABLE_FORMATS:
        shown = content[FORMATS[sample.format][0][0]].setdefault("examples", {})
        shown["sample"] = {"summary": "What the version was checked on", "externalValue": sample.address}
    return {"required": True, "description": "The table, in the format that `Content-Type` says.", "content": content}


def _table_schemas(version: VersionRecord) -> Document:
    into, out = columns_in(version), columns_out(version)
    made: Document = {
        "Results": {"type": "array", "items": {"$ref": f"{_PREFIX}Result"}},
        "Result": _row(out, "As the check saw it.", given=False),
    }
    if into is not None:
        names = list(dict.fromkeys(column.name for column in into))
        row = _row(into, "All columns, and no others.", given=True) | {"required": names, "additionalProperties": False}
        values = {"type": "array", "items": {"type": "array", "minItems": len(names), "maxItems": len(names)}}
        columns = {"type": "array", "items": {"enum": names} if names else {}, "minItems": len(names), "maxItems": len(names)}
        made |= {
            "Row": row,
            "Rows": {"type": "array", "items": {"$ref": f"{_PREFIX}Row"}},
            "Table": {"type": "object", "properties": {"columns": columns, "values": values}, "required": ["columns", "values"]},
        }
    return made


def _row(columns: list[Column], description: str, *, given: bool) -> Document:
    properties = {column.name: _value(column, given=given) for column in columns}
    return {"type": "object", "description": description, "properties": properties}


def _value(column: Column, *, given: bool) -> Document:
    schema = column_type(column.type).schema
    kind = schema.get("type")
    # In an answer a fraction that is no number is null, whatever the column.
    may_be_null = column.nullable or (kind == "number" and not given)
    return {**schema, "description": one_line(column.type)} | ({"type": [kind, "null"]} if may_be_null and kind else {})


def _parameters_object(version: VersionRecord) -> Document:
    found = version.parameters or []
    properties = {one.name: {**_typed(one), "description": one_line(one.description)} for one in found}
    return {
        "type": "object",
        "properties": properties,
        "required": [one.name for one in found if one.required],
        # A function that takes whatever is given says no names.
        "additionalProperties": version.parameters is None,
    }


def _with_its_parameters(schema: Document) -> Document:
    """The document of a job or of a batch; a batch says parameters by its items."""
    made = deepcopy(schema)
    if "items" not in made["properties"]:
        made["properties"]["parameters"] = {"$ref": f"{_PREFIX}Parameters"}
    return made


# what is shared ----------------------------------------------------------------------------------------------------------


def _needed(shared: Document, begin: list[Document], known: set[str]) -> Document:
    """The schemas that these name, and those that they name in turn."""
    found: Document = {}
    waiting = [name for one in begin for name in _named(one)]
    while waiting:
        name = waiting.pop()
        if name not in found and name not in known:
            found[name] = deepcopy(shared[name])
            waiting += _named(found[name])
    return found


def _named(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str) and reference.startswith(_PREFIX):
            yield reference.removeprefix(_PREFIX)
        for inside in value.values():
            yield from _named(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _named(inside)
