"""What may stand in a log: events with facts, and exceptions without paths and values."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from fumehood import log
from fumehood.errors import SandboxError, StoreUnavailable


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = list(root.handlers), root.level, {name: logging.getLogger(name).level for name in log.OURS}
    stream = io.StringIO()
    log.configure("info", stream=stream)
    yield stream
    root.handlers[:], root.level = before[0], before[1]
    for name, level in before[2].items():
        logging.getLogger(name).setLevel(level)
    structlog.reset_defaults()


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_of_json(written: io.StringIO) -> None:
    structlog.get_logger("worker.x").info("job finished", job="job_1", wall_seconds=1.5, text="two\nlines é")
    (event,) = events(written)
    assert (event["event"], event["job"], event["wall_seconds"], event["level"]) == ("job finished", "job_1", 1.5, "info")
    assert event["text"] == "two\nlines é"
    assert event["timestamp"].endswith("Z")


def test_less_severe_events_are_left_out(written: io.StringIO) -> None:
    structlog.get_logger("worker.x").debug("detail")
    assert events(written) == []


def test_libraries_write_only_what_is_wrong_whatever_the_level(written: io.StringIO) -> None:
    """At `debug` a database driver writes whole rows, and with them a tenant's data."""
    log.configure("debug", stream=written)
    logging.getLogger("sqlalchemy.engine.Engine").debug("row %s", "secret")
    logging.getLogger("some.other").info("secret")
    logging.getLogger("celery").warning("connection lost")
    structlog.get_logger("worker.x").debug("detail")
    assert [event["event"] for event in events(written)] == ["connection lost", "detail"]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SandboxError("the engine has no image"), "SandboxError: the engine has no image"),
        (FileNotFoundError(2, "No such file", "/var/lib/fumehood/blobs/x"), "FileNotFoundError: [Errno 2] No such file"),
        (RuntimeError("cannot open /var/lib/fumehood/x.db: locked\nand more"), "RuntimeError: cannot open <path>: locked"),
        (ValueError("see redis://127.0.0.1:6379/0 and a/b"), "ValueError: see redis://127.0.0.1:6379/0 and a/b"),
        (KeyError(), "KeyError"),
    ],
)
def test_an_exception_is_said_in_one_line_without_paths(error: Exception, text: str) -> None:
    assert log.said(error) == text


def test_a_long_exception_is_cut() -> None:
    assert len(log.said(RuntimeError("x" * 10_000))) < 400


def test_an_exception_says_where_it_went_and_what_caused_it(written: io.StringIO) -> None:
    def inner() -> None:
        try:
            raise OSError(5, "Input/output error", "/var/lib/fumehood/fumehood.db")
        except OSError as error:
            raise StoreUnavailable("the database does not answer") from error

    try:
        inner()
    except StoreUnavailable as error:
        structlog.get_logger("worker.x").error("claim failed", exc_info=error)
    (event,) = events(written)
    assert event["error"] == "StoreUnavailable: the database does not answer"
    assert event["cause"] == "OSError: [Errno 5] Input/output error"
    assert event["went_through"][-1].startswith("unit/test_log.py:")
    assert event["went_through"][-1].endswith(" inner")
    assert "/var/lib" not in written.getvalue()


def test_exceptions_of_libraries_are_written_the_same_way(written: io.StringIO) -> None:
    try:
        raise OSError(13, "Permission denied", "/var/run/docker.sock")
    except OSError:
        logging.getLogger("celery").exception("it broke")
    (event,) = events(written)
    assert event["error"] == "PermissionError: [Errno 13] Permission denied"
    assert "/var/run" not in written.getvalue()
