"""Every verb of the store, asked of one with a history: for those who look at its plans, and at what they cost."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from benchmarks.history import OTHERS, RUN_JOBS, TENANT, fill
from fumehood.batch import Isolation
from fumehood.image import Image
from fumehood.job import Input, Job, Kind, Lane
from fumehood.job_store import Idempotency, JobStore
from fumehood.outcome import Reason
from fumehood.pages import write_cursor
from fumehood.quota import Quota, Retention
from fumehood.script import Target
from fumehood.tenant import new_key
from fumehood.testing import dataset, erasure, job, outcome
from tests.unit.stores import TERMS, batch_of, version_of

BUDGET = 2**60
SHA = "a" * 64
DUE = 30
# Of these nothing is asked here: they open and close, or are a part of another verb that is.
APART = {"migrate", "migrating", "close"}
# Not asked yet: tenants and their erasure, keys, the audit log, messages to callers.
NOT_YET = {
    "begin_erasure", "change_tenant", "claim_deliveries", "count_erased", "create_key", "create_tenant", "end_erasure",
    "end_jobs_of", "erase_rows_of", "forget_audit", "forget_deliveries", "get_delivery", "get_tenant", "key_used", "list_audit",
    "list_deliveries", "list_keys", "list_tenants", "note", "release_batches", "replay_delivery", "revoke_key", "rotate_key",
    "rotate_webhook_secret", "settle_delivery", "some_streams_of", "tenant_receipt", "tenants_to_erase", "webhook_secrets",
}  # fmt: skip
Ask = Callable[[], object]


class Verbs:
    """Asks in an order in which each verb has something to do. What is asked of is made before, unseen."""

    def __init__(self, store: JobStore, *, finished: int) -> None:
        fill(store, finished=finished, due=DUE)
        self.store, self.finished = store, finished
        self.middle = write_cursor(finished // 2)
        self.rare = ("run", str(finished // RUN_JOBS // 2))
        self.own = store.add_dataset(dataset(tenant=TENANT))[0]
        self.key = new_key()
        self.store.ensure_tenant("someone", self.key)
        self.number = 0

    def asked(self, **overrides: Any) -> Job:
        reads = {"dataset1": Input(blob="b", format="arrow", bytes=1, dataset=self.own.id)}
        made = job(tenant=TENANT, labels={"team": "blue", "run": "new"}, **overrides)
        return replace(made, inputs=made.inputs | reads)

    def submit(self, **overrides: Any) -> Job:
        return self.store.submit(self.asked(**overrides)).job

    def claimed(self, lane: Lane = Lane.JOBS, **overrides: Any) -> Job:
        return self.claimed_as(self.submit(**overrides).id, lane)

    def claimed_as(self, job_id: str, lane: Lane = Lane.JOBS) -> Job:
        while True:  # others may wait before it
            found = self.store.claim(worker="wrk_test", lane=lane, disk_budget_bytes=BUDGET)
            assert found is not None
            if found.id == job_id:
                return found

    def idempotency(self) -> Idempotency:
        self.number += 1
        return Idempotency(f"key-{self.number}", SHA)

    def all(self) -> Iterator[tuple[str, Ask]]:
        """(verb, how it is asked); some are asked in several ways."""
        yield from self._of_jobs()
        yield from self._lists()
        yield from self._of_batches()
        yield from self._of_datasets()
        yield from self._of_scripts()
        yield from self._of_expiry()
        yield from self._of_the_rest()

    def _of_jobs(self) -> Iterator[tuple[str, Ask]]:
        store = self.store
        yield "ping", store.ping
        yield "submit", lambda: store.submit(self.asked(), idempotency=self.idempotency())
        old, forgotten = store.list_jobs(TENANT, before=self.middle, limit=2)[0]
        source = {"dataset1": Input(blob="b", format="arrow", bytes=1, source={"job": old.id, "output": "result"})}
        reader = job(tenant=TENANT)
        yield "submit", lambda: store.submit(replace(reader, inputs=reader.inputs | source))
        yield "find_idempotent", lambda: store.find_idempotent(TENANT, Idempotency("key-1", SHA))
        waits = self.submit()
        yield "get_job", lambda: store.get_job(TENANT, waits.id)
        yield "get_job", lambda: store.get_job(TENANT, old.id)
        yield "too_large_for_disk", lambda: store.too_large_for_disk(Lane.JOBS, disk_budget_bytes=0)
        yield "queued", lambda: store.queued(Lane.JOBS)
        yield "eligible", lambda: store.eligible(Lane.JOBS)
        yield "claim", lambda: store.claim(worker="wrk_test", lane=Lane.JOBS, disk_budget_bytes=BUDGET)
        yield "running", store.running
        held = self.claimed()
        yield "name_sandbox", lambda: store.name_sandbox(held, sandbox="s", scratch="s")
        yield "renew", lambda: store.renew(held)
        yield "finish", lambda: store.finish(held, outcome(), erasure(held))
        again = self.claimed()
        yield "give_back", lambda: store.give_back(again, erasure(again), outcome(Reason.LOST))
        yield "request_cancel", lambda: store.request_cancel(TENANT, self.submit().id)
        errand = self.claimed(Lane.ERRANDS, kind=Kind.DESCRIBE)
        store.finish(errand, outcome(), erasure(errand))
        yield "errands", store.errands
        asked = self.asked(cache_key="c" * 64)
        earlier = self.claimed(cache_key="c" * 64)
        earlier = store.finish(earlier, outcome(image="sha256:1"), erasure(earlier))
        yield "find_cached", lambda: store.find_cached(TENANT, "c" * 64, image="sha256:1")
        yield "submit_cached", lambda: store.submit_cached(asked, earlier)
        yield "count_live", lambda: store.count_live(TENANT, at_most=100)
        yield "delete_job", lambda: store.delete_job(TENANT, forgotten.id)

    def _lists(self) -> Iterator[tuple[str, Ask]]:
        team, both = ("team", "blue"), [("run", "new"), ("team", "blue")]
        asked: list[dict[str, Any]] = [
            *({}, {"before": self.middle}, {"state": "failed"}, {"state": "cancelled"}, {"state": "queued"}),
            *({"labels": [team]}, {"labels": [team], "before": self.middle}, {"labels": [self.rare]}),
            *({"labels": both}, {"labels": [team], "state": "failed"}),
        ]
        for tenant in (TENANT, OTHERS[0], "ten_none"):
            for query in asked:
                yield "list_jobs", lambda tenant=tenant, query=query: self.store.list_jobs(tenant, limit=5, **query)  # type: ignore[misc]
        yield "list_datasets", lambda: self.store.list_datasets(TENANT, limit=5)
        yield "list_datasets", lambda: self.store.list_datasets(TENANT, name="numbers.csv", before=self.middle)
        yield "list_batches", lambda: self.store.list_batches(TENANT, limit=2)
        yield "list_items", lambda: self.store.list_items(TENANT, "bat_0")
        yield "list_items", lambda: self.store.list_items(TENANT, "bat_0", state="failed", after=write_cursor(1))

    def _of_batches(self) -> Iterator[tuple[str, Ask]]:
        store = self.store
        batch, *asked = batch_of(130, tenant=TENANT)
        yield "submit_batch", lambda: store.submit_batch(batch, *asked, key="batch", request_sha256=SHA)
        yield "find_idempotent_batch", lambda: store.find_idempotent_batch(TENANT, "batch", SHA)
        yield "get_batch", lambda: store.get_batch(TENANT, batch.id)
        yield "get_batch", lambda: store.get_batch(TENANT, "bat_0")
        yield "get_item", lambda: store.get_item(TENANT, batch.id, 3)
        yield "item_ends", lambda: store.item_ends(TENANT, "bat_0")
        yield "item_ends", lambda: store.item_ends(TENANT, "bat_0", since=0.0, after=1)
        jobs = [ran.job.id for ran in store.list_items(TENANT, batch.id, limit=3)[0] if ran.job is not None]
        yield "item_ends", lambda: store.item_ends(TENANT, batch.id, jobs=jobs)
        yield "tables_of_items", lambda: store.tables_of_items(TENANT, "bat_0")
        joined = store.get_batch(TENANT, "bat_0")
        yield "keep_joined", lambda: store.keep_joined(TENANT, joined, size_bytes=100)
        yield "unfinished_job", lambda: store.unfinished_job(TENANT, batch.id)
        yield "cancel_batch", lambda: store.cancel_batch(TENANT, batch.id)
        yield "retry_items", lambda: store.retry_items(TENANT, batch.id, TERMS)
        store.cancel_batch(TENANT, batch.id)
        yield "retry_items", lambda: store.retry_items(TENANT, batch.id, TERMS, number=3)
        store.cancel_batch(TENANT, batch.id)
        yield "delete_batch", lambda: store.delete_batch(TENANT, batch.id)
        chunk = store.submit_batch(*batch_of(30, Isolation.BATCH, tenant=TENANT))[0]
        running = store.unfinished_job(TENANT, chunk.id)
        assert running is not None
        yield "chunk_of", lambda: store.chunk_of(running)

    def _of_datasets(self) -> Iterator[tuple[str, Ask]]:
        store = self.store
        new = dataset(tenant=TENANT)
        yield "add_dataset", lambda: store.add_dataset(new)
        yield "find_dataset", lambda: store.find_dataset(TENANT, sha256=new.sha256, format="csv")
        yield "get_dataset", lambda: store.get_dataset(TENANT, new.id)
        yield "use_dataset", lambda: store.use_dataset(TENANT, new.id, kept_seconds=5.0)
        yield "pin_dataset", lambda: store.pin_dataset(TENANT, new.id, pinned=True)
        yield "delete_dataset", lambda: store.delete_dataset(TENANT, new.id)

    def _of_scripts(self) -> Iterator[tuple[str, Ask]]:
        store = self.store
        for _ in range(3):
            store.publish(*version_of(tenant=TENANT))
        for version in store.list_versions(TENANT, "score")[0][::-1]:
            claimed = self.claimed_as(version.job)
            store.finish(claimed, outcome(), erasure(claimed))
        asked = version_of(tenant=TENANT)
        yield "publish", lambda: store.publish(*asked, key="version", request_sha256=SHA)
        yield "find_idempotent_version", lambda: store.find_idempotent_version(TENANT, "version", SHA)
        checked = self.claimed_as(asked[1].id)
        yield "finish", lambda: store.finish(checked, outcome(), erasure(checked))
        yield "get_script", lambda: store.get_script(TENANT, "score")
        yield "list_scripts", lambda: store.list_scripts(TENANT, limit=2)
        yield "get_version", lambda: store.get_version(TENANT, "score", 1)
        yield "get_version_by_id", lambda: store.get_version_by_id(TENANT, asked[0].id)
        yield "list_versions", lambda: store.list_versions(TENANT, "score", before=write_cursor(3), limit=2)
        yield "version_for", lambda: store.version_for(TENANT, "score")
        called = store.version_for(TENANT, "score")
        call = replace(job(tenant=TENANT, kind=Kind.SCORE), inputs=called.called)
        yield "submit", lambda: store.submit(call)
        yield "request_cancel", lambda: store.request_cancel(TENANT, call.id)
        yield "set_alias", lambda: store.set_alias(TENANT, "score", "prod", (Target(1),))
        yield "version_for", lambda: store.version_for(TENANT, "score", alias="prod", draw=0.5)
        yield "set_alias", lambda: store.set_alias(TENANT, "score", "prod", (Target(1, 50), Target(2, 50)))
        yield "get_alias", lambda: store.get_alias(TENANT, "score", "prod")
        yield "list_aliases", lambda: store.list_aliases(TENANT, "score")
        yield "roll_back", lambda: store.roll_back(TENANT, "score", "prod")
        yield "delete_alias", lambda: store.delete_alias(TENANT, "score", "prod")
        version = asked[0].id
        named = {"tenant": TENANT, "version": version, "worker": "wrk_test"}
        yield "keep_prepared", lambda: store.keep_prepared(**named, sandbox="one")
        yield "prepared_of", lambda: store.prepared_of("wrk_test")
        yield "prepared_with", lambda: store.prepared_with([version])
        yield "end_prepared", lambda: store.end_prepared("one", cpu_seconds=1.0)
        yield "forget_prepared", lambda: store.forget_prepared(["one"])
        yield "forget_prepared_of", lambda: store.forget_prepared_of("wrk_test")
        yield "delete_version", lambda: store.delete_version(TENANT, "score", 1)
        yield "delete_script", lambda: store.delete_script(TENANT, "score")

    def _of_expiry(self) -> Iterator[tuple[str, Ask]]:
        store, dues = self.store, []
        yield "tenants_with_due", store.tenants_with_due
        yield "begin_expiry", lambda: dues.extend(store.begin_expiry(TENANT, limit=5))
        yield "end_expiry", lambda: store.end_expiry(dues)
        gone = store.add_dataset(dataset(tenant=TENANT, kept_seconds=-1.0))[0]
        yield "due_datasets", lambda: store.due_datasets(TENANT)
        yield "expire_dataset", lambda: store.expire_dataset(TENANT, gone.id)
        short = Retention(record_days=0.001, log_days=0.001, result_days=0.001)
        batch = store.submit_batch(*batch_of(3, tenant=TENANT, retention=short))[0]
        store.cancel_batch(TENANT, batch.id)
        store._clock = lambda clock=store._clock: clock() + 100.0  # type: ignore[misc]
        yield "begin_batch_expiry", lambda: store.begin_batch_expiry(TENANT)
        yield "shrink_batch", lambda: store.shrink_batch(TENANT, batch.id)
        yield "shrink_batch", lambda: store.shrink_batch(TENANT, batch.id)
        yield "end_batch_expiry", lambda: store.end_batch_expiry(batch.id)
        yield "expired_at", lambda: store.expired_at(TENANT, batch.id)
        yield "forget_tombstones", store.forget_tombstones

    def _of_the_rest(self) -> Iterator[tuple[str, Ask]]:
        store = self.store
        yield "ensure_tenant", lambda: store.ensure_tenant("someone", self.key)
        yield "tenant_of_key", lambda: store.tenant_of_key(self.key)
        yield "caller_of_key", lambda: store.caller_of_key(self.key)
        today = date.fromtimestamp(store._clock())
        yield "usage", lambda: store.usage(TENANT, first=today - timedelta(days=30), last=today)
        yield "usage", lambda: store.usage(TENANT, first=today - timedelta(days=30), last=today, label="team", limit=10)
        yield "use_of", lambda: store.use_of(TENANT)
        yield "check_room", lambda: store.check_room(TENANT, Quota(), bytes=1)
        yield "read_lanes", store.read_lanes
        yield "read_workers", lambda: store.read_workers(seen_within_seconds=60)
        yield "worker_beat", lambda: store.worker_beat("wrk_test", {"ready": True, "jobs_slots": 2})
        yield "workers", lambda: store.workers(seen_within_seconds=60)
        yield "forget_worker", lambda: store.forget_worker("wrk_test")
        yield "keep_receipt_key", lambda: store.keep_receipt_key("key", "0a" * 32)
        yield "receipt_keys", store.receipt_keys
        yield "keep_image", lambda: store.keep_image(Image(digest="sha256:1", python="3.13", packages={}))
        yield "images", store.images
        yield "get_image", lambda: store.get_image("sha256:1")


def verbs_of_the_store() -> set[str]:
    return {name for name, _ in inspect.getmembers(JobStore, inspect.isfunction) if not name.startswith("_")} - APART - NOT_YET
