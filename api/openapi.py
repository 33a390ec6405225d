"""OpenAPI: the framework's document, with what it cannot know: schemas that our own references name, and the settings' numbers."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api import batches, jobs, scripts
from api.admin_schemas import KeyDocument, RotateDocument, TenantChange, TenantDocument
from api.answers import headers
from api.auth import scope_of
from api.batch_schemas import BatchDocument
from api.schemas import JobDocument, Problem
from api.script_schemas import AliasDocument, VersionDocument
from fumehood.limits import REQUESTABLE
from fumehood.settings import Settings

DESCRIPTION = """Runs Python scripts that define `azureml_main` in throwaway containers.

Every error is an RFC 9457 problem with a stable `type`. A job that fails is not an error of the API: its record says what happened.

Every address that knows GET knows HEAD. Every answer carries an `X-Request-Id`, the caller's own where it sent a plain one,
and with a known key how many requests are left (`RateLimit`)."""
TAGS = [
    {"name": "datasets", "description": "Tables and script bundles, stored once and described in a sandbox."},
    {"name": "jobs", "description": "Runs of a script."},
    {"name": "batches", "description": "One script over many inputs."},
    {"name": "scripts", "description": "Scripts under a name, in versions that a sandbox has checked."},
    {"name": "studio", "description": "Scripts as web services of Azure Machine Learning Studio (classic), for clients written for those."},
    {"name": "events", "description": "What happens, as it happens."},
    {"name": "results", "description": "What a run left: log, tables, figures, artifacts."},
    {"name": "usage", "description": "What was used, by day and label."},
    {"name": "receipts", "description": "The keys that erasure receipts are signed with; the receipts stand in the records."},
    {"name": "webhooks", "description": "Messages to your own server when a job or a batch has ended."},
    {"name": "images", "description": "The pinned environments that scripts run in."},
    {"name": "metrics", "description": "The service's own numbers, for Prometheus."},
    {"name": "admin", "description": "The operator's: tenants, their keys, and who did what. Needs the scope `admin`."},
    {"name": "health", "description": "Open, without a key."},
]

# Those that only our own references name.
MODELS = (
    JobDocument,
    BatchDocument,
    VersionDocument,
    AliasDocument,
    TenantDocument,
    TenantChange,
    KeyDocument,
    RotateDocument,
    Problem,
)


# Name → the document that it is a part of.
OF_VERSIONS = {"ScriptJobDocument": "JobDocument", "ScriptBatchDocument": "BatchDocument"}
TAKE_KEYS = (
    ("/v1/jobs", "post"),
    ("/v1/batches", "post"),
    ("/v1/scripts/{script}", "put"),
    ("/v1/scripts/{script}/jobs", "post"),
    ("/v1/scripts/{script}/batches", "post"),
)


def document(app: FastAPI, settings: Settings) -> dict[str, Any]:
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes, tags=TAGS)
        schemas = made["components"]["schemas"]
        for model in MODELS:
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {})
            schemas[model.__name__] = schema
        for name, whole in OF_VERSIONS.items():
            schemas[name] = _of_a_version(schemas[whole], name)
        for document in ("JobDocument", "BatchDocument", "VersionDocument"):
            _say_limits(schemas[document]["properties"], settings)
        for path, method in TAKE_KEYS:
            _say_how_long_keys_are_kept(made["paths"][path][method]["parameters"], settings)
        _leave_out_what_is_retold(made)
        for path, methods in made["paths"].items():
            for method, operation in methods.items():
                if "security" in operation:
                    operation["security"] = [{"key": [scope_of(method.upper(), path).value]}]
                    _say_that_the_rate_is_told(operation)
        app.openapi_schema = made
    return app.openapi_schema


def _of_a_version(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """The document of a run that has script, bundle and defaults of a version."""
    made = {**deepcopy(schema), "title": name}
    for own in ("script", "bundle"):
        del made["properties"][own]
    made["description"] = "As the document of any other, without what the version has."
    made["properties"]["limits"]["description"] = "Bounds of the run, none above the version's, which hold where nothing is said."
    made["properties"]["parameters"]["description"] = "As the version has them by name and type; its defaults hold where nothing is said."
    return made


def _leave_out_what_is_retold(made: dict[str, Any]) -> None:
    """The framework's own 422, where a route does not answer with one (api.studio_errors)."""
    for methods in made["paths"].values():
        for operation in methods.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        made["components"]["schemas"].pop(name, None)


def _say_that_the_rate_is_told(operation: dict[str, Any]) -> None:
    """In every answer, once the key is known."""
    for status, response in operation["responses"].items():
        if status != "401":
            response["headers"] = headers("RateLimit", "RateLimit-Policy") | response.get("headers", {})


def _say_limits(properties: dict[str, Any], settings: Settings) -> None:
    default, ceiling = settings.limits.as_dict(), settings.ceiling.as_dict()
    for name in REQUESTABLE:
        properties["limits"]["properties"][name] |= {"default": default[name], "maximum": ceiling[name]}


def _say_how_long_keys_are_kept(parameters: list[dict[str, Any]], settings: Settings) -> None:
    for parameter in parameters:
        if parameter.get("description") in (jobs.KEY_DESCRIPTION, batches.KEY_DESCRIPTION, scripts.KEY_DESCRIPTION):
            parameter["description"] = parameter["description"].format(idempotency_hours=settings.idempotency_hours)
