"""Limits: finite, with a floor and a ceiling, and refusals that name every field."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fumehood.errors import BadRequest
from fumehood.limits import CEILING, FLOOR, KIB, MIB, REQUESTABLE, Limits, requested

NAMES = [field.name for field in fields(Limits)]


def asked(values: dict[str, Any]) -> Limits:
    return requested(values, default=Limits(), ceiling=CEILING)


def refused(values: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(BadRequest) as caught:
        asked(values)
    return {error.pointer: error.detail for error in caught.value.errors}


def test_nothing_asked_for_is_the_default() -> None:
    assert asked({}) == Limits()


@pytest.mark.parametrize("name", REQUESTABLE)
def test_every_limit_can_be_had_up_to_its_ceiling_and_no_further(name: str) -> None:
    ceiling = getattr(CEILING, name)
    room = {"memory_bytes": CEILING.memory_bytes} if name == "disk_bytes" else {}
    assert getattr(asked(room | {name: ceiling}), name) == ceiling
    detail = refused({name: ceiling + 1})[f"/limits/{name}"]
    assert f"{ceiling:,}" in detail
    assert f"{ceiling + 1:,}" in detail


@pytest.mark.parametrize("name", REQUESTABLE)
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, -math.inf, True, False, "1", None, [], {}, 10**400])
def test_what_is_no_positive_finite_number_is_refused(name: str, value: Any) -> None:
    assert list(refused({name: value})) == [f"/limits/{name}"]


@pytest.mark.parametrize("name", [name for name in REQUESTABLE if FLOOR[name] > 0])
def test_zero_is_never_a_limit(name: str) -> None:
    assert list(refused({name: 0})) == [f"/limits/{name}"]


def test_counts_are_whole() -> None:
    assert list(refused({"processes": 20.5})) == ["/limits/processes"]
    assert asked({"processes": 20.0}).processes == 20


def test_every_bad_field_is_named_at_once() -> None:
    assert list(refused({"wall_seconds": 0, "memory": 1, "bundle_entries": 5, "cpus": "two"})) == [
        "/limits/wall_seconds",
        "/limits/memory",
        "/limits/bundle_entries",
        "/limits/cpus",
    ]


def test_a_refusal_does_not_repeat_a_long_value() -> None:
    assert len(refused({"cpus": "x" * 10_000})["/limits/cpus"]) < 300


def test_less_memory_alone_brings_the_disk_down_with_it() -> None:
    small = asked({"memory_bytes": 256 * MIB})
    assert (small.memory_bytes, small.disk_bytes) == (256 * MIB, 128 * MIB)


def test_a_disk_that_memory_cannot_hold_is_refused() -> None:
    assert list(refused({"memory_bytes": 256 * MIB, "disk_bytes": 256 * MIB})) == ["/limits/disk_bytes"]


@pytest.mark.parametrize("name", NAMES)
def test_limits_cannot_be_built_below_the_floor(name: str) -> None:
    below: Any = FLOOR[name] - 0.01 if isinstance(getattr(Limits(), name), float) else int(FLOOR[name]) - 1
    with pytest.raises(BadRequest):
        replace(Limits(), **{name: below})


def test_an_attempt_reserves_five_files() -> None:
    assert Limits(output_bytes=64 * KIB, disk_bytes=2 * MIB).reserved_bytes == 5 * 2 * MIB
    assert Limits(output_bytes=3 * MIB, disk_bytes=2 * MIB).reserved_bytes == 5 * 3 * MIB


def test_limits_come_back_from_their_document() -> None:
    limits = Limits(wall_seconds=7.5, cpus=0.5)
    assert Limits.from_dict(limits.as_dict()) == limits


@given(st.dictionaries(st.sampled_from(REQUESTABLE), st.one_of(st.floats(), st.integers(), st.none(), st.text(max_size=5), st.booleans())))
def test_whatever_is_asked_the_answer_is_within_the_ceiling_or_a_refusal(values: dict[str, Any]) -> None:
    try:
        limits = asked(values)
    except BadRequest:
        return
    assert all(FLOOR[name] <= getattr(limits, name) <= getattr(CEILING, name) for name in REQUESTABLE)
    assert limits.disk_bytes < limits.memory_bytes
