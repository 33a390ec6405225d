"""Commands on batches: one script over many tables."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import terminal
from cli.errors import BadInput, ExitCode
from cli.job_commands import AsJson, connect, print_json
from cli.request_options import Request, with_request
from fumehood.dataset import TABLE_FORMATS

if TYPE_CHECKING:
    from fumehood.client.surface import Surface
    from fumehood.client.words import Document

batch_app = typer.Typer(help="One script over many tables.", rich_markup_mode=None, no_args_is_help=True)

BatchId = Annotated[str, typer.Argument(metavar="BATCH", help="Id of a batch, bat_….")]
Tables = Annotated[list[Path], typer.Argument(metavar="TABLE...", help="Files (.csv, .parquet, .arrow, .json, .ndjson), one each.")]


class Isolation(StrEnum):
    ITEM = "item"
    BATCH = "batch"


class OnFailure(StrEnum):
    CONTINUE = "continue"
    STOP = "stop"


@batch_app.command("submit")
@with_request(leave_out=["dataset1"])
def submit(
    request: Request,
    tables: Tables,
    isolation: Annotated[
        Isolation, typer.Option(help="item: a sandbox for each table; batch: many tables follow each other in one.")
    ] = Isolation.ITEM,
    on_failure: Annotated[
        OnFailure, typer.Option(help="stop: the first table that fails cancels those that have not begun.")
    ] = OnFailure.CONTINUE,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end, and show how far it is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Queue a script over many tables and print the batch's id.

    With --wait the exit code is 1 where an item failed. Ctrl-C while waiting leaves the batch running.
    """
    from dataclasses import replace

    from cli import arguments, running
    from fumehood.client.body import Upload

    items = [replace(arguments.dataset_file("TABLE", table, TABLE_FORMATS), name=table.name) for table in tables]
    document = {**request.document, "isolation": isolation.value, "on_failure": on_failure.value}
    files = [request.script, *items, *(value for value in request.inputs.values() if isinstance(value, Upload))]
    with connect() as client:
        with running.upload_progress(files, quiet=as_json) as on_bytes:
            record = client.submit_batch(request.script, request.inputs, document, items=items, on_bytes=on_bytes)
        if wait:
            if not as_json:
                terminal.say(f"{record['id']} {_told(record)}")
            record = _wait(client, record)
    print_json(record) if as_json else print(terminal.one_line(_told(record) if wait else record["id"]))
    if wait and record["counts"]["succeeded"] < record["items"]:
        raise typer.Exit(ExitCode.FAILED)


@batch_app.command("status")
def status(batch: BatchId, as_json: AsJson = False) -> None:
    """Show how many items are in each state."""
    with connect() as client:
        record = client.batch(batch)
    if as_json:
        return print_json(record)
    told = {"batch": record["id"], "items": record["items"], "isolation": record["isolation"], "states": _told(record)}
    if record["stopped_by"] is not None:
        told |= {"stopped": f"item {record['stopped_by']} failed"}
    told |= {"created": record["created_at"], "finished": record["finished_at"] or "not yet"}
    for name, text in told.items():
        print(f"{name:<10} {terminal.one_line(text)}")


@batch_app.command("items")
def items(
    batch: BatchId,
    state: Annotated[str | None, typer.Option(help="queued, running, succeeded, failed or cancelled.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, by number.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List the items of a batch."""
    from itertools import islice

    with connect() as client:
        found = list(islice(client.listing(_path(batch, "items"), state=state, limit=str(min(limit, 200))), limit))
    if as_json:
        return print_json(found)
    rows = [
        (one["number"], one["name"], one["reason"] or one["state"], "" if one["rows"] is None else one["rows"], one["message"])
        for one in found
    ]
    terminal.columns(("ITEM", "NAME", "STATE", "ROWS", "MESSAGE"), rows)


@batch_app.command("cancel")
def cancel(batch: BatchId) -> None:
    """Cancel what has not ended."""
    with connect() as client:
        print(_told(client.cancel_batch(batch)))


@batch_app.command("retry")
def retry(
    batch: BatchId,
    item: Annotated[
        int | None, typer.Argument(metavar="[ITEM]", min=0, help="Number of an item; else all that failed or were cancelled.")
    ] = None,
) -> None:
    """Run what failed or was cancelled again."""
    with connect() as client:
        client.post(_path(batch, "retry" if item is None else f"items/{item}/retry"))
        print(_told(client.batch(batch)))


@batch_app.command("result")
def result(
    batch: BatchId,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to save; its ending says the format.")],
    partial: Annotated[bool, typer.Option("--partial", help="Take what has succeeded so far.")] = False,
) -> None:
    """Save the results of all items that succeeded as one table, with the item's number and name in front."""
    from cli import arguments, downloads

    accept = arguments.table_target("--output", output)
    assert accept is not None
    with connect() as client:
        downloads.save(client, _path(batch, "result"), output, accept=accept, partial="true" if partial else None)
    terminal.say(f"saved {terminal.one_line(output)}")


@batch_app.command("results")
def results(
    batch: BatchId,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to save them.")],
    format: Annotated[str, typer.Option(help="arrow, arrow-stream, parquet, csv, json or ndjson.")] = "arrow",
) -> None:
    """Save the result of every item that succeeded, as NUMBER-NAME with the format's ending."""
    from cli import arguments, downloads
    from fumehood.dataset import FORMATS

    if format not in TABLE_FORMATS:
        raise BadInput(f"--format is {format!r}; expected one of {', '.join(TABLE_FORMATS)}")
    arguments.directory_target("DIR", directory)
    directory.mkdir(parents=True, exist_ok=True)
    media_types, endings = FORMATS[format]
    with connect() as client:
        count = 0
        for item in client.listing(_path(batch, "items"), state="succeeded", limit="200"):
            number = int(item["number"])
            stem = Path(downloads.safe_name(str(item["name"]) or "item")).stem
            target = directory / f"{number:05}-{stem}{endings[0]}"
            downloads.save(client, _path(batch, f"items/{number}/result"), target, accept=media_types[0])
            count += 1
    terminal.say(f"saved {count:,} tables in {terminal.one_line(directory)}")


def _wait(client: Surface, record: Document) -> Document:
    """A bar on a terminal; elsewhere a line whenever the counts have changed."""
    screen = terminal.console(sys.stderr)
    if not screen.is_terminal or screen.is_dumb_terminal:
        said = _told(record)
        for latest in _records(client, record):
            record = latest
            if _told(record) != said:
                said = _told(record)
                terminal.say(said)
        return record
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    text = TextColumn("{task.description}", markup=False)
    with Progress(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), text, console=screen, transient=True) as progress:
        bar = progress.add_task("", total=record["items"])
        for latest in _records(client, record):
            record = latest
            counts = record["counts"]
            ended = counts["succeeded"] + counts["failed"] + counts["cancelled"]
            progress.update(bar, completed=ended, description=f"{counts['failed']} failed" if counts["failed"] else "")
    return record


def _records(client: Surface, record: Document) -> Iterator[Document]:
    """The batch's record whenever its counts have changed, to that of its end."""
    from fumehood.client.following import batch_progress
    from fumehood.client.watching import Patience
    from fumehood.client.wire import each_now

    return each_now(batch_progress(client.later, record, Patience(None, record["id"])))


def _told(record: Document) -> str:
    """Such as `3 succeeded, 1 failed`."""
    counts: dict[str, Any] = record["counts"]
    return ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)


def _path(batch: str, rest: str) -> str:
    from fumehood.client.words import quoted

    return f"/v1/batches/{quoted(batch)}/{rest}"
