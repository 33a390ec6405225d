"""Each example as a plain local script, the way a notebook would call it."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fumehood.local import load
from tests.examples_page import EXAMPLES, Example, examples

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def diabetes() -> pd.DataFrame:
    return pd.read_csv(EXAMPLES / "pima-indians-diabetes.csv")


@pytest.fixture(autouse=True)
def _private_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")


@pytest.fixture
def entry_point() -> Callable[[str], Callable[..., Any]]:
    def load(name: str) -> Callable[..., Any]:
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.azureml_main  # type: ignore[no-any-return]

    return load


def test_feature_importance_ranks_eight_features_with_plasma_glucose_first(entry_point: Any, diabetes: pd.DataFrame) -> None:
    ranking = entry_point("feature_importance")(diabetes)

    assert list(ranking.columns) == ["feature", "importance"]
    assert set(ranking["feature"]) == set(diabetes.columns) - {"diabetes"}
    assert ranking["feature"][0] == "plasma_glucose"
    assert ranking["importance"].min() >= 0
    assert ranking["importance"].sum() == pytest.approx(1)
    assert ranking["importance"].is_monotonic_decreasing


def test_feature_importance_saves_its_chart_and_leaves_no_figure_open(entry_point: Any, diabetes: pd.DataFrame) -> None:
    import matplotlib.pyplot as plt

    entry_point("feature_importance")(diabetes)

    assert Path("feature importance.png").read_bytes().startswith(PNG)
    assert [path.name for path in Path.cwd().iterdir()] == ["feature importance.png"]
    assert plt.get_fignums() == []


def test_feature_importance_does_not_depend_on_the_order_of_rows_and_columns(entry_point: Any, diabetes: pd.DataFrame) -> None:
    shuffled = diabetes.sample(frac=1, random_state=7)[list(reversed(diabetes.columns))]

    pd.testing.assert_frame_equal(entry_point("feature_importance")(shuffled), entry_point("feature_importance")(diabetes))


@pytest.mark.parametrize(("positive", "negative"), [(1, 0), (True, False), ("yes", "no")])
def test_feature_importance_takes_labels_of_any_name(entry_point: Any, diabetes: pd.DataFrame, positive: Any, negative: Any) -> None:
    renamed = diabetes.assign(diabetes=diabetes["diabetes"].map({"pos": positive, "neg": negative}))

    ranking = entry_point("feature_importance")(renamed)

    assert ranking["feature"][0] == "plasma_glucose"
    assert ranking["importance"].sum() == pytest.approx(1)


def test_feature_importance_leaves_its_input_as_it_was(entry_point: Any, diabetes: pd.DataFrame) -> None:
    before = diabetes.copy()

    entry_point("feature_importance")(diabetes)

    pd.testing.assert_frame_equal(diabetes, before)


def test_identity_returns_its_table_and_prints_it(entry_point: Any, diabetes: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    (returned,) = entry_point("identity")(diabetes)

    assert returned is diabetes
    assert "Input pandas.DataFrame #1:" in capsys.readouterr().out


def test_two_tables_returns_the_rows_above_a_threshold_and_a_count_for_each(entry_point: Any, diabetes: pd.DataFrame) -> None:
    thresholds = pd.read_csv(EXAMPLES / "two_tables_thresholds.csv")

    above, counts = entry_point("two_tables")(diabetes, thresholds)

    expected = {row.column: int((diabetes[row.column] > row.threshold).sum()) for row in thresholds.itertuples()}
    assert dict(zip(counts["column"], counts["rows_above"], strict=True)) == expected
    assert len(above) == sum(expected.values())
    assert (above["value"] > above["threshold"]).all()


def test_two_tables_counts_zero_where_nothing_lies_above(entry_point: Any) -> None:
    above, counts = entry_point("two_tables")(pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"column": ["a"], "threshold": [9.0]}))

    assert len(above) == 0
    assert counts["rows_above"].tolist() == [0]


def test_figures_saves_twenty_with_spaces_in_their_names_and_leaves_none_open(entry_point: Any) -> None:
    import matplotlib.pyplot as plt

    table = entry_point("figures")()

    assert isinstance(table, pd.DataFrame)
    saved = sorted(path.name for path in Path.cwd().iterdir())
    assert saved == sorted(table["figure"])
    assert len(saved) == 20
    assert all(" " in name and Path(name).read_bytes().startswith(PNG) for name in saved)
    assert plt.get_fignums() == []


def test_expressions_without_a_value_say_why(entry_point: Any) -> None:
    (table,) = entry_point("expressions")(pd.DataFrame({"text": ["6 * 7", "1 / 0", "open('/etc/passwd')"]}))

    assert table["value"].tolist()[0] == 42
    assert table["value"].isna().tolist() == [False, True, True]
    assert table["problem"].isna().tolist() == [True, False, False]


def test_a_returned_pickle_is_a_model_that_can_be_used(entry_point: Any) -> None:
    table = entry_point("returned_pickle")(load(EXAMPLES / "weather.parquet"))

    model = pickle.loads(table["model"][0])
    assert model(7) - model(0) == pytest.approx(table["warming_a_week"][0])


def test_parameters_keep_the_rows_above_or_at_the_threshold(entry_point: Any, diabetes: pd.DataFrame) -> None:
    above = entry_point("parameters")(diabetes, column="age", threshold=50)
    at_least = entry_point("parameters")(diabetes, column="age", threshold=50, keep_equal=True)

    assert (above["age"] > 50).all()
    assert len(at_least) - len(above) == (diabetes["age"] == 50).sum()
    assert list(above.index) == list(range(len(above)))


PLAIN_RUN = """
import importlib.util, json, sys
script, tables, parameters = sys.argv[1], sys.argv[2:-1], json.loads(sys.argv[-1])
sys.path.insert(0, "Script Bundle")
from fumehood.local import load
spec = importlib.util.spec_from_file_location("script", script)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
returned = module.azureml_main(*map(load, tables), **parameters)
frames = returned if isinstance(returned, tuple) else (returned,)
print(json.dumps([list(map(str, frame.columns)) for frame in frames]))
"""


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_each_example_is_a_plain_script(example: Example, tmp_path: Path) -> None:
    (tmp_path / "Script Bundle").mkdir()
    if example.bundle:
        zipfile.ZipFile(io.BytesIO(example.zip_bytes())).extractall(tmp_path / "Script Bundle")
    arguments = [example.script, *example.inputs.values(), json.dumps(example.parameters)]
    environment = os.environ | {"MPLBACKEND": "Agg", "PYTHONPATH": str(EXAMPLES.parent)}
    command = [sys.executable, "-B", "-c", PLAIN_RUN, *map(str, arguments)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=120, text=True)

    assert done.returncode == 0, done.stderr
    # The page shows each table that comes back, and the names of its columns stand in the first line.
    columns = json.loads(done.stdout.splitlines()[-1])
    assert len(columns) == len(example.tables)
    for names, table in zip(columns, example.tables, strict=True):
        assert table.splitlines()[0].split() == " ".join(names).split()


def test_bundles_are_made_as_the_page_says(tmp_path: Path) -> None:
    page = (EXAMPLES / "README.md").read_text()
    for archive, parts in re.findall(r"python3 -m zipfile -c out/(\S+) (.+)", page):
        # By a shell, as the reader does: it is who spells out the star.
        command = f"{sys.executable} -m zipfile -c {tmp_path / archive} {parts}"
        subprocess.run(["sh", "-c", command], cwd=EXAMPLES.parent, check=True, timeout=60)

    bundled = [example for example in examples() if example.bundle]
    made = [entries(path.read_bytes()) for path in tmp_path.iterdir()]
    assert len(bundled) == 4
    for example in bundled:
        assert entries(example.zip_bytes()) in made, example.name


def entries(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        found = {info.filename: opened.read(info) for info in opened.infolist() if not info.is_dir()}
    return {name: data for name, data in found.items() if "__pycache__" not in name}


def test_examples_do_no_work_when_they_are_imported(tmp_path: Path) -> None:
    scripts = sorted(map(str, EXAMPLES.glob("*.py")))
    program = "import runpy, sys\nfor script in sys.argv[1:]: assert 'azureml_main' in runpy.run_path(script), script"
    done = subprocess.run([sys.executable, "-I", "-c", program, *scripts], cwd=tmp_path, capture_output=True, timeout=120)

    assert (done.returncode, done.stdout) == (0, b""), done.stderr.decode()
    assert list(tmp_path.iterdir()) == []


def test_the_page_of_examples_names_each_of_them_with_files_that_exist() -> None:
    named = {example.script for example in examples()}
    scripts = {*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*/script.py"), *EXAMPLES.glob("*/train.py")}

    assert named == scripts
    for path in re.findall(r"examples/[\w./-]+", (EXAMPLES / "README.md").read_text()):
        assert (EXAMPLES.parent / path).exists(), path
