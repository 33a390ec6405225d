"""Documents: JSON as the RFC means it, and nothing that Python adds to it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from fumehood.errors import Malformed

DEPTH_MAX = 32
VALUES_MAX = 100_000

# A string, whole or cut off by the end of the text, so that every quotation mark begins a match; or what a value may follow.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[{,]', re.DOTALL)


def parse_object(body: bytes) -> dict[str, Any]:
    """The one JSON object that `body` is.

    Raises:
        Malformed: not UTF-8 (a byte order mark included), not JSON, NaN or Infinity, a name that stands twice in one object, a
            number that no double holds, half a surrogate pair, nesting beyond 32, more than 100,000 values, or not an object.
    """
    if body.startswith(b"\xef\xbb\xbf"):
        raise Malformed("the JSON begins with a byte order mark; expected plain UTF-8")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"the JSON is not UTF-8: byte {error.start} does not fit") from None
    _check_tokens(text)
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_number, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise Malformed(f"the JSON is malformed at line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise Malformed(f"the JSON is nested too deeply; the limit is {DEPTH_MAX}") from None
    if not isinstance(value, dict):
        raise Malformed(f"the JSON is {kind_of(value)}; expected an object")
    _check_size(value)
    canonical(value)
    return value


def canonical(value: Any) -> bytes:
    """One spelling for equal documents: sorted names, no spaces, UTF-8. Raises Malformed on half a surrogate pair."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:
        raise Malformed("the JSON holds half a surrogate pair, which is no character") from None


def digest(value: Any) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()


def kind_of(value: Any) -> str:
    """What a JSON value is, in the words of JSON."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}" if len(str(value)) < 40 else "a long number"
        case str():
            return f"the string {value!r}" if len(value) <= 40 else f"a string of {len(value):,} characters"
        case list():
            return f"an array of {len(value):,}"
        case _:
            return "an object"


def presentable(value: Any) -> Any:
    """A copy of what the runner said that every JSON reader takes: no NaN, no infinity, no half surrogate pairs."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case str():
            return value.encode("utf-8", "replace").decode("utf-8")
        case list():
            return [presentable(entry) for entry in value]
        case dict():
            return {presentable(str(name)): presentable(entry) for name, entry in value.items()}
        case _:
            return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise Malformed(f"the name {name[:80]!r} stands twice in one object")
        made[name] = value
    return made


def _constant(name: str) -> NoReturn:
    raise Malformed(f"{name} is not JSON; expected a finite number")


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Malformed(f"the number {text[:40]} is beyond what a double holds")
    return value


def _integer(text: str) -> int:
    if len(text) > 300:
        raise Malformed(f"a number has {len(text):,} digits; the limit is 300")
    return int(text)


def _check_tokens(text: str) -> None:
    """Before anything is made of it: four megabytes of `[],` would become a hundred of lists. Counts an empty array or object twice,
    so what it lets through is counted again."""
    tokens = 0
    for match in _TOKEN.finditer(text):
        if text[match.start()] != '"':
            tokens += 1
            if tokens > 2 * VALUES_MAX:
                raise Malformed(f"the JSON has more than {VALUES_MAX:,} values")


def _check_size(value: Any) -> None:
    level, values, depth = [value], 0, 0
    while level:
        depth += 1
        values += len(level)
        if depth > DEPTH_MAX:
            raise Malformed(f"the JSON is nested too deeply; the limit is {DEPTH_MAX}")
        if values > VALUES_MAX:
            raise Malformed(f"the JSON has more than {VALUES_MAX:,} values")
        level = [inner for outer in level for inner in _inside(outer)]


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
