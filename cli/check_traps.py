"""Traps: what is no fault, and yet not what its author thinks, told from reading alone. A table of questions to a syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

NETWORK = frozenset(
    [
        "aiohttp",
        "azure",
        "boto3",
        "botocore",
        "ftplib",
        "gspread",
        "httpx",
        "imaplib",
        "kagglehub",
        "openai",
        "paramiko",
        "poplib",
        "pymongo",
        "psycopg2",
        "pysftp",
        "requests",
        "smtplib",
        "socketserver",
        "telnetlib",
        "urllib3",
        "websocket",
        "websockets",
        "wget",
        "xmlrpc",
        "yfinance",
    ]
)
NETWORK_MODULES = frozenset({"urllib.request", "http.client", "http.server"})
READERS = frozenset(
    [
        "open",
        "read_csv",
        "read_excel",
        "read_json",
        "read_parquet",
        "read_pickle",
        "read_feather",
        "read_table",
        "loadtxt",
        "genfromtxt",
        "imread",
    ]
)
WRITERS = frozenset(
    ["to_csv", "to_excel", "to_json", "to_parquet", "to_pickle", "to_feather", "savefig", "savetxt", "imsave", "imwrite", "to_html"]
)
WRITABLE = ("/job/", "/dev/shm/", "/dev/null")
PRESENT = ("Script Bundle", "./Script Bundle", ".\\Script Bundle")


@dataclass(frozen=True, slots=True)
class Trap:
    line: int
    text: str


def traps(source: str, *, bundle: bool) -> list[Trap]:
    """Every trap once, in the order of its line. Nothing where the source cannot be parsed here: that is told elsewhere."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = {trap.text: trap for look in LOOKS for trap in look(tree, bundle)}
    return sorted(found.values(), key=lambda trap: trap.line)


def _network(tree: ast.Module, bundle: bool) -> Iterator[Trap]:
    for node in ast.walk(tree):
        for name in _imported(node):
            if name.partition(".")[0] in NETWORK or name in NETWORK_MODULES:
                yield Trap(_line(node), f"imports {name}: a sandbox has no network; put what is needed into a dataset or the bundle")
        if isinstance(node, ast.Call) and _first_text(node).startswith(("http://", "https://", "ftp://", "s3://")):
            yield Trap(_line(node), f"opens {_first_text(node)[:60]!r}: a sandbox has no network; give it as a dataset")


def _questions(tree: ast.Module, bundle: bool) -> Iterator[Trap]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id="input"):
                    yield Trap(_line(node), "input(): nobody is there to answer, so it raises EOFError; take a parameter instead")
                case ast.Attribute(attr="parse_args"):
                    yield Trap(_line(node), "parse_args(): there is no command line; take keyword parameters: `*, threshold=0.5`")


def _places(tree: ast.Module, bundle: bool) -> Iterator[Trap]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        path, writes = _first_text(node), _writes(node)
        absolute = path.startswith("/") or path[1:3] in (":\\", ":/")
        if writes and absolute and not path.startswith(WRITABLE):
            yield Trap(_line(node), f"writes {path[:60]!r}: only the working directory can be written; files below ./outputs/ come back")


def _missing_files(tree: ast.Module, bundle: bool) -> Iterator[Trap]:
    written = {_first_text(node) for node in ast.walk(tree) if isinstance(node, ast.Call) and _writes(node)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or _called(node) not in READERS or _writes(node):
            continue
        path = _first_text(node)
        # A name without an ending may be anything; an address is another trap.
        if "." not in path or "://" in path or path in written or path.startswith((*PRESENT, *WRITABLE)):
            continue
        where = "at its top level that is ./Script Bundle/" if bundle else "there is none with this job"
        yield Trap(_line(node), f"reads {path[:60]!r}: only tables and the bundle's files go along ({where})")


def _only_main(tree: ast.Module, bundle: bool) -> Iterator[Trap]:
    for node in tree.body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Compare):
            names = {each.id for each in ast.walk(node.test) if isinstance(each, ast.Name)}
            texts = {each.value for each in ast.walk(node.test) if isinstance(each, ast.Constant)}
            if "__name__" in names and "__main__" in texts:
                yield Trap(_line(node), 'what stands below `if __name__ == "__main__"` does not run: the script is imported as a module')


LOOKS: tuple[Callable[[ast.Module, bool], Iterator[Trap]], ...] = (_network, _questions, _places, _missing_files, _only_main)


def imported_modules(source: str) -> list[str]:
    """Top-level names that the script's own top level imports outside of `try`; empty where it cannot be parsed here."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return sorted({name.partition(".")[0] for node in tree.body for name in _imported(node)})


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names if node.module in ("urllib", "http"))]
    return []


def _called(node: ast.Call) -> str:
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _first_text(node: ast.Call) -> str:
    match node.args[:1]:
        case [ast.Constant(value=str() as text)]:
            return text
    return ""


def _writes(node: ast.Call) -> bool:
    name = _called(node)
    if name != "open":
        return name in WRITERS
    modes = [*node.args[1:2], *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
    return any(isinstance(mode, ast.Constant) and isinstance(mode.value, str) and set(mode.value) & set("wax+") for mode in modes)


def _line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 1))
