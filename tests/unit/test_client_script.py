"""A function as a script: what travels with it, what is refused, and whose lines an error shows."""

from __future__ import annotations

import functools
import linecache
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fumehood.client.errors import NotSendable, ScriptError
from fumehood.client.luggage import literal_of
from fumehood.client.script import SCRIPT_BYTES_MAX, check_call, script_of

ANNOTATED = """\
import os.path
import xml.etree.ElementTree
from collections import OrderedDict as Ordered
from dataclasses import dataclass
from functools import lru_cache, wraps
from math import sqrt
from random import randint

TABLE = object()
SIZES = {"small": (1,), "large": [float("inf"), None, b"x", {2}, set()]}
LEVEL = 3


def loud(function):
    @wraps(function)
    def inner(*args, **kwargs):
        return [*function(*args, **kwargs), "loud"]
    return inner


class Base:
    factor = LEVEL


@dataclass
class Thing(Base):
    x: int = LEVEL


@lru_cache
def root(n):
    return sqrt(n) * Thing(x=1).factor


again = root
"""


Author = Callable[[str], dict[str, Any]]


@pytest.fixture
def author(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Author:
    """Runs a source as the module `author`, a file of its own, and gives its names."""

    def write(source: str) -> dict[str, Any]:
        path = tmp_path / "author.py"
        path.write_text(ANNOTATED + textwrap.dedent(source))
        linecache.checkcache()
        module = ModuleType("author")
        module.__file__ = str(path)
        monkeypatch.setitem(sys.modules, "author", module)
        exec(compile(path.read_text(), str(path), "exec", dont_inherit=True), vars(module))
        return vars(module)

    return write


def ran(text: str, *arguments: Any) -> Any:
    """The script's answer, in an interpreter that knows nothing of the author."""
    program = f"{text}\n\nprint(repr(azureml_main(*{arguments!r})))"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_function_takes_along_what_it_uses(author: Author) -> None:
    function = author('''
        @loud
        @loud
        def fit(n, *, scale=len(SIZES)):
            """Says `def fit(` in its text."""
            if n > 100:
                return fit.__wrapped__ if False else fit(n - 100)
            xml.etree.ElementTree.fromstring("<a/>")
            text = """two
        lines"""
            kept = Ordered(path=os.path.join("a", "b"), number=randint(1, 1))
            return [again(n), scale, text, kept["path"], kept["number"], SIZES["large"][1:], [Thing().x for _ in "ab"]]
    ''')["fit"]

    script = script_of(function)

    assert ran(script.text, 104) == repr([6.0, 2, "two\nlines", "a/b", 1, [None, b"x", {2}, set()], [3, 3], *["loud"] * 4])
    assert "TABLE" not in script.text
    assert script.text.endswith("\n\n\nazureml_main = fit\n")
    assert [line for line in script.text.splitlines() if line.startswith(("def", "class", "again"))] == [
        "def loud(function):", "class Base:", "class Thing(Base):", "def root(n):", "again = root", "def fit(n, *, scale=len(SIZES)):",
    ]  # fmt: skip


def test_a_function_that_has_the_name_already_needs_no_other(author: Author) -> None:
    names = author("""
        def azureml_main(n):
            return same(n - 1) if n else [n, [].azureml_main if n else None]
        same = azureml_main
    """)

    text = script_of(names["azureml_main"]).text

    assert ran(text, 2) == "[0, None]"
    assert text.endswith("same = azureml_main\n")


def test_an_attribute_is_no_name(author: Author) -> None:
    names = author("""
        def fit(frame):
            TABLE = frame
            return [TABLE.size, [size for size in "ab"]]
        size = object()
    """)

    assert "object" not in script_of(names["fit"]).text


def test_a_nested_function_is_sent_with_its_plain_closure_and_its_texts_as_they_stand(author: Author) -> None:
    names = author('''
        def make(times, thing):
            def inner(n):
                text = """a
                    b"""
                return n * times, text
            def refused(n):
                return thing
            return inner, refused
        inner, refused = make(3, TABLE)
    ''')

    assert ran(script_of(names["inner"]).text, 2) == repr(names["inner"](2))
    with pytest.raises(NotSendable, match="'refused' uses 'thing', a object, which cannot travel with it; make it inside"):
        script_of(names["refused"])


def test_one_name_cannot_mean_two_things(author: Author) -> None:
    names = author("""
        def helper():
            return LEVEL
        def make(LEVEL):
            def fit(n):
                return LEVEL, helper()
            return fit
        fit, same = make(4), make(3)
    """)

    with pytest.raises(NotSendable, match="different things by 'LEVEL'; give one of them another name"):
        script_of(names["fit"])
    assert ran(script_of(names["same"]).text, 1) == "(3, 3)"


def test_annotations_that_are_never_evaluated_need_not_travel() -> None:
    def fit(frame: Callable[[str], Any], *, n: Path | None = None) -> ScriptError:
        inner: Path | None = n
        return inner  # type: ignore[return-value]

    text = script_of(fit).text

    assert text.startswith("from __future__ import annotations\n")
    assert "import Path" not in text
    assert ran(text, 1) == "None"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("def fit(f):\n    return TABLE", r"'fit' uses 'TABLE', a object, which cannot travel"),
        ("def helper():\n    return TABLE\n\ndef fit(f):\n    return helper()", r"'helper' uses 'TABLE'"),
        ("def fit(f):\n    return nowhere", r"'fit' uses 'nowhere', which is not defined here"),
        ("import pandas\nframe = pandas.DataFrame()\ndef fit(f):\n    return frame", r"'frame', a pandas.DataFrame.* as df1 or df2"),
        ("def fit(f):\n    yield f", "is a generator"),
        ("def fit(f, g, h, i=1): ...", r"has 3 required parameters \(f, g, h\); there are at most 2 tables"),
        ("@loud\ndef inner(f): ...\nfit = loud(root)", "'root' wrapped by a call; write the decorator above"),
        ("def bare(g):\n    return lambda f: g(f)\ncalled = bare(root)\ndef fit(f):\n    return called(f)", "no function that was written"),
        ("def bare(g):\n    def inner(f):\n        return g(f)\n    return inner\n@bare\ndef fit(f): ...", "a decorator of 'fit' hides"),
        (
            "import functools\n@functools.singledispatch\ndef kind(f): ...\n@kind.register\ndef _(f: int): ...\n"
            "def fit(f):\n    return kind(f)",
            "registered functions cannot be found",
        ),
        ("def make():\n    def root(): ...\n    return root\nother = make()\ndef fit(f):\n    return root, other", "different things by"),
        ("def make():\n    def inner(): ...\n    return inner\na, b = make(), make()\ndef fit(f):\n    return a, b", "is another 'inner'"),
        ("plain = root.__wrapped__\ndef fit(f):\n    return plain", "which a decorator of 'root' hides"),
        ("from typing import TypeVar\nT = TypeVar('T')\ndef fit(f: T): ...", "'fit' uses 'T', a typing.TypeVar, which cannot travel"),
        ("from collections import namedtuple\nPair = namedtuple('Pair', 'a')\ndef fit(f):\n    return Pair(f)", "'Pair', but its source"),
        ("huge = 10**5000\ndef fit(f):\n    return huge", "'huge', a int, which cannot travel"),
        ("fit = lambda f: f", "lambda has no source"),
        ("async def fit(f): ...", "is an async function"),
        ("class fit: ...", "expected a function"),
        ("fit = Thing().__init__", "is a method"),
        ("fit = 3", "expected a function"),
        ("fit = len", "expected a function"),
        ("import functools\nfit = functools.partial(root, 3)", "expected a function"),
        ("def azureml_main(): ...\ndef fit(f):\n    return azureml_main()", "'fit' uses 'azureml_main', another azureml_main than"),
        ("from math import sqrt as azureml_main\ndef fit(f):\n    return azureml_main(f)", "another azureml_main than what is sent"),
        ("def azureml_main(): ...\nmain = azureml_main\ndef fit(f):\n    return main()", "'fit' uses 'main', another azureml_main than"),
        ("big = 'x' * 70_000\ndef fit(f):\n    return big", "too large"),
        ("def fit(f):\n    return open_it.x\nopen_it = open('/dev/null')", "'open_it', a _io.TextIOWrapper"),
    ],
)
def test_what_cannot_travel_is_named_with_what_to_do(author: Author, body: str, says: str) -> None:
    names = author(body)

    with pytest.raises(NotSendable, match=says):
        script_of(names["fit"])
    if "open_it" in names:
        names["open_it"].close()


