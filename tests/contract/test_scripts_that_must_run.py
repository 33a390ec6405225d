"""The list «Scripts that must run» of the contract, where no other file has the script already."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy
import pandas as pd
import pyarrow as pa

from tests.contract.samples import IDENTITY, arrow, bundle, csv

DIABETES = Path(__file__).resolve().parents[2] / "examples" / "pima-indians-diabetes.csv"


def test_feature_importance_on_the_diabetes_table(sandbox):
    script = """
import pandas as pd
from sklearn.ensemble import ExtraTreesClassifier
def azureml_main(frame1):
    features, target = frame1.iloc[:, :-1], frame1.iloc[:, -1]
    model = ExtraTreesClassifier(n_estimators=100, random_state=0, n_jobs=2).fit(features, target)
    scores = pd.DataFrame({"feature": features.columns, "score": model.feature_importances_})
    return scores.sort_values("score", ascending=False),
"""
    run = sandbox.run(script, inputs={"dataset1": ("csv", DIABETES.read_bytes())})
    assert run.reason == "ok", run.report
    scores = run.frame()
    assert len(scores) == 8
    assert (scores.score >= 0).all()
    assert abs(scores.score.sum() - 1) < 1e-9
    assert scores.feature[0] == "plasma_glucose"


def test_expression_evaluator(sandbox):
    script = """
import pandas as pd
def azureml_main(frame1=None):
    values = [float(eval(text)) for text in frame1.iloc[:, 0]]
    return pd.DataFrame({"expression": frame1.iloc[:, 0], "value": values}),
"""
    run = sandbox.run(script, inputs={"dataset1": csv("expression\n1 + 2\n3 * 4.5\n")})
    assert run.frame().to_dict("list") == {"expression": ["1 + 2", "3 * 4.5"], "value": [3.0, 13.5]}


def test_hello_zip(sandbox):
    script = "from Hello import print_hello\ndef azureml_main(a=None, b=None):\n    print_hello('World')\n    return a,\n"
    zipped = bundle({"Hello.py": "def print_hello(name):\n    print(f'Hello {name}!')\n"})
    run = sandbox.run(script, inputs={"bundle": zipped, "dataset1": csv("a\n1\n")})
    assert (run.reason, run.log) == ("ok", "Hello World!\n")


def test_a_scatter_matrix_saved_as_png(sandbox):
    script = """
import matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt
from pandas.plotting import scatter_matrix
def azureml_main(frame1):
    fig = plt.figure(figsize=(6, 6))
    scatter_matrix(frame1.iloc[:50, :3], ax=fig.gca(), diagonal="kde")
    fig.savefig("scatter1.png")
    return frame1,
"""
    run = sandbox.run(script, inputs={"dataset1": ("csv", DIABETES.read_bytes())})
    assert run.reason == "ok", run.report
    assert run.names("figure") == ["scatter1.png"]
    assert len(run.frame()) == 768


def test_twenty_figures_with_spaces_and_a_bare_frame(sandbox):
    script = """
import matplotlib.pyplot as plt
def azureml_main(frame1):
    for number in range(20):
        plt.figure(figsize=(1, 1))
        plt.plot([0, number])
        plt.savefig(f"plot number {number}.png")
    return frame1
"""
    run = sandbox.run(script, inputs={"dataset1": csv("a\n1\n")})
    assert run.names("figure") == [f"plot number {number}.png" for number in range(20)]


def test_two_tables_joined(sandbox):
    script = "def azureml_main(left, right):\n    return left.merge(right, on='key', how='left'),\n"
    run = sandbox.run(script, inputs={"dataset1": csv("key,a\nx,1\ny,2\n"), "dataset2": csv("key,b\nx,7\n")})
    assert run.table().to_pydict() == {"key": ["x", "y"], "a": [1, 2], "b": [7, None]}


def test_a_pickled_model_in_the_bundle_under_its_windows_name(sandbox):
    script = """
import pickle, sys
def azureml_main(frame1):
    sys.path.insert(0, r".\\Script Bundle")
    model = pickle.load(open(r".\\Script Bundle\\models\\model.pkl", "rb"))
    return frame1.assign(score=frame1.a * model["factor"])
"""
    run = sandbox.run(script, inputs={"dataset1": csv("a\n2\n"), "bundle": bundle({"models/model.pkl": pickle.dumps({"factor": 3})})})
    assert run.frame().score.tolist() == [6]


def test_integer_column_names_and_a_grouped_result(sandbox):
    script = """
import pandas as pd
def azureml_main(frame1):
    counts = frame1.groupby(["k", "v"]).size().unstack(fill_value=0)
    return pd.DataFrame([[1, 2]]), counts
"""
    run = sandbox.run(script, inputs={"dataset1": csv("k,v\nx,1\nx,2\ny,2\n")})
    assert run.table().column_names == ["0", "1"]
    assert run.table("result2").to_pydict() == {"1": [1, 0], "2": [1, 1]}


def test_a_large_table_is_mapped_and_not_copied(sandbox):
    # 160 MB in a sandbox of 150 MB, of which the libraries take 60: only a lazy mapping passes.
    columns = {f"c{number}": pa.array(numpy.arange(1_000_000)) for number in range(20)}
    script = "def azureml_main(df):\n    df.loc[0, 'c3'] = 5\n    return df[['c3']].tail(2).reset_index(drop=True),\n"
    run = sandbox.run(script, inputs={"dataset1": arrow(columns)}, memory_bytes=150 * 1024 * 1024, disk_bytes=16 * 1024 * 1024)
    assert run.reason == "ok", run.report
    assert run.frame().c3.tolist() == [999_998, 999_999]


def test_empty_inputs_reach_the_script_as_empty_frames(sandbox):
    run = sandbox.run(IDENTITY, inputs={"dataset1": arrow(pa.table({"a": pa.array([], pa.int64())}))})
    assert pd.DataFrame({"a": []}, dtype="int64").equals(run.frame())
