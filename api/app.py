"""The composition root of the API: settings in, application out."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog
from fastapi import FastAPI

from api import (
    admin_audit,
    admin_tenants,
    batches,
    datasets,
    events,
    health,
    images,
    inputs,
    jobs,
    joined,
    metrics,
    openapi,
    problems,
    quota,
    receipts,
    results,
    scoring,
    script_aliases,
    script_jobs,
    script_pages,
    scripts,
    studio,
    studio_jobs,
    usage,
    webhooks,
)
from api.desk import Desk
from api.middleware import Surroundings
from api.script_check import ScriptChecker
from fumehood import __version__
from fumehood.blob_store import BlobStore
from fumehood.events import Events, RedisEvents
from fumehood.job_queue import CeleryQueue, JobQueue
from fumehood.job_store import JobStore
from fumehood.settings import Settings
from fumehood.tenant import ALL_SCOPES
from fumehood.tracing import open_traces

log = structlog.get_logger()

BOOTSTRAP_TENANT = "default"
PARTS = (
    datasets,
    jobs,
    batches,
    joined,
    scripts,
    script_aliases,
    scoring,
    script_pages,
    script_jobs,
    studio,
    studio_jobs,
    events,
    inputs,
    results,
    usage,
    quota,
    receipts,
    webhooks,
    images,
    admin_tenants,
    admin_audit,
    health,
)


def prepare(store: JobStore, settings: Settings) -> None:
    """Bring the schema up to date, and make the first tenant. Raises Misconfigured, or StoreUnavailable."""
    store.migrate()
    key = settings.secret("bootstrap_key")
    if key is not None:
        store.ensure_tenant(BOOTSTRAP_TENANT, key, scopes=ALL_SCOPES)


def create_app(
    settings: Settings, *, queue: JobQueue | None = None, events: Events | None = None, checker: ScriptChecker | None = None
) -> FastAPI:
    """`queue` and `events` stand in for Redis, and a `checker` lasts longer than the application (tests)."""
    desk = Desk(
        settings=settings,
        store=JobStore(settings.store_url, idempotency_hours=settings.idempotency_hours, defaults=settings.tenant_defaults),
        blobs=BlobStore(settings.home),
        queue=queue or CeleryQueue(settings),
        events=events or RedisEvents(settings),
        checker=checker or ScriptChecker(image_python=settings.image_python),
        traces=open_traces(settings, service="fumehood-api", instance=f"{socket.gethostname()}:{settings.api_port}"),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await desk.ask(prepare, desk.store, settings)
        await desk.file(desk.blobs.sweep_incoming)
        bootstrap_key = settings.secret("bootstrap_key") is not None
        log.info("api started", version=__version__, scripts_checked=desk.checker.enabled, bootstrap_key=bootstrap_key)
        try:
            yield
        finally:
            await desk.close()

    app = FastAPI(
        title="Fumehood",
        version=__version__,
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        docs_url=None,  # the pages behind these load scripts from other hosts
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        # It would tell whole addresses, values that were refused, and the text of exceptions; and listen to the environment.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False, "auto_configure": False},
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.desk = desk
    routers = [*(part.router for part in PARTS), metrics.router()]
    for router in routers:
        app.include_router(router)
    app.state.routes = [route for router in routers for route in router.routes]
    problems.install(app)
    app.add_middleware(Surroundings, places=desk.places, tally=desk.tally, traces=desk.traces)
    app.openapi = partial(openapi.document, app, settings)  # type: ignore[method-assign]
    return app
