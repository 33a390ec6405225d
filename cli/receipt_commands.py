"""Commands on erasure receipts: show one, check one, keep the keys that they are checked with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import terminal
from cli.errors import BadInput
from cli.job_commands import AsJson, JobId, connect, print_json

receipt_app = typer.Typer(help="Signed receipts that what ran is gone.", rich_markup_mode=None, no_args_is_help=True)

BYTES_MAX = 1 << 20


@receipt_app.command("show")
def show_receipt(job: JobId) -> None:
    """Print a job's receipt as one JSON document; the file can be checked for ever after: fumehood receipt verify FILE."""
    with connect() as client:
        print_json(_receipt(client.job(job), job))


@receipt_app.command("verify")
def verify_receipt(
    what: Annotated[
        str, typer.Argument(metavar="FILE|JOB", help="A file that `receipt show` or `admin tenant receipt` wrote, or the id of a job.")
    ],
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Trust only the keys in this file, one a line; else those the service names.")
    ] = None,
) -> None:
    """Check a receipt's signature. With a file and `--key` nobody is asked.

    Exit codes: 0 it is what was signed, 2 it is not, or cannot be checked.
    """
    from cli.report import tenant_receipt
    from fumehood.receipt import TENANT_VERSION, verify

    file = Path(what)
    if file.is_file():
        found = _from_text(_read(file), what)
    else:
        with connect() as client:
            record = client.job(what)
        found = _receipt(record, what)
        _expect_of(found, record, what)
    verify(found, _keys_of(key) if key else _published())
    terminal.say(f"signed by {found['key']}")
    print(tenant_receipt(found) if found["version"] == TENANT_VERSION else _receipt_line(found))


@receipt_app.command("keys")
def list_keys(as_json: AsJson = False) -> None:
    """Print the public keys that the service signs with, one a line: a file for `receipt verify --key`."""
    with connect() as client:
        found = list(client.listing("/v1/receipts/keys"))
    if as_json:
        return print_json(found)
    for one in found:
        print(terminal.one_line(one["public"]))


def _receipt(record: dict[str, Any], job: str) -> dict[str, Any]:
    found = record.get("erasure")
    if not isinstance(found, dict):
        raise BadInput(f"{job} has no receipt yet: it is {terminal.one_line(record.get('state'))}")
    return found


def _receipt_line(found: dict[str, Any]) -> str:
    from cli.report import receipt

    of = ", ".join([terminal.one_line(found["job"]), *(f"{name} {terminal.one_line(found.get(name))}" for name in ("attempt", "fence"))])
    return f"{of}: {receipt({'erasure': found})}"


def _expect_of(receipt: dict[str, Any], record: dict[str, Any], job: str) -> None:
    """Raises BadInput where the receipt in a record is of another job, or of another attempt than the record's last one.

    The record of a job that waits again, or was cancelled while it did, says no start: a worker that shut down in order gave the
    attempt back, so that it counts one less.
    """
    if receipt.get("job") != job:
        raise BadInput(f"the receipt in the record of {job} is of another job, {terminal.one_line(receipt.get('job'))}")
    attempt = int(record["attempt"])
    expected = [attempt] if record.get("started_at") else [attempt, attempt + 1]
    if receipt.get("attempt") not in expected:
        said = f"the receipt in the record of {job} is of attempt {terminal.one_line(receipt.get('attempt'))}"
        raise BadInput(f"{said}; expected attempt {' or '.join(map(str, expected))}")


def _published() -> list[str]:
    with connect() as client:
        return [str(one["public"]) for one in client.listing("/v1/receipts/keys")]


def _keys_of(file: Path) -> list[str]:
    return [line.strip() for line in _read(file).splitlines() if line.strip() and not line.startswith("#")]


def _read(file: Path) -> str:
    with file.open("rb") as opened:
        content = opened.read(BYTES_MAX + 1)
    if len(content) > BYTES_MAX:
        raise BadInput(f"{file} is larger than {BYTES_MAX:,} bytes; expected a receipt or a list of keys")
    return content.decode("utf-8", errors="replace")


def _from_text(text: str, name: str) -> dict[str, Any]:
    """A receipt, or a whole record that holds one."""
    try:
        found = json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{name} is no receipt: {error}; expected the JSON document that `fumehood receipt show` prints") from None
    inner = found.get("erasure", found) if isinstance(found, dict) else None
    if not isinstance(inner, dict):
        raise BadInput(f"{name} is no receipt: expected the JSON document that `fumehood receipt show` prints")
    return inner


def _each_once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A name that stands twice would be read as one value by us and as the other by somebody else."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} stands twice")
        found[name] = value
    return found
