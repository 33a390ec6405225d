"""What the command itself refuses before anything leaves this machine, what a local run lacks; and the exit codes."""

from __future__ import annotations

from enum import IntEnum

from fumehood.errors import FumehoodError


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1
    """The script failed, or `doctor` found something wrong."""
    BAD_INPUT = 2
    SERVICE = 3
    """Unreachable, too busy, or its own fault."""
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    """What a shell shows for every program whose reader went away."""


class NoLocalRun(FumehoodError):
    """This machine cannot run a job: no engine, no image, no room. Says what is missing and what to do."""


class BadInput(FumehoodError):
    """An argument, an option or the configuration: names it, what was found and what was expected."""
