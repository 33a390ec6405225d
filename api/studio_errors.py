"""What clients of Azure Machine Learning Studio (classic) read in an answer that is none: `error` with a code, a sentence and details.

It stands in the problem document that everybody gets, whose status becomes one that these clients know. Everything is told from that
document; nothing is asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from api import problems
from api.answers import Responses
from api.answers import problems as problems_of
from api.problems import TYPE_PREFIX, Problem
from fumehood.errors import FumehoodError
from fumehood.outcome import Reason

# What they do not know → what they do: a client that is told 503 comes again, as it should with our 429.
STATUSES = {406: 400, 410: 404, 415: 400, 422: 400, 429: 503}
# By the status then, or more closely by the problem's slug or a job's reason: the error's code, and that of its details.
CODES: dict[int | str, tuple[str, str]] = {
    400: ("BadArgument", "BadParameterValue"),
    401: ("Unauthorized", "ScoreRequestUnauthorized"),
    403: ("Unauthorized", "ScoreRequestUnauthorized"),
    404: ("NotFound", "WebServiceNotFound"),
    408: ("RequestTimeout", "RequestCanceled"),
    409: ("Conflict", "InvalidOperation"),
    413: ("BadArgument", "RequestBodyInvalid"),
    500: ("InternalError", "UnknownError"),
    503: ("ServiceUnavailable", "NoMoreResources"),
    504: ("GatewayTimeout", "BackendScoreTimeout"),
    "malformed": ("BadArgument", "RequestBodyInvalid"),
    "quota-exceeded": ("ServiceUnavailable", "TooManyConcurrentRequests"),
    "busy-script": ("ServiceUnavailable", "RequestThrottled"),
    "script-failed": ("ModuleExecutionError", "ModuleExecutionError"),
    "score-cancelled": ("Conflict", "RequestCanceled"),
    Reason.BAD_INPUT: ("BadArgument", "InputParseError"),
    Reason.BAD_PARAMETERS: ("BadArgument", "UserParameterInvalid"),
    Reason.OUT_OF_MEMORY: ("MemoryQuotaViolation", "OutOfMemoryLimit"),
    Reason.TIMED_OUT: ("RequestTimeout", "ScoreRequestTimeout"),
}
# Of a call whose script failed: their statuses where they have one of its own.
OF_REASON: dict[str, int] = {Reason.OUT_OF_MEMORY: 413, Reason.TIMED_OUT: 408}
COLUMN_MISFIT = "InputMismatchError"
IN_BODY = "/body/"
PARAMETER, IN_PARAMETERS = "UserParameterInvalid", "/GlobalParameters/"


class Retelling(APIRoute):
    """A route of theirs: whatever it refuses is told in their form, too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def retelling(request: Request) -> Response:
            try:
                return await handle(request)
            except FumehoodError as error:
                return retold(problems.of_error(error))
            except RequestValidationError as error:
                return retold(problems.of_validation(error))

        return retelling


def refusals(*statuses: int) -> Responses:
    """The `responses` of a route of theirs, as `problems` of others."""
    from_ours = {status for ours, status in STATUSES.items() if ours in (422, 429)}
    return {status: told for status, told in problems_of(*from_ours, *statuses).items() if status not in STATUSES}


def retold(problem: Problem) -> Problem:
    """The same problem, with `error` as they read it."""
    document = dict(problem.document)
    slug, reason = document["type"].removeprefix(TYPE_PREFIX), document.get("reason")
    status = STATUSES.get(document["status"], document["status"])
    if slug == "script-failed":
        status = OF_REASON.get(reason or "", status)
    code, detail_code = next(CODES[key] for key in (reason, slug, status, 500) if key in CODES)
    document["status"] = status
    document["error"] = {"code": code, "message": document["detail"], "details": _details(document, detail_code)}
    return Problem(document, problem.said)


def _details(document: dict[str, Any], code: str) -> list[dict[str, str]]:
    fields, error = document.get("errors", []), document.get("error")
    if fields:
        return [_of_field(field, code) for field in fields]
    message = document["detail"]
    if isinstance(error, dict) and error.get("traceback"):
        message = f"{message}\n{error['traceback']}"
    return [{"code": code, "target": str(document.get("job", "")), "message": message}]


def _of_field(field: dict[str, Any], code: str) -> dict[str, str]:
    pointer = field["pointer"]
    if pointer.startswith(IN_BODY):
        name = pointer.removeprefix(IN_BODY).replace("~1", "/").replace("~0", "~")
        return {"code": COLUMN_MISFIT, "target": name, "message": field["detail"]}
    # As the sandbox says it of a call, whose parameters it reads.
    return {"code": PARAMETER if pointer.startswith(IN_PARAMETERS) else code, "target": pointer, "message": field["detail"]}
