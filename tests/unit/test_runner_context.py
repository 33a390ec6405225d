"""`init()` and `context` (rule 27 and its edges), in this process and without a container."""

from __future__ import annotations

import inspect
import os
from typing import Any

import pytest

from tests.contract.loading import runner
from tests.unit.runner_desk import Desk, csv, desk

__all__ = ["desk"]

context = runner("context")
entry_point = runner("entry_point")
Refused = runner("refused").Refused

TABLE = csv("x\n1\n2\n")


def bound(function: Any, frames: list[Any], values: dict[str, Any] | None = None, init: Any = context.MISSING) -> tuple[list[Any], dict]:
    return entry_point.bind(function, frames, values or {}, context.Init(init))


def made() -> str:
    return "made"


def test_what_init_returns_is_passed_as_context_wherever_it_stands() -> None:
    assert bound(lambda df, context: 0, ["one"], init=made) == (["one", "made"], {})
    assert bound(lambda context, df: 0, ["one"], init=made) == (["made", "one"], {})
    assert bound(lambda df, context, df2=None: 0, ["one", "two"], init=made) == (["one", "made", "two"], {})
    assert bound(lambda df=None, context=None: 0, [], init=made) == ([None, "made"], {})
    assert bound(lambda df, context, *rest: 0, ["one", "two"], init=made) == (["one", "made", "two"], {})
    assert bound(lambda df, /, context: 0, ["one"], init=made) == (["one", "made"], {})
    assert bound(lambda context, /, df=None: 0, ["one"], init=made) == (["made", "one"], {})
    assert bound(lambda df, *, context, n=1: 0, ["one"], {"n": 2}, init=made) == (["one"], {"n": 2, "context": "made"})
    assert bound(lambda *, context: 0, [], init=made) == ([], {"context": "made"})


def test_without_init_context_is_none_or_its_default() -> None:
    assert bound(lambda df, context: 0, ["one"]) == (["one", None], {})
    assert bound(lambda df, context=5: 0, ["one"]) == (["one", 5], {})
    assert bound(lambda df, *, context: 0, ["one"]) == (["one"], {"context": None})
    assert bound(lambda df, *, context=5: 0, ["one"]) == (["one"], {"context": 5})


def test_context_is_neither_a_dataset_nor_a_parameter_of_the_job() -> None:
    with pytest.raises(Refused) as refused:
        bound(lambda df, context: 0, ["one", "two"])
    assert refused.value.message == "2 datasets are connected, but azureml_main takes 1 parameter beside its context."
    for function in (lambda df, context: 0, lambda df, *, context: 0):
        with pytest.raises(Refused) as refused:
            bound(function, ["one"], {"context": 1})
        assert refused.value.reason == "bad_parameters"
        assert refused.value.message == "azureml_main gets 'context' from the script's init(); the job cannot give it."
    assert bound(lambda a, b, context: 0, [], init=made) == ([None, None, "made"], {})


def test_names_of_variable_arguments_are_no_context() -> None:
    never = pytest.fail
    assert bound(lambda *context: 0, ["one"], init=never) == (["one"], {})
    assert bound(lambda **context: 0, [], {"context": 1}, init=never) == ([], {"context": 1})


def test_what_does_not_fit_is_said_before_init_is_called() -> None:
    with pytest.raises(Refused, match="takes no parameter called 'n'"):
        bound(lambda df, context: 0, ["one"], {"n": 1}, init=lambda: pytest.fail("called"))


async def waits() -> None: ...


@pytest.mark.parametrize(
    ("init", "sentence"),
    [
        (5, "init is int, not a function; write `def init():`."),
        (None, "init is NoneType, not a function; write `def init():`."),
        (waits, "init is an async function; write `def`, and use asyncio.run() inside."),
        (lambda path: 0, "init has 1 required parameter (path); it is called without any: write `def init():`."),
        (lambda a, *, b, c=1: 0, "init has 2 required parameters (a, b); it is called without any: write `def init():`."),
    ],
)
def test_an_init_that_cannot_be_called_is_a_bad_entry_point(init: Any, sentence: str) -> None:
    with pytest.raises(Refused) as refused:
        bound(lambda context: 0, [], init=init)
    assert (refused.value.reason, refused.value.message) == ("bad_entry_point", sentence)


def test_an_init_with_defaults_or_written_in_c_is_called() -> None:
    assert bound(lambda context: 0, [], init=lambda path="x", *more, **rest: path) == (["x"], {})
    assert bound(lambda context: 0, [], init=dict) == ([{}], {})


def test_a_function_of_c_gets_no_context() -> None:
    assert entry_point.signature(inspect.signature) is not None
    assert bound(max, ["one"], init=lambda: pytest.fail("called")) == (["one"], {})


def test_init_runs_once_after_the_top_level_and_before_the_function(desk: Desk) -> None:
    script = """
order = ["top"]
def init():
    order.append("init")
    return {"factor": 10}
def azureml_main(df, context):
    order.append("main")
    return df.assign(x=df["x"] * context["factor"], order=" ".join(order))
"""
    progress = desk.run(script, inputs=TABLE)
    assert desk.result() == [{"x": 10, "order": "top init main"}, {"x": 20, "order": "top init main"}]
    assert progress.notes == []


def test_an_init_that_nobody_asks_for_is_not_called_and_a_note_says_so(desk: Desk) -> None:
    script = "def init():\n    raise SystemExit('called')\ndef azureml_main(df):\n    return df\n"
    progress = desk.run(script, inputs=TABLE)
    assert desk.result() == [{"x": 1}, {"x": 2}]
    assert [note["kind"] for note in progress.notes] == ["warning"]
    assert "only called where azureml_main has a parameter called 'context'" in progress.notes[0]["text"]


def test_a_value_called_init_is_nobodys_business_without_context(desk: Desk) -> None:
    assert desk.run("init = 5\ndef azureml_main(df):\n    return df\n", inputs=TABLE).notes == []


def test_a_failure_in_init_is_a_script_error_with_its_line(desk: Desk) -> None:
    script = "def init():\n    return {}['model']\n\ndef azureml_main(df, context):\n    return df\n"
    with pytest.raises(KeyError) as raised:
        desk.run(script, inputs=TABLE)
    ending = runner("failure").judge(raised.value, {}, script_has_started=True)
    assert ending["reason"] == "script_error"
    assert (ending["error"]["file"], ending["error"]["line"]) == ("script.py", 2)
    assert "return {}['model']" in ending["error"]["traceback"]
    assert "line 2 of script.py" in ending["message"]


def test_every_item_of_a_chunk_has_a_context_made_in_its_own_process(desk: Desk) -> None:
    script = """
import os
import pandas as pd
made = 0
def init():
    global made
    made += 1
    return [os.getpid()]
def azureml_main(context):
    context.append(0)
    return pd.DataFrame({"here": [context[0] == os.getpid()], "length": [len(context)], "made": [made]})
"""
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                desk.run(script, kind="item", result_end=0)
                code = 0 if desk.result() == [{"here": True, "length": 2, "made": 1}] else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
