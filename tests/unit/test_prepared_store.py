"""Rows of prepared sandboxes: there before anything of a tenant's is laid into one, and until nothing of it is left."""

from __future__ import annotations

import pytest

from fumehood.errors import NotFound
from fumehood.job import Lane, State
from fumehood.job_store import JobStore
from fumehood.prepared_store import PreparedRow
from fumehood.script import Version
from fumehood.tenant import TenantState, new_key
from fumehood.testing import erasure, job, outcome
from fumehood.usage import cpu_seconds_today
from tests.unit.stores import version_of

WORKER = "wrk_a"


def kept(store: JobStore, version: Version, sandbox: str = "one", *, worker: str = WORKER) -> bool:
    return store.keep_prepared(tenant=version.tenant, version=version.id, worker=worker, sandbox=sandbox)


@pytest.fixture
def version(store: JobStore) -> Version:
    tenant = store.ensure_tenant("someone", new_key()).id
    made, _ = store.publish(*version_of(tenant=tenant))
    claimed = store.claim(worker="w", lane=Lane.JOBS, disk_budget_bytes=2**60)
    assert claimed is not None
    store.finish(claimed, outcome(), erasure(claimed))
    return made


def test_one_is_wanted_until_its_version_is_gone(store: JobStore, version: Version) -> None:
    assert kept(store, version)
    assert kept(store, version, "other", worker="wrk_b")
    assert store.prepared_of(WORKER) == [PreparedRow("one", unwanted=False)]
    assert store.prepared_with([version.id]) == 2
    store.delete_version(version.tenant, "score", 1)
    assert store.prepared_of(WORKER) == [PreparedRow("one", unwanted=True)]
    store.forget_prepared(["one", "never there"])
    assert store.prepared_of(WORKER) == []
    assert store.prepared_with([version.id]) == 1


def test_none_is_made_of_a_version_that_is_gone_or_another_tenants(store: JobStore, version: Version) -> None:
    assert not store.keep_prepared(tenant="ten_other", version=version.id, worker=WORKER, sandbox="one")
    store.delete_script(version.tenant, "score")
    assert not kept(store, version)
    assert store.prepared_of(WORKER) == []


@pytest.mark.parametrize("state", [TenantState.SUSPENDED, TenantState.DELETING])
def test_a_tenant_that_may_run_nothing_wants_none(store: JobStore, version: Version, state: TenantState) -> None:
    assert kept(store, version)
    if state is TenantState.SUSPENDED:
        store.change_tenant(version.tenant, state=state)
    else:
        store.begin_erasure(version.tenant)
    assert store.prepared_of(WORKER) == [PreparedRow("one", unwanted=True)]
    assert not kept(store, version, "two")


def test_the_job_that_takes_one_has_it_from_that_moment_on(store: JobStore, version: Version) -> None:
    assert kept(store, version)
    store.submit(job(tenant=version.tenant))
    claimed = store.claim(worker=WORKER, lane=Lane.JOBS, disk_budget_bytes=2**60)
    assert claimed is not None
    named = store.name_sandbox(claimed, sandbox="one", scratch="s")
    assert (named.sandbox, named.state) == ("one", State.RUNNING)
    assert store.prepared_of(WORKER) == []


def test_those_of_a_worker_that_is_buried_are_forgotten_and_not_before(store: JobStore, version: Version) -> None:
    for sandbox, worker in (("one", WORKER), ("two", WORKER), ("three", "wrk_b")):
        assert kept(store, version, sandbox, worker=worker)
    store.forget_worker(WORKER)
    assert len(store.prepared_of(WORKER)) == 2, "nobody has looked whether they are gone"
    store.forget_prepared_of(WORKER)
    assert store.prepared_of(WORKER) == []
    assert store.prepared_with([version.id]) == 1


def used_today(store: JobStore, tenant: str) -> float:
    with store._database.reading() as connection:
        return cpu_seconds_today(connection, tenant, store._clock())


def test_what_one_used_that_served_nobody_counts_for_its_tenant_once(store: JobStore, version: Version) -> None:
    before = used_today(store, version.tenant)
    assert kept(store, version)
    for _ in range(2):
        store.end_prepared("one", cpu_seconds=2.5)
    assert used_today(store, version.tenant) == before + 2.5
    assert store.prepared_of(WORKER) == []


def test_a_tenant_that_has_used_up_its_day_gets_none(store: JobStore, version: Version) -> None:
    store.change_tenant(version.tenant, quota={"cpu_seconds_per_day": 10.0})
    assert kept(store, version)
    store.end_prepared("one", cpu_seconds=11.0)
    assert not kept(store, version)


def test_a_tenant_is_not_erased_while_one_waits_with_a_script_of_its(store: JobStore, version: Version) -> None:
    assert kept(store, version)
    store.begin_erasure(version.tenant)
    assert store.end_jobs_of(version.tenant) == 0
    while store.erase_rows_of(version.tenant):
        pass
    assert store.prepared_of(WORKER) == [PreparedRow("one", unwanted=True)], "only who took the sandbox away may say so"

    def end() -> object:
        return store.end_erasure(version.tenant, worker=WORKER, nothing_left=lambda: True, seal=dict)

    assert end() is None
    store.forget_prepared(["one"])
    assert end() is not None
    with pytest.raises(NotFound):
        store.get_tenant(version.tenant)
