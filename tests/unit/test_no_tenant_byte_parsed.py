"""The service never parses a tenant's bytes outside a sandbox: each place that could parse anything is on a list, with its reason."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from api.app import PARTS

ROOT = Path(__file__).resolve().parents[2]

# Modules that make something of bytes, or run what they say. An import counts, wherever it stands.
PARSERS = {
    *("pandas", "pyarrow", "numpy", "polars", "PIL", "cv2", "openpyxl", "fastparquet", "duckdb", "matplotlib", "scipy"),
    *("zipfile", "tarfile", "zipimport", "gzip", "zlib", "bz2", "lzma", "zstandard", "brotli", "compression", "snappy"),
    *("csv", "tomllib", "configparser", "plistlib", "xml", "lxml", "html", "yaml", "ujson", "orjson", "simplejson", "msgpack"),
    *("pickle", "cPickle", "marshal", "shelve", "copyreg", "dill", "cloudpickle", "joblib", "dbm", "ctypes", "mmap", "imghdr"),
    *("code", "codeop", "runpy", "importlib", "tokenize", "symtable", "imp", "email", "mimetypes", "wave", "netrc", "quopri"),
    *("multipart", "array", "http", "wsgiref", "jinja2", "mako", "markdown"),
}  # fmt: skip
# Of these it is their readers that count.
READERS = {
    *("json.loads", "json.load", "json.JSONDecoder", "json.decoder", "json.scanner"),
    *("struct.unpack", "struct.unpack_from", "struct.iter_unpack", "struct.Struct"),
    *("base64.b64decode", "base64.urlsafe_b64decode", "base64.standard_b64decode", "base64.decodebytes", "base64.b85decode"),
    *("binascii.unhexlify", "binascii.a2b_base64", "codecs.decode", "codecs.open", "shutil.unpack_archive"),
    *("ast.parse", "ast.literal_eval", "h11.Connection", "python_multipart.multipart", "python_multipart.parse_form"),
    *("eval", "exec", "compile", "__import__"),
}  # fmt: skip
# What frameworks offer without asking for a limit; a call counts, on whatever it is.
METHODS = {"json", "form", "model_validate_json", "validate_json", "parse_raw", "parse_file", "from_buffer", "read_csv", "read_parquet"}

# (module, what it reads with) → what is read there, and which bound it has, or why no tenant wrote it.
ALLOWED: dict[tuple[str, str], str] = {
    ("api.framing", "h11.Connection"): "heads of requests, 32 KiB and 100 headers at most, and the framing of bodies",
    ("api.cursors", "base64.b64decode"): "a cursor of an address, which is bounded; without a seal of ours it is none",
    ("api.documents", "json.loads"): "the one JSON document of a request: its bytes, values and depth are bounded",
    ("api.multipart", "python_multipart.multipart"): "where the parts of a form begin and end; what they hold goes to disk unread",
    ("api.script_check", "json.loads"): "the answer of our own helper, 64 KiB at most, with a deadline",
    ("fumehood.pages", "base64.b64decode"): "a cursor of 200 characters that must be a number",
    ("fumehood.usage_store", "base64.b64decode"): "a cursor of 1,000 characters that must be two or three lines of text",
    ("fumehood.webhook", "base64.b64decode"): "a secret that the service made, or its owner's own where messages are verified",
    ("fumehood.script_reader", "json.loads"): "in the helper process: the question, written by us",
    ("fumehood.script_reader", "struct.unpack"): "in the helper process: the question's length, written by us",
    ("fumehood.script_reader", "compile"): "in the helper process: the script's text, never run; bounded in memory and time",
    ("fumehood.script_reader", "ast.parse"): "in the helper process: the same text",
    ("fumehood.events", "json.loads"): "events that the service wrote itself, out of Redis",
    ("fumehood.image", "json.loads"): "a label of the image, written by who builds it",
    ("worker.attach", "json.loads"): "a line of the supervisor's, 512 bytes at most, out of a stream with a budget",
    ("worker.collect", "json.loads"): "the report, 1 MiB at most, read by descriptor when the sandbox is dead",
    ("worker.health", "json.loads"): "the worker's own health file",
}


@cache
def modules() -> dict[str, ast.Module]:
    """All of the desk and the workshop, and what of the language they use."""
    found: dict[str, ast.Module] = {}
    waiting = [path for package in ("api", "worker") for path in sorted((ROOT / package).rglob("*.py"))]
    while waiting:
        path = waiting.pop()
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if name in found:
            continue
        found[name] = ast.parse(path.read_text(), str(path))
        waiting += [file for wanted in imported(found[name]) for file in files_of(wanted)]
    return found


def files_of(dotted: str) -> Iterator[Path]:
    """Of a module of ours, and of the packages that it lies in."""
    steps = dotted.split(".")
    if steps[0] == "fumehood":
        for end in range(1, len(steps) + 1):
            place = ROOT.joinpath(*steps[:end])
            yield from (path for path in (place.with_suffix(".py"), place / "__init__.py") if path.exists())


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def uses(tree: ast.Module) -> Iterator[str]:
    """What a module could read with: `import pandas`, `json.loads`, `eval`, `.form()`."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            heads = [(alias, alias.name.partition(".")[0]) for alias in node.names]
            names |= {alias.asname or head: alias.name if alias.asname else head for alias, head in heads}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for dotted in imported(tree):
        if dotted.partition(".")[0] in PARSERS:
            yield f"import {dotted.partition('.')[0]}"
        yield from (reader for reader in READERS if f"{dotted}.".startswith(f"{reader}."))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            dotted = spelled(node, names)
            yield from (reader for reader in READERS if dotted == reader or dotted == f"builtins.{reader}")
            # It is run by its path, in a process of its own; here its address is all that anybody wants.
            if dotted.startswith("fumehood.script_reader.") and not dotted.endswith(".__file__"):
                yield dotted
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            yield f".{node.func.attr}()"


