"""Calls of a published script: what is sent with one, and what comes back, as Python has it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fumehood.client import wire
from fumehood.client.answers import Answered
from fumehood.client.body import Body, OnBytes, Upload
from fumehood.client.errors import Broken, NotSendable
from fumehood.client.inputs import need, table_input
from fumehood.client.script import check_call
from fumehood.client.staging import plain
from fumehood.client.tables import frame_of, read_table
from fumehood.client.words import Document, quoted

if TYPE_CHECKING:
    import pandas as pd

ANSWER_BYTES_MAX = 16 * 2**30
"""More than any result; a version bounds its own."""
ENDED = ("script-failed", "score-cancelled")
"""The problems that say how a call's job ended."""
RESERVED = ("version", "alias")
"""In an address they say which version is meant."""
_INSTEAD = "submit() sends parameters as JSON"
_NUMBER = re.compile(r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """What a call was answered."""

    job: str
    """The job that it was."""
    version: str
    """The version that ran, as `name/number`."""
    data: bytearray
    """The result; empty where it has no columns."""


def call_of(
    script: str, table: Upload | None, query: Mapping[str, str], *, accept: str, on_bytes: OnBytes = lambda _: None
) -> wire.Request:
    """The request that calls a script, to be answered in the media type `accept`. `query` says the version and the parameters. It may
    be repeated: a call that nobody waits for any more is given up by the service."""
    return wire.Request(
        method="POST",
        path=f"/v1/scripts/{quoted(script)}/score",
        query=query,
        headers={"Accept": accept} | ({"Content-Type": table.media_type} if table is not None else {}),
        body=Body([table.path] if table is not None else [], on_bytes),
    )


def scored(answer: Answered) -> Scored:
    """Raises Broken where it is the answer of something else."""
    if "fumehood-job" not in answer.headers:
        raise Broken(200, {"detail": "the answer does not say of which job it is; is this the address of a Fumehood?"})
    return Scored(job=answer.headers["fumehood-job"], version=answer.headers.get("fumehood-script", ""), data=answer.data)


def table_of(value: Any, place: Path) -> Upload | None:
    """The table of a call as a file that can be sent; None where there is none. Writes into the directory `place`.

    Raises:
        NotSendable: it is no table, or one that the service has.
    """
    if value is None:
        return None
    sent = table_input("df1", value, place)
    if not isinstance(sent, Upload):
        raise NotSendable(f"df1 is stored at the service already ({sent}), and a call sends its table; submit() takes stored ones")
    return sent


def in_query(record: Document, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as the text that an address holds. `record`: of the version, whose types say how the service reads it.

    Raises:
        NotSendable: what the service would read is something else than what was given.
    """
    check_call(None, parameters, 0)
    known = record.get("parameters")
    kinds = {one["name"]: one["type"] for one in known or ()}
    return {name: _text(name, value, kinds.get(name), known is None or name in kinds) for name, value in plain(parameters).items()}


def _text(name: str, value: Any, kind: str | None, known: bool) -> str:
    if name in RESERVED:
        raise NotSendable(f"a call cannot have a parameter {name!r}: in its address it would say which version is meant; {_INSTEAD}")
    if isinstance(value, list | dict):
        raise NotSendable(f"the parameter {name!r} is a {type(value).__name__}, and a call has numbers, texts, true and false; {_INSTEAD}")
    text = value if isinstance(value, str) else json.dumps(value)
    # An unknown name is for the service to refuse: it knows all the others.
    if known and (_reads_otherwise(text, kind) if isinstance(value, str) else kind == "str"):
        found = "None" if value is None else f"the {type(value).__name__} {value!r}"
        expected = f"which is not of its type, {kind}" if kind else "which the service would take for a number or a word of JSON"
        raise NotSendable(f"the parameter {name!r} is {found}, {expected}; {_INSTEAD}")
    return text


def _reads_otherwise(text: str, kind: str | None) -> bool:
    """Whether the service makes another value of a text."""
    return kind != "str" and (text in ("true", "false", "null") or _NUMBER.fullmatch(text) is not None)


def framed(answer: Scored) -> pd.DataFrame:
    """The frame of an answer; says where it came from."""
    table = read_table(answer.data) if answer.data else need("pyarrow", "tables come as Arrow").table({})
    frame = frame_of(table)
    frame.attrs = {"job": answer.job, "version": answer.version}
    return frame
