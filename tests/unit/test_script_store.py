"""Hosted scripts in the job store: numbers, the check that decides, aliases, and what may go when."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select

from fumehood import script_store
from fumehood.errors import BadRequest, Conflict, FumehoodError, IdempotencyReuse, NotFound, QuotaExceeded
from fumehood.job import Job, Kind, Lane, State
from fumehood.job_store import JobStore
from fumehood.outcome import Reason
from fumehood.schema import HOLDINGS, JOB_NEEDS, SCRIPT_VERSIONS
from fumehood.script import Target, Version, VersionState
from fumehood.testing import erasure, job, outcome
from tests.unit.stores import Clock, counted, shares, version_of

BUDGET = 2**60
TENANT = "ten_test"
COLUMN = {"name": "a", "type": "int64", "nullable": False}
SAID = {
    "entry": {"parameters": [{"name": "n", "type": "int", "required": False, "default": 2}], "init": True},
    "schemas": {"inputs": {"dataset1": [COLUMN]}, "outputs": {"result": [COLUMN]}},
}


def published(store: JobStore, name: str = "score", **overrides: Any) -> Version:
    return store.publish(*version_of(name, **overrides))[0]


def checked(store: JobStore, reason: Reason = Reason.OK, **ending: Any) -> Job:
    claimed = store.claim(worker="w", lane=Lane.JOBS, disk_budget_bytes=BUDGET)
    assert claimed is not None
    return store.finish(claimed, outcome(reason, **{"report": SAID, "image": "sha256:1", **ending}), erasure(claimed))


def ready(store: JobStore, name: str = "score", **overrides: Any) -> Version:
    made = published(store, name, **overrides)
    checked(store)
    return store.get_version(made.tenant, name, made.number)


def refused(act: Callable[[], object], error: type[FumehoodError]) -> str:
    with pytest.raises(error) as caught:
        act()
    return str(caught.value)


def held(store: JobStore) -> int:
    with store._database.reading() as connection:
        return int(connection.execute(select(func.coalesce(func.sum(HOLDINGS.c.bytes), 0))).scalar_one())


def test_versions_are_numbered_and_each_waits_for_its_check(store: JobStore, clock: Clock) -> None:
    first, second = published(store), published(store)
    other = published(store, "other")
    assert [first.number, second.number, other.number] == [1, 2, 1]
    assert store.get_version(TENANT, "score", 2) == second
    assert second.state is VersionState.CHECKING
    check = store.get_job(TENANT, second.job)
    assert (check.kind, check.state, check.inputs) == (Kind.CHECK, State.QUEUED, second.inputs)
    assert shares(store) == counted(store) == {(TENANT, "jobs"): (3, 0)}
    script = store.get_script(TENANT, "score")
    assert (script.latest, script.versions, script.created_at) == (None, 2, clock.now)


def test_the_end_of_the_check_decides_and_says_what_was_found(store: JobStore, clock: Clock) -> None:
    version = published(store)
    clock.now += 5
    checked(store)
    found = store.get_version(TENANT, "score", 1)
    expected = replace(
        version,
        state=VersionState.READY,
        reason=Reason.OK,
        decided_at=clock.now,
        image="sha256:1",
        has_init=True,
        parameters={"n": {"type": "int", "default": 2}},
        schemas=SAID["schemas"],
    )
    assert found == expected
    assert store.get_script(TENANT, "score").latest == 1


def test_what_a_publisher_said_of_parameters_stands_and_is_what_the_check_uses(store: JobStore) -> None:
    said = {"n": {"type": "int", "default": 5}, "word": {"type": "str", "example": "x"}}
    version = published(store, parameters=said)
    assert store.get_job(TENANT, version.job).parameters == {"n": 5, "word": "x"}
    checked(store)
    assert store.get_version(TENANT, "score", 1).parameters == said


def test_a_runner_that_says_no_schemas_still_describes_its_results(store: JobStore) -> None:
    published(store)
    checked(store, report={"result": {"rows": 1, "columns": [COLUMN]}, "result2": None})
    found = store.get_version(TENANT, "score", 1)
    assert (found.schemas, found.parameters, found.has_init) == ({"inputs": {}, "outputs": {"result": [COLUMN]}}, None, False)


def test_a_report_of_another_shape_becomes_nothing(store: JobStore) -> None:
    published(store)
    checked(
        store, report={"entry": {"parameters": [7, {"name": 3}], "init": "yes"}, "schemas": {"inputs": [1], "outputs": {"result": [1]}}}
    )
    found = store.get_version(TENANT, "score", 1)
    assert (found.schemas, found.parameters, found.has_init) == ({"inputs": {}, "outputs": {"result": []}}, {}, False)


def test_what_a_publisher_does_not_name_is_as_the_signature_has_it(store: JobStore) -> None:
    entry = [
        {"name": name, "type": kind, "required": False, "default": 1}
        for name, kind in (("factor", "float"), ("offset", "int"), ("word", None), ("share", "float"))
    ]
    declared = {
        "factor": {"type": "int", "default": 2},
        "word": {"type": "str", "default": "x"},
        "offset": {"type": "float", "default": 0.5},
    }
    published(store, parameters=declared)
    checked(store, report={**SAID, "entry": {"parameters": entry, "init": False}})
    assert store.get_version(TENANT, "score", 1).parameters == {
        "factor": {"type": "float", "default": 2},
        "offset": {"type": "float", "default": 0.5},
        "word": {"type": "str", "default": "x"},
        "share": {"type": "float", "default": 1},
    }


def test_a_function_that_takes_whatever_is_given_has_no_list_of_parameters(store: JobStore) -> None:
    named = [{"name": "n", "type": "int", "required": True}]
    for number, (parameters, expected) in enumerate([([], None), (named, {"n": {"type": "int"}})], start=1):
        published(store)
        checked(store, report={**SAID, "entry": {"parameters": parameters, "more": True, "init": False}})
        assert store.get_version(TENANT, "score", number).parameters == expected


@pytest.mark.parametrize("reason", [Reason.SCRIPT_ERROR, Reason.TIMED_OUT])
def test_a_check_that_fails_refuses_its_version_for_ever(store: JobStore, reason: Reason) -> None:
    ready(store)
    published(store)
    checked(store, reason, message="no", error={"type": "ValueError"})
    found = store.get_version(TENANT, "score", 2)
    assert (found.state, found.reason, found.message, found.error) == (VersionState.REFUSED, reason, "no", {"type": "ValueError"})
    assert found.schemas is None
    assert store.get_script(TENANT, "score").latest == 1


def test_a_check_that_is_cancelled_or_lost_for_good_refuses_too(store: JobStore) -> None:
    store.request_cancel(TENANT, published(store).job)
    assert store.get_version(TENANT, "score", 1).reason is Reason.CANCELLED
    published(store)
    for _ in range(2):
        assert store.get_version(TENANT, "score", 2).state is VersionState.CHECKING
        claimed = store.claim(worker="w", lane=Lane.JOBS, disk_budget_bytes=BUDGET)
        assert claimed is not None
        store.give_back(claimed, erasure(claimed), outcome(Reason.LOST))
    assert store.get_version(TENANT, "score", 2).reason is Reason.LOST


def test_the_same_key_gives_the_same_version_and_stores_nothing(store: JobStore) -> None:
    first, replayed = store.publish(*version_of(), key="k", request_sha256="a" * 64)
    assert not replayed
    again = store.publish(*version_of(), key="k", request_sha256="a" * 64)
    assert again == (first, True)
    assert store.find_idempotent_version(TENANT, "k", "a" * 64) == first
    assert store.find_idempotent_version(TENANT, "other", "a" * 64) is None
    refused(lambda: store.publish(*version_of(), key="k", request_sha256="b" * 64), IdempotencyReuse)
    assert store.get_script(TENANT, "score").versions == 1
    checked(store)
    store.delete_version(TENANT, "score", 1)
    assert not store.publish(*version_of(), key="k", request_sha256="b" * 64)[1]


def test_versions_at_once_get_different_numbers(store: JobStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        numbers = sorted(pool.map(lambda _: published(store).number, range(16)))
    assert numbers == list(range(1, 17))


def test_lists_are_newest_first_page_by_page(store: JobStore) -> None:
    for name in ("a", "b", "a", "c", "a"):
        published(store, name)
    names, cursor = store.list_scripts(TENANT, limit=2)
    assert [one.name for one in names] == ["c", "b"]
    rest, end = store.list_scripts(TENANT, before=cursor, limit=2)
    assert ([(one.name, one.versions) for one in rest], end) == ([("a", 3)], None)
    versions, cursor = store.list_versions(TENANT, "a", limit=2)
    assert [one.number for one in versions] == [3, 2]
    assert [one.number for one in store.list_versions(TENANT, "a", before=cursor)[0]] == [1]
    assert store.list_scripts("ten_other") == ([], None)


def test_nothing_is_found_by_another_tenant(store: JobStore) -> None:
    version = ready(store)
    store.set_alias(TENANT, "score", "prod", (Target(1),))
    asks: list[Callable[[], object]] = [
        lambda: store.get_script("ten_other", "score"),
        lambda: store.get_version("ten_other", "score", 1),
        lambda: store.get_version_by_id("ten_other", version.id),
        lambda: store.list_versions("ten_other", "score"),
        lambda: store.delete_version("ten_other", "score", 1),
        lambda: store.delete_script("ten_other", "score"),
        lambda: store.list_aliases("ten_other", "score"),
        lambda: store.set_alias("ten_other", "score", "prod", (Target(1),)),
        lambda: store.roll_back("ten_other", "score", "prod"),
        lambda: store.delete_alias("ten_other", "score", "prod"),
    ]
    for ask in asks:
        refused(ask, NotFound)
    assert published(store, tenant="ten_other").number == 1
    call = job(tenant="ten_other", inputs=version.inputs)
    assert "no version" in str(refused_fields(lambda: store.submit(call)))


def refused_fields(act: Callable[[], object]) -> list[str]:
    with pytest.raises(BadRequest) as caught:
        act()
    return [field.detail for field in caught.value.errors]


# what goes ---------------------------------------------------------------------------------------------------------------


def test_a_version_goes_when_neither_an_alias_nor_a_job_needs_it(store: JobStore) -> None:
    published(store)
    assert "needed by a job" in refused(lambda: store.delete_version(TENANT, "score", 1), Conflict)
    assert "needed by a job" in refused(lambda: store.delete_script(TENANT, "score"), Conflict)
    checked(store)
    store.set_alias(TENANT, "score", "prod", (Target(1),))
    assert "named by the alias prod" in refused(lambda: store.delete_version(TENANT, "score", 1), Conflict)
    store.delete_alias(TENANT, "score", "prod")
    version = store.get_version(TENANT, "score", 1)
    call = store.submit(job(inputs=version.inputs)).job
    assert "needed by a job" in refused(lambda: store.delete_version(TENANT, "score", 1), Conflict)
    store.request_cancel(TENANT, call.id)
    assert store.delete_version(TENANT, "score", 1) == version
    refused(lambda: store.get_version(TENANT, "score", 1), NotFound)
    assert published(store).number == 2, "a number is given once"


def test_a_tenant_has_so_many_versions_and_no_more(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script_store, "VERSIONS_OF_TENANT_MAX", 2)
    published(store)
    published(store, "other")
    assert "the tenant has 2 versions" in refused(lambda: published(store, "third"), Conflict)
    store.publish(*version_of("score", tenant="ten_other"))


def test_a_script_goes_with_all_that_is_below_it(store: JobStore) -> None:
    made = [ready(store), ready(store)]
    store.set_alias(TENANT, "score", "prod", (Target(1),))
    assert set(store.delete_script(TENANT, "score")) == {version.id for version in made}
    refused(lambda: store.get_script(TENANT, "score"), NotFound)
    assert held(store) == outputs_of(store)
    assert published(store).number == 1


def outputs_of(store: JobStore) -> int:
    """What the checks have left, which are jobs like any other."""
    return sum(sum(one.outcome.outputs.values()) for one in store.list_jobs(TENANT)[0] if one.outcome is not None)


def test_the_needs_of_a_check_go_with_its_end(store: JobStore) -> None:
    version = published(store)

    def needs() -> set[str]:
        with store._database.reading() as connection:
            return set(connection.execute(select(JOB_NEEDS.c.version)).scalars())

    assert needs() == {version.id}
    checked(store)
    assert needs() == set()


def test_a_version_deleted_while_its_check_ends_is_refused_or_gone_but_never_half(store: JobStore) -> None:
    for _ in range(8):
        number = published(store).number
        with ThreadPoolExecutor(2) as pool:
            ending = pool.submit(checked, store)
            try:
                pool.submit(store.delete_version, TENANT, "score", number).result()
                gone = True
            except Conflict:
                gone = False
            assert ending.result().state is State.SUCCEEDED
        with store._database.reading() as connection:
            states = list(connection.execute(select(SCRIPT_VERSIONS.c.state).where(SCRIPT_VERSIONS.c.number == number)).scalars())
        assert states == ([] if gone else ["ready"])


def test_what_versions_hold_counts_for_their_tenant(store: JobStore) -> None:
    lab = store.create_tenant("lab", quota={"stored_bytes": 250}).id
    published(store, tenant=lab)
    published(store, tenant=lab)
    assert store.use_of(lab).stored_bytes == 220
    assert "holds 220 bytes" in refused(lambda: published(store, tenant=lab), QuotaExceeded)
    assert store.use_of(lab).stored_bytes == 220
    assert store.get_script(lab, "score").versions == 2
    for version in store.list_versions(lab, "score")[0]:
        store.request_cancel(lab, version.job)
    store.delete_version(lab, "score", 1)
    assert store.use_of(lab).stored_bytes == 110


def test_a_check_counts_among_the_jobs_that_wait(store: JobStore) -> None:
    lab = store.create_tenant("lab", quota={"queued_jobs": 1}).id
    published(store, tenant=lab)
    with pytest.raises(QuotaExceeded) as caught:
        published(store, tenant=lab)
    assert caught.value.quota == "queued_jobs"


def test_with_its_tenant_goes_all_of_it(store: JobStore) -> None:
    lab = store.create_tenant("lab").id
    ready(store, tenant=lab)
    store.set_alias(lab, "score", "prod", (Target(1),))
    published(store, tenant=lab)
    store.begin_erasure(lab)
    while store.end_jobs_of(lab):
        pass
    while store.erase_rows_of(lab):
        pass
    refused(lambda: store.get_script(lab, "score"), NotFound)


# aliases -----------------------------------------------------------------------------------------------------------------


def test_latest_is_the_newest_that_is_ready(store: JobStore) -> None:
    published(store)
    assert store.list_aliases(TENANT, "score") == []
    checked(store)
    ready(store)
    published(store)
    checked(store, Reason.SCRIPT_ERROR)
    assert store.get_alias(TENANT, "score", "latest").targets == (Target(2),)


def test_an_alias_is_moved_and_rolled_back_and_that_again(store: JobStore, clock: Clock) -> None:
    for _ in range(3):
        ready(store)
    first, both = (Target(1),), (Target(3, 90), Target(2, 10))
    store.set_alias(TENANT, "score", "prod", first)
    assert "never stood" in refused(lambda: store.roll_back(TENANT, "score", "prod"), Conflict)
    clock.now += 1
    store.set_alias(TENANT, "score", "prod", both)
    again = store.set_alias(TENANT, "score", "prod", both)
    assert (again.targets, again.previous, again.changed_at) == (both, first, clock.now)
    assert store.roll_back(TENANT, "score", "prod").targets == first
    assert store.roll_back(TENANT, "score", "prod").targets == both
    assert [one.name for one in store.list_aliases(TENANT, "score")] == ["latest", "prod"]
    store.delete_version(TENANT, "score", 1)  # what it stood for before is not kept for it
    assert "no version 1" in refused(lambda: store.roll_back(TENANT, "score", "prod"), Conflict)


def test_an_alias_stands_for_what_is_ready_alone(store: JobStore) -> None:
    ready(store)
    published(store)
    with pytest.raises(BadRequest) as caught:
        store.set_alias(TENANT, "score", "prod", (Target(1, 50), Target(2, 25), Target(7, 25)))
    assert [(field.pointer, field.detail) for field in caught.value.errors] == [
        ("/versions/1/number", "version 2 is checking; expected one that is ready"),
        ("/versions/2/number", "there is no version 7"),
    ]


def test_shares_decide_which_version_a_call_gets(store: JobStore) -> None:
    for _ in range(2):
        ready(store)
    alias = store.set_alias(TENANT, "score", "canary", (Target(1, 90), Target(2, 10)))
    picked = [alias.pick(draw / 1000) for draw in range(1000)]
    assert (picked.count(1), picked.count(2)) == (900, 100)
