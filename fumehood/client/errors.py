"""What a call of the client can raise.

ClientError
├── NotConfigured       no address or key that can be used; says where they were looked for
├── NotSendable         what was given cannot be sent, and nothing was: names the argument or variable and what to do
├── WaitedTooLong       `timeout_seconds` went by; `run` has cancelled the job, `wait` has not
├── Unreachable         no connection, or it broke and trying again did not help
├── ServiceProblem      the service answered with a problem; `status`, `slug`, `errors`, `problem`, `job`
│   ├── KeyRefused      the key is not known, or may not do this             401, 403
│   ├── NotThere        not there, or not yours                              404, 410
│   ├── InTheWay        the thing is in the wrong state for this             409
│   ├── Unusable        the request cannot be used                           400, 406, 413, 415, 422
│   ├── TooBusy         later, please; `retry_after_seconds`                 429, 503
│   ├── NotInTime       a call took longer than its caller waits, and is off 504
│   └── Broken          the service's own fault, or not a Fumehood at all    anything else
└── JobFailed           the job has ended, and not well; `reason`, `error`, `record`, `result`
    ├── ScriptError         the script raised; `str()` holds its traceback   script_error
    ├── BadEntryPoint       no `azureml_main`, or it does not fit            bad_entry_point
    ├── BadParameters       a parameter is missing, unknown or wrong         bad_parameters
    ├── BadReturn           what it returned is no table                     bad_return
    ├── BadInput            a table or the bundle cannot be read             bad_input
    ├── TimedOut            longer than `wall_seconds`                       timed_out
    ├── OutOfMemory         more than `memory_bytes`                         out_of_memory
    ├── DiskFull            more than `disk_bytes`                           disk_full
    ├── OutputTooLarge      a result larger than `output_bytes`              output_too_large
    ├── TooManyProcesses    more than `processes`                            too_many_processes
    ├── Crashed             it ended itself, or a signal did                 crashed
    ├── Cancelled           somebody cancelled the job                       cancelled
    └── ServiceFault        not the script's fault                           expired, sandbox_error, lost
"""

from __future__ import annotations

import re
from typing import Any

from fumehood.errors import BadField, FumehoodError
from fumehood.text import harmless


class ClientError(FumehoodError):
    pass


class NotConfigured(ClientError):
    pass


class NotSendable(ClientError):
    pass


class WaitedTooLong(ClientError):
    pass


class Unreachable(ClientError):
    pass


class ServiceProblem(ClientError):
    def __init__(self, status: int, problem: dict[str, Any], *, retry_after_seconds: int | None = None) -> None:
        fields = [error for error in problem.get("errors") or () if isinstance(error, dict)]
        detail = str(problem.get("detail") or problem.get("title") or f"the service answered {status}")
        super().__init__(detail, errors=tuple(BadField(str(e.get("pointer", "")), str(e.get("detail", ""))) for e in fields))
        self.status = status
        self.slug = str(problem.get("type", "")).rpartition("/")[2].rpartition(":")[2]
        self.problem = problem
        self.job = str(problem["job"]) if problem.get("job") else None
        """The call's, where a published script was called."""
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        return f"{super().__str__()} ({self.job})" if self.job else super().__str__()


class KeyRefused(ServiceProblem):
    pass


class NotThere(ServiceProblem):
    pass


class InTheWay(ServiceProblem):
    pass


class Unusable(ServiceProblem):
    pass


class TooBusy(ServiceProblem):
    pass


class NotInTime(ServiceProblem):
    pass


class Broken(ServiceProblem):
    pass


BY_STATUS: dict[int, type[ServiceProblem]] = {
    **dict.fromkeys((401, 403), KeyRefused),
    **dict.fromkeys((404, 410), NotThere),
    409: InTheWay,
    **dict.fromkeys((400, 406, 413, 415, 422), Unusable),
    **dict.fromkeys((429, 503), TooBusy),
    504: NotInTime,
}


TOO_FAST, BUSY_SCRIPT = "requests_per_second", "busy-script"
"""What is over in a moment: a quota, and the problem of a script that has too many callers."""
MOMENT_SECONDS_MAX = 5


