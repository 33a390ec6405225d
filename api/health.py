"""Health: is the process alive, and can the service do its work. Open to everybody, and tells nothing of anybody's."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from api.desk import Desk, DeskDep
from api.health_schemas import Health, Readiness, ReadyPart
from fumehood import __version__
from fumehood.errors import FumehoodError
from fumehood.job import Lane
from fumehood.records import SEEN_SECONDS

router = APIRouter(tags=["health"])

REASONS_CHARACTERS = 500


@router.get("/healthz", summary="Is the process alive", response_model=Health)
async def healthz() -> Health:
    """Answers as long as the process does, whatever the rest of the service is doing."""
    return Health(status="ok", version=__version__)


@router.get(
    "/readyz",
    summary="Can the service work",
    response_model=Readiness,
    responses={503: {"description": "Not ready; the parts say why.", "model": Readiness}},
)
async def readyz(response: Response, desk: DeskDep) -> Readiness:
    """Store, Redis, at least one ready worker, and its image. Jobs are accepted without Redis and without a worker; they wait."""
    parts = {"store": await _store(desk), "redis": await _redis(desk), **await _workshop(desk)}
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


def seen_seconds(desk: Desk) -> float:
    """How long a worker counts after it was seen; longer where leases are."""
    return max(SEEN_SECONDS, desk.settings.lease_seconds)


async def workers_seen(desk: Desk) -> list[dict[str, Any]]:
    """The facts of every worker that was seen lately. Raises StoreUnavailable."""
    return await desk.ask(desk.store.workers, seen_within_seconds=seen_seconds(desk))


async def _workshop(desk: Desk) -> dict[str, ReadyPart]:
    """The workers, and the image that the ready ones run."""
    try:
        seen = await workers_seen(desk)
    except FumehoodError:
        unknown = ReadyPart(ok=False, detail="cannot be known without the store")
        return {"workers": unknown, "image": unknown}
    ready = [facts for facts in seen if facts.get("ready") is True]
    images = sorted({str(facts["image"]) for facts in ready if facts.get("image")})
    reasons = "; ".join(sorted({str(facts["reason"]) for facts in seen if facts.get("reason")}))
    counted = f"{len(ready)} of {len(seen)} ready" + (f": {reasons[:REASONS_CHARACTERS]}" if reasons else "") if seen else "none was seen"
    return {
        "workers": ReadyPart(ok=bool(ready), detail=counted),
        "image": ReadyPart(ok=bool(images), detail=", ".join(images) or "no ready worker has one"),
    }
