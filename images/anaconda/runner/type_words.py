"""Types as text, and back: the words of dataset descriptions, which also name the columns that a table must have."""

import re

import pyarrow as pa

from .arrow_guard import children

UNITS = ("s", "ms", "us", "ns")
ZONED = re.compile(r"timestamp\[(s|ms|us|ns), tz=(.+)\]")
DECIMAL = re.compile(r"decimal(32|64|128|256)\(([0-9]{1,3}), (-?[0-9]{1,3})\)")
DEPTH = 16


def text_of(kind: pa.DataType) -> str:
    """A type as text, without physical width: `large_string` is `string`."""
    if pa.types.is_dictionary(kind):
        return f"dictionary<{text_of(kind.value_type)}{', ordered' if kind.ordered else ''}>"
    if pa.types.is_struct(kind):
        return "struct<" + ", ".join(f"{kind.field(index).name}: {text_of(kind.field(index).type)}" for index in range(kind.num_fields)) + ">"
    if children(kind) and not pa.types.is_map(kind):
        return f"list<{text_of(kind.value_type)}>"
    return str(kind).removeprefix("large_")


PLAIN = {text_of(kind): kind for kind in (
    pa.null(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
    pa.float16(), pa.float32(), pa.float64(), pa.large_string(), pa.large_binary(), pa.date32(), pa.date64(),
    pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"),
    *map(pa.timestamp, UNITS), *map(pa.duration, UNITS),
)}  # fmt: skip


def of_text(text: str, depth: int = 0) -> pa.DataType | None:
    """The type that a text names; None for what a text does not say enough of: an order of categories, a map, names with commas."""
    if text in PLAIN:
        return PLAIN[text]
    if depth == DEPTH:
        return None
    if zoned := ZONED.fullmatch(text):
        return pa.timestamp(zoned[1], zoned[2])
    if decimal := DECIMAL.fullmatch(text):
        try:
            return getattr(pa, f"decimal{decimal[1]}")(int(decimal[2]), int(decimal[3]))
        except (ValueError, AttributeError):
            return None
    outer, _, rest = text.partition("<")
    if outer not in NESTED or not rest.endswith(">"):
        return None
    found = NESTED[outer](rest[:-1], depth + 1)
    return found if found is not None and text_of(found) == text else None


def dictionary_of(text: str, depth: int) -> pa.DataType | None:
    value = of_text(text, depth)
    return None if value is None or pa.types.is_nested(value) else pa.dictionary(pa.int32(), value)


def list_of(text: str, depth: int) -> pa.DataType | None:
    value = of_text(text, depth)
    return None if value is None else pa.list_(value)


def struct_of(text: str, depth: int) -> pa.DataType | None:
    fields = []
    for part in parts_of(text):
        name, colon, kind = part.partition(": ")
        value = of_text(kind, depth)
        if not colon or value is None:
            return None
        fields.append((name, value))
    return pa.struct(fields)


def parts_of(text: str) -> list[str]:
    """What stands between commas, outside of brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "<[(") - (character in ">])")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.removeprefix(" ") for part in parts] if text else []


NESTED = {"dictionary": dictionary_of, "list": list_of, "struct": struct_of}
