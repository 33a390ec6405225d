"""Arguments: what the user wrote, as what the service takes. Whatever cannot work is refused before anything is sent."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cli.errors import BadInput
from fumehood.client.body import Upload
from fumehood.dataset import FORMATS, TABLE_FORMATS, format_of
from fumehood.limits import REQUESTABLE

_DATASET_ID = re.compile(r"ds_[0-9a-f]{32}")
_JOB_OUTPUT = re.compile(r"(job_[0-9a-f]{32}):(result|result2)")
_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE = re.compile(rf"(\d+(?:\.\d+)?)({'|'.join(_UNITS)})")


def parameters(pairs: Sequence[str]) -> dict[str, Any]:
    """`k=v`: a value that is JSON is that value, anything else the string it is."""
    return {name: _json_or_string(value) for name, value in _pairs("--param", pairs).items()}


def spoken_parameters(pairs: Sequence[str]) -> dict[str, str]:
    """`k=v` as they stand, for a script that says itself of what types its parameters are."""
    return _pairs("--param", pairs)


def labels(pairs: Sequence[str]) -> dict[str, str]:
    return _pairs("--label", pairs)


def limits(pairs: Sequence[str]) -> dict[str, float]:
    """`wall_seconds=60`, `memory_bytes=512MiB`. Whether the numbers are allowed is the service's to say."""
    found: dict[str, float] = {}
    for name, text in _pairs("--limit", pairs).items():
        if name not in REQUESTABLE:
            raise BadInput(f"--limit: there is no limit {name!r}; the limits are {', '.join(REQUESTABLE)}")
        found[name] = _number(name, text)
    return found


def _number(name: str, text: str) -> float:
    match = _SIZE.fullmatch(text)
    if match and name.endswith("_bytes"):
        return int(float(match[1]) * _UNITS[match[2]])
    value = _json_or_string(text)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        example = "a number, or one with KiB, MiB or GiB such as 512MiB" if name.endswith("_bytes") else "a number"
        raise BadInput(f"--limit: {name} is {text!r}; expected {example}")
    return value


def script(path: Path) -> Upload:
    return Upload(path=_readable("the script", path), media_type="text/x-python")


def table(option: str, text: str | None) -> Upload | str | dict[str, str] | None:
    """A file, the id of a stored dataset, or the output of another job; a file whose name looks like an id is `./ds_…`."""
    if text is None:
        return None
    if _DATASET_ID.fullmatch(text):
        return text
    if match := _JOB_OUTPUT.fullmatch(text):
        return {"job": match[1], "output": match[2]}
    return dataset_file(option, Path(text), TABLE_FORMATS)


def bundle(text: str | None) -> Upload | str | None:
    if text is None or _DATASET_ID.fullmatch(text):
        return text
    return dataset_file("--bundle", Path(text), ("zip",))


def dataset_file(option: str, path: Path, formats: Sequence[str] = tuple(FORMATS)) -> Upload:
    """A file to upload, whose ending says the format."""
    found = format_of(None, path.name)
    if found is None or found not in formats:
        if not path.exists():
            raise BadInput(f"{option}: there is no file {str(path)!r}")
        raise BadInput(f"{option}: {path.name!r} does not end in {_endings(formats)}, which say the format")
    return Upload(path=_readable(option, path), media_type=FORMATS[found][0][0])


def table_target(option: str, path: Path | None) -> str | None:
    """The media type that a result is asked for in, by the file's ending; looks that the file can be written."""
    if path is None:
        return None
    found = format_of(None, path.name)
    if found is None or found not in TABLE_FORMATS:
        raise BadInput(f"{option}: {path.name!r} does not end in {_endings(TABLE_FORMATS)}, which say the format to write")
    if path.is_dir():
        raise BadInput(f"{option}: {str(path)!r} is a directory; expected a file")
    if not path.parent.is_dir():
        raise BadInput(f"{option}: there is no directory {str(path.parent)!r}")
    return FORMATS[found][0][0]


def directory_target(option: str, path: Path | None) -> None:
    if path is not None and path.exists() and not path.is_dir():
        raise BadInput(f"{option}: {str(path)!r} is a file; expected a directory")


def _readable(option: str, path: Path) -> Path:
    if path.is_dir():
        raise BadInput(f"{option}: {str(path)!r} is a directory; expected a file")
    if not path.is_file():
        raise BadInput(f"{option}: there is no file {str(path)!r}")
    try:
        path.open("rb").close()
    except OSError as error:
        raise BadInput(f"{option}: {str(path)!r} cannot be read: {error.strerror}") from None
    return path


def _pairs(option: str, pairs: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise BadInput(f"{option}: found {pair!r}; expected name=value")
        if name in found:
            raise BadInput(f"{option}: {name!r} stands more than once")
        found[name] = value
    return found


def _json_or_string(text: str) -> Any:
    def finite(number: str) -> float:
        if not math.isfinite(value := float(number)):
            raise ValueError(f"{number} is no JSON, or beyond what a double holds")
        return value

    try:
        return json.loads(text, parse_constant=finite, parse_float=finite)
    except (ValueError, RecursionError):
        return text


def _endings(formats: Sequence[str]) -> str:
    return ", ".join(ending for name in formats for ending in FORMATS[name][1])
