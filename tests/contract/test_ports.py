"""Rules 1 and 2: what goes in, and what comes out."""

from __future__ import annotations

from tests.contract.samples import bundle, csv

PNG = "b'\\x89PNG\\r\\n\\x1a\\n'"


def test_every_input_is_optional(sandbox):
    script = """
import os, pandas as pd
assert os.listdir("./Script Bundle") == os.listdir(".\\\\Script Bundle") == []
def azureml_main(one, two):
    return pd.DataFrame({"one": [one is None], "two": [two is None]})
"""
    assert sandbox.run(script).frame().iloc[0].tolist() == [True, True]


def test_two_tables_and_a_bundle_go_in_and_two_tables_a_log_figures_and_files_come_out(sandbox):
    script = f"""
import os, helper
open("plot.png", "wb").write({PNG})
os.mkdir("outputs")
open("outputs/model.json", "w").write("[]")
def azureml_main(one, two):
    helper.say()
    return one, two
"""
    inputs = {"dataset1": csv("a\n1\n"), "dataset2": csv("b\nx\n"), "bundle": bundle({"helper.py": "def say(): print('said')\n"})}
    run = sandbox.run(script, inputs=inputs)
    assert (run.reason, run.log) == ("ok", "said\n"), run.report
    assert (run.table().to_pydict(), run.table("result2").to_pydict()) == ({"a": [1]}, {"b": ["x"]})
    assert (run.names("figure"), run.names("artifact")) == (["plot.png"], ["model.json"])
    assert run.report["error"] is None
