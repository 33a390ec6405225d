"""Modules that come from the pack are what they are without it. In fresh interpreters, because an import happens once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).resolve().parents[2] / "images" / "anaconda" / "runner"
# A package with compiled modules, one without, and a single file.
LIBRARIES = ("numpy.random", "email.mime.text", "colorsys")
BEGIN = f"""
import gc, json, sys
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("ahead", {str(RUNNER / "ahead.py")!r})
ahead = module_from_spec(spec)
spec.loader.exec_module(ahead)
ahead.LIBRARIES = {LIBRARIES!r}
found = len(sys.meta_path)
"""
SHOW = """
import inspect, colorsys
def facts(module):
    spec = module.__spec__
    kept = sorted(spec.loader.__dict__) if hasattr(spec.loader, "__dict__") else []
    parts = list(spec.submodule_search_locations) if spec.submodule_search_locations is not None else None
    return [str(spec.origin), str(spec.cached), str(type(spec.loader)), kept, parts, str(getattr(module, "__file__", None))]
names = sorted(name for name in sys.modules if name.split(".")[0] in ("numpy", "email", "colorsys"))
print(json.dumps({
    "modules": {name: facts(sys.modules[name]) for name in names}, "hooks": len(sys.meta_path) - found, "gc": gc.isenabled(),
    "source": inspect.getsource(colorsys.rgb_to_hsv), "read_again": sys.modules["colorsys"].__loader__.get_code("colorsys") is not None,
}))
"""


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-P", "-s", "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pack") / "imports.marshal"
    assert int(python(BEGIN + f"print(ahead.write_pack({str(path)!r}))")) > 20
    return path


def test_a_module_of_the_pack_is_as_any_other(pack):
    with_pack = json.loads(python(BEGIN + f"ahead.import_ahead({str(pack)!r})\n" + SHOW))
    without = json.loads(python(BEGIN + f"ahead.import_ahead({str(pack) + '.missing'!r})\n" + SHOW))
    assert with_pack == without
    assert (with_pack["hooks"], with_pack["gc"]) == (0, True)


def test_the_code_comes_from_the_pack(pack, tmp_path):
    other = tmp_path / "imports.marshal"
    change = "import marshal; entries = marshal.load(open({0!r}, 'rb')); place, package, _ = entries['colorsys']; "
    change += "entries['colorsys'] = (place, package, compile('ONE_THIRD = 5', place, 'exec')); marshal.dump(entries, open({1!r}, 'wb'))"
    python(change.format(str(pack), str(other)))
    assert python(BEGIN + f"ahead.import_ahead({str(other)!r}); print(sys.modules['colorsys'].ONE_THIRD)") == "5\n"
