"""A script's own OpenAPI document and its page: what they hold, and that a tenant's words stay words in them."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jsonschema
import pyarrow as pa
import pytest
import schemathesis

from api.column_types import column_type
from api.schemas import Column
from api.script_samples import Asked, as_csv, example_rows, r_text, samples
from fumehood.job import Job, Lane
from fumehood.tenant import Scope
from tests.unit.front_desk import SCRIPT, Counter, Made, Stand, pointers, ran, slug

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
INTO = [{"name": "a", "type": "int64", "nullable": False}, {"name": "when", "type": "timestamp[us]", "nullable": True}]
OUT = [{"name": "b", "type": "double", "nullable": False}]
PARAMETERS = {
    "factor": {"type": "float", "default": 2.0, "description": "What a is multiplied with."},
    "unit": {"type": "str", "example": "m"},
    "round": {"type": "bool", "default": False},
}
# What somebody may write who wants to be more than shown.
HOSTILE = [
    "</script><script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    "</textarea></pre><svg onload=alert(1)>",
    "\" onfocus=alert(1) autofocus x='",
    "' onfocus=alert(1) autofocus x=\"",
    "$(touch /tmp/owned)`touch /tmp/owned`",
    "'; touch /tmp/owned; '",
    "@/etc/passwd",
    "line\none\r\ntwo\u2028three",
    "\x1b[201~rm\x1b",
    "\u202eright to left\u2066",
    "\\u0041\\\"{{7*7}}{0}%s",
    "<!--<![CDATA[ &lt;b&gt; &#60;",
    "]]>\N{GRINNING FACE}\x00é",
    "$ref",
    "__proto__",
    "'''\"\"\"",
]  # fmt: skip


class Page(HTMLParser):
    """What a browser would make of it: tags with their attributes, and the text right inside each."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(markup)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "input"):
            self._open.append((tag, []))
            self.texts.append(self._open[-1])

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self._open[-1][1].append(data)

    def within(self, tag: str) -> list[str]:
        return ["".join(text) for name, text in self.texts if name == tag]

    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}


@pytest.fixture
def columns() -> dict[str, list[dict[str, Any]]]:
    return {"into": INTO, "out": OUT}


@pytest.fixture
def stand(stand: Stand, columns: dict[str, list[dict[str, Any]]]) -> Stand:
    """Its worker says of a check what a runner would of these columns."""

    def make(job: Job, content: bytes) -> Made:
        made = ran()
        schemas = {"inputs": {"dataset1": columns["into"]} if columns["into"] else {}, "outputs": {"result": columns["out"]}}
        made.report = {**made.report, "schemas": schemas, "entry": {"parameters": columns.get("parameters")}}
        return made if "script" in job.inputs else stand.worker._make(job, content)

    stand.worker.make = make
    return stand


@pytest.fixture
def us(stand: Stand) -> Counter:
    return stand.us


def publish(stand: Stand, name: str = "stretch", count: int = 1, **document: Any) -> None:
    for _ in range(count):
        answer = stand.us.put(
            f"/v1/scripts/{name}", json={"script": SCRIPT, "parameters": PARAMETERS, "description": "Stretches.", **document}
        )
        assert answer.status_code == 202, answer.text
    stand.worker.work(Lane.JOBS)


def described(us: Counter, query: str = "", name: str = "stretch") -> dict[str, Any]:
    answer = us.get(f"/v1/scripts/{name}/openapi.json{query}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    schemathesis.openapi.from_dict(document).validate()
    references = set(re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(document)))
    assert references <= set(document["components"]["schemas"])
    return document


