"""The HTTP reference, from the OpenAPI document that the service itself answers with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from code_tables import rows

Document = dict[str, Any]


def reference() -> str:
    from api.app import create_app
    from fumehood.settings import Settings

    # Nothing is opened before the application starts, so this home never comes to be.
    document = create_app(Settings(home=Path("/nonexistent"))).openapi()
    parts = []
    for tag in document["tags"]:
        parts.append(f"## {tag['name'].capitalize()}\n\n{tag.get('description', '')}")
        parts += [_call(method, path, call, document) for method, path, call in _calls(document, tag["name"])]
    parts.append("## Documents\n\nWhat the calls take and answer, member by member.")
    parts += [_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    return "\n\n".join(parts)


def _calls(document: Document, tag: str) -> Iterator[tuple[str, str, Document]]:
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            if tag in call.get("tags", ()):
                yield method.upper(), path, call


def _call(method: str, path: str, call: Document, document: Document) -> str:
    parts = [f"### {call['summary']} {{: #{call['operationId'].replace('_', '-')} }}", f"`{method} {path}`", call.get("description", "")]
    parameters = [(f"`{one['name']}`", one["in"], _type(one["schema"]), one.get("description", "")) for one in call.get("parameters", ())]
    if parameters:
        parts.append(rows(("parameter", "in", "type", "meaning"), parameters))
    bodies = call.get("requestBody", {}).get("content", {})
    if bodies:
        parts.append(f"Body: {_kinds(bodies)}.")
    parts.append(f"```sh\n{_curl(method, path, call)}\n```")
    for example in (example for body in bodies.values() for example in body.get("examples", {}).values()):
        if isinstance(example["value"], (dict, list)):
            parts.append(f"{example['summary']}:\n\n```json\n{json.dumps(example['value'], indent=2, ensure_ascii=False)}\n```")
    parts.append(rows(("status", "answer"), ((status, _answer(answer)) for status, answer in sorted(call["responses"].items()))))
    return "\n\n".join(part for part in parts if part)


def _curl(method: str, path: str, call: Document) -> str:
    """The call as one would type it, with the examples of its path's parameters."""
    for one in call.get("parameters", ()):
        if one["in"] == "path":
            examples = one.get("examples") or one["schema"].get("examples") or [f"{one['name'].upper()}"]
            path = path.replace(
                f"{{{one['name']}}}", str(examples[0] if isinstance(examples, list) else next(iter(examples.values()))["value"])
            )
    words = ["curl", *(["-X", method] if method not in ("GET", "POST") else []), f"http://127.0.0.1:8765{path}"]
    words += ['-H "Authorization: Bearer $FUMEHOOD_KEY"'] if call.get("security") else []
    bodies = list(call.get("requestBody", {}).get("content", {}))
    if bodies:
        media = "application/json" if call["operationId"] == "submit_job" else "text/csv" if "text/csv" in bodies else bodies[0]
        words += [f'-H "Content-Type: {media}"', "--data-binary @FILE"]
    elif method == "POST":
        words.insert(1, "-X POST")
    return " ".join(words)


def _answer(answer: Document) -> str:
    kinds = {media: body for media, body in answer.get("content", {}).items() if "problem" not in media}
    text = str(answer["description"]).replace("Successful Response", "Done.")
    return f"{text.removesuffix('.')}: {_kinds(kinds)}" if kinds else text


def _kinds(content: Document) -> str:
    """Media types, each with the document that it holds where that has a name; those of equal content together."""
    named = [f"`{media}` {_type(body['schema'])}" for media, body in content.items() if "$ref" in body.get("schema", {})]
    plain = [f"`{media}`" for media, body in content.items() if "$ref" not in body.get("schema", {})]
    return ", ".join(named + plain)


def _schema(name: str, schema: Document) -> str:
    required = set(schema.get("required", ()))
    members = (
        (f"`{member}`", _type(one), "yes" if member in required else "", one.get("description", ""))
        for member, one in schema.get("properties", {}).items()
    )
    parts = [f"### {name}", schema.get("description", "")]
    parts.append(rows(("member", "type", "always there", "meaning"), members) if schema.get("properties") else _type(schema))
    return "\n\n".join(part for part in parts if part)


def _type(schema: Document) -> str:
    """One schema in words, with links to those that have a name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return " or ".join(dict.fromkeys(_type(one) for one in schema[word]))
    if "const" in schema or "enum" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    kind = str(schema.get("type", "any JSON"))
    bounds = [f"{sign} {schema[name]:,}" for name, sign in (("minimum", "≥"), ("maximum", "≤")) if name in schema]
    return " ".join([kind, *([", ".join(bounds)] if bounds else []), *([f"({schema['format']})"] if "format" in schema else [])])
