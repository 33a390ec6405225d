"""Commands on what is stored, and on the configuration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import terminal
from cli.job_commands import AsJson, connect, print_json

datasets_app = typer.Typer(help="Stored tables and bundles.", rich_markup_mode=None, invoke_without_command=True)
Ids = Annotated[list[str], typer.Argument(metavar="DATASET...", help="Ids, ds_….")]
config_app = typer.Typer(help="Where the service is, and with which key.", rich_markup_mode=None, invoke_without_command=True)


@datasets_app.callback()
def datasets(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_datasets()


@datasets_app.command("list")
def list_datasets(as_json: AsJson = False) -> None:
    """List the stored datasets, newest first."""
    from cli import report

    with connect() as client:
        found = list(client.listing("/v1/datasets"))
    if as_json:
        return print_json(found)
    rows = [
        (
            one["id"],
            one["name"],
            one["format"],
            terminal.size(one["bytes"]),
            f"{one['rows']:,}",
            len(one["columns"]),
            report.when(one["created_at"]),
            kept_until(one),
        )
        for one in found
    ]
    terminal.columns(("DATASET", "NAME", "FORMAT", "SIZE", "ROWS", "COLUMNS", "CREATED", "KEPT UNTIL"), rows)


@datasets_app.command("upload")
def upload_dataset(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A table or a zip; its ending says the format.")],
    name: Annotated[str, typer.Option(help="Name to keep it under; the file's own where none is given.")] = "",
    as_json: AsJson = False,
) -> None:
    """Store a file and print its id."""
    from dataclasses import replace

    from cli import arguments, running

    upload = replace(arguments.dataset_file("FILE", file), name=name)
    with connect() as client, running.upload_progress([upload], quiet=False) as on_bytes:
        record = client.upload_dataset(upload, on_bytes=on_bytes)
    if as_json:
        return print_json(record)
    terminal.say(f"{record['format']}, {record['rows']:,} rows, {len(record['columns'])} columns, {terminal.size(record['bytes'])}")
    print(terminal.one_line(record["id"]))


@datasets_app.command("show")
def show_dataset(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Its id, ds_….")],
    as_json: Annotated[bool, typer.Option("--json", help="Print record and profile as one JSON document.")] = False,
) -> None:
    """Show a dataset's record, what its columns hold, and its first rows."""
    from cli import report
    from fumehood.client.words import quoted

    address = f"/v1/datasets/{quoted(dataset)}"
    with connect() as client:
        record = client.document(address)
        profile = client.document(f"{address}/preview") if record["format"] != "zip" else None
    if as_json:
        return print_json({"dataset": record, "profile": profile})
    for name in ("id", "name", "format"):
        print(report.labelled(name, terminal.one_line(record[name])))
    print(report.labelled("size", terminal.size(record["bytes"])))
    print(report.labelled("created", report.when(record["created_at"])))
    print(report.labelled("kept until", kept_until(record)))
    if profile is None:
        return print(report.labelled("entries", f"{record['rows']:,}"))
    from cli.profile_view import show_profile

    show_profile(profile)


@datasets_app.command("pin")
def pin_dataset(ids: Ids) -> None:
    """Keep datasets until they are deleted, whatever the lifetime of datasets is."""
    _pin(ids, pinned=True)


@datasets_app.command("unpin")
def unpin_dataset(ids: Ids) -> None:
    """Let datasets go when nothing has used them for as long as datasets are kept."""
    _pin(ids, pinned=False)


def _pin(ids: list[str], *, pinned: bool) -> None:
    with connect() as client:
        for dataset_id in ids:
            terminal.say(f"{dataset_id} is kept until {kept_until(client.pin_dataset(dataset_id, pinned=pinned))}")


def kept_until(record: dict[str, Any]) -> str:
    from cli import report

    if record.get("pinned"):
        return "deleted (pinned)"
    return report.when(record["expires_at"]) if record.get("expires_at") else "deleted"


@datasets_app.command("rm")
def remove_dataset(ids: Ids) -> None:
    """Forget datasets."""
    with connect() as client:
        for dataset_id in ids:
            client.delete_dataset(dataset_id)
            terminal.say(f"{dataset_id} is forgotten")


@config_app.callback()
def show_config(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        from cli import config

        found = config.read()
        print(f"address {terminal.one_line(found.url)}  (from {found.url_from})")
        print(f"key     {config.shown_key(found.key)}  (from {found.key_from or 'nowhere'})")
        print(f"file    {config.config_path()}")


@config_app.command("write")
def write_config(
    url: Annotated[str, typer.Option(help="Address of the service, such as http://127.0.0.1:8765.")],
    key_file: Annotated[Path, typer.Option(help="File that holds the key; `-` reads stdin. Never an argument: others can read those.")],
) -> None:
    """Write the configuration file, readable by you alone."""
    from cli import config
    from fumehood.client.surface import Surface

    Surface(url, None).close()  # refuses an address that cannot be one
    key = sys.stdin.readline(4096) if str(key_file) == "-" else _first_line(key_file)
    terminal.say(f"wrote {config.write(url, key)}")


def _first_line(path: Path) -> str:
    with path.open(encoding="ascii", errors="replace") as file:
        return file.readline(4096)
