"""No call of one tenant reads, lists, guesses, changes or learns of anything of another: the walk over the whole OpenAPI document, and
the leaks that it finds."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

import api.gone
import api.jobs
import api.submission
from fumehood.dataset import Dataset
from fumehood.errors import Conflict, FumehoodError, NotFound
from fumehood.job import Job
from fumehood.job_store import JobStore
from fumehood.schema import BATCHES, DATASETS, JOBS, SCRIPTS
from fumehood.script import Version
from fumehood.tenant import ALL_SCOPES, Scope
from fumehood.testing import MemoryEvents
from fumehood.webhook_schema import DELIVERIES
from tests.unit.front_desk import Counter, Stand
from tests.unit.strangers import OPERATORS, Call, Strangers, everything_of, ready, told

SCOPES = {
    "all but the operator's": frozenset({Scope.SUBMIT, Scope.READ}),
    "read": frozenset({Scope.READ}),
    "submit": frozenset({Scope.SUBMIT}),
    "all": ALL_SCOPES,
}


# By tenant: for a leak that is planted.
SECRETS: dict[str, bytes] = {}


def some_of(stand: Stand, counter: Counter) -> None:
    """So that its lists have something in them."""
    counter.dataset(b"own,b\n1,2\n")
    counter.job(callback_url="https://example.com/own")
    assert counter.post("/v1/batches", json={"script": "def azureml_main():\n    pass\n", "items": [{}, {}]}).status_code == 202
    for _ in range(2):
        assert counter.put("/v1/scripts/own", json={"script": "def azureml_main():\n    pass\n"}).status_code == 202


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Iterator[Strangers]:
    stand = Stand(tmp_path_factory.mktemp("strangers") / "home", template)
    names = everything_of(stand, stand.us)
    some_of(stand, stand.other)
    caller = stand.store.caller_of_key(stand.key)
    assert caller is not None
    SECRETS[caller.tenant.id] = caller.secret
    yield Strangers(stand, names)
    stand.close()


def counter_of(stand: Stand, scopes: frozenset[Scope]) -> Counter:
    _, secret = stand.store.create_key("other", name="", scopes=scopes)
    return Counter(stand.served, secret)


@pytest.mark.parametrize("scopes", SCOPES.values(), ids=SCOPES)
def test_no_call_tells_what_is_another_tenants_from_what_never_was(strangers: Strangers, scopes: frozenset[Scope]) -> None:
    strangers.asked.clear()
    # Whoever has the operator's scope may see all tenants with the operator's calls, and only its own things with the others.
    strangers.go(counter_of(strangers.stand, scopes), operators=scopes is not ALL_SCOPES)
    document = strangers.stand.app.openapi()
    paths = [path for path in document["paths"] if scopes is not ALL_SCOPES or not path.startswith(OPERATORS)]
    assert strangers.asked == {operation["operationId"] for path in paths for operation in document["paths"][path].values()}


def test_a_call_that_nobody_thought_of_fails_the_walk(strangers: Strangers) -> None:
    document = copy.deepcopy(strangers.stand.app.openapi())
    jobs = document["paths"]["/v1/jobs"]["get"]

    def refused(change: Callable[[dict[str, Any]], object]) -> None:
        changed = copy.deepcopy(document)
        change(changed["paths"])
        with pytest.raises(KeyError):
            list(strangers.calls(changed))

    list(strangers.calls(document))
    refused(lambda paths: paths.update({"/v1/things/{thing_id}": {"get": {"operationId": "read_thing"}}}))
    refused(lambda paths: paths.update({"/v1/things": {"post": {"operationId": "make_thing", "requestBody": {}}}}))
    refused(lambda paths: paths.update({"/v1/jobs": {"get": {**jobs, "parameters": [{"name": "like", "in": "query"}]}}}))


def test_the_events_of_another_do_not_ring_here(strangers: Strangers) -> None:
    stand = strangers.stand
    begun = stand.other.get("/v1/events", params={"seconds": 0}).text
    last = begun.partition("id: ")[2].partition("\n")[0]
    assert last, begun
    job = stand.us.job()
    assert stand.us.post(f"/v1/jobs/{job}/cancel").status_code == 202
    assert stand.us.delete(f"/v1/jobs/{job}").status_code == 204
    after = stand.other.get("/v1/events", params={"seconds": 0}, headers={"Last-Event-ID": last})
    assert after.text == ": begin\n\n"


def test_all_lists_and_pages_are_as_if_the_other_was_not_there(strangers: Strangers, tmp_path: Path, template: Path) -> None:
    alone = Stand(tmp_path / "home", template)
    ready(alone)
    try:
        shown = [shown_of(fresh_tenant_of(stand)) for stand in (strangers.stand, alone)]
    finally:
        alone.close()
    assert shown[0] == shown[1]


def fresh_tenant_of(stand: Stand) -> Counter:
    stand.store.create_tenant("fresh")
    _, secret = stand.store.create_key("fresh", name="", scopes=frozenset({Scope.SUBMIT, Scope.READ}))
    counter = Counter(stand.served, secret)
    for _ in range(2):
        some_of(stand, counter)
        counter.dataset(b"more,b\n")
    return counter


def shown_of(counter: Counter) -> list[Any]:
    """Two pages of each list, and what is told of all; of cursors, which are other ones each time, how long they are."""
    found: list[Any] = []
    for path in (
        "jobs",
        "datasets",
        "batches",
        "scripts",
        "scripts/own/versions",
        "webhooks/deliveries",
        "usage",
        "images",
        "receipts/keys",
        "webhooks/secret",
    ):
        paged = {"limit": 1} if path not in ("images", "receipts/keys", "webhooks/secret") else {}
        answer = counter.get(f"/v1/{path}", params=paged)
        found.append((path, unlike(answer)))
        following = answer.json().get("next")
        if following:
            found.append((path, unlike(counter.get(f"/v1/{path}", params={**paged, "cursor": following}))))
    events = counter.get("/v1/events", params={"seconds": 0})
    submitted = counter.submit()
    return [*found, unlike(events), unlike(submitted)]


def unlike(answer: Any) -> Any:
    status, headers, text = told(answer, Call("", "", "", {}))
    cursor = re.compile(r'(?<=cursor=)[A-Za-z0-9_-]+|(?<="next":")[A-Za-z0-9_-]+')
    return status, cursor.sub(lambda found: "x" * len(found[0]), f"{headers}"), cursor.sub(lambda found: "x" * len(found[0]), text)


# planted leaks ------------------------------------------------------------------------------------------------------------
def owner_of(store: JobStore, table: Any, name: str, tenant: str) -> str:
    with store._database.reading() as connection:
        return connection.execute(select(table.c.tenant).where(table.c.id == name)).scalar_one_or_none() or tenant


def whoever_has_it(verb: str, table: Any) -> Callable[[pytest.MonkeyPatch, str], None]:
    """The verb without its condition on the tenant."""

    def plant(patch: pytest.MonkeyPatch, owner: str) -> None:
        true = getattr(JobStore, verb)
        patch.setattr(
            JobStore,
            verb,
            lambda store, tenant, name, *rest, **more: true(store, owner_of(store, table, name, tenant), name, *rest, **more),
        )

    return plant


def of_the_other(verb: str) -> Callable[[pytest.MonkeyPatch, str], None]:
    """The verb answers for the other tenant, whoever asks."""

    def plant(patch: pytest.MonkeyPatch, owner: str) -> None:
        true = getattr(JobStore, verb)
        patch.setattr(JobStore, verb, lambda store, tenant, *rest, **more: true(store, owner, *rest, **more))

    return plant


def another_word(patch: pytest.MonkeyPatch, owner: str) -> None:
    async def absent(desk: Any, tenant: str, name: str, what: str) -> FumehoodError:
        there = owner_of(desk.store, JOBS, name, "") != ""
        return NotFound(f"there is no {what} of yours with this id" if there else f"there is no {what} with this id")

    patch.setattr(api.jobs, "absent", absent)


def another_status(patch: pytest.MonkeyPatch, owner: str) -> None:
    true = JobStore.get_dataset

    def get_dataset(store: JobStore, tenant: str, name: str) -> Dataset:
        try:
            return true(store, tenant, name)
        except NotFound:
            if owner_of(store, DATASETS, name, tenant) != tenant:
                raise Conflict("it is not yours") from None
            raise

    patch.setattr(JobStore, "get_dataset", get_dataset)


def cached_for_all(patch: pytest.MonkeyPatch, owner: str) -> None:
    true, look_up = JobStore.find_cached, api.submission.look_up
    patch.setattr(JobStore, "find_cached", lambda store, tenant, key, *, image: true(store, owner, key, image=image))

    def as_the_other(desk: Any, job: Job, *rest: Any) -> tuple[Job, Job | None]:
        asked, earlier = look_up(desk, replace(job, tenant=owner), *rest)
        return replace(asked, tenant=job.tenant), earlier and replace(earlier, tenant=job.tenant)

    patch.setattr(api.submission, "look_up", as_the_other)
    patch.setattr(api.submission, "take_over", lambda *_: True)


def one_secret_for_all(patch: pytest.MonkeyPatch, owner: str) -> None:
    true = JobStore.caller_of_key
    hers = SECRETS[owner]
    patch.setattr(JobStore, "caller_of_key", lambda store, key: replace(true(store, key), secret=hers))


def equal_bytes(patch: pytest.MonkeyPatch, owner: str) -> None:
    for verb in ("find_dataset", "use_dataset"):
        of_the_other(verb)(patch, owner)


def events_of_all(patch: pytest.MonkeyPatch, owner: str) -> None:
    true = MemoryEvents.since
    patch.setattr(MemoryEvents, "since", lambda events, stream, after: true(events, owner, after))


def touched_unseen(patch: pytest.MonkeyPatch, owner: str) -> None:
    """Not there, says the answer; but it was changed."""
    true = JobStore.get_job

    def get_job(store: JobStore, tenant: str, name: str) -> Job:
        if owner_of(store, JOBS, name, tenant) != tenant:
            with store._database.writing() as connection:
                connection.execute(update(JOBS).where(JOBS.c.id == name).values(beat=JOBS.c.beat + 1))
        return true(store, tenant, name)

    patch.setattr(JobStore, "get_job", get_job)


def run_again(patch: pytest.MonkeyPatch, owner: str) -> None:
    for verb in ("get_batch", "retry_items"):
        whoever_has_it(verb, BATCHES)(patch, owner)


def any_version(patch: pytest.MonkeyPatch, owner: str) -> None:
    """Of whoever has a script of this name."""
    true = JobStore.get_version

    def get_version(store: JobStore, tenant: str, name: str, number: int) -> Version:
        with store._database.reading() as connection:
            has = connection.execute(select(SCRIPTS.c.tenant).where(SCRIPTS.c.name == name)).scalars().first()
        return true(store, has or tenant, name, number)

    patch.setattr(JobStore, "get_version", get_version)


TOLD, TELLS, NOT_OURS = "is told from what never was", "tells of", "which is not the stranger's"
# What is planted, the calls that it shows in, and how the walk says it.
LEAKS: dict[str, tuple[Callable[[pytest.MonkeyPatch, str], None], set[str], str]] = {
    "a job is read by its id alone": (whoever_has_it("get_job", JOBS), {"read_job"}, TOLD),
    "its inputs are": (whoever_has_it("get_job", JOBS), {"list_inputs"}, TOLD),
    "its output is an input": (whoever_has_it("get_job", JOBS), {"submit_job"}, TOLD),
    "a dataset is read by its id alone": (whoever_has_it("get_dataset", DATASETS), {"read_dataset"}, TOLD),
    "a dataset is an input": (whoever_has_it("get_dataset", DATASETS), {"submit_batch"}, TOLD),
    "a batch is read by its id alone": (whoever_has_it("get_batch", BATCHES), {"read_batch"}, TOLD),
    "its joined table is": (whoever_has_it("get_batch", BATCHES), {"read_joined"}, TOLD),
    "its items are run again": (run_again, {"retry_batch"}, TOLD),
    "a version is read by its name alone": (any_version, {"read_version"}, TOLD),
    "a version is called by its name alone": (of_the_other("version_for"), {"score_script"}, TOLD),
    "jobs run any version": (of_the_other("version_for"), {"submit_script_job"}, TOLD),
    "the scripts of all": (of_the_other("list_scripts"), {"list_scripts"}, f"{TOLD}|{TELLS}"),
    "a version's key for all": (of_the_other("find_idempotent_version"), {"publish_version"}, f"{TOLD}|{NOT_OURS}"),
    "a delivery is read by its id alone": (whoever_has_it("get_delivery", DELIVERIES), {"read_delivery"}, TOLD),
    "a delivery is sent again": (whoever_has_it("replay_delivery", DELIVERIES), {"replay_delivery"}, TOLD),
    "what expired is 410 for all": (of_the_other("expired_at"), {"read_job"}, TOLD),
    "what expired is named in a fault": (of_the_other("expired_at"), {"submit_job"}, TOLD),
    "other words for what is another's": (another_word, {"cancel_job"}, TOLD),
    "another status for what is another's": (another_status, {"delete_dataset"}, TOLD),
    "the list of all": (of_the_other("list_jobs"), {"list_jobs"}, f"{TOLD}|{TELLS}"),
    "the deliveries of all": (of_the_other("list_deliveries"), {"list_deliveries"}, f"{TOLD}|{TELLS}"),
    "the usage of all": (of_the_other("usage"), {"read_usage"}, f"{TOLD}|{TELLS}"),
    "the secret of the other": (of_the_other("webhook_secrets"), {"read_webhook_secret"}, TELLS),
    "equal bytes are known": (equal_bytes, {"upload_dataset"}, f"{TOLD}|{NOT_OURS}"),
    "a cache for all": (cached_for_all, {"submit_job"}, TOLD),
    "an idempotency key for all": (of_the_other("find_idempotent"), {"submit_job"}, NOT_OURS),
    "events of all": (events_of_all, {"read_events"}, TOLD),
    "cursors of rows": (one_secret_for_all, {"list_datasets"}, TOLD),
    "what is not there is touched": (touched_unseen, {"read_job"}, "the other's things were changed"),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_planted_leak_is_found(strangers: Strangers, leak: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, calls, found = LEAKS[leak]
    with monkeypatch.context() as patch:
        plant(patch, strangers.names.pairs["tenant"][0][0])
        with pytest.raises(AssertionError, match=found):
            strangers.go(strangers.stand.other, only=calls)
