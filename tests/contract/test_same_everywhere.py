"""The same scripts give equal tables, types and figures in a sandbox and in the exported environment.

The sandbox is the runner's, one container each. The other side is what a notebook user has: a virtual environment that pip made from
`fumehood images export`, on a plain Debian 13, with the variables that the export names. There nothing of the runner is; the
table is loaded by `fumehood.local.load`, and a second time by plain `pandas.read_…`: where that gives another result, the corpus says why.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
import uuid
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from fumehood.dataset import format_of
from tests.contract.bench import Bench, Run
from tests.contract.same_scripts import Case, cases

ROOT = Path(__file__).resolve().parents[2]
CASES = cases()
UID = 64322
ALL_SECONDS = 400
# Building the environment, once for a lock, takes most of a minute with the wheels at hand; fetching them first, minutes.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="session")
def export(image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes for the image under test."""
    path = tmp_path_factory.mktemp("export") / "requirements.txt"
    digest = subprocess.run(
        ["docker", "image", "inspect", "--format", "{{.Id}}", image], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    command = [sys.executable, "-m", "cli", "images", "export", "--local", "--out", str(path), digest.strip()]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    return path


@pytest.fixture(scope="session")
def notebook(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cases, each run in the exported environment; a directory each."""
    build = [sys.executable, str(ROOT / "images/build.py"), "notebook", "--requirements", str(export)]
    built = subprocess.run(build, check=True, capture_output=True, text=True, timeout=900).stdout.split()[-1]
    directory = tmp_path_factory.mktemp("notebook")
    for parent in (directory, directory.parent, directory.parent.parent):
        parent.chmod(0o755)
    for case in CASES.values():
        _lay_out(case, directory / "cases" / case.name.replace("/", " "))
    for program in (ROOT / "tests/contract/notebook_driver.py", ROOT / "fumehood/local.py"):
        shutil.copy(program, directory)
    container = f"fumehood-test-notebook-{uuid.uuid4().hex[:12]}"
    variables = [f"--env={name}={value}" for name, value in _variables(export).items()]
    command = [
        "docker", "run", "--name", container, "--network=none", "--log-driver=none", f"--user={UID}:{UID}",
        "--memory=4g", "--pids-limit=512",
        f"--mount=type=bind,src={directory},dst=/work", "--workdir=/work", "--env=HOME=/work/home",
        # Bytecode is kept between the scripts; and who forks should have one thread, but Arrow's allocator would start another.
        "--env=PYTHONPYCACHEPREFIX=/work/home", "--env=JE_ARROW_MALLOC_CONF=background_thread:false", *variables,
        built, "python", "notebook_driver.py", "cases",
    ]  # fmt: skip
    for path in (directory, *directory.rglob("*")):
        os.chown(path, UID, UID)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ALL_SECONDS)
    finally:
        subprocess.run(["docker", "rm", "--force", container], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr[-4000:]
    return directory / "cases"


def _lay_out(case: Case, directory: Path) -> None:
    (directory / "Script Bundle").mkdir(parents=True)
    (directory / "script.py").write_bytes(case.script)
    inputs = {f"{port} {name}": data for port, (name, data) in case.inputs.items()}
    for name, data in inputs.items():
        (directory / name).write_bytes(data)
    (directory / "case.json").write_text(json.dumps({"inputs": list(inputs), "parameters": case.parameters}))
    if case.bundle:
        zipfile.ZipFile(io.BytesIO(case.bundle)).extractall(directory / "Script Bundle")


def _variables(export: Path) -> dict[str, str]:
    found = re.search(r"^# A sandbox also sets: (.+)$", export.read_text(), re.M)
    assert found
    return dict(pair.split("=", 1) for pair in found[1].split())


def test_there_are_scripts_enough() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("name", CASES)
def test_a_script_gives_the_same_in_a_sandbox_and_in_the_exported_environment(name: str, sandbox: Bench, notebook: Path) -> None:
    case = CASES[name]
    inputs = {port: (format_of(None, file), data) for port, (file, data) in case.inputs.items()}
    if case.bundle:
        inputs["bundle"] = ("zip", case.bundle)

    done = sandbox.run(case.script, inputs=inputs, parameters=case.parameters)

    assert done.reason == "ok", json.dumps(done.report, indent=1)
    here = notebook / name.replace("/", " ")
    assert differences(done, here / "load") == []
    plainly = differences(done, here / "plain") if case.inputs else []
    if case.unlike_plain_pandas:
        assert plainly, f"plain pandas gives the same by now, though the corpus says: {case.unlike_plain_pandas}"
    else:
        assert plainly == [], "plain pandas gives another result, and the corpus does not say why"


def test_a_difference_would_be_seen(sandbox: Bench, notebook: Path) -> None:
    """The comparison itself: the tables, types and figures of another script are not found equal."""
    done = sandbox.run(CASES["figures_left_open"].script, inputs={"dataset1": ("csv", CASES["figures_left_open"].inputs["dataset1"][1])})

    found = differences(done, notebook / "figure_of_many_kinds" / "load")

    assert any(line.startswith("result: the columns") for line in found)
    assert any(line.startswith("the figures") for line in found)


def differences(done: Run, here: Path) -> list[str]:
    """What differs between a sandbox's run and the directory that the same script left, one line each."""
    if (here / "error.txt").exists():
        return [f"it ended with {(here / 'error.txt').read_text()}"]
    found = []
    for name in ("result", "result2"):
        ours = done.table(name) if done.report[name] is not None else None
        path = here / f"{name}.arrow"
        theirs = pa.ipc.open_file(pa.OSFile(str(path))).read_all() if path.exists() else None
        found += [f"{name}: {line}" for line in table_differences(ours, theirs)]
    figures = {path.name: path.read_bytes() for path in here.iterdir() if path.suffix.lower() in (".png", ".svg", ".html")}
    if sorted(figures) != sorted(done.names("figure")):
        return [*found, f"the figures are {done.names('figure')} in the sandbox and {sorted(figures)} in the notebook"]
    return [*found, *(f"the figure {name} has other pixels" for name, data in figures.items() if not same_pixels(done.file(name), data))]


def table_differences(ours: pa.Table | None, theirs: pa.Table | None) -> list[str]:
    if ours is None or theirs is None:
        return [] if ours is theirs else ["it is there on one side only"]
    if ours.column_names != theirs.column_names:
        return [f"the columns are {ours.column_names} and {theirs.column_names}"]
    if ours.num_rows != theirs.num_rows:
        return [f"the rows are {ours.num_rows} and {theirs.num_rows}"]
    found = []
    for field, mine, other in zip(ours.schema, ours.columns, theirs.columns, strict=True):
        if without_width(mine.type) != without_width(other.type):
            found.append(f"{field.name} is {mine.type} and {other.type}")
        elif not same_values(mine.to_pylist(), other.to_pylist()):
            found.append(f"{field.name} holds other values: {str(mine.to_pylist())[:300]} and {str(other.to_pylist())[:300]}")
    return found


def without_width(kind: Any) -> str:
    """A type as text: `large_string` is a string, codes of categories may have any width, and what a list's cells are called is nobody's
    business."""
    text = re.sub(r"large_|_view", "", str(kind))
    return re.sub(r"list<\w+: ", "list<", re.sub(r"indices=u?int\d+", "indices=int", text))


def same_values(mine: list[Any], other: list[Any]) -> bool:
    return len(mine) == len(other) and all(map(same_value, mine, other))


def same_value(mine: Any, other: Any) -> bool:
    """Exactly equal; NaN equals NaN."""
    if isinstance(mine, float) and isinstance(other, float):
        return mine == other or (math.isnan(mine) and math.isnan(other))
    return type(mine) is type(other) and mine == other


def same_pixels(mine: bytes, other: bytes) -> bool:
    with Image.open(io.BytesIO(mine)) as a, Image.open(io.BytesIO(other)) as b:
        return a.size == b.size and a.mode == b.mode and np.array_equal(np.asarray(a), np.asarray(b))
