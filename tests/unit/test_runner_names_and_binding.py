"""Pure parts of the runner: column names (rule 13), binding (rules 3–5), return values (rule 11). No container."""

from __future__ import annotations

import functools
import inspect
import linecache
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.loading import runner

names = runner("names")
entry_point = runner("entry_point")
places = runner("places")
Refused = runner("refused").Refused


@pytest.mark.parametrize(
    ("given_names", "unique"),
    [
        (["a", "a", "a"], ["a", "a (2)", "a (3)"]),
        (["a", "a", "a (2)"], ["a", "a (3)", "a (2)"]),
        (["a (2)", "a", "a", "a"], ["a (2)", "a", "a (3)", "a (4)"]),
        (["", ""], ["", " (2)"]),
        (["a", "b"], ["a", "b"]),
    ],
)
def test_repeated_names_get_the_next_number_in_brackets(given_names, unique):
    assert names.make_unique(given_names) == unique


@given(st.lists(st.sampled_from(["a", "a (2)", "a (3)", "a (2) (2)", "b"])))
def test_names_become_unique_and_first_occurrences_stay(given_names):
    unique = names.make_unique(given_names)
    assert len(set(unique)) == len(unique) == len(given_names)
    for name in set(given_names):
        assert unique[given_names.index(name)] == name


def test_ten_thousand_equal_names_take_no_time():
    assert names.make_unique(["x"] * 10_000)[-1] == "x (10000)"


def test_levels_are_joined_and_empty_ones_left_out():
    assert names.join_levels(("x", "", 1, None)) == "x_1_None"
    assert names.as_text("\ud800") == "?"


def bound(function, frames, values=None):
    return entry_point.bind(function, frames, values or {})


def test_datasets_are_bound_by_position():
    assert bound(lambda a, b: 0, ["one"]) == (["one", None], {})
    assert bound(lambda a=1, b=2: 0, ["one"]) == (["one"], {})
    assert bound(lambda a, b=1, c=2: 0, []) == ([None], {})
    assert bound(lambda *args: 0, ["one", "two"]) == (["one", "two"], {})
    assert bound(lambda a, *rest: 0, ["one", "two"]) == (["one", "two"], {})
    assert bound(max, ["one"]) == (["one"], {})


def test_parameters_are_bound_by_name():
    assert bound(lambda a=None, *, n: 0, [], {"n": 1}) == ([], {"n": 1})
    assert bound(lambda a=None, **more: 0, [], {"n": 1}) == ([], {"n": 1})


