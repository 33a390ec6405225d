"""A function of a project: what travels as the script and its bundle does elsewhere what the function does here."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fumehood.client import functions
from fumehood.client.errors import NotSendable
from fumehood.client.functions import Script, script_of
from fumehood.client.staging import stage

FILES = {
    "analysis/__init__.py": "NAME = 'analysis'\n",
    "analysis/numbers/__init__.py": "",
    "analysis/numbers/scale.py": "import tools\nfrom ..settings import FIVE\n\ndef scaled(n):\n    return tools.twice(n) * FIVE.value\n",
    "analysis/settings.py": "import enum\n\nclass Factor(enum.Enum):\n    FIVE = 5\n\nFACTOR = FIVE = Factor.FIVE\nLEVEL = 7\n",
    "analysis/unused.py": "raise SystemExit('nobody imports this')\n",
    "analysis/late.py": "def late(n):\n    return f'late {n}'\n",
    "tools.py": "def twice(n):\n    return 2 * n\n",
    "space/inner/deep.py": "def deep():\n    return __name__\n",
    "analysis/work.py": """
        import math
        import re as expressions
        from json import dumps as written
        from re import IGNORECASE
        from os import *

        import space.inner.deep

        from .numbers.scale import scaled
        from .settings import FACTOR, LEVEL
        from . import numbers, settings

        WEIGHTS = {"b": {3, 1, 2}, "a": (1.5, None)}

        def fit(n, *, more=0):
            from .late import (
                late,
            )
            from . import late as module
            found = expressions.findall("A", "aA", IGNORECASE)
            kept = helper(n) + more
            return written([scaled(n), kept, late(n), module.late(0), len(found), sep, math.floor(math.pi), space.inner.deep.deep(),
                            FACTOR.value, settings.LEVEL, sorted(WEIGHTS["b"]), numbers.__name__])

        def helper(n):
            return n + LEVEL + (other(n - 1) if n else 0)

        def other(n):
            return helper(n - 1) if n > 0 else 0
    """,
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of modules that is on the path, as the one of a program is."""
    root = tmp_path / "project"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(root))
    before = set(sys.modules)
    yield root
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or str(root)
        if Path(file).is_relative_to(root):
            del sys.modules[name]


def function_of(module: str, name: str = "fit") -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def run_elsewhere(script: Script, place: Path, *arguments: Any, bundle: Any = None, **parameters: Any) -> Any:
    """In an interpreter that knows neither the project nor this one's path: what the entry point answers."""
    place.mkdir()
    staged = stage(script, {}, bundle, place)
    if "bundle" in staged.inputs:
        zipfile.ZipFile(staged.inputs["bundle"].path).extractall(place / "Script Bundle")  # type: ignore[union-attr]
    program = f"import sys\nsys.path[:0] = ['Script Bundle']\nsource = {script.text!r}\nexec(compile(source, 'script.py', 'exec'))\n"
    program += f"print(repr(azureml_main(*{arguments!r}, **{parameters!r})))"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=place, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr + script.text
    return done.stdout.strip()


def test_a_function_does_elsewhere_what_it_does_here(project: Path, tmp_path: Path) -> None:
    fit = function_of("analysis.work")

    script = script_of(fit)

    assert run_elsewhere(script, tmp_path / "there", 3, more=2) == repr(fit(3, more=2))
    assert sorted(script.modules) == [
        "analysis/__init__.py", "analysis/late.py", "analysis/numbers/__init__.py", "analysis/numbers/scale.py",
        "analysis/settings.py", "space/inner/deep.py", "tools.py",
    ]  # fmt: skip


def test_the_script_reads_as_its_author_wrote_it(project: Path) -> None:
    text = script_of(function_of("analysis.work")).text

    assert text.splitlines()[:4] == [
        "from analysis.numbers.scale import scaled",
        "from analysis.settings import FACTOR",
        "from json import dumps as written",
        "from os import sep",
    ]
    assert "WEIGHTS = {'b': {1, 2, 3}, 'a': (1.5, None)}\n" in text
    assert "LEVEL = 7\n" in text
    assert "\n    from analysis.late import (\n        late,\n    )\n    from analysis import late as module\n" in text
    assert [line.split("(")[0] for line in text.splitlines() if line.startswith("def ")] == ["def fit", "def helper", "def other"]
    assert text.endswith("azureml_main = fit\n")


def test_nothing_of_the_project_runs_to_be_found(project: Path) -> None:
    (project / "lazy.py").write_text("def fit(n):\n    import tools, missing_here\n    from analysis import unused\n    return n\n")

    script = script_of(function_of("lazy"))

    assert sorted(script.modules) == ["analysis/__init__.py", "analysis/unused.py", "tools.py"]
    assert "tools" not in sys.modules


def test_installed_modules_stay_where_they_are(project: Path) -> None:
    (project / "installed.py").write_text("import json, pandas as pd, tools\n\ndef fit(n):\n    return pd, json, tools\n")

    assert list(script_of(function_of("installed")).modules) == ["tools.py"]


