"""What the script's imports find while it runs, and what the runner's find afterwards. No container."""

from __future__ import annotations

import sys

import pytest

from tests.contract.loading import runner

script_module = runner("script_module")


def test_a_bundle_hides_loaded_libraries_from_the_script_and_gives_them_back(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "late", late := object())
    monkeypatch.setitem(sys.modules, "late.part", object())
    monkeypatch.setitem(sys.modules, "early", object())
    for name in ("late.py", "early.py"):
        (tmp_path / name).touch()
    with script_module.Shadows(str(tmp_path), frozenset({"early"})):
        assert "late" not in sys.modules
        assert "late.part" not in sys.modules
        assert "early" in sys.modules
        sys.modules["late"] = object()
    assert sys.modules["late"] is late


def test_a_directory_of_data_hides_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "late", object())
    monkeypatch.setitem(sys.modules, "package", object())
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "values.csv").touch()
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    with script_module.Shadows(str(tmp_path), frozenset()):
        assert "late" in sys.modules
        assert "package" not in sys.modules


@pytest.mark.parametrize(("count", "fits"), [(1024 * 1024, True), (1024 * 1024 + 1, False)])
def test_a_script_may_be_one_mebibyte_and_no_more(tmp_path, monkeypatch, count, fits):
    places, refused = runner("places"), runner("refused")
    (tmp_path / "in.py").write_bytes(b"#" * count)
    monkeypatch.setattr(places, "SCRIPT", str(tmp_path / "in.py"))
    monkeypatch.setattr(places, "JOB_SCRIPT", str(tmp_path / "script.py"))
    for name in ("path", "argv"):
        monkeypatch.setattr(sys, name, list(getattr(sys, name)))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    if fits:
        script_module.Script.place([])
        assert (tmp_path / "script.py").stat().st_size == count
    else:
        with pytest.raises(refused.Refused, match="larger than 1,048,576 bytes") as caught:
            script_module.Script.place([])
        assert caught.value.reason == "bad_input"
