"""The options that say what is to be run, once for every command that takes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fumehood.client.body import Upload
    from fumehood.client.words import Document

_TABLE_HELP = "A file (.csv, .parquet, .arrow, .json, .ndjson), a dataset's id (ds_…) or a job's output (job_…:result)."

Script = Annotated[Path, typer.Argument(metavar="SCRIPT", help="Python source that defines azureml_main.")]
Bundle = Annotated[str | None, typer.Option(metavar="ZIP", help="A zip of modules and files, or its dataset id.")]
LimitPairs = Annotated[list[str] | None, typer.Option(metavar="NAME=NUMBER", help="Such as wall_seconds=60 or memory_bytes=1GiB.")]
OPTIONS: dict[str, Any] = {
    "dataset1": Annotated[str | None, typer.Option(metavar="TABLE", help=_TABLE_HELP)],
    "dataset2": Annotated[str | None, typer.Option(metavar="TABLE", help="The same for the second table.")],
    "bundle": Bundle,
    "param": Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Keyword parameter; a value that is JSON is taken as JSON.")
    ],
    "limit": LimitPairs,
    "label": Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Label of the job; `ps --label` finds it.")],
    "callback_url": Annotated[str | None, typer.Option(metavar="URL", help="Address that is told of the end by a signed POST.")],
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is sent."""

    script: Upload
    inputs: Mapping[str, Upload | str | Document]
    document: Document


def with_request(*, script: Any = Script, leave_out: Sequence[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command that takes `request` (None without a script) the argument `script` and OPTIONS instead of it."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [each for name, each in inspect.signature(command, eval_str=True).parameters.items() if name != "request"]
        default = None if script is not Script else inspect.Parameter.empty
        added = [inspect.Parameter("script", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=script, default=default)]
        added += [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation, default=None)
            for name, annotation in OPTIONS.items()
            if name not in leave_out
        ]

        @wraps(command)
        def called(**given: Any) -> None:
            values = {name: given.pop(name, None) for name in ("script", *OPTIONS)}
            command(request=request_of(**values) if values["script"] is not None else None, **given)

        parameters = sorted([*added, *own], key=lambda each: each.default is not inspect.Parameter.empty)
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {each.name: each.annotation for each in parameters}
        return called

    return decorate


def request_of(
    script: Path,
    dataset1: str | None = None,
    dataset2: str | None = None,
    bundle: str | None = None,
    param: Sequence[str] | None = None,
    limit: Sequence[str] | None = None,
    label: Sequence[str] | None = None,
    callback_url: str | None = None,
) -> Request:
    """Raises BadInput for whatever cannot work."""
    from cli import arguments

    ports = {
        "dataset1": arguments.table("--dataset1", dataset1),
        "dataset2": arguments.table("--dataset2", dataset2),
        "bundle": arguments.bundle(bundle),
    }
    document = {
        "parameters": arguments.parameters(param or ()),
        "limits": arguments.limits(limit or ()),
        "labels": arguments.labels(label or ()),
        "callback_url": callback_url,
    }
    inputs = {port: value for port, value in ports.items() if value is not None}
    return Request(script=arguments.script(script), inputs=inputs, document={name: value for name, value in document.items() if value})
