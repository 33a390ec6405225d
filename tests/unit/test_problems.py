"""The problem table: every error of the tree that a request can meet has its place, and says what RFC 9457 asks for."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from api import problems
from fumehood import errors
from fumehood.errors import BadField, FumehoodError

WORKER_AND_START_UP = {errors.LeaseLost, errors.SandboxError, errors.Misconfigured}


def tree(family: type[FumehoodError] = FumehoodError) -> list[type[FumehoodError]]:
    return [found for child in family.__subclasses__() for found in (child, *tree(child))]


OURS = [family for family in tree() if family.__module__ in ("fumehood.errors", "api.problems") and family not in WORKER_AND_START_UP]
EXTRA: dict[type[FumehoodError], dict[str, Any]] = {
    errors.Gone: {"expired_at": 0.0},
    errors.QuotaExceeded: {"quota": "queued_jobs", "limit": 3, "value": 3, "retry_after_seconds": 7},
    errors.TooLarge: {"limit": 5, "value": 6},
    problems.RangeNotSatisfiable: {"total_bytes": 8},
    problems.NothingAcceptable: {"available": ["text/csv"]},
    problems.UnknownMediaType: {"available": ["text/csv"]},
}
EXTRA |= {family: {"job": "job_1", "reason": "lost"} for family in (problems.CallFailed, *tree(problems.CallFailed))}


@pytest.mark.parametrize("family", OURS, ids=lambda family: family.__name__)
def test_every_error_has_its_problem(family: type[FumehoodError]) -> None:
    answer = problems.of_error(family("what was found and expected", **EXTRA.get(family, {})))
    document = json.loads(bytes(answer.body))
    assert answer.media_type == "application/problem+json"
    assert answer.status_code == document["status"] < 600
    assert document["status"] != 500
    assert document["type"].startswith("urn:fumehood:problem:")
    assert document["detail"] == "what was found and expected"


def test_the_statuses_are_those_of_the_tree() -> None:
    said = {name: int(status) for name, status in re.findall(r"── (\w+) .*?(\d{3})$", str(errors.__doc__), re.MULTILINE)}
    for name, status in said.items():
        family = getattr(errors, name)
        assert problems.of_error(family("x", **EXTRA.get(family, {}))).status_code == status, name
    assert len(said) == 18


def test_slugs_are_unique() -> None:
    slugs = [slug for _, slug, _ in problems.PROBLEMS.values()]
    assert len(slugs) == len(set(slugs))


def test_an_error_without_a_place_is_internal() -> None:
    answer = problems.of_error(errors.SandboxError("a path of ours"))
    assert answer.status_code == 500
    assert b"path of ours" not in bytes(answer.body)


@pytest.mark.parametrize(
    ("error", "header", "value"),
    [
        (errors.Unauthenticated("x"), "www-authenticate", 'Bearer realm="fumehood"'),
        (errors.DiskFull("x", retry_after_seconds=30), "retry-after", "30"),
        (problems.RangeNotSatisfiable("x", total_bytes=8), "content-range", "bytes */8"),
        (errors.TooManyCalls("x"), "retry-after", "1"),
        (problems.CallLost("x", job="job_1", reason="lost"), "retry-after", "5"),
    ],
)
def test_headers_go_along(error: FumehoodError, header: str, value: str) -> None:
    assert problems.of_error(error).headers[header] == value


def test_fields_are_named_and_bounded() -> None:
    answer = problems.of_error(errors.BadRequest("x", errors=tuple(BadField(f"/{n}", "half \ud800") for n in range(1000))))
    document = json.loads(bytes(answer.body))
    assert document["errors"][0] == {"pointer": "/0", "detail": "half \ud800"}
    assert len(document["errors"]) == problems.FIELDS_MAX
