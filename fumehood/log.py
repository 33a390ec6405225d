"""Logs are events with facts: one JSON object a line, or readable lines on a terminal; always to stderr.

Nothing of a tenant's (script, data, key) is ever handed to a logger. What an exception carries is another matter: its text
may name a file of this host or echo a value, so exceptions are written as type, one short cleaned line, and the places in
our code that they went through.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

from fumehood.errors import FumehoodError
from fumehood.job import Job
from fumehood.tracing import parse

MESSAGE_CHARACTERS = 300
FRAMES = 12
OURS = ("fumehood", "api", "worker", "gate", "courier", "cli", "__main__")
_PATH = re.compile(r"(?<![\w.:/])/(?:[^\s/'\":,;)\]]+/)+[^\s/'\":,;)\]]*")


def configure(level: str = "info", *, stream: TextIO | None = None) -> None:
    """Route structlog and the standard library's loggers (Celery, uvicorn) into one stream. May be called again."""
    out = stream if stream is not None else sys.stderr
    terminal = out.isatty()
    number = getattr(logging, level.upper())
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,  # the request or job that the event belongs to
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _write_exceptions_short,
    ]
    last: Processor = structlog.dev.ConsoleRenderer(colors=True) if terminal else structlog.processors.JSONRenderer(ensure_ascii=False)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*before, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    # Libraries speak only when something is wrong, whatever the level: at `debug` a database driver writes whole rows.
    root.setLevel(max(number, logging.WARNING))
    for name in OURS:
        logging.getLogger(name).setLevel(number)


def about(job: Job) -> dict[str, Any]:
    """What every event of work on a job says: whose it is, and which trace it belongs to, if any."""
    facts = {"job": job.id, "tenant": job.tenant, "batch": job.batch}
    context = parse(job.traceparent)
    return {name: value for name, value in facts.items() if value is not None} | ({"trace_id": context.trace_id} if context else {})


def said(error: BaseException) -> str:
    """What an exception says, safe to log: its type and one short line without paths of this host."""
    if isinstance(error, FumehoodError):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        text = f"[Errno {error.errno}] {error.strerror}"  # its text would name the file
    else:
        text = str(error).partition("\n")[0]
    text = _PATH.sub("<path>", text)
    if len(text) > MESSAGE_CHARACTERS:
        text = text[: MESSAGE_CHARACTERS - 1] + "…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _write_exceptions_short(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """`exc_info` → `error` and `went_through` (file:line function, innermost last), for the error and its cause."""
    info = event.pop("exc_info", None)
    record = event.get("_record")
    if not info and record is not None and record.exc_info:
        info, record.exc_info, record.exc_text = record.exc_info, None, None
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["error"] = said(error)
        event["went_through"] = _frames(error)
        if error.__cause__ is not None:
            event["cause"] = said(error.__cause__)
    return event


def _frames(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    return [f"{'/'.join(frame.filename.rsplit('/', 2)[-2:])}:{frame.lineno} {frame.name}" for frame in frames]
