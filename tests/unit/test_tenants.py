"""Tenants, keys, the audit log and the erasure of a tenant in the store, over every database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import exc, text

from fumehood.audit import CALL, Call, Entry
from fumehood.blob_store import BlobStore
from fumehood.database import Database
from fumehood.errors import BadRequest, Conflict, NotFinished, NotFound, Suspended
from fumehood.events import Notice
from fumehood.job import Lane
from fumehood.job_store import JobStore
from fumehood.outcome import Reason
from fumehood.receipt import SigningKey, unsealed, verify
from fumehood.schema import METADATA
from fumehood.tenant import TENANT_SCOPES, Scope, TenantState, new_key
from fumehood.tenant_erasure import KEPT, _tables
from fumehood.testing import MemoryEvents, dataset, erasure, job, outcome
from tests.services import until
from tests.unit.stores import batch_of
from worker.tenant_eraser import TenantEraser

DAY = 86_400


def test_a_tenant_has_what_it_differs_in_and_the_operator_s_rest(store: JobStore) -> None:
    made = store.create_tenant("lab", weight=2, quota={"running_jobs": 3})
    changed = store.change_tenant("lab", quota={"queued_jobs": 5, "ceiling": {"wall_seconds": 60}}, retention={"log_days": 1})
    assert (changed.quota.running_jobs, changed.quota.queued_jobs, changed.quota.ceiling.wall_seconds) == (3, 5, 60)
    back = store.change_tenant(made.id, quota={"running_jobs": None})
    assert (back.quota.running_jobs, back.quota.queued_jobs, back.weight, back.retention.log_days) == (1000, 5, 2, 1)
    assert store.get_tenant("lab") == back == store.get_tenant(made.id)
    with pytest.raises(BadRequest) as caught:
        store.change_tenant("lab", weight=0, quota={"x": 1})
    assert [each.pointer for each in caught.value.errors] == ["/weight", "/quota/x"]


def test_names_are_unique_and_never_look_like_an_id(store: JobStore) -> None:
    store.create_tenant("lab")
    with pytest.raises(Conflict):
        store.create_tenant("lab")
    for name in ("", "ten_x", "Lab", "a/b", "-a", "a" * 64):
        with pytest.raises(BadRequest):
            store.create_tenant(name)
    store.create_tenant("a")
    store.create_tenant("b")
    first, cursor = store.list_tenants(limit=2)
    rest, end = store.list_tenants(after=cursor, limit=2)
    assert ([each.name for each in [*first, *rest]], end) == (["a", "b", "lab"], None)


def test_a_key_lives_until_it_is_revoked_or_has_expired(store: JobStore, clock: Any) -> None:
    tenant = store.create_tenant("lab")
    key, secret = store.create_key("lab", name="night", scopes=TENANT_SCOPES, expires_at=clock.now + 10)
    _, other = store.create_key("lab", name="", scopes=frozenset({Scope.READ}))
    caller = store.caller_of_key(secret)
    assert caller is not None
    assert (caller.tenant.id, caller.key.scopes, caller.key.name) == (tenant.id, TENANT_SCOPES, "night")
    clock.now += 10
    assert store.caller_of_key(secret) is None
    found = store.caller_of_key(other)
    assert found is not None
    store.revoke_key("lab", found.key.prefix)
    assert store.caller_of_key(other) is None
    assert not any(each.live(now=clock.now) for each in store.list_keys("lab"))
    assert secret not in repr(store.list_keys("lab"))
    with pytest.raises(NotFound):
        store.revoke_key(store.create_tenant("other").id, key.prefix)


def test_a_key_is_replaced_without_a_gap(store: JobStore, clock: Any) -> None:
    store.create_tenant("lab")
    old, first = store.create_key("lab", name="n", scopes=TENANT_SCOPES, expires_at=clock.now + 1000)
    clock.now += 500
    new, second = store.rotate_key("lab", old.prefix, overlap_seconds=60)
    assert (new.name, new.scopes, new.expires_at) == ("n", TENANT_SCOPES, clock.now + 1000)
    assert store.caller_of_key(first)
    assert store.caller_of_key(second)
    assert [key.replaced_by for key in store.list_keys("lab")] == [None, new.prefix]
    with pytest.raises(Conflict, match=f"was replaced by {new.prefix}"):
        store.rotate_key("lab", old.prefix, overlap_seconds=60)
    clock.now += 60
    assert store.caller_of_key(first) is None
    assert store.caller_of_key(second)
    with pytest.raises(Conflict):
        store.rotate_key("lab", old.prefix, overlap_seconds=60)


def test_so_many_keys_may_live_and_those_that_ended_do_not_count(store: JobStore, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fumehood.key_store.KEYS_MAX", 2)
    store.create_tenant("lab")
    store.create_key("lab", name="", scopes=TENANT_SCOPES, expires_at=clock.now + 10)
    second, _ = store.create_key("lab", name="", scopes=TENANT_SCOPES)
    for end in (lambda: store.revoke_key("lab", second.prefix), lambda: setattr(clock, "now", clock.now + 10)):
        with pytest.raises(Conflict, match="2 keys, which is the limit"):
            store.create_key("lab", name="", scopes=TENANT_SCOPES)
        end()
        store.create_key("lab", name="", scopes=TENANT_SCOPES)


def test_the_last_use_is_written_once_a_minute(store: JobStore, clock: Any) -> None:
    store.create_tenant("lab")
    key, _ = store.create_key("lab", name="", scopes=TENANT_SCOPES)
    seen = []
    for step in (0, 59, 1):
        clock.now += step
        store.key_used(key.prefix)
        seen.append(store.list_keys("lab")[0].used_at)
    assert seen == [clock.now - 60, clock.now - 60, clock.now]


def test_what_a_call_changes_is_in_the_log_together_with_it(store: JobStore) -> None:
    token = CALL.set(Call(address="10.0.0.1", by_tenant="ten_op", by_key="abc", action="create_tenant"))
    try:
        made = store.create_tenant("lab")
        with pytest.raises(Conflict):
            store.create_tenant("lab")
    finally:
        CALL.reset(token)
    store.note(Entry(at=0, action="list_jobs", result="403", tenant="ten_x"))
    (entry,), _ = store.list_audit(tenant=made.id)
    assert (entry.by_tenant, entry.by_key, entry.address, entry.action, entry.target, entry.result) == (
        "ten_op", "abc", "10.0.0.1", "create_tenant", made.id, "ok",
    )  # fmt: skip
    everything, cursor = store.list_audit(limit=1)
    assert everything[0].action == "list_jobs"
    assert [each.action for each in store.list_audit(before=cursor)[0]] == ["create_tenant"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET result = 'ok'",
        "DELETE FROM audit",
        "INSERT INTO audit_horizon (id, before) VALUES (2, 9e9)",
        "UPDATE audit_horizon SET before = 9e9",
        "UPDATE audit_horizon SET before = -1",
        "REPLACE INTO audit (seq, at, action, result) VALUES (1, 0, 'x', 'x')",
        "TRUNCATE audit",
        "TRUNCATE audit_horizon",
    ],
)
def test_the_database_keeps_entries_as_they_are(store: JobStore, store_url: str, statement: str) -> None:
    database = Database(store_url)
    if database.is_sqlite == statement.startswith("TRUNCATE") or (statement.startswith("REPLACE") and not database.is_sqlite):
        return
    store.note(Entry(at=0, action="a", result="403"))
    with pytest.raises(exc.DBAPIError, match="audit log"), database.writing() as connection:
        connection.execute(text(statement))
    database.close()
    assert [each.result for each in store.list_audit()[0]] == ["403"]


def test_old_entries_are_forgotten_and_that_is_written(store: JobStore, clock: Any) -> None:
    for _ in range(3):
        store.note(Entry(at=0, action="old", result="ok"))
    clock.now += 10 * DAY
    store.note(Entry(at=0, action="new", result="ok"))
    assert store.forget_audit(days=30) == 0
    assert store.forget_audit(days=5) == 3
    assert store.forget_audit(days=5) == 0
    assert [each.action for each in store.list_audit()[0]] == ["forget_audit", "new"]


class Ground:
    def __init__(self, store: JobStore, home: Path) -> None:
        self.store, self.blobs, self.events, self.worker = store, BlobStore(home), MemoryEvents(), "wrk_test"


def test_a_deleted_tenant_leaves_its_receipt_and_nothing_else(store: JobStore, home: Path) -> None:
    lab, other = store.create_tenant("lab").id, store.create_tenant("other").id
    key, ground = SigningKey("0a" * 32), Ground(store, home)
    _, secret = store.create_key("lab", name="", scopes=TENANT_SCOPES)
    for tenant in (lab, other):
        store.add_dataset(dataset(tenant=tenant))
        store.submit(job(tenant=tenant, labels={"a": "b"}))
        batch, *asked = batch_of(3, tenant=tenant)
        store.submit_batch(batch, *asked)
        with ground.blobs.incoming() as incoming:
            incoming.write(b"12345")
            ground.blobs.keep(incoming, tenant, "jobs/job_1/script.py")
    running = store.claim(worker="wrk_test", lane=Lane.JOBS, disk_budget_bytes=2**60)
    assert running is not None
    mine = running.tenant == lab
    lab, other = (lab, other) if mine else (other, lab)
    store.begin_erasure(lab)
    eraser = TenantEraser(ground, key.seal)  # type: ignore[arg-type]
    eraser.erase()
    with pytest.raises(NotFinished):
        store.tenant_receipt(lab)
    assert store.renew(running).cancel_requested
    store.finish(running, outcome(reason=Reason.CANCELLED), erasure(running))
    for _ in range(10):
        eraser.erase()
    receipt = store.tenant_receipt(lab)
    verify(receipt, [key.public])
    assert [receipt[name] for name in ("jobs", "batches", "datasets", "files", "bytes")] == [4, 1, 1, 1, 5]
    assert receipt["keys"] == (1 if mine else 0)
    with pytest.raises(NotFound):
        store.get_tenant(lab)
    assert (store.caller_of_key(secret) is None) == mine
    assert not (home / "blobs" / lab).exists()
    assert (home / "blobs" / other).exists()
    assert len(store.list_jobs(other)[0]) == 4
    for late in (
        lambda: store.submit(job(tenant=lab)),
        lambda: store.add_dataset(dataset(tenant=lab)),
        lambda: store.webhook_secrets(lab),
        lambda: store.rotate_webhook_secret(lab),
    ):
        with pytest.raises(Suspended):
            late()


def test_with_a_tenant_go_its_events_and_those_of_its_batches(store: JobStore, home: Path) -> None:
    ground, lab, other = Ground(store, home), store.create_tenant("lab").id, store.create_tenant("other").id
    streams = {}
    for tenant in (lab, other):
        batch, *asked = batch_of(2, tenant=tenant)
        store.submit_batch(batch, *asked)
        single = store.submit(job(tenant=tenant)).job.id
        streams[tenant] = (tenant, batch.id, single)
        ground.events.notify([Notice(name, "state", {}) for name in (tenant, batch.id)])
        ground.events.publish(single, "state", {})
    store.begin_erasure(lab)
    eraser = TenantEraser(ground, unsealed)  # type: ignore[arg-type]
    for _ in range(3):
        eraser.erase()
    assert store.tenant_receipt(lab)
    assert [name for name in streams[lab] if ground.events.published(name)] == []
    assert [name for name in streams[other] if ground.events.published(name)] == list(streams[other])


def test_ending_the_jobs_of_a_tenant_and_a_job_that_ends_by_itself_never_lock_each_other_out(store: JobStore, store_url: str) -> None:
    """Job rows before shares: the deletion holds no share while it waits for the row of a job that is just ending."""
    tenant = store.create_tenant("lab").id
    for _ in range(2):
        store.submit(job(tenant=tenant))
    running = store.claim(worker="wrk_test", lane=Lane.JOBS, disk_budget_bytes=2**60)
    assert running is not None
    store.begin_erasure(tenant)
    database = Database(store_url)
    if database.is_sqlite:  # has one writer at a time
        database.close()
        return
    with ThreadPoolExecutor(1) as pool:
        with database.writing() as connection:
            connection.execute(text("SELECT seq FROM jobs WHERE id = :id FOR UPDATE"), {"id": running.id})
            ending = pool.submit(store.end_jobs_of, tenant)
            until(lambda: _waits(database), seconds=10, what="the deletion waits for the row of the job that runs")
            connection.execute(text("SET LOCAL lock_timeout = '2s'"))
            connection.execute(text("UPDATE shares SET running = running WHERE tenant = :tenant"), {"tenant": tenant})
        assert ending.result(timeout=20) == 1
    database.close()


def _waits(database: Database) -> bool:
    with database.reading() as connection:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return bool(connection.execute(text(asked)).scalar_one())


def test_nothing_is_accepted_for_a_tenant_that_goes(store: JobStore) -> None:
    tenant = store.create_tenant("lab").id
    assert store.begin_erasure("lab").state is TenantState.DELETING
    batch, *asked = batch_of(1, tenant=tenant)
    for late in (
        lambda: store.submit(job(tenant=tenant)),
        lambda: store.add_dataset(dataset(tenant=tenant)),
        lambda: store.submit_batch(batch, *asked),
    ):
        with pytest.raises(Suspended):
            late()
    for verb in (
        lambda: store.change_tenant("lab", state=TenantState.ACTIVE),
        lambda: store.create_key("lab", name="", scopes=TENANT_SCOPES),
    ):
        with pytest.raises(Conflict):
            verb()
    assert store.ensure_tenant("lab", new_key()).state is TenantState.DELETING
    assert store.list_keys("lab") == []


def test_there_is_no_receipt_while_a_file_or_a_row_is_left(store: JobStore, home: Path) -> None:
    tenant = store.create_tenant("lab").id
    store.submit(job(tenant=tenant))
    store.begin_erasure(tenant)
    assert store.end_erasure(tenant, worker="w", nothing_left=lambda: True, seal=unsealed) is None
    store.end_jobs_of(tenant)
    while store.erase_rows_of(tenant):
        pass
    assert store.end_erasure(tenant, worker="w", nothing_left=lambda: False, seal=unsealed) is None
    blobs = BlobStore(home)
    with blobs.unsettled(tenant, "jobs/job_1"):
        assert not blobs.leave(tenant)
    assert store.end_erasure(tenant, worker="w", nothing_left=lambda: blobs.leave(tenant), seal=unsealed) is not None


def test_every_table_with_things_of_tenants_is_erased_or_kept_on_purpose() -> None:
    erased = {table.name for table, _ in _tables()}
    assert {"jobs", "job_labels", "job_needs", "batches", "batch_items", "datasets", "idempotency", "shares"} <= erased
    assert {table.name for table in METADATA.tables.values() if "tenant" in table.c} <= erased | set(KEPT)
