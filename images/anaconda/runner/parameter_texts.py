"""Parameters that came as texts: read by the type that the entry point, or who published the script, says."""

import inspect
import json
import re

from . import entry_point
from .failure import cut
from .refused import Refused

INTEGER = re.compile(r"\s*[+-]?[0-9]{1,300}\s*")
NUMBER = re.compile(r"\s*[+-]?([0-9]{1,300}(\.[0-9]{0,300})?|\.[0-9]{1,300})([eE][+-]?[0-9]{1,3})?\s*")
TRUTH = {"true": True, "false": False}
KINDS = {kind.__name__: kind for kind in entry_point.SIMPLE}
WORDS = {int: "a whole number", float: "a number", bool: "true or false"}


def read(function, texts: dict, given: dict, types: dict) -> dict:
    """The job's parameters: `given`, and over them `texts`, whose texts become what their parameter is.

    A type is the annotation's, else the default's, else what `types` (of its publisher, by name) says, else that of the value that is
    given (beside an integer a fraction is fine, too). Where there is none a text stays one. null, and a text without a character for what is
    no text, say nothing: it is as if the name were not there.

    Raises:
        Refused: `bad_parameters`: a text is nothing of the kind.
    """
    known = entry_point.keywords_of(entry_point.signature(function) or [])
    values = dict(given)
    for name, value in texts.items():
        kind = kind_of(known.get(name)) or KINDS.get(types.get(name))
        if kind is None and type(given.get(name)) in entry_point.SIMPLE:
            # What a publisher calls a number may have a whole one as its default.
            kind = float if type(given[name]) is int and not INTEGER.fullmatch(str(value)) else type(given[name])
        if value is None or (value == "" and kind in WORDS):
            continue
        values[name] = of_text(name, value, kind) if isinstance(value, str) and kind in WORDS else value
    return values


def kind_of(parameter: inspect.Parameter | None) -> type | None:
    if parameter is None:
        return None
    return entry_point.simple_of(parameter) or next((kind for kind in entry_point.SIMPLE if type(parameter.default) is kind), None)


def of_text(name: str, text: str, kind: type) -> object:
    if kind is int and INTEGER.fullmatch(text):
        return int(text)
    if kind is float and NUMBER.fullmatch(text):
        return float(text)
    if kind is bool and text.strip().lower() in TRUTH:
        return TRUTH[text.strip().lower()]
    what = f"The parameter {cut(name, 100)!r} must be {entry_point.JSON_NAMES[kind]}"
    raise Refused("bad_parameters", f"{what}; the text {cut(json.dumps(text), 60)} is not {WORDS[kind]}.")