def test_what_the_bundle_holds_is_taken_from_there(project: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "data").mkdir(parents=True)
    (own / "tools.py").write_text("def twice(n):\n    return -n\n")
    (project / "user.py").write_text("import analysis\nimport tools\n\ndef fit(n):\n    return tools.twice(n), analysis.NAME\n")
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as packed:
        packed.write(own / "tools.py", "tools.py")
    fit = function_of("user")

    for number, bundle in enumerate((own, tmp_path / "own.zip")):
        script = script_of(fit, bundle=bundle)
        assert list(script.modules) == ["analysis/__init__.py"]
        assert run_elsewhere(script, tmp_path / str(number), 3, bundle=bundle) == repr((-3, "analysis"))
        assert stage(script, {}, bundle, tmp_path / str(number)).inputs["bundle"].name == "own.zip"  # type: ignore[union-attr]
    assert not script_of(fit, bundle="ds_" + "0" * 32).modules
    (tmp_path / "broken.zip").write_bytes(b"PK")
    with pytest.raises(NotSendable, match="is no zip that can be read"):
        script_of(fit, bundle=tmp_path / "broken.zip")
    assert zipfile.ZipFile(tmp_path / "own.zip").namelist() == ["tools.py"]


def test_a_module_without_a_source_is_refused_by_name(project: Path, tmp_path: Path) -> None:
    (project / "fast.so").write_bytes(b"")
    (project / "slow.py").write_text("def fit(n):\n    from analysis import compiled\n    return compiled\n")
    module = type(sys)("analysis.compiled")
    module.__file__ = str(project / "fast.so")
    sys.modules["analysis.compiled"] = module

    with pytest.raises(NotSendable, match=r"'fit' uses your own module 'analysis.compiled' \(.*fast.so\), of which there is no source"):
        script_of(function_of("slow"))


def test_the_same_modules_make_the_same_bundle(project: Path, tmp_path: Path) -> None:
    script = script_of(function_of("analysis.work"))
    script.save(tmp_path / "one")
    for path in project.rglob("*.py"):
        os.utime(path, (1, 1))
    script.save(tmp_path / "two")

    assert (tmp_path / "one" / "script.py").read_text() == script.text
    assert (tmp_path / "one" / "bundle.zip").read_bytes() == (tmp_path / "two" / "bundle.zip").read_bytes()


def test_what_runs_as_it_is_defined_finds_what_it_needs(project: Path, tmp_path: Path) -> None:
    (project / "ordered.py").write_text(
        "import functools\n\n"
        "def fit(n=0):\n    return late.__name__, Thing().size, late(n)\n\n"
        "def measured():\n    return base()\n\n"
        "def base():\n    return 4\n\n"
        "def kept(function):\n    @functools.wraps(function)\n    def inner(n):\n        return function(n) + base()\n    return inner\n\n"
        "class Thing:\n    size = measured()\n\n"
        "@kept\ndef late(n, *, unit=base()):\n    return n + unit\n"
    )
    fit = function_of("ordered")

    assert run_elsewhere(script_of(fit), tmp_path / "there", 1) == repr(fit(1))


def test_init_comes_along_with_a_context(project: Path) -> None:
    (project / "model.py").write_text(
        "from tools import twice\n\ndef init():\n    return twice(21)\n\ndef fit(frame, context):\n    return context\n\n"
        "def plain(frame):\n    return frame\n"
    )

    with_context, without = script_of(function_of("model")), script_of(function_of("model", "plain"))

    assert "def init():" in with_context.text
    assert list(with_context.modules) == ["tools.py"]
    assert "init" not in without.text
    assert [one.name for one in functions.parameters_of(function_of("model"))] == ["frame"]


CELLS = """\
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
for cell in {cells!r}:
    shell.run_cell(cell, store_history=True).raise_error()
"""


def test_cells_of_a_notebook_are_a_module(tmp_path: Path) -> None:
    pytest.importorskip("IPython")
    cells = [
        "def fit(n):\n    return helper(n), IGNORECASE.value, Thing.size, late()\n",
        "def base():\n    return 1\n\ndef measured():\n    return base() + 2\n",
        "from re import IGNORECASE\n\nclass Thing:\n    size = measured()\n",
        "def helper(n, *, size=Thing.size):\n    return n * size\n",
        "def late(n=base()):\n    return n\n",
        "def measured():\n    # run again, below what needs it\n    return base() + 2\n",
        "def base():\n    # and so is this\n    return 1\n",
        "from fumehood.client.functions import script_of\nscript_of(fit).save('saved')\n",
    ]
    root = Path(functions.__file__).parents[2]
    program = CELLS.format(cells=cells)
    environment = os.environ | {"PYTHONPATH": str(root), "IPYTHONDIR": str(tmp_path / "ipython")}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

    script = Script(text=(tmp_path / "saved" / "script.py").read_text())

    assert run_elsewhere(script, tmp_path / "there", 2) == repr((6, 2, 3, 1))
    assert not (tmp_path / "saved" / "bundle.zip").exists()
