"""Fair shares with real workers: who waits while another tenant has thousands queued, and what each gets of the slots."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from fumehood.job import Input, Job, Kind, State, new_id
from fumehood.outcome import Reason
from tests.journey.workshop import LIMITS, Workshop
from tests.services import until

QUICK = "import pandas\n\ndef azureml_main():\n    return pandas.DataFrame(),\n"
SHORT = "import time, pandas\n\ndef azureml_main():\n    time.sleep(0.1)\n    return pandas.DataFrame(),\n"
SLOTS = 2
# The worker's defaults, so that sandboxes that wait fit the jobs.
AS_THEIRS = json.dumps(LIMITS.as_dict())


def queue(workshop: Workshop, tenant: str, script: str, count: int) -> list[Job]:
    """So many jobs of one script, whose blob they share."""
    key, content = f"jobs/{new_id('job')}/script.py", script.encode()
    with workshop.blobs.incoming() as incoming:
        incoming.write(content)
        workshop.blobs.keep(incoming, tenant, key)
    given = {"script": Input(blob=key, format="python", bytes=len(content))}
    asked = Job(id="", tenant=tenant, kind=Kind.SCRIPT, inputs=given, limits=LIMITS)
    queued = [workshop.store.submit(replace(asked, id=new_id("job"))).job for _ in range(count)]
    workshop.queue.send_ticket(Kind.SCRIPT.lane)
    return queued


def ended(workshop: Workshop, tenant: str) -> list[Job]:
    """The newest first, 200 at most."""
    return workshop.store.list_jobs(tenant, state=State.SUCCEEDED.value, limit=200)[0]


@pytest.mark.timeout(300)
def test_a_job_behind_five_thousand_of_another_tenant_has_the_next_free_slot(workshop: Workshop) -> None:
    theirs, ours = (workshop.store.create_tenant(name).id for name in ("theirs", "ours"))
    queue(workshop, theirs, QUICK, 5000)
    workshop.start_worker(slots=SLOTS, limits=AS_THEIRS)
    until(lambda: len(ended(workshop, theirs)) >= 20, seconds=120, what="the slots are busy")
    (job,) = queue(workshop, ours, QUICK, 1)
    done = until(lambda: found if (found := workshop.store.get_job(ours, job.id)).state.final else None, seconds=60, what="it ends")
    assert done.outcome is not None
    assert done.outcome.reason is Reason.OK
    assert workshop.store.queued(Kind.SCRIPT.lane) > 4000
    assert done.started_at is not None
    # One that was just being claimed, and as many as were started at the very same moment in the other slot.
    before = [each for each in ended(workshop, theirs) if each.started_at and job.created_at < each.started_at < done.started_at]
    assert len(before) <= SLOTS


@pytest.mark.timeout(300)
def test_three_tenants_have_one_one_and_two_parts_of_the_slots(workshop: Workshop) -> None:
    weights = {"one": 1.0, "other": 1.0, "double": 2.0}
    tenants = {workshop.store.create_tenant(name, weight=weight).id: weight for name, weight in weights.items()}
    for tenant in tenants:
        queue(workshop, tenant, SHORT, 100)
    workshop.start_worker(slots=SLOTS, limits=AS_THEIRS)

    def enough() -> dict[str, list[Job]]:
        found = {tenant: ended(workshop, tenant) for tenant in tenants}
        return found if sum(map(len, found.values())) >= 110 else {}

    held: Counter[str] = Counter()
    for tenant, jobs in until(enough, seconds=200, what="110 jobs have ended").items():
        held[tenant] += sum((each.finished_at or 0.0) - (each.started_at or 0.0) for each in jobs)  # type: ignore[assignment]
    parts = {tenant: weight / sum(tenants.values()) for tenant, weight in tenants.items()}
    assert {tenant: seconds / held.total() for tenant, seconds in held.items()} == pytest.approx(parts, rel=0.10)
