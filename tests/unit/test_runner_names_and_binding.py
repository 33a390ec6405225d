"""Pure parts of the runner: column names (rule 13), binding (rules 3–5), return values (rule 11). No container."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.loading import runner

names = runner("names")
entry_point = runner("entry_point")
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
    ("function", "frames", "values", "reason"),
    [
        (lambda: 0, ["one"], {}, "bad_entry_point"),
        (lambda a: 0, ["one", "two"], {}, "bad_entry_point"),
        (lambda a, b, c: 0, [], {}, "bad_entry_point"),
        (lambda a=1: 0, [], {"a": 1}, "bad_parameters"),
        (lambda a=1, *, n: 0, [], {}, "bad_parameters"),
        (lambda a=1, **more: 0, [], {"a": 1}, "bad_parameters"),
    ],
)
def test_what_does_not_fit_is_refused(function, frames, values, reason):
    with pytest.raises(Refused) as refused:
        bound(function, frames, values)
    assert refused.value.reason == reason
