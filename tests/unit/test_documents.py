"""Documents: what one may cost is bounded before anything is made of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api import documents
from api.documents import VALUES_MAX, parse_object
from fumehood.errors import Malformed


def parsed_nothing(*_: Any, **__: Any) -> Any:
    raise AssertionError("it was parsed")


@pytest.mark.parametrize("unit", [b"[]", b"{}", b"0", b'""'])
def test_too_many_values_are_refused_before_they_are_made(unit: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"a":[' + b",".join([unit] * 3 * VALUES_MAX) + b"]}"
    monkeypatch.setattr(documents.json, "loads", parsed_nothing)
    with pytest.raises(Malformed, match=r"more than 100,000 values"):
        parse_object(body)


def test_what_looks_like_values_inside_of_a_text_is_none() -> None:
    text = '[{,"\\' * VALUES_MAX
    assert parse_object(json.dumps({"script": text, text: "x"}).encode()) == {"script": text, text: "x"}


@pytest.mark.parametrize("rest", [b'"', b'"\\', b'"\\"', b'"a\\\\\\"'])
def test_a_text_that_never_ends_is_malformed(rest: bytes) -> None:
    with pytest.raises(Malformed, match="line 1"):
        parse_object(b'{"a":' + rest)


def test_as_many_values_as_there_may_be() -> None:
    assert len(parse_object(json.dumps({"a": [0] * (VALUES_MAX - 2)}).encode())["a"]) == VALUES_MAX - 2
    with pytest.raises(Malformed, match="values"):
        parse_object(json.dumps({"a": [0] * (VALUES_MAX - 1)}).encode())
