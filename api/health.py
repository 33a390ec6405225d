"""Health: is the process alive, and can the service do its work. Open to everybody, and tells nothing of anybody's."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.desk import Desk, DeskDep
from api.schemas import Health, Readiness, ReadyPart
from fumehood import __version__
from fumehood.errors import FumehoodError
from fumehood.job import Lane

router = APIRouter(tags=["health"])

# Workers renew their row often; one that was not seen for so many of their beats is not counted.
SEEN_SECONDS_MIN = 15.0
REASONS_CHARACTERS = 500


@router.get("/healthz", summary="Is the process alive", response_model=Health)
async def healthz() -> Health:
    return Health(status="ok", version=__version__)


@router.get(
    "/readyz",
    summary="Can the service work",
    response_model=Readiness,
    responses={503: {"description": "Not ready; the parts say why.", "model": Readiness}},
)
async def readyz(response: Response, desk: DeskDep) -> Readiness:
    """Store, Redis and at least one ready worker. Jobs are accepted without Redis and without a worker; they wait."""
    parts = {"store": await _store(desk), "redis": await _redis(desk), "workers": await _workers(desk)}
    ready = all(part.ok for part in parts.values())
    response.status_code = 200 if ready else 503
    return Readiness(ready=ready, parts=parts)


async def _store(desk: Desk) -> ReadyPart:
    try:
        await desk.ask(desk.store.ping)
    except FumehoodError as error:
        return ReadyPart(ok=False, detail=error.detail)
    return ReadyPart(ok=True, detail="answers")


async def _redis(desk: Desk) -> ReadyPart:
    depth = await desk.ask(desk.queue.depth, Lane.JOBS)
    return ReadyPart(ok=depth is not None, detail="does not answer" if depth is None else "answers")


async def _workers(desk: Desk) -> ReadyPart:
    try:
        seen = await desk.ask(desk.store.workers, seen_within_seconds=max(SEEN_SECONDS_MIN, desk.settings.lease_seconds))
    except FumehoodError:
        return ReadyPart(ok=False, detail="cannot be known without the store")
    ready = sum(facts.get("ready") is True for facts in seen)
    if not seen:
        return ReadyPart(ok=False, detail="none was seen")
    reasons = "; ".join(sorted({str(facts["reason"]) for facts in seen if facts.get("reason")}))
    return ReadyPart(ok=ready > 0, detail=f"{ready} of {len(seen)} ready" + (f": {reasons[:REASONS_CHARACTERS]}" if reasons else ""))
