"""Rule 27, `init()` and `context`, in a sandbox: what only forked children and a report can show."""

from __future__ import annotations

from tests.contract.samples import csv
from tests.contract.test_chunk import run as run_chunk

ONE = csv("a\n1\n2\n")
COUNTED = """
import os
import pandas as pd
made = []
def init():
    made.append(os.getpid())
    print("made")
    return {"factor": 10}
def azureml_main(frame, context, *, n=0, shared=None):
    context["factor"] += 1
    return frame.assign(a=frame["a"] * context["factor"], made=len(made), here=made[0] == os.getpid())
"""


def test_init_runs_once_before_the_function_and_in_its_process(sandbox):
    run = sandbox.run(COUNTED, inputs={"dataset1": ONE})
    assert run.reason == "ok"
    assert run.frame().to_dict("list") == {"a": [11, 22], "made": [1, 1], "here": [True, True]}
    assert run.log == "made\n"


def test_a_thread_that_init_started_is_alive_in_the_function(sandbox):
    script = """
import queue, threading
def init():
    asked, told = queue.Queue(), queue.Queue()
    threading.Thread(target=lambda: told.put(asked.get() + 1), daemon=True).start()
    return asked, told
def azureml_main(frame, context):
    context[0].put(1)
    return frame.assign(told=context[1].get(timeout=10))
"""
    assert sandbox.run(script, inputs={"dataset1": ONE}).frame().told.tolist() == [2, 2]


def test_a_failure_in_init_is_a_script_error_with_its_line(sandbox):
    script = "def init():\n    return {}['model']\ndef azureml_main(frame, context):\n    return frame\n"
    run = sandbox.run(script, inputs={"dataset1": ONE})
    assert (run.reason, run.report["error"]["line"], run.report["error"]["type"]) == ("script_error", 2, "KeyError")
    assert "line 2 of script.py" in run.report["message"]


def test_an_init_without_context_is_not_called_with_a_note(sandbox):
    run = sandbox.run("def init():\n    print('called')\ndef azureml_main(frame):\n    return frame\n", inputs={"dataset1": ONE})
    assert (run.reason, run.log) == ("ok", "")
    assert ["only called where azureml_main has a parameter" in note["text"] for note in run.report["notes"]] == [True]


def test_every_item_of_a_chunk_has_a_context_of_its_own(sandbox):
    run = run_chunk(sandbox, [{}, {}, {}], script=COUNTED)
    assert [item["reason"] for item in run.report["items"]] == ["ok"] * 3
    # Had one seen another's context, the factor would have grown.
    assert run.log == "made\n" * 3
