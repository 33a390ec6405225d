"""Parameters of a call, and of a job or a batch of a script: held against the types that its version records."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable
from itertools import islice
from typing import Any

from api import documents
from api.drafts import Draft
from fumehood.errors import BadRequest
from fumehood.limits import check_parameters_size
from fumehood.script import CALLS_SAY, Version, fits, is_required

_INTEGER = re.compile(r"-?[0-9]{1,300}")
_NUMBER = re.compile(r"-?(?:[0-9]{1,300}(?:\.[0-9]{0,300})?|\.[0-9]{1,300})(?:[eE][+-]?[0-9]{1,4})?")
_WORDS = {"true": True, "false": False, "null": None}
_EXPECTED = {"int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false"}
NAMES, NAME_CHARACTERS = 10, 80


def from_query(version: Version, given: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The values of parameters that stand as text in an address, without what it says of the call itself.

    Raises:
        BadRequest: names each that there is none of, that stands twice, that is of another type, or that is missing.
    """
    values: dict[str, Any] = {}
    seen: set[str] = set()
    draft = Draft()
    for name, text in given:
        if draft.is_full:
            break
        at = f"/query/{name[:NAME_CHARACTERS]}"
        if name in seen:
            draft.fault(at, "stands more than once")
        elif name in CALLS_SAY:
            pass
        elif (unknown := _unknown(version, name)) is not None:
            draft.fault(at, unknown)
        else:
            kind = _kind(version, name)
            values[name] = _read(kind, text)
            if not fits(kind, values[name]):
                draft.fault(at, f"is {documents.kind_of(text)}; expected {_EXPECTED[kind or 'str']}")
        seen.add(name)
    for name, text in missing(version, seen).items():
        draft.fault(f"/query/{name[:NAME_CHARACTERS]}", text)
    if not draft.faults and (too_many := check_parameters_size(values)) is not None:
        draft.fault("/query", too_many.detail)
    if draft.faults:
        raise BadRequest("a parameter of the request cannot be used", errors=tuple(dict.fromkeys(draft.faults)))
    return values


def from_texts(version: Version, given: dict[str, Any]) -> dict[str, Any]:
    """The values of a client that may write each as a text. null, and a text without a character for what is no text, are left out. What
    is of another type stays as it is, for `check_typed` to be named."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        kind = _kind(version, name)
        if value is None or (value == "" and kind not in (None, "str")):
            continue
        text = value.lower() if kind == "bool" and isinstance(value, str) else value
        values[name] = _read(kind, text) if isinstance(text, str) and kind is not None else value
    return values


def check_typed(draft: Draft, version: Version, parameters: dict[str, Any], *, at: str = "") -> None:
    """The same of those that stand in a document. There may be a hundred thousand."""
    for name, value in parameters.items():
        if draft.is_full:
            return
        kind = _kind(version, name)
        if (unknown := _unknown(version, name)) is not None:
            draft.fault(f"{at}/parameters/{name[:NAME_CHARACTERS]}", unknown)
        elif not fits(kind, value):
            draft.fault(f"{at}/parameters/{name[:NAME_CHARACTERS]}", f"is {documents.kind_of(value)}; expected {_EXPECTED[kind or 'str']}")


def missing(version: Version, given: Container[str]) -> dict[str, str]:
    """What is to be said of each parameter that has to be given, and is not."""
    return {
        name: f"is missing; expected {_EXPECTED.get(_kind(version, name) or '', 'a value')}"
        for name, said in (version.parameters or {}).items()
        if is_required(said) and name not in given
    }


def check_given(draft: Draft, missing: dict[str, str], *, at: str = "") -> None:
    """Of a document."""
    for name, text in missing.items():
        draft.fault(f"{at}/parameters/{name[:NAME_CHARACTERS]}", text)


def _kind(version: Version, name: str) -> str | None:
    kind = (version.parameters or {}).get(name, {}).get("type")
    return kind if isinstance(kind, str) else None


def _unknown(version: Version, name: str) -> str | None:
    """What is wrong with a name. Where nobody knows what the script takes, any may be right."""
    if version.parameters is None or name in version.parameters:
        return None
    shown = [one[:NAME_CHARACTERS] for one in islice(version.parameters, NAMES)]
    more = " and others" if len(version.parameters) > NAMES else ""
    known = f"the parameters are {', '.join(shown)}{more}" if shown else "the script takes none"
    return f"there is no parameter {name[:NAME_CHARACTERS]!r}; {known}"


def _read(kind: str | None, text: str) -> Any:
    """The value that a text is; the text itself where it is none of this type."""
    if kind == "str":
        return text
    if kind in (None, "bool") and text in _WORDS:
        return _WORDS[text]
    if kind != "bool" and _INTEGER.fullmatch(text):
        return int(text)
    if kind in (None, "float") and _NUMBER.fullmatch(text) and math.isfinite(value := float(text)):
        return value
    return text