@pytest.mark.parametrize(
    ("annotation", "value", "fits"),
    [
        (int, 1, True), (int, True, False), (int, 1.0, False), (float, 1, True), (float, "1", False), (str, "x", True),
        (bool, 1, False), (bool, False, True), ("int", "x", False), ("float | None", "x", True), (list, 5, True),
    ],
)  # fmt: skip
def test_simple_annotations_are_checked(annotation, value, fits):
    parameter = inspect.Parameter("n", inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
    if fits:
        entry_point.check_value(parameter, value)
    else:
        with pytest.raises(Refused) as refused:
            entry_point.check_value(parameter, value)
        assert refused.value.reason == "bad_parameters"


@pytest.mark.parametrize(
    ("function", "frames", "values", "reason", "sentence"),
    [
        (lambda: 0, ["one"], {}, "bad_entry_point", "1 dataset is connected, but azureml_main takes no parameters."),
        (lambda a: 0, ["one", "two"], {}, "bad_entry_point", "2 datasets are connected, but azureml_main takes 1 parameter."),
        (lambda a, b, c: 0, [], {}, "bad_entry_point", "azureml_main has 3 required parameters (a, b, c); there are at most two datasets."),
        (lambda a=1: 0, [], {"a": 1}, "bad_parameters", "to take it from the job, put it behind a star: `*, a`."),
        (lambda a=1, **more: 0, [], {"a": 1}, "bad_parameters", "The parameter 'a' stands where azureml_main gets its datasets"),
        (lambda a=1, *, n: 0, [], {}, "bad_parameters", "azureml_main needs the parameter 'n', which the job does not give."),
        (lambda *, n, m: 0, [], {}, "bad_parameters", "azureml_main needs the parameters 'n', 'm', which the job does not give."),
        (lambda a=1: 0, [], {"n": 1}, "bad_parameters", "takes no parameter called 'n'; to take it, put it behind a star: `*, n`."),
        (lambda *, limit=1: 0, [], {"limt": 1}, "bad_parameters", "takes no parameter called 'limt'; did you mean 'limit'?"),
        (lambda *, x=1, y=2: 0, [], {"speed": 1}, "bad_parameters", "takes no parameter called 'speed'; it takes x, y."),
    ],
)
def test_what_does_not_fit_is_refused_by_name(function, frames, values, reason, sentence):
    with pytest.raises(Refused) as refused:
        bound(function, frames, values)
    assert refused.value.reason == reason
    assert sentence in refused.value.message


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("5", '"5", a str'),
        (True, "true, a bool"),
        (None, "null"),
        ([1], "[1], a list"),
        ({"a": 1}, '{"a": 1}, a dict'),
        ("x" * 500, "xxx…, a str"),
    ],
)
def test_a_wrong_value_is_shown_as_the_job_gives_it(value, found):
    with pytest.raises(Refused) as refused:
        bound(functions.annotated, [], {"n": value})
    assert refused.value.message.startswith("The parameter 'n' must be an int; the job gives ")
    assert refused.value.message.endswith(f"{found}.")
    assert len(refused.value.message) < 150


def script_of(**names: object) -> ModuleType:
    module = ModuleType("script")
    vars(module).update(names)
    return module


class Callable:
    def __call__(self, df=None):
        return df


class AsyncCallable:
    async def __call__(self, df=None):
        return df


class functions:
    """Things that a script may bind to the name."""

    @staticmethod
    def annotated(df=None, *, n: int = 1):
        return n

    @staticmethod
    async def coroutine(df=None):
        return df

    @staticmethod
    async def generator(df=None):
        yield df


@pytest.mark.parametrize("value", [lambda df: df, print, Callable(), functools.partial(max, 1), [].append, functions.annotated])
def test_anything_that_can_be_called_is_an_entry_point(value):
    assert entry_point.find(script_of(azureml_main=value)) is value


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ({"azureml_main": Callable}, "azureml_main is a class; write a function"),
        ({"azureml_main": functions.coroutine}, "azureml_main is an async function; write `def`"),
        ({"azureml_main": functions.generator}, "azureml_main is an async function; write `def`"),
        ({"azureml_main": functools.partial(functions.coroutine, 1)}, "azureml_main is an async function; write `def`"),
        ({"azureml_main": AsyncCallable()}, "azureml_main is an async function; write `def`"),
        ({"azureml_main": 5}, "azureml_main is int, not a function."),
        ({"azureML_main": print}, "no function called azureml_main, but one called 'azureML_main': rename it."),
        ({"main": print}, "no function called azureml_main; write `def azureml_main(dataframe1=None, dataframe2=None):`."),
    ],
)
def test_what_is_no_entry_point_is_told_with_what_to_write(names, sentence):
    with pytest.raises(Refused) as refused:
        entry_point.find(script_of(**names))
    assert refused.value.reason == "bad_entry_point"
    assert sentence in refused.value.message


def test_a_script_that_waits_to_be_the_main_program_is_told_its_name(monkeypatch):
    lines = ['if __name__ == "__main__":\n', "    def azureml_main(df): ...\n"]
    monkeypatch.setitem(linecache.cache, places.JOB_SCRIPT, (1, None, lines, places.JOB_SCRIPT))
    with pytest.raises(Refused, match="`__name__` is 'script' here"):
        entry_point.find(script_of())
