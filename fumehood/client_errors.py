"""What a call of the client can raise.

    ClientError
    ├── Unreachable         no connection, or it broke and trying again did not help
    └── ServiceProblem      the service answered with a problem; `status`, `slug`, `errors`, `problem`
        ├── KeyRefused      the key is not known, or may not do this             401, 403
        ├── NotThere        not there, or not yours                              404, 410
        ├── InTheWay        the thing is in the wrong state for this             409
        ├── Unusable        the request cannot be used                           400, 406, 413, 415, 422
        ├── TooBusy         later, please; `retry_after_seconds`                 429, 503
        └── Broken          the service's own fault, or not a Fumehood at all    anything else
"""

from __future__ import annotations

from typing import Any

from fumehood.errors import BadField, FumehoodError


class ClientError(FumehoodError):
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
        self.retry_after_seconds = retry_after_seconds


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


class Broken(ServiceProblem):
    pass


BY_STATUS: dict[int, type[ServiceProblem]] = {
    **dict.fromkeys((401, 403), KeyRefused),
    **dict.fromkeys((404, 410), NotThere),
    409: InTheWay,
    **dict.fromkeys((400, 406, 413, 415, 422), Unusable),
    **dict.fromkeys((429, 503), TooBusy),
}