def shown(us: Counter, query: str = "", name: str = "stretch") -> Any:
    answer = us.get(f"/v1/scripts/{name}/help{query}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer


def policy_of(answer: Any) -> dict[str, list[str]]:
    parts = [part.split() for part in answer.headers["content-security-policy"].split(";")]
    return {name: values for name, *values in parts}


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# the OpenAPI document ----------------------------------------------------------------------------------------------------


def test_a_script_describes_its_own_calls_and_no_others(stand: Stand, us: Counter) -> None:
    publish(stand, sample=us.dataset())
    document = described(us)
    assert (document["openapi"], document["servers"]) == ("3.1.0", [{"url": "/"}])
    assert document["info"] == {"title": "stretch", "version": "1", "description": "Stretches."}
    assert list(document["paths"]) == [f"/v1/scripts/stretch/{call}" for call in ("score", "jobs", "batches")]
    score = document["paths"]["/v1/scripts/stretch/score"]["post"]
    assert set(score["responses"]) >= {"200", "400", "401", "404", "409", "422", "429", "503", "504"}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    assert all(answer["content"] == problem for status, answer in score["responses"].items() if status != "200")
    assert document["components"]["securitySchemes"].keys() == {"key"}
    for name in ("ScriptJobDocument", "ScriptBatchDocument"):
        assert not {"script", "bundle"} & set(document["components"]["schemas"][name]["properties"])


def test_columns_and_parameters_are_those_of_the_check(stand: Stand, us: Counter) -> None:
    publish(stand, sample=us.dataset())
    document = described(us)
    schemas = document["components"]["schemas"]
    row, result = schemas["Row"], schemas["Result"]
    assert (row["required"], row["additionalProperties"]) == (["a", "when"], False)
    assert row["properties"]["a"] == {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1, "description": "int64"}
    assert row["properties"]["when"]["type"] == ["string", "null"]
    assert result["properties"]["b"]["type"] == ["number", "null"], "a fraction that is no number is written as null"
    asked = {one["name"]: one for one in document["paths"]["/v1/scripts/stretch/score"]["post"]["parameters"]}
    assert {name: (one["in"], one["required"], one["schema"]) for name, one in asked.items()} == {
        "factor": ("query", False, {"type": "number", "default": 2.0}),
        "unit": ("query", True, {"type": "string"}),
        "round": ("query", False, {"type": "boolean", "default": False}),
    }
    assert (asked["unit"]["example"], asked["factor"]["description"]) == ("m", "What a is multiplied with.")
    assert schemas["Parameters"]["required"] == ["unit"]


def test_the_examples_are_what_the_schemas_say(stand: Stand, us: Counter) -> None:
    publish(stand, sample=us.dataset())
    document = described(us)
    content = document["paths"]["/v1/scripts/stretch/score"]["post"]["requestBody"]["content"]
    examples = content["application/json"]["examples"]
    for name, schema in (("rows", "Rows"), ("table", "Table")):
        validator = jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": document["components"]})
        validator.validate(examples[name]["value"])
        assert not validator.is_valid({})
    assert [list(row) for row in examples["rows"]["value"]] == [["a", "when"]] * 2
    assert content["text/csv"]["examples"]["rows"]["value"].splitlines()[0] == "a,when"


def test_the_sample_is_named_by_its_address_and_sent_as_it_is(stand: Stand, us: Counter) -> None:
    files = {"version": (None, json.dumps({"script": SCRIPT}), "application/json"), "sample": ("s.csv", b"secret,b\n1,2\n", "text/csv")}
    assert us.put("/v1/scripts/stretch", files=files).status_code == 202
    stand.worker.work(Lane.JOBS)
    document = described(us)
    content = document["paths"]["/v1/scripts/stretch/score"]["post"]["requestBody"]["content"]
    address = content["text/csv"]["examples"]["sample"]["externalValue"]
    assert address == "http://desk/v1/scripts/stretch/versions/1/sample"
    answer = us.get(address)
    assert (answer.content, answer.headers["content-type"].partition(";")[0]) == (b"secret,b\n1,2\n", "text/csv")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "secret" not in json.dumps(document) + shown(us).text


def test_a_script_without_a_table_takes_none(stand: Stand, us: Counter, columns: dict[str, Any]) -> None:
    columns["into"] = []
    publish(stand)
    assert "requestBody" not in described(us)["paths"]["/v1/scripts/stretch/score"]["post"]
    assert slug(us.get("/v1/scripts/stretch/versions/1/sample")) == "not-found"
    page = Page(shown(us).text)
    assert "textarea" not in page.names()
    assert all("-X POST" in text for text in page.within("pre") if text.startswith("curl"))


def test_a_version_or_an_alias_is_described_as_one_that_calls_name(stand: Stand, us: Counter) -> None:
    publish(stand, count=2)
    us.put("/v1/scripts/stretch/aliases/canary", json={"versions": [{"number": 1, "share": 30}, {"number": 2, "share": 70}]})
    assert described(us)["info"]["version"] == "2"
    for query, version, chosen in (("?version=1", "1", 1), ("?alias=canary", "2", "canary"), ("?alias=latest", "2", "latest")):
        document = described(us, query)
        assert document["info"]["version"] == version
        for path in document["paths"].values():
            first = path["post"]["parameters"][0]
            assert (first["name"], first["schema"]["const"], first["required"]) == (query[1:].partition("=")[0], chosen, True)
        assert f"score{query}" in shown(us, query).text


@pytest.mark.parametrize("page", ["help", "openapi.json"])
def test_what_is_not_there_or_not_ready_is_refused(stand: Stand, us: Counter, page: str) -> None:
    assert slug(us.get(f"/v1/scripts/stretch/{page}")) == "not-found"
    us.put("/v1/scripts/stretch", json={"script": SCRIPT})
    assert slug(us.get(f"/v1/scripts/stretch/{page}")) == "conflict"
    assert slug(us.get(f"/v1/scripts/stretch/{page}?version=1")) == "conflict"
    stand.worker.work(Lane.JOBS)
    assert us.get(f"/v1/scripts/stretch/{page}?version=1").status_code == 200
    for query in ("version=2", "version=0", "version=-1", f"version={2**40}", "alias=prod", "alias=A%00"):
        assert slug(us.get(f"/v1/scripts/stretch/{page}?{query}")) == "not-found", query
    assert pointers(us.get(f"/v1/scripts/stretch/{page}?version=1&alias=latest")) == ["/query/alias"]
    assert pointers(us.get(f"/v1/scripts/stretch/{page}?versions=1")) == ["/query/versions"]
    assert slug(stand.other.get(f"/v1/scripts/stretch/{page}")) == "not-found"
    _, secret = stand.store.create_key("default", name="", scopes=frozenset({Scope.SUBMIT}))
    assert slug(Counter(stand.served, secret).get(f"/v1/scripts/stretch/{page}", headers=BROWSER)) == "forbidden"


# the page ----------------------------------------------------------------------------------------------------------------


def test_the_page_says_what_one_needs_to_call_it(stand: Stand, us: Counter) -> None:
    publish(stand, count=2, sample=us.dataset(), limits={"wall_seconds": 7}, concurrency=3)
    us.put("/v1/scripts/stretch/aliases/prod", json={"versions": [{"number": 1}]})
    page = Page(shown(us).text)
    assert page.within("h1") == ["stretch"]
    cells = page.within("td")
    assert {"a", "when", "int64", "timestamp[us]", "b", "double", "factor", "2.0", "What a is multiplied with.", "m", "7.0"} <= set(cells)
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    assert links == {"?alias=latest", "?alias=prod", "?version=1", "?version=2"}
    assert page.within("h3") == ["curl", "Python", "R"]
    forms = ["JSON", "CSV", "Arrow"]
    assert page.within("summary") == [*forms, "fumehood.client", *forms, *forms]
    form = next(attributes for tag, attributes in page.tags if tag == "form")
    assert (form["data-address"], "hidden" in form, "action" in form) == ("/v1/scripts/stretch/score", True, False)
    fields = [attributes["data-parameter"] for tag, attributes in page.tags if "data-parameter" in attributes]
    assert sorted(fields) == sorted(PARAMETERS)


def test_the_page_may_do_nothing_and_fetch_nothing(stand: Stand, us: Counter) -> None:
    publish(stand)
    answer = shown(us)
    page, policy = Page(answer.text), policy_of(answer)
    (style,) = page.within("style")
    assert policy == {
        "default-src": ["'none'"],
        "style-src": [digest(style)],
        "form-action": ["'none'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
    assert "script" not in page.names()
    assert not {name for _, attributes in page.tags for name in attributes} & {"src", "style", "action", "srcset"}
    assert (answer.headers["x-content-type-options"], answer.headers["cache-control"]) == ("nosniff", "no-store")
    assert "set-cookie" not in answer.headers


def test_a_browser_is_asked_for_a_key_by_a_page_that_tells_nothing(stand: Stand, us: Counter) -> None:
    publish(stand)
    answer = stand.served.request("GET", "/v1/scripts/stretch/help", headers=BROWSER)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="fumehood"')
    assert stand.served.request("GET", "/v1/scripts/nothing/help?version=7", headers=BROWSER).text == answer.text
    page, policy = Page(answer.text), policy_of(answer)
    (script,), (style,) = page.within("script"), page.within("style")
    assert (policy["default-src"], policy["connect-src"], policy["form-action"]) == (["'none'"], ["'self'"], ["'none'"])
    assert (policy["script-src"], policy["style-src"]) == ([digest(script)], [digest(style)])
    assert policy["require-trusted-types-for"] == ["'script'"]
    assert not re.search(r"innerHTML|insertAdjacent|document\.write|eval\(|localStorage|sessionStorage|cookie|https?:", script)
    assert "<!--" not in script
    assert not {name for _, attributes in page.tags for name in attributes if name.startswith("on")}


def test_without_a_key_everybody_else_is_refused_as_everywhere(stand: Stand, us: Counter) -> None:
    publish(stand)
    unknown = {"Authorization": f"Bearer fh_{0:012}_{0:064}"}
    for headers in ({}, {"Accept": "*/*"}, unknown, {**BROWSER, **unknown}, {**BROWSER, "Authorization": "Basic YTpi"}):
        answer = stand.served.request("GET", "/v1/scripts/stretch/help", headers=headers)
        assert (answer.status_code, slug(answer)) == (401, "unauthenticated")


@pytest.mark.parametrize("host", ["a'$(x)`\"<b>", "[", "x y", "a" * 300, "h:99999999", ""])
def test_a_host_that_is_none_gets_into_no_sample(stand: Stand, us: Counter, host: str) -> None:
    publish(stand)
    answer = us.get("/v1/scripts/stretch/help", headers={"Host": host})
    assert answer.status_code == 200
    assert "http://localhost/v1/scripts/stretch/score" in answer.text


# words that want to be more ----------------------------------------------------------------------------------------------


@pytest.fixture
def hostile(stand: Stand, columns: dict[str, list[dict[str, Any]]]) -> Stand:
    columns["into"] = [{"name": name, "type": "string", "nullable": True} for name in HOSTILE]
    columns["out"] = [{"name": "x", "type": kind, "nullable": True} for kind in [*HOSTILE, "\ud800"]]
    lines = [text for text in HOSTILE if not re.search(r"[\x00-\x1f\u2028]", text)]
    parameters = {f"p{number}": {"type": "str", "default": text, "example": text, "description": text} for number, text in enumerate(lines)}
    publish(stand, description="".join(lines), parameters=parameters)
    return stand


def test_words_of_a_tenant_are_text_on_the_page_and_nothing_else(hostile: Stand) -> None:
    answer = shown(hostile.us)
    page = Page(answer.text)
    ours = {"html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "code", "table", "thead", "tbody", "tr", "th"}
    ours |= {"td", "form", "label", "textarea", "input", "select", "option", "button", "div", "details", "summary", "pre", "a"}
    assert page.names() <= ours
    known = {"id", "lang", "charset", "name", "content", "role", "rows", "spellcheck", "type", "value", "placeholder", "autocomplete"}
    known |= {"hidden", "open", "href"}
    assert {name for _, attributes in page.tags for name in attributes if not name.startswith("data-")} <= known
    cells = page.within("td")
    assert HOSTILE[0] in cells
    assert "\\u202eright to left\\u2066" in cells, "nothing turns the direction of writing round"
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u2028\u202e\u2066]", answer.text)


def test_words_of_a_tenant_are_one_word_to_a_shell(hostile: Stand) -> None:
    commands = [text for text in Page(shown(hostile.us).text).within("pre") if text.startswith("curl")]
    assert len(commands) == 3
    for command in commands:
        words = shlex.split(command.replace("\\\n", " "))
        assert words[:3] == ["curl", "-sS", "--fail-with-body"]
        options = words[4::2]
        assert set(options) <= {"-H", "--data-raw", "--data-binary", "-o"}
        assert not [
            value for option, value in zip(options, words[5::2], strict=True) if option == "--data-binary" and value[1:] not in FILES
        ]
        assert dict(parse_qsl(urlsplit(words[3]).query))["p0"] == HOSTILE[0]
        assert not re.search(r"[\s{}\[\]]", words[3]), "curl reads brackets in an address as a pattern"


FILES = ("table.arrow", "rows.csv", "rows.json")


def test_a_real_shell_hands_them_over_as_they_are(hostile: Stand, tmp_path: Path) -> None:
    (command, *_) = [text for text in Page(shown(hostile.us).text).within("pre") if text.startswith("curl")]
    shell = f"curl() {{ for word; do printf '%s\\0' \"$word\"; done; }}\n{command}\n"
    here = tmp_path / "here"
    here.mkdir()
    done = subprocess.run(["/bin/sh", "-c", shell], cwd=here, env={"FUMEHOOD_KEY": "fh_1"}, capture_output=True, text=True, timeout=20)
    words = done.stdout.split("\0")
    assert (done.stderr, words[:1], words[-3]) == ("", ["-sS"], "--data-raw")
    assert "Authorization: Bearer fh_1" in words
    assert [list(row) for row in json.loads(words[-2])] == [HOSTILE, HOSTILE]
    assert list(here.iterdir()) == []


def test_words_of_a_tenant_are_literals_to_python(hostile: Stand) -> None:
    programs = [text for text in Page(shown(hostile.us).text).within("pre") if text.startswith("import ")]
    assert len(programs) == 4
    called = {ast.unparse(node.func) for text in programs for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)}
    assert called <= {
        *("httpx.post", "answer.raise_for_status", "answer.json", "print", "open", "open('rows.csv').read", "table.encode", "json.load"),
        *("pa.table", "pa.array", "pa.array(['a', 'b']).cast", "pa.string", "pa.BufferOutputStream", "pa.ipc.new_file", "pd.read_csv"),
        *("writer.write_table", "sink.getvalue", "sink.getvalue().to_pybytes", "pa.ipc.open_file", "pa.Table.from_pandas"),
        *("pa.ipc.open_file(answer.content).read_pandas", "Client", "client.script", "score"),
    }


def test_words_of_a_tenant_are_data_in_the_document(hostile: Stand) -> None:
    document = described(hostile.us)
    assert list(document["components"]["schemas"]["Row"]["properties"]) == HOSTILE
    assert set(document["paths"]) == {f"/v1/scripts/stretch/{call}" for call in ("score", "jobs", "batches")}


def test_what_a_runner_says_of_a_signature_is_shown_the_same_way(stand: Stand, us: Counter, columns: dict[str, Any]) -> None:
    words = [*HOSTILE, "half \ud800"]
    columns["parameters"] = [{"name": text, "type": text, "required": False, "default": text} for text in words]
    columns["parameters"] += [{"name": "deep", "type": None, "required": False, "default": {"$ref": "#/components/schemas/None"}}]
    publish(stand, parameters=None)
    assert us.get("/v1/scripts/stretch/versions/1").status_code == 200
    asked = described(us)["paths"]["/v1/scripts/stretch/score"]["post"]["parameters"]
    assert [one["name"] for one in asked] == [*HOSTILE, "half ?", "deep"]
    page = Page(shown(us).text)
    assert not {"script", "svg", "img", "b"} & page.names()
    fields = [attributes["data-parameter"] for _, attributes in page.tags if "data-parameter" in attributes]
    assert fields == [one["name"] for one in asked]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_one_string_of_r(text: str) -> None:
    literal = r_text(text)
    assert literal.isascii()
    assert re.fullmatch(r'"([^"\\\n]|\\["\\n]|\\u[0-9a-f]{4}|\\U[0-9a-f]{8})*"', literal), literal
    plain = re.sub(
        r"\\U([0-9a-f]{8})|\\u([0-9a-f]{4})", lambda found: chr(int(found[1] or found[2], 16)), literal[1:-1].replace("\\\\", "\0")
    )
    assert plain.replace('\\"', '"').replace("\\n", "\n").replace("\0", "\\") == text.replace("\0", "\ufffd")


# samples -----------------------------------------------------------------------------------------------------------------

KINDS = {
    "int8": pa.int8(), "uint64": pa.uint64(), "double": pa.float64(), "float": pa.float32(), "bool": pa.bool_(), "string": pa.string(),
    "null": pa.null(), "binary": pa.binary(), "date32[day]": pa.date32(), "date64[ms]": pa.date64(), "time32[s]": pa.time32("s"),
    "time64[ns]": pa.time64("ns"), "duration[ms]": pa.duration("ms"), "timestamp[ns]": pa.timestamp("ns"),
    "timestamp[us, tz=Europe/Vienna]": pa.timestamp("us", "Europe/Vienna"), "decimal128(5, 2)": pa.decimal128(5, 2),
    "dictionary<string>": pa.dictionary(pa.int32(), pa.string()), "list<int16>": pa.list_(pa.int16()),
    "list<list<string>>": pa.list_(pa.list_(pa.string())), "map<string, int8>": pa.null(), "struct<a: int8>": pa.null(), "": pa.null(),
}  # fmt: skip


def called_with(kinds: Iterator[str] | list[str]) -> Asked:
    columns = [Column(name=f"c {kind}", type=kind, nullable=True) for kind in kinds]
    return Asked(address="http://desk/v1/scripts/s/score", query=[], columns=columns, rows=example_rows(columns))


@pytest.mark.parametrize("kind", KINDS)
def test_the_arrow_sample_makes_a_table_of_the_types_that_were_recorded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as it stands, up to where it would ask the service."""
    (program,) = [sample.text for sample in samples(called_with([kind])) if (sample.language, sample.format) == ("Python", "Arrow")]
    names: dict[str, Any] = {}
    exec(program.partition("answer = ")[0], names)
    table = pa.ipc.open_file(names["sink"].getvalue()).read_all()
    assert (table.num_rows, table.schema.field(0).name, table.schema.field(0).type) == (2, f"c {kind}", KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_is_of_its_type(kind: str) -> None:
    found = column_type(kind)
    for value in found.examples:
        if value is not None:
            jsonschema.Draft202012Validator(found.schema).validate(value)


def test_a_long_table_stands_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    call = called_with(["int64", *(f"string{number}" for number in range(1000))])
    made = samples(call)
    assert max(len(sample.text) for sample in made) < 3000
    assert {name for name in FILES if any(name in sample.text for sample in made)} == set(FILES)


def test_csv_keeps_names_and_values_apart() -> None:
    names = ["a", 'b"', "c,d", "e\nf", "", " g"]
    import csv
    import io

    found = list(csv.reader(io.StringIO(as_csv([dict.fromkeys(names, "x,y"), dict.fromkeys(names)]))))
    assert found == [names, ["x,y"] * 6, [""] * 6]
    assert as_csv([{"a": None}, {"a": True}]) == 'a\n""\ntrue\n'
