"""A script's page for people, and the page that asks for a key first.

The page with a tenant's words in it has no script at all. The other one, `DOOR`, has ours and no word of a tenant's; it is the same for
every address, fetches the page of a script with the key that it is given, and shows it. Everything goes into the markup through
`Markup.format`, which escapes it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup

from api.schemas import Column
from api.script_samples import CSV, JSON, Asked, Sample, as_csv, as_text, columns_in, columns_out, parameters_of, samples
from api.script_schemas import AliasRecord, ParameterRecord, ScriptRecord, VersionRecord, VersionSummary
from fumehood.dataset import FORMATS, TABLE_FORMATS
from fumehood.limits import REQUESTABLE
from fumehood.text import harmless, one_line

COLUMNS_SHOWN = 200
ROWS_CHARACTERS = 100_000
_HERE = Path(__file__).parent
_STYLE = (_HERE / "help_page.css").read_text(encoding="utf-8")
_SCRIPT = (_HERE / "help_page.js").read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# Forms are sent by our script or not at all: a browser's own way would put what is typed into an address.
_NOTHING = f"default-src 'none'; style-src {_hash(_STYLE)}; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
_OURS = f"script-src {_hash(_SCRIPT)}; connect-src 'self'; require-trusted-types-for 'script'; trusted-types page"
_ALWAYS = {"Cross-Origin-Opener-Policy": "same-origin", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
PAGE_HEADERS = {"Content-Security-Policy": _NOTHING, **_ALWAYS}
DOOR_HEADERS = {"Content-Security-Policy": f"{_NOTHING}; {_OURS}", **_ALWAYS}

_FRAME = Markup(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
)
# Ours, and no word of anybody else in it.
_DOOR = Markup(
    """<form id="ask" autocomplete="off">
<label>Key <input id="secret" type="password" autocomplete="off" required></label><button>Show</button>
</form>
<p id="said" role="status"></p>
<main id="page">
<h1>A script</h1>
<p>Its page is shown to whoever has a key of its tenant. The key is kept nowhere; it is asked for again when the page is loaded again.</p>
</main>
<noscript><p>Without JavaScript: fetch this address with the header <code>Authorization: Bearer KEY</code>.</p></noscript>
<script>{script}</script>"""
)
DOOR = str(_FRAME.format(title="A script", style=Markup(_STYLE), body=_DOOR.format(script=Markup(_SCRIPT))))

_FORM = Markup(
    """<form id="try" data-address="{address}" data-table="{has_table}" hidden>
{table}{parameters}
<label>Answer <select id="accept"><option value="{json}">JSON</option><option value="{csv}">CSV</option></select></label>
<button id="call">Call</button>
</form>
<p id="told" role="status"></p>
<p id="idle">The form works where this page is opened in a browser with a key.</p>
<div id="answer"></div>"""
)
_TABLE = Markup(
    """<label>Table <textarea id="rows" rows="8" spellcheck="false">
{rows}</textarea></label>
<label>or a file <input id="file" type="file"></label>
<label>Format <select id="format">{formats}</select></label>
"""
)
_ANSWERS = (
    ("200", "The result, in the format that Accept chose: JSON, CSV, NDJSON, Arrow or Parquet."),
    ("400", "The script failed; the problem has its error."),
    ("422", "A column or a parameter is missing, not known, or of another type; the problem names it."),
    ("429", "More calls at once than the version allows, or a quota is used up: call again after Retry-After."),
    ("503, 504", "The service could not finish the call, or not in time; the script has nothing to do with it."),
)


def help_page(script: ScriptRecord, version: VersionRecord, recent: list[VersionSummary], call: Asked, query: str) -> str:
    """`recent`: the newest versions. `query`: what an address needs to mean this version, with its question mark; may be empty."""
    here = f"/v1/scripts/{script.name}"
    parts = [
        _text("<h1>{}</h1><p>{}</p>", script.name, version.description),
        _text("<p>Version {}, checked at {}. ", version.number, version.decided_at),
        _text("For programs it is described at <code>{}/openapi.json{}</code>.</p>", here, query),
        _section("Goes in", _columns(columns_in(version)) if call.columns is not None else _text("<p>No table.</p>")),
        _section("Comes out", _columns(columns_out(version))),
        _section("Parameters", _parameters(parameters_of(version), takes_any=version.parameters is None)),
        _section("Try it", _form(version, call, f"{here}/score{query}")),
        _section("Call it", _calls(samples(call), call.address)),
        _section("Answers", _table(("status", "meaning"), _ANSWERS)),
        _section("Limits of a call", _limits(version)),
        _section("Aliases", _aliases(script.aliases)),
        _section("Versions", _versions(recent, script.versions)),
    ]
    body = Markup('<main id="page">{}</main>').format(Markup("\n").join(parts))
    return str(_FRAME.format(title=_shown(script.name), style=Markup(_STYLE), body=body))


# parts -------------------------------------------------------------------------------------------------------------------


def _shown(value: Any) -> str:
    """One line of characters: what would turn the direction of writing round, or is no character, is spelled out."""
    return one_line("" if value is None else value)


def _text(markup: str, *values: Any) -> Markup:
    """`markup` is ours; the values are anybody's."""
    return Markup(markup).format(*(value if isinstance(value, Markup) else _shown(value) for value in values))


