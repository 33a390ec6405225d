"""The error tree.

    FumehoodError
    ├── BadRequest           the caller's request cannot be used; names every offending field        422
    │   ├── Malformed        not even the syntax is right (JSON, multipart)                          400
    │   └── IdempotencyReuse the idempotency key was used with another request                       422
    ├── Unauthenticated      no key, or one that is not known                                        401
    ├── Forbidden            a known key that may not do this; says what it lacks                     403
    │   └── Suspended        the tenant is suspended, or is being deleted                            403
    ├── NotFound             not there, or not yours: the two are never told apart                   404
    ├── Gone                 was there, and expired; carries `expired_at`                            410
    ├── Conflict             the thing is in the wrong state for this                                409
    │   └── NotFinished      the job has not ended yet                                               409
    ├── TooLarge             more bytes than the limit                                               413
    ├── QuotaExceeded        a quota of the tenant is used up; carries which, its limit, the value     429
    ├── TooManyCalls         as many calls of a script run as may; carries `retry_after_seconds`       429
    ├── NotAcceptable        no such representation                                                  406
    ├── UnsupportedFormat    a media type that no reader knows                                       415
    ├── Unavailable          the service cannot take this now; carries `retry_after_seconds`         503
    │   ├── DiskFull         too little free space for new work                                      503
    │   └── StoreUnavailable the database or the file store does not answer                          503
    ├── LeaseLost            this attempt is no longer the one that counts; write nothing            (worker)
    ├── SandboxError         the engine, the image or the runner failed: the service's fault         (worker)
    └── Misconfigured        a setting is wrong; named, with what was expected                       (start-up)

Messages say what was found and what was expected, and never hold a path of the host, a key or a tenant's data.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BadField:
    """One offending field: a JSON pointer into the request and a sentence."""

    pointer: str
    detail: str


class FumehoodError(Exception):
    def __init__(self, detail: str, *, errors: tuple[BadField, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors

    def __str__(self) -> str:
        return "; ".join([self.detail, *(error.detail for error in self.errors)])


class BadRequest(FumehoodError):
    pass


class Malformed(BadRequest):
    pass


class IdempotencyReuse(BadRequest):
    pass


class Unauthenticated(FumehoodError):
    pass


class Forbidden(FumehoodError):
    pass


class Suspended(Forbidden):
    pass


class NotFound(FumehoodError):
    pass


class Gone(FumehoodError):
    def __init__(self, detail: str, *, expired_at: float) -> None:
        super().__init__(detail)
        self.expired_at = expired_at


class Conflict(FumehoodError):
    pass


class NotFinished(Conflict):
    pass


class TooLarge(FumehoodError):
    def __init__(self, detail: str, *, limit: int, value: int | None = None, errors: tuple[BadField, ...] = ()) -> None:
        super().__init__(detail, errors=errors)
        self.limit = limit
        self.value = value


class QuotaExceeded(FumehoodError):
    def __init__(self, detail: str, *, quota: str, limit: float, value: float, retry_after_seconds: int) -> None:
        super().__init__(detail)
        self.quota = quota
        self.limit = limit
        self.value = value
        """What is used, without what was refused."""
        self.retry_after_seconds = retry_after_seconds


class TooManyCalls(FumehoodError):
    def __init__(self, detail: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class NotAcceptable(FumehoodError):
    pass


class UnsupportedFormat(FumehoodError):
    pass


class Unavailable(FumehoodError):
    def __init__(self, detail: str, *, retry_after_seconds: int = 5) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class DiskFull(Unavailable):
    pass


class StoreUnavailable(Unavailable):
    pass


class LeaseLost(FumehoodError):
    pass


class SandboxError(FumehoodError):
    pass


class Misconfigured(FumehoodError):
    pass
