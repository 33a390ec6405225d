"""Quotas and retention: the operator's defaults, and where a tenant differs from them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fumehood.errors import BadRequest
from fumehood.limits import CEILING, GIB, MIB, Limits
from fumehood.quota import Defaults, Quota, Retention
from fumehood.settings import Settings


def test_who_says_nothing_has_the_defaults_and_the_service_s_ceiling() -> None:
    quota = Defaults().quota_with(None)
    assert (quota.running_jobs, quota.ceiling) == (Quota().running_jobs, CEILING)
    assert Defaults().retention_with({}) == Retention()


def test_a_document_changes_what_it_names_and_nothing_else() -> None:
    defaults = Defaults(quota=Quota(running_jobs=7, queued_jobs=9), retention=Retention(log_days=3))
    quota = defaults.quota_with({"running_jobs": 2, "requests_per_second": 0.5})
    assert (quota.running_jobs, quota.queued_jobs, quota.requests_per_second) == (2, 9, 0.5)
    assert defaults.retention_with({"result_days": 1}) == Retention(log_days=3, result_days=1)


def test_a_tenant_s_ceiling_is_never_above_the_service_s() -> None:
    service = Limits(memory_bytes=4 * GIB, disk_bytes=1 * GIB, wall_seconds=600)
    ceiling = Defaults(ceiling=service).quota_with({"ceiling": {"wall_seconds": 7200, "memory_bytes": 512 * MIB}}).ceiling
    assert (ceiling.wall_seconds, ceiling.memory_bytes) == (600, 512 * MIB)
    assert ceiling.disk_bytes < ceiling.memory_bytes
    assert ceiling.bundle_entries == service.bundle_entries


@pytest.mark.parametrize(
    ("document", "pointer", "expected"),
    [
        ({"runing_jobs": 1}, "/quota/runing_jobs", "there is no 'runing_jobs'; expected running_jobs, "),
        ({"running_jobs": 0}, "/quota/running_jobs", "running_jobs is 0; expected a whole number from 1 to "),
        ({"running_jobs": 1.5}, "/quota/running_jobs", "running_jobs is 1.5; expected a whole number"),
        ({"running_jobs": True}, "/quota/running_jobs", "running_jobs is True"),
        ({"running_jobs": "many"}, "/quota/running_jobs", "running_jobs is 'many'"),
        ({"stored_bytes": 10**400}, "/quota/stored_bytes", "stored_bytes is 1000"),
        ({"cpu_seconds_per_day": math.inf}, "/quota/cpu_seconds_per_day", "is inf; expected a number"),
        ({"ceiling": 5}, "/quota/ceiling", "expected an object"),
        ({"ceiling": {"cpus": 0}}, "/quota/ceiling/cpus", "cpus is 0"),
    ],
)
def test_a_quota_that_cannot_be_used_is_named(document: dict[str, Any], pointer: str, expected: str) -> None:
    with pytest.raises(BadRequest) as caught:
        Defaults().quota_with(document)
    (field,) = caught.value.errors
    assert field.pointer == pointer
    assert expected in field.detail


@pytest.mark.parametrize("days", [0, -1, math.nan, 1e9, None])
def test_a_lifetime_that_cannot_be_used_is_named(days: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        Defaults().retention_with({"log_days": days})
    assert caught.value.errors[0].pointer == "/retention/log_days"
    with pytest.raises(BadRequest):
        Retention(log_days=days)


@pytest.fixture
def setenv(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    def read(**values: str) -> Settings:
        for name, value in values.items():
            monkeypatch.setenv(f"FUMEHOOD_{name.upper()}", value)
        return Settings()

    return read


def test_the_operator_s_defaults_are_documents(setenv: Callable[..., Settings]) -> None:
    defaults = setenv(
        quota='{"running_jobs": 3, "ceiling": {"wall_seconds": 60}}', retention='{"log_days": 2}', ceiling='{"wall_seconds": 600}'
    ).tenant_defaults
    quota = defaults.quota_with(None)
    assert (quota.running_jobs, quota.queued_jobs) == (3, Quota().queued_jobs)
    assert (quota.ceiling.wall_seconds, quota.ceiling.memory_bytes) == (60, CEILING.memory_bytes)
    assert defaults.retention_with(None) == Retention(log_days=2)


def test_the_operator_names_one_of_them(setenv: Callable[..., Settings]) -> None:
    assert setenv(quota__running_jobs="5").quota == Quota(running_jobs=5)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("quota", '{"runing_jobs": 3}', "there is no 'runing_jobs'"),
        ("quota", '{"running_jobs": 0}', "running_jobs is 0"),
        ("retention", '{"log_days": -1}', "log_days is -1"),
    ],
)
def test_a_wrong_default_is_named(setenv: Callable[..., Settings], name: str, value: str, expected: str) -> None:
    with pytest.raises((ValidationError, BadRequest), match=expected):
        setenv(**{name: value})


def test_the_page_on_tenants_tells_every_quota() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/how-to/tenants.md").read_text(encoding="utf-8")
    table = page.partition("| quota | counts | what is over it |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [each.name for each in fields(Quota)]
