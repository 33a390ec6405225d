"""Commands on webhooks: what messages are signed with, what came of them, and to send one again."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any

import typer

from cli import terminal
from cli.job_commands import AsJson, connect, print_json

webhook_app = typer.Typer(help="Messages to your own server when a job has ended.", rich_markup_mode=None, no_args_is_help=True)

MessageId = Annotated[str, typer.Argument(metavar="MESSAGE", help="Id of a message, msg_….")]
_HERE = "/v1/webhooks"


@webhook_app.command("secret")
def show_secret(as_json: AsJson = False) -> None:
    """Print what your messages are signed with, for the receiver that checks them."""
    with connect() as client:
        _print_secret(client.document(f"{_HERE}/secret"), as_json)


@webhook_app.command("rotate")
def rotate(as_json: AsJson = False) -> None:
    """Change the secret and print the new one; the old one holds for a day as well."""
    with connect() as client:
        _print_secret(client.post(f"{_HERE}/secret/rotate"), as_json)


@webhook_app.command("deliveries")
def deliveries(
    state: Annotated[str | None, typer.Option(help="held, pending, sending, delivered or failed.")] = None,
    about: Annotated[str | None, typer.Option(metavar="JOB|BATCH", help="Only messages about this one.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List messages and what came of them."""
    with connect() as client:
        found = list(islice(client.listing(f"{_HERE}/deliveries", state=state, about=about, limit=str(min(limit, 200))), limit))
    if as_json:
        return print_json(found)
    rows = [(one["id"], one["event"], one["about"], one["state"], one["attempt"], _last(one), one["next_at"] or "") for one in found]
    terminal.columns(("MESSAGE", "EVENT", "ABOUT", "STATE", "TRIES", "LAST", "NEXT"), rows)


@webhook_app.command("replay")
def replay(message: MessageId, as_json: AsJson = False) -> None:
    """Send a message again, from the beginning of its schedule."""
    from fumehood.client.words import quoted

    with connect() as client:
        record = client.post(f"{_HERE}/deliveries/{quoted(message)}/replay")
    print_json(record) if as_json else terminal.say(f"{record['id']} is {record['state']}")


def _print_secret(record: dict[str, Any], as_json: bool) -> None:
    if as_json:
        return print_json(record)
    if record["former"]:
        terminal.say(f"{record['former']} earlier {'one holds' if record['former'] == 1 else 'ones hold'} until {record['former_until']}")
    print(terminal.one_line(record["secret"]))


def _last(record: dict[str, Any]) -> str:
    """What came of the last time, such as `204` or `timed_out`."""
    last = record["last"]
    if last is None:
        return ""
    return str(last["status"] if last["status"] is not None else last["trouble"])
