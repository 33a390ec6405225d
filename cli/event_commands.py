"""`fumehood events`: what happens, line by line."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import terminal
from cli.job_commands import connect

if TYPE_CHECKING:
    from fumehood.client.events import ServerEvent

GAPS = {
    "lost": "what came meanwhile is not kept any more; `fumehood ps` has it",
    "away": "the service could not hear what came meanwhile; `fumehood ps` has it",
}


def events(
    after: Annotated[str | None, typer.Option(metavar="ID", help="Go on behind the event with this id, as --json shows it.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop after so long; else with Ctrl-C.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as one line of JSON: event, id, data.")] = False,
) -> None:
    """Follow all your jobs and batches: what is queued, starts and ends, as it happens."""
    from fumehood.client.following import follow_all
    from fumehood.client.wire import each_now

    with connect() as client:
        if not as_json:
            _line("TIME", "WHAT", "STATE")
        for event in each_now(follow_all(client.later, seconds=seconds, after=after)):
            if event.kind == "tick":
                continue
            if as_json:
                print(json.dumps({"event": event.kind, "id": event.id, "data": event.data}), flush=True)
            else:
                _show(event)


def _show(event: ServerEvent) -> None:
    data = event.data
    if event.kind == "gap":
        terminal.say(GAPS.get(str(data.get("reason")), "something may be missing here"))
    elif event.kind in _STATES:
        _line(datetime.now().strftime("%H:%M:%S"), data.get("id", "all jobs"), _STATES[event.kind](data))


def _of_job(data: dict[str, Any]) -> str:
    state = str(data.get("state"))
    told = f"{state} ({data['reason']})" if data.get("reason") not in (None, "ok", state) else state
    return f"{told}, item {data['item']} of {data['batch']}" if data.get("batch") else told


def _of_counts(data: dict[str, Any]) -> str:
    counts = data.get("counts", data)
    return ", ".join(f"{count:,} {state}" for state, count in counts.items() if count) or "nothing waits or runs"


_STATES = {"now": _of_counts, "job": _of_job, "batch": _of_counts}


def _line(time: str, what: object, state: str) -> None:
    print(terminal.one_line(f"{time:<8}  {what!s:<36}  {state}"), flush=True)
