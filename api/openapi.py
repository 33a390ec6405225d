"""OpenAPI: the framework's document, with what it cannot know: schemas that our own references name, and the settings' numbers."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.jobs import KEY_DESCRIPTION
from api.schemas import JobDocument, Problem
from fumehood.limits import REQUESTABLE
from fumehood.settings import Settings

DESCRIPTION = """Runs Python scripts that define `azureml_main` in throwaway containers.

Every error is an RFC 9457 problem with a stable `type`. A job that fails is not an error of the API: its record says what happened.

Every address that knows GET knows HEAD. Every answer carries an `X-Request-Id`, the caller's own where it sent a plain one."""
TAGS = [
    {"name": "datasets", "description": "Tables and script bundles, stored once and described in a sandbox."},
    {"name": "jobs", "description": "Runs of a script."},
    {"name": "results", "description": "What a run left: log, tables, figures, artifacts."},
    {"name": "images", "description": "The pinned environments that scripts run in."},
    {"name": "health", "description": "Open, without a key."},
]


def document(app: FastAPI, settings: Settings) -> dict[str, Any]:
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes, tags=TAGS)
        schemas = made["components"]["schemas"]
        for model in (JobDocument, Problem):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {})
            schemas[model.__name__] = schema
        _say_limits(schemas["JobDocument"]["properties"], settings)
        _say_how_long_keys_are_kept(made["paths"]["/v1/jobs"]["post"]["parameters"], settings)
        app.openapi_schema = made
    return app.openapi_schema


def _say_limits(properties: dict[str, Any], settings: Settings) -> None:
    default, ceiling = settings.limits.as_dict(), settings.ceiling.as_dict()
    for name in REQUESTABLE:
        properties["limits"]["properties"][name] |= {"default": default[name], "maximum": ceiling[name]}


def _say_how_long_keys_are_kept(parameters: list[dict[str, Any]], settings: Settings) -> None:
    for parameter in parameters:
        if parameter.get("description") == KEY_DESCRIPTION:
            parameter["description"] = KEY_DESCRIPTION.format(idempotency_hours=settings.idempotency_hours)