def test_a_function_that_cannot_be_read_is_refused(author: Author) -> None:
    names: dict[str, Any] = {"__name__": "nowhere"}
    exec("def fit(f): return f", names)

    with pytest.raises(NotSendable, match="its source cannot be read"):
        script_of(names["fit"])


def test_an_error_shows_the_lines_of_the_author_s_file(author: Author) -> None:
    names = author("def helper(n):\n    return n / 0\n\n\ndef fit(n):\n    return helper(n)\n")
    script = script_of(names["fit"])
    lines = script.text.splitlines()
    at, inner = lines.index("    return helper(n)") + 1, lines.index("    return n / 0") + 1
    library = '  File "/usr/lib/x.py", line 9, in x'
    trace = f'  File "script.py", line {at}, in fit\n  File "script.py", line {inner}, in helper\n{library}'

    failure = ScriptError({"id": "job_1", "state": "failed", "error": {"traceback": trace}}, None, script.origins)

    first = ANNOTATED.count("\n")
    own = f'  File "author.py", line {first + 6}, in fit\n  File "author.py", line {first + 2}, in helper\n'
    assert failure.traceback == own + library


def test_a_path_and_a_text_are_sent_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_bytes(b"\xef\xbb\xbfdef azureml_main(): ...\r\n")

    assert script_of(tmp_path / "mine.py").name == "mine.py"
    assert script_of(str(tmp_path / "mine.py")).text == "def azureml_main(): ...\r\n"
    assert script_of("import x\ndef azureml_main(): ...").text == "import x\ndef azureml_main(): ..."
    with pytest.raises(NotSendable, match="is 1,048,577 bytes; the limit"):
        script_of("#" * SCRIPT_BYTES_MAX + "\n")
    (tmp_path / "mine.py").write_bytes(b"\xff\n")
    with pytest.raises(NotSendable, match="not UTF-8"):
        script_of(tmp_path / "mine.py")