def spelled(node: ast.expr, names: dict[str, str]) -> str:
    """`a.b.c` with `a` as it was imported; empty where it is no name."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        before = spelled(node.value, names)
        return f"{before}.{node.attr}" if before else ""
    return ""


def found_in(all_modules: dict[str, ast.Module]) -> set[tuple[str, str]]:
    return {(name, use) for name, tree in all_modules.items() for use in uses(tree)}


def test_whatever_could_parse_is_on_the_list_with_its_reason() -> None:
    assert found_in(modules()) == set(ALLOWED)


def test_both_halves_of_the_service_are_walked() -> None:
    names = set(modules())
    assert {"api.app", "api.multipart", "worker.collect", "worker.docker_engine", "fumehood.script_reader", "fumehood.blob_store"} <= names
    assert not any(name.startswith(("cli", "fumehood.client")) for name in names)


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        ("import pandas", "import pandas"),
        ("def later():\n    import pyarrow.parquet as pq\n    return pq", "import pyarrow"),
        ("from zipfile import ZipFile", "import zipfile"),
        ("if True:\n    from xml.etree import ElementTree", "import xml"),
        ("import pickle as harmless", "import pickle"),
        ("import importlib\nimportlib.import_module('pandas')", "import importlib"),
        ("__import__('pandas')", "__import__"),
        ("import json as j\nj.loads(b'{}')", "json.loads"),
        ("from json import loads as read\nread(b'{}')", "json.loads"),
        ("import json\nreaders = {'json': json.load}", "json.load"),
        ("class A:\n    run = staticmethod(eval)", "eval"),
        ("import builtins\nbuiltins.exec('1')", "exec"),
        ("from ast import literal_eval", "ast.literal_eval"),
        ("import struct\nstruct.unpack_from('<I', b'1234')", "struct.unpack_from"),
        ("import shutil\nshutil.unpack_archive('a.zip')", "shutil.unpack_archive"),
        ("async def f(request):\n    return await request.json()", ".json()"),
        ("async def f(request):\n    return await request.form()", ".form()"),
        ("Model.model_validate_json(body)", ".model_validate_json()"),
        ("from fumehood import script_reader\nscript_reader.examine('', 0, False)", "fumehood.script_reader.examine"),
    ],
)  # fmt: skip
def test_one_that_is_planted_is_found(planted: str, found: str) -> None:
    everything = modules()
    planted_in = ast.parse(ast.unparse(everything["api.results"]) + "\n" + planted)
    assert found_in({"api.results": planted_in}) == {("api.results", found)}


def test_no_route_has_the_framework_read_a_body() -> None:
    """It would read all of it into memory first, and parse it without a limit."""
    routes = [route for part in PARTS for route in part.router.routes if isinstance(route, APIRoute)]
    assert routes
    assert [route.path for route in routes if route.body_field is not None] == []


def test_no_reader_of_tables_is_even_loaded() -> None:
    program = "import sys, api.__main__, worker.__main__, api.app, worker.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert {"api", "worker"} <= loaded
    assert loaded & {"pandas", "pyarrow", "numpy", "polars", "PIL", "lxml", "matplotlib"} == set()
