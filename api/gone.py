"""Gone: what to say of that which is not there: that it expired and when, or else that there is no such thing."""

from __future__ import annotations

from api.answers import missing
from api.desk import Desk
from fumehood.errors import FumehoodError, Gone
from fumehood.job import Job
from fumehood.text import timestamp


async def absent(desk: Desk, tenant: str, name: str, what: str) -> FumehoodError:
    """To be raised where the store has no `what` of this id. What another tenant had is told as what never was."""
    expired_at = await desk.ask(desk.store.expired_at, tenant, name)
    if expired_at is None:
        return missing(what)
    return Gone(f"the {what} expired at {timestamp(expired_at)}", expired_at=expired_at)


def require_log(job: Job) -> None:
    """Raises Gone."""
    _require(job.log_gone_at, "the log of the job")


def require_results(job: Job) -> None:
    """Raises Gone."""
    _require(job.results_gone_at, "the results of the job")


def _require(gone_at: float | None, what: str) -> None:
    if gone_at is not None:
        raise Gone(f"{what} expired at {timestamp(gone_at)}", expired_at=gone_at)