def pause_before_another(error: Unreachable | ServiceProblem, usual_seconds: float, *, busy_slug: str) -> float:
    """How long to wait before the same request is sent again. Raises `error` where sending it again would not help."""
    if isinstance(error, Unreachable) or (isinstance(error, InTheWay) and error.slug == busy_slug):
        return usual_seconds
    wanted = error.retry_after_seconds
    for_a_moment = isinstance(error, TooBusy) and (error.problem.get("quota") == TOO_FAST or error.slug == BUSY_SCRIPT)
    if for_a_moment and wanted is not None and wanted <= MOMENT_SECONDS_MAX:
        return max(usual_seconds, wanted)
    raise error


_PLACES = (
    (re.compile(r'^( *)File "script\.py", line (\d+)', re.MULTILINE), '{0}File "{1}", line {2}'),
    (re.compile(r"( )\(line (\d+) of script\.py\)"), "{0}(line {2} of {1})"),
)


class JobFailed(ClientError):
    """A job that ended as failed or cancelled.

    `reason` is one word of the closed vocabulary; `error` the script's exception as a document (`type`, `message`, `traceback`,
    `file`, `line`, `source`, `frames`), empty where there was none; `record` the job's; `result` holds what the job left all the
    same: log, figures, artifacts. `traceback` is the remote one, in the lines of the file or cell that the function came from.
    """

    def __init__(self, record: dict[str, Any], result: Any, origins: tuple[tuple[str, int] | None, ...] = ()) -> None:
        self.record = record
        self.result = result
        self.reason = str(record.get("reason") or record.get("state"))
        self.error: dict[str, Any] = record.get("error") or {}
        self.traceback = harmless(_in_own_lines(str(self.error.get("traceback") or ""), origins)).rstrip()
        message = str(record.get("message") or f"the job ended as {self.reason}")
        super().__init__(harmless(_in_own_lines(message, origins)))

    def __str__(self) -> str:
        log = "; its log is in .result.log" if self.result is not None else ""
        lines = [f"{self.detail}", f"({self.reason}, {self.record.get('id')}{log})"]
        return "\n".join([*lines, *(["", self.traceback] if self.traceback else [])])

    def _render_traceback_(self, *_: object) -> list[str]:
        """What a notebook shows: the remote traceback, without the frames of this client above it."""
        return [f"{type(self).__name__}: {self}"]


def _in_own_lines(text: str, origins: tuple[tuple[str, int] | None, ...]) -> str:
    """Say the places of the file or cell that a line of the script was taken from, where it was taken from one."""
    for pattern, shape in _PLACES:

        def place(match: re.Match[str], shape: str = shape) -> str:
            number = int(match[2])
            origin = origins[number - 1] if 0 < number <= len(origins) else None
            return shape.format(match[1], *origin) if origin else match.group()

        text = pattern.sub(place, text)
    return text


class ScriptError(JobFailed):
    pass


class BadEntryPoint(JobFailed):
    pass


class BadParameters(JobFailed):
    pass


class BadReturn(JobFailed):
    pass


class BadInput(JobFailed):
    pass


class TimedOut(JobFailed):
    pass


class OutOfMemory(JobFailed):
    pass


class DiskFull(JobFailed):
    pass


class OutputTooLarge(JobFailed):
    pass


class TooManyProcesses(JobFailed):
    pass


class Crashed(JobFailed):
    pass


class Cancelled(JobFailed):
    pass


class ServiceFault(JobFailed):
    pass


BY_REASON: dict[str, type[JobFailed]] = {
    "script_error": ScriptError,
    "bad_entry_point": BadEntryPoint,
    "bad_parameters": BadParameters,
    "bad_return": BadReturn,
    "bad_input": BadInput,
    "timed_out": TimedOut,
    "out_of_memory": OutOfMemory,
    "disk_full": DiskFull,
    "output_too_large": OutputTooLarge,
    "too_many_processes": TooManyProcesses,
    "crashed": Crashed,
    "cancelled": Cancelled,
    **dict.fromkeys(("expired", "sandbox_error", "lost"), ServiceFault),
}
