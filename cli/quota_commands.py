"""The command on quotas: what the tenant may have, and what it has now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from cli import terminal
from cli.job_commands import connect, print_json


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,g}"


SHOWN: dict[str, tuple[str, Callable[[Any], str]]] = {
    "running_jobs": ("running jobs", _number),
    "queued_jobs": ("queued jobs", _number),
    "stored_bytes": ("stored", terminal.size),
    "dataset_bytes": ("one dataset", terminal.size),
    "requests_per_second": ("requests a second", _number),
    "cpu_seconds_per_day": ("CPU seconds today", _number),
}
"""How each quota is shown; the ceiling is in the JSON."""


def quota(as_json: Annotated[bool, typer.Option("--json", help="Print it as one JSON document on stdout.")] = False) -> None:
    """Show the quotas of your tenant, and what is used of them now."""
    with connect() as client:
        told = client.document("/v1/quota")
    if as_json:
        print_json(told)
        return
    used = told["used"]
    rows = [(label, show(used[name]) if name in used else "", show(told["quota"][name])) for name, (label, show) in SHOWN.items()]
    terminal.columns(("QUOTA", "USED", "LIMIT"), rows)
