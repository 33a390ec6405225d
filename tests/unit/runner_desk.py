"""What tests of the runner's whole way share: a script run in this process, in directories of the test's own. No container."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from tests.contract.loading import runner

kinds = runner("kinds")
places = runner("places")

LIMITS = {
    "wall_seconds": 60, "memory_bytes": 10**9, "output_bytes": 10**8, "disk_bytes": 10**8, "processes": 100, "figures": 10,
    "bundle_entries": 100, "bundle_unpacked_bytes": 10**6,
}  # fmt: skip


class Progress:
    """Stands in for the child's."""

    def __init__(self) -> None:
        self.notes: list[dict[str, Any]] = []
        self.results: dict[str, Any] = {"result": None, "result2": None}
        self.described: dict[str, Any] = {}

    def part(self, _name: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def note(self, kind: str, text: str, **facts: object) -> None:
        self.notes.append({"kind": kind, "text": text, **facts})

    def say_script_starts(self) -> None:
        pass

    def is_this_process(self) -> bool:
        return True


class Desk:
    """`run(script, inputs)` as a sandbox's child does; `result()` is what it wrote."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.progress = Progress()

    def run(
        self, script: str, *, inputs: dict[str, tuple[str, bytes]] | None = None, parameters: dict[str, Any] | None = None,
        kind: str = "script", **more: Any,
    ) -> Progress:  # fmt: skip
        # Each run finds the working directory empty.
        shutil.rmtree(self.home / "job")
        (self.home / "job").mkdir()
        os.chdir(self.home / "job")
        (self.home / "script.py").write_text(script)
        (self.home / "result").touch()
        for port, (_, data) in (inputs or {}).items():
            (self.home / port).write_bytes(data)
        named = {port: {"format": form} for port, (form, _) in (inputs or {}).items()}
        self.progress = Progress()
        kinds.KINDS[kind]({"inputs": named, "limits": LIMITS, "parameters": parameters, **more}, self.progress, frozenset(sys.modules))
        return self.progress

    def result(self, port: str = "result") -> list[dict[str, Any]]:
        return pa.ipc.open_file(self.home / port).read_all().to_pylist()

    def raw(self) -> bytes:
        return (self.home / "result").read_bytes()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    (tmp_path / "job").mkdir()
    monkeypatch.chdir(tmp_path / "job")
    for name, path in {
        "IN": tmp_path, "SCRIPT": tmp_path / "script.py", "JOB": tmp_path / "job", "JOB_SCRIPT": tmp_path / "job" / "script.py",
        "BUNDLE": tmp_path / "job" / "Script Bundle",
    }.items():  # fmt: skip
        monkeypatch.setattr(places, name, str(path))
    monkeypatch.setattr(places, "INPUTS", {port: str(tmp_path / port) for port in ("dataset1", "dataset2")})
    monkeypatch.setattr(places, "RESULTS", {port: str(tmp_path / port) for port in ("result", "result2")})
    monkeypatch.setattr(places, "RESULT", str(tmp_path / "result"))
    # What a child leaves in its process, and takes along when it ends.
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    monkeypatch.setitem(sys.modules, "script", ModuleType("script"))
    return Desk(tmp_path)


def csv(text: str) -> dict[str, tuple[str, bytes]]:
    return {"dataset1": ("csv", text.encode())}


def rows(*records: dict[str, Any]) -> dict[str, tuple[str, bytes]]:
    return {"dataset1": ("json", json.dumps(records).encode())}
