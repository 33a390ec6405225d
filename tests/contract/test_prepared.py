"""A script that was opened ahead of its call does what it does otherwise: the same tables, log and figures, and the same ends."""

from __future__ import annotations

import pytest

from fumehood.dataset import format_of
from tests.contract.same_scripts import cases
from tests.contract.samples import bundle, csv

ONE = csv("a\n1\n2\n")
# Those that have a state between the top level and the call: bundles, figures, pools of processes, modules that are found late.
CASES = {
    name: case
    for name, case in cases().items()
    if name in ("initialised", "bundle_of_modules", "bundle_of_tables", "figures_left_open", "classes_and_pickle", "compiled")
}


@pytest.mark.parametrize("name", CASES)
def test_what_comes_out_is_the_same(sandbox, name):
    case = CASES[name]
    inputs = {port: (format_of(None, file), data) for port, (file, data) in case.inputs.items()}
    inputs |= {"bundle": ("zip", case.bundle)} if case.bundle else {}
    given = {"inputs": inputs, "parameters": case.parameters, "kind": "score"}
    one, other = (sandbox.run(case.script, prepared=each, **given) for each in (True, False))
    assert [event["event"] for event in one.events if event["event"] != "log"] == ["ready", "prepared", "done"]
    assert (one.reason, one.log) == (other.reason, other.log)
    assert one.reason == "ok", one.report
    assert one.table().equals(other.table())
    assert {role: one.names(role) for role in ("figure", "artifact")} == {role: other.names(role) for role in ("figure", "artifact")}
    assert one.report["notes"] == other.report["notes"]


def test_a_bundle_that_shadows_a_library_does_so_before_and_during_the_call(sandbox):
    """Between the two the runner reads the table with libraries of its own."""
    script = """
import json
def init():
    import json
    return json.WHOSE
def azureml_main(frame, context):
    import json as again
    return frame.assign(top=json.WHOSE, then=context, now=again.WHOSE, same=again is json)
"""
    mine = bundle({"json.py": "WHOSE = 'mine'\n"})
    run = sandbox.run(script, inputs={"dataset1": ("json", b'[{"a": 1}]'), "bundle": mine}, prepared=True)
    assert run.frame().to_dict("records") == [{"a": 1, "top": "mine", "then": "mine", "now": "mine", "same": True}]


def test_only_the_call_is_timed(sandbox):
    script = "import time\ndef init():\n    time.sleep(0.7)\ndef azureml_main(frame, context):\n    return frame\n"
    parts = sandbox.run(script, inputs={"dataset1": ONE}, prepared=True).report["milliseconds"]
    assert parts["script"] < 600, parts


@pytest.mark.parametrize(
    ("script", "ending", "message"),
    [
        ("def azureml_main(frame, other, third):\n    return frame\n", "bad_entry_point", "3 required parameters"),
        ("def azureml_main(frame):\n    return None\n", "bad_return", "returned None"),
        ("def azureml_main(frame):\n    return frame / 0 / {}\n", "script_error", "line 2 of script.py"),
    ],
)
def test_a_call_that_fails_says_so_in_its_usual_words(sandbox, script, ending, message):
    run = sandbox.run(script, inputs={"dataset1": ONE}, prepared=True)
    assert run.reason == ending
    assert message in run.report["message"]


@pytest.mark.parametrize(
    "script",
    ["1 / 0\n", "def init():\n    raise SystemExit\ndef azureml_main(context):\n    return None\n", "azureml_main = 3\n"],
    ids=["top level", "init", "no function"],
)
def test_a_script_that_cannot_be_opened_ends_its_sandbox_without_a_report(sandbox, script):
    run = sandbox.run(script, inputs={"dataset1": ONE}, prepared=True)
    assert (run.report, run.exit_code, [event["event"] for event in run.events if event["event"] != "log"]) == (None, 3, ["ready"])


@pytest.mark.parametrize("limit", ["NOFILE", "AS", "FSIZE"])
def test_what_it_does_to_its_supervisor_while_it_waits_is_never_the_services_fault(sandbox, limit):
    """The worker's system call filter refuses this; the runner does not rely on it."""
    script = f"""
import resource
def init():
    resource.prlimit(1, resource.RLIMIT_{limit}, (0, 0))
def azureml_main(frame, context):
    return frame
"""
    run = sandbox.run(script, inputs={"dataset1": ONE}, prepared=True)
    assert run.reason in ("ok", "crashed", None)
    # 3 is what the service ends a sandbox with, and 137 what others do.
    assert run.report is not None or run.exit_code not in (0, 3, 137)
