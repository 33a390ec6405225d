"""The composition root of the API: settings in, application out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api import datasets, health, jobs, problems, results
from api.desk import Desk
from api.middleware import Surroundings
from api.schemas import JobDocument, Problem
from api.script_check import ScriptChecker
from fumehood import __version__
from fumehood.blob_store import BlobStore
from fumehood.events import Events, RedisEvents
from fumehood.job_queue import CeleryQueue, JobQueue
from fumehood.job_store import JobStore
from fumehood.settings import Settings

log = structlog.get_logger()

BOOTSTRAP_TENANT = "default"
DESCRIPTION = """Runs Python scripts that define `azureml_main` in throwaway containers.

Every error is an RFC 9457 problem with a stable `type`. A job that fails is not an error of the API: its record says what happened."""
TAGS = [
    {"name": "datasets", "description": "Tables and script bundles, stored once and described in a sandbox."},
    {"name": "jobs", "description": "Runs of a script."},
    {"name": "results", "description": "What a run left: log, tables, figures, artifacts."},
    {"name": "health", "description": "Open, without a key."},
]


def create_app(settings: Settings, *, queue: JobQueue | None = None, events: Events | None = None) -> FastAPI:
    """`queue` and `events` stand in for Redis (tests)."""
    desk = Desk(
        settings=settings,
        store=JobStore(settings.store_url, idempotency_hours=settings.idempotency_hours),
        blobs=BlobStore(settings.home),
        queue=queue or CeleryQueue(settings),
        events=events or RedisEvents(settings),
        checker=ScriptChecker(image_python=settings.image_python),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await desk.ask(desk.store.migrate)
        await desk.file(desk.blobs.sweep_incoming)
        key = settings.secret("bootstrap_key")
        if key is not None:
            await desk.ask(desk.store.ensure_tenant, BOOTSTRAP_TENANT, key)
        log.info("api started", version=__version__, scripts_checked=desk.checker.enabled, bootstrap_key=key is not None)
        try:
            yield
        finally:
            await desk.close()

    app = FastAPI(
        title="Fumehood",
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        docs_url=None,  # the pages behind these load scripts from other hosts
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.desk = desk
    for part in (datasets, jobs, results, health):
        app.include_router(part.router)
    problems.install(app)
    app.add_middleware(Surroundings)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The framework's document, with the schemas that only our own references name."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes, tags=TAGS)
        schemas = document["components"]["schemas"]
        for model in (JobDocument, Problem):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {})
            schemas[model.__name__] = schema
        app.openapi_schema = document
    return app.openapi_schema