@pytest.mark.parametrize(
    "value", [1, -2.5, "ä'\"\n", b"\0", None, True, ..., 1j, (), (1,), [[], {}], {"a": {1: (None,)}}, {3}, set(), frozenset([1])]
)
def test_a_literal_is_the_value_again(value: Any) -> None:
    text = literal_of(value)
    assert text is not None
    assert eval(text) == value


def test_a_set_is_written_alike_in_every_process() -> None:
    assert literal_of(set("hgfedcba")) == "{'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'}"


@pytest.mark.parametrize(
    "value", [object(), [object()], complex("inf"), {"a": print}, Path("x"), functools.partial(print), range(3), type("S", (str,), {})("x")]
)
def test_what_is_not_plain_is_no_literal(value: Any) -> None:
    assert literal_of(value) is None


def takes(frame, other=None, context=None, *, rows: int, times=1):  # type: ignore[no-untyped-def]
    return frame


@pytest.mark.parametrize(
    ("parameters", "datasets", "says"),
    [
        ({"rows": 1}, 3, "takes 2 tables; 3 were given"),
        ({"rows": 1, "row": 2}, 1, "no parameter called 'row'; did you mean 'rows'"),
        ({"rows": 1, "zzz": 2}, 1, "its parameters are rows, times"),
        ({}, 1, "needs the parameter 'rows'; give it as rows="),
        ({"rows": 1, "other": 2}, 1, "takes 'other' as a table"),
        ({"rows": float("nan")}, 1, "'rows' is a float and cannot be sent as JSON"),
        ({"rows": {1, 2}}, 1, "'rows' is a set"),
    ],
)
def test_a_call_is_compared_with_the_signature(parameters: dict[str, Any], datasets: int, says: str) -> None:
    with pytest.raises(NotSendable, match=says):
        check_call(takes, parameters, datasets)
    check_call(takes, {"rows": 1}, 2)
