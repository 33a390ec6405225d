"""The check before queueing: certain faults are found, doubts pass, and no script harms the service."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.script_check import ScriptChecker

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture(scope="module")
def checker() -> Iterator[ScriptChecker]:
    made = ScriptChecker(image_python=HERE, seconds=5.0)
    yield made
    made.close()


PASSES = {
    "a function": "def azureml_main(a=None, b=None):\n    return a,",
    "no parameters": "def azureml_main(): return None",
    "an assignment": "azureml_main = print",
    "a lambda": "azureml_main = lambda a: a",
    "an unpacked assignment": "x, azureml_main = 1, print",
    "an annotated assignment": "azureml_main: object = print",
    "a walrus": "(azureml_main := print)",
    "an import": "from m import azureml_main",
    "an import as": "from m import f as azureml_main",
    "a module of that name": "import azureml_main",
    "a star": "from m import *",
    "a condition": "if True:\n    def azureml_main(a): return a",
    "a try": "try:\n    from m import azureml_main\nexcept ImportError:\n    def azureml_main(a): return a",
    "a for": "for azureml_main in [print]: pass",
    "a with": "with x() as azureml_main: pass",
    "a match": "match print:\n    case azureml_main: pass",
    "a global": "def f():\n    global azureml_main\n    azureml_main = print\nf()",
    "globals()": "globals()['azureml' + '_main'] = print",
    "exec": "exec(open('x').read())",
    "setattr": "import sys\nsetattr(sys.modules[__name__], 'azureml_main', print)",
    "builtins": "import builtins\nbuiltins.exec('x = 1')",
    "importlib": "from importlib import import_module\nimport_module('m')",
    "a class with a decorator": "@f\nclass azureml_main: pass",
    "an async function with a decorator": "@f\nasync def azureml_main(a): pass",
    "a class that is called": "class azureml_main: pass\nazureml_main = azureml_main()",
    "a class, then a function": "class azureml_main: pass\ndef azureml_main(a): return a",
    "a later star": "class azureml_main: pass\nfrom m import *",
    "a type parameter of the newest grammar": "def azureml_main(a): return a\n# type X = int",
    "another encoding by a cookie": "# coding: utf-7\ndef azureml_main(a):\n    return a +AD0APQ- 5",
    "a mark": "\ufeffdef azureml_main(a): return a",
    "warnings are no errors": "def azureml_main(a): return '\\d' is a",
}


@pytest.mark.parametrize("name", PASSES)
def test_any_possible_binding_passes(checker: ScriptChecker, name: str) -> None:
    assert checker.check(PASSES[name], datasets=0, bundle=False) is None


REFUSED = {
    "nothing": "",
    "another name": "def main(a): return a",
    "only used": "import pandas\nx = azureml_main",
    "a comment": "# def azureml_main(a): pass",
    "a sentence": '"""azureml_main comes later"""',
    "an attribute": "import m\nm.azureml_main = print",
    "a parameter": "def f(azureml_main): pass",
    "an async function": "async def azureml_main(a): return a",
    "a class": "class azureml_main: pass",
    "a class at last": "def azureml_main(a): return a\nclass azureml_main: pass",
    "a return outside": "return 1",
    "an await outside": "def azureml_main(a):\n    await a",
    "a tab among spaces": "def azureml_main(a):\n        x = 1\n\treturn x",
    "a name twice": "def azureml_main(a, a): pass",
    "an unknown encoding": "# coding: nonsense\ndef azureml_main(a): return a",
    "an old print": "def azureml_main(a):\n    print 'a'",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_certain_fault_is_found(checker: ScriptChecker, name: str) -> None:
    found = checker.check(REFUSED[name], datasets=0, bundle=False)
    assert found is not None
    assert found.pointer == "/script"


@pytest.mark.parametrize(
    ("signature", "datasets", "fits"),
    [
        ("", 0, True), ("", 1, False), ("a", 1, True), ("a", 2, False), ("a, b", 1, True), ("a, /", 2, False), ("a, /, b", 2, True),
        ("a, *, b", 2, False), ("*a", 2, True), ("a, *b", 2, True), ("**a", 1, False), ("a, b=1, c=2", 2, True), ("a, b, c", 2, False),
        ("a, b, c", 0, False),
        ("a, b, c, *d", 2, False), ("a, b, *, c", 2, True),
        ("a, context", 1, True), ("a, context", 2, False), ("context, a, b", 2, True), ("context", 1, False), ("a, b, context", 2, True),
        ("a, /, context=None", 2, False), ("a, b=1, context=None", 2, True), ("a, *, context", 1, True), ("a, *, context", 2, False),
        ("a, b, context, c", 0, False),
    ],
)  # fmt: skip
def test_more_datasets_than_parameters_is_found(checker: ScriptChecker, signature: str, datasets: int, fits: bool) -> None:
    script = f"def azureml_main({signature}):\n    return None\n"
    assert (checker.check(script, datasets=datasets, bundle=False) is None) == fits


@pytest.mark.parametrize(
    "script",
    [
        "@f\ndef azureml_main(): pass",
        "def azureml_main(): pass\nazureml_main = f(azureml_main)",
        "def azureml_main(): pass\nf(azureml_main)",
        "def azureml_main(): pass\nazureml_main.__code__ = g.__code__",
        "def azureml_main(): pass\nif x:\n    def azureml_main(a, b): pass",
        "def azureml_main(): pass\nexec('x')",
        "def azureml_main(): pass\nfrom m import *",
    ],
)
def test_a_doubtful_signature_passes(checker: ScriptChecker, script: str) -> None:
    assert checker.check(script, datasets=2, bundle=False) is None


def test_calling_it_oneself_leaves_no_doubt(checker: ScriptChecker) -> None:
    script = "def azureml_main(): pass\nif __name__ == '__main__':\n    print(azureml_main())"
    assert checker.check(script, datasets=1, bundle=False) is not None


def test_a_module_of_the_bundle_may_define_it(checker: ScriptChecker) -> None:
    assert checker.check("import helper", datasets=0, bundle=True) is None
    assert checker.check("x = 1", datasets=0, bundle=True) is not None


def test_place_and_caret_of_a_syntax_error(checker: ScriptChecker) -> None:
    found = checker.check("import os\nx = (1,\ndef azureml_main(a): pass\n", datasets=0, bundle=False)
    assert found is not None
    assert (found.line, found.column, found.caret) == (2, 5, "x = (1,\n    ^")
    assert "was never closed" in found.detail


def test_a_long_line_is_clipped_around_the_caret(checker: ScriptChecker) -> None:
    found = checker.check("x = '" + "a" * 100_000 + "' 5 5\n", datasets=0, bundle=False)
    assert found is not None
    assert found.caret is not None
    shown, caret = found.caret.split("\n")
    assert len(shown) <= 120
    assert len(caret) <= 121


def test_an_older_service_finds_nothing() -> None:
    assert ScriptChecker(image_python="99.0").check("(", datasets=0, bundle=False) is None


BOMBS = {
    "deep brackets": "(" * 100_000,
    "deep lists": "x = " + "[" * 5000 + "]" * 5000,
    "deep unary": "x = " + "-" * 200_000 + "1",
    "deep attributes": "x = a" + ".a" * 100_000,
    "long sum": "x = " + "1+" * 200_000 + "1",
    "many names": "x = 1\n" * 100_000,
    "deep blocks": "".join(" " * n + "if 1:\n" for n in range(99)) + " " * 99 + "pass",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_harms_nobody(name: str) -> None:
    checker = ScriptChecker(image_python=HERE)
    try:
        checker.check(BOMBS[name], datasets=0, bundle=False)
        found = checker.check("(", datasets=0, bundle=False)
        assert found is not None
        assert found.line == 1
    finally:
        checker.close()


def test_a_helper_that_dies_or_hangs_is_replaced() -> None:
    checker = ScriptChecker(image_python=HERE, seconds=2.0)
    try:
        assert checker.check("(", datasets=0, bundle=False) is not None
        for signal in (9, 19):  # KILL, STOP
            assert checker._helper is not None
            before = checker._helper.pid
            os.kill(before, signal)
            assert checker.check("(", datasets=0, bundle=False) is None or checker._helper.pid != before
            assert checker.check("(", datasets=0, bundle=False) is not None
            assert checker._helper.pid != before
    finally:
        checker.close()
    assert checker._helper is None


def test_the_helper_knows_nothing_of_ours(checker: ScriptChecker) -> None:
    checker.check("x", datasets=0, bundle=False)
    assert checker._helper is not None
    assert Path(f"/proc/{checker._helper.pid}/environ").read_bytes() == b""
    limits = Path(f"/proc/{checker._helper.pid}/limits").read_text()
    assert f"Max address space         {512 * 2**20}" in limits