def _section(title: str, content: Markup) -> Markup:
    return _text("<h2>{}</h2>\n{}", title, content)


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> Markup:
    names = Markup("").join(_text("<th>{}</th>", name) for name in head)
    lines = (_text("<tr>{}</tr>\n", Markup("").join(_text("<td>{}</td>", cell) for cell in row)) for row in rows)
    return _text("<table><thead><tr>{}</tr></thead><tbody>\n{}</tbody></table>", names, Markup("").join(lines))


def _columns(columns: list[Column] | None) -> Markup:
    found = columns or []
    rows = ((one.name, one.type, "yes" if one.nullable else "no") for one in found[:COLUMNS_SHOWN])
    table, more = _table(("column", "type", "values may be missing"), rows), len(found) - COLUMNS_SHOWN
    return table + _text("<p>And {} more.</p>", f"{more:,}") if more > 0 else table


def _parameters(parameters: list[ParameterRecord], *, takes_any: bool) -> Markup:
    if not parameters:
        return _text("<p>Any name: the function takes whatever it is given.</p>" if takes_any else "<p>None.</p>")
    rows = (
        (one.name, one.type or "any", "has to be said" if one.required else _value(one.default), _value(one.example), one.description)
        for one in parameters
    )
    return _table(("parameter", "type", "default", "example", "meaning"), rows)


def _value(value: Any) -> str:
    text = as_text(value)
    return text if text is not None else "" if value is None else str(value)


def _limits(version: VersionRecord) -> Markup:
    rows = [(name, f"{version.limits[name]:,}") for name in REQUESTABLE if name in version.limits]
    return _table(("limit", "value"), [("calls at once", version.concurrency), *rows])


def _aliases(aliases: list[AliasRecord]) -> Markup:
    rows = (
        (
            _text('<a href="?alias={}">{}</a>', one.name, one.name),
            ", ".join(f"{target.number} ({target.share}%)" for target in one.versions),
        )
        for one in aliases
    )
    return _table(("alias", "versions"), rows)


def _versions(recent: list[VersionSummary], count: int) -> Markup:
    rows = (
        (_text('<a href="?version={}">{}</a>', one.number, one.number) if one.state == "ready" else one.number, one.state, one.description)
        for one in recent
    )
    table, more = _table(("version", "state", "description"), rows), count - len(recent)
    return table + _text("<p>And {} older ones.</p>", more) if more > 0 else table


def _form(version: VersionRecord, call: Asked, address: str) -> Markup:
    fields = Markup("").join(
        _text(
            '<label>{} <input data-parameter="{}" placeholder="{}" autocomplete="off"></label>',
            one.name,
            Markup.escape(one.name),  # as it is, for it is sent
            "has to be said" if one.required else _value(one.default),
        )
        for one in parameters_of(version)
    )
    return _FORM.format(
        address=address,
        has_table="no" if call.columns is None else "yes",
        table=Markup("") if call.columns is None else _table_fields(call.rows),
        parameters=fields,
        json=JSON,
        csv=CSV,
    )


def _table_fields(rows: list[dict[str, Any]]) -> Markup:
    made = {"json": _as_lines(rows), "csv": as_csv(rows)}
    # JSON is ASCII; a name in CSV may be a character that nobody can see or type.
    examples = {name: text if len(text) <= ROWS_CHARACTERS and harmless(text) == text else "" for name, text in made.items()}
    options = []
    for name in sorted(TABLE_FORMATS, key=lambda name: name not in examples):
        (media, *_), endings = FORMATS[name]
        example = Markup(' data-example="{}"').format(examples[name]) if name in examples else Markup("")
        options.append(_text('<option value="{}" data-endings="{}"{}>{}</option>', media, " ".join(endings), example, name))
    return _TABLE.format(rows=examples["json"], formats=Markup("").join(options))


def _as_lines(rows: list[dict[str, Any]]) -> str:
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]"


def _calls(made: list[Sample], address: str) -> Markup:
    note = _text(
        "<p>The key is taken from the variable <code>FUMEHOOD_KEY</code>. The address is the one this page was fetched from: "
        "<code>{}</code></p>\n",
        address,
    )
    blocks = []
    for language, group in groupby(made, lambda sample: sample.language):
        blocks.append(_text("<h3>{}</h3>\n", language))
        for place, sample in enumerate(group):
            opened = Markup(" open") if place == 0 else Markup("")
            # The lines of a sample are its own; they are escaped, and else as they are.
            text = Markup.escape(sample.text)
            blocks.append(_text("<details{}><summary>{}</summary><pre>{}</pre></details>\n", opened, sample.format, text))
    return note + Markup("").join(blocks)
