"""Explain: every error as one clear line, its fields below it, what to do next, and the exit code."""

from __future__ import annotations

import sys
from typing import Any

from cli import terminal
from cli.errors import ExitCode, NoLocalRun
from fumehood.client.errors import Broken, KeyRefused, NotInTime, ServiceProblem, TooBusy, Unreachable
from fumehood.errors import FumehoodError, SandboxError

HINTS: dict[type[FumehoodError], str] = {
    KeyRefused: "`fumehood config` shows which key is used",
    Unreachable: "`fumehood doctor` looks for the reason",
    TooBusy: "try again in {seconds} seconds",
}
SERVICE_FAULTS = (Broken, NotInTime, NoLocalRun, SandboxError, TooBusy, Unreachable)


def explain(error: FumehoodError) -> ExitCode:
    terminal.complain(error.detail)
    if isinstance(error, ServiceProblem):
        for field in error.problem.get("errors") or ():
            _explain_field(field)
        if error.job:
            print(f"  `fumehood status {terminal.one_line(error.job)}` shows the call", file=sys.stderr)
    for kind, hint in HINTS.items():
        if isinstance(error, kind):
            print(f"  {hint.format(seconds=getattr(error, 'retry_after_seconds', None) or 'a few')}", file=sys.stderr)
    return ExitCode.SERVICE if isinstance(error, SERVICE_FAULTS) else ExitCode.BAD_INPUT


def _explain_field(field: dict[str, Any]) -> None:
    """`/script, line 3, column 7: invalid syntax`, and the source line with a caret where the service sends them."""
    place = "".join(f", {name} {field[name]}" for name in ("line", "column") if field.get(name))
    print(f"  {terminal.one_line(field.get('pointer') or '/')}{place}: {terminal.one_line(field.get('detail') or '')}", file=sys.stderr)
    for line in str(field.get("caret") or "").splitlines():
        print(f"    {terminal.harmless(line)}", file=sys.stderr)
