"""What is said to a runner over its stdin, one JSON object a line (docs/wall.md)."""

from __future__ import annotations

import json
from typing import Any

from fumehood.errors import SandboxError
from fumehood.limits import Limits
from worker.attach import AttachStream
from worker.sandbox import StopSignal

# After the wall limit: collecting figures and files. The supervisor ends by itself then, also where nobody listens.
EXPIRES_SLACK_SECONDS = 30.0
# Behind the supervisor's own wall limit, so that it can say how it went; ours counts only when it does not.
SLACK_SECONDS = 2.0
# The longest that one waits with a script open; the warm pool replaces it before.
WAITS_SECONDS = 3600.0


def go(limits: Limits, *, waited_seconds: float, **more: Any) -> bytes:
    """`waited_seconds` since the container's start."""
    expires_seconds = round(waited_seconds + limits.wall_seconds + EXPIRES_SLACK_SECONDS, 3)
    return _line({"go": 1, **_bounds(limits), "expires_seconds": expires_seconds, **more})


def open_script(stream: AttachStream, limits: Limits, stop: StopSignal) -> None:
    """Say that the script is to be opened ahead of its call, and wait until it is.

    Raises:
        SandboxError: it could not be opened, or not in the time of `limits`.
    """
    stop.on_set(stream.wake)
    # Threads that the script has begun may print for as long as it waits.
    stream.allow(limits.wall_seconds + WAITS_SECONDS)
    try:
        stream.send(_line({"prepare": 1, **_bounds(limits)}))
    except OSError as error:
        raise SandboxError("the sandbox was gone before its script was opened; expected it to wait") from error
    with stream.changed:
        stream.changed.wait_for(
            lambda: stream.prepared or stream.ended or stream.flooded or stop.reason is not None,
            timeout=limits.wall_seconds + SLACK_SECONDS,
        )
        prepared = stream.prepared and not (stream.ended or stream.flooded)
    if not prepared:
        raise SandboxError("the script could not be opened ahead of its call; expected `prepared` within its wall limit")


def _bounds(limits: Limits) -> dict[str, Any]:
    return {"wall_seconds": limits.wall_seconds, "file_bytes": limits.file_bytes, "log_bytes": limits.log_bytes}


def _line(words: dict[str, Any]) -> bytes:
    return json.dumps(words).encode() + b"\n"
