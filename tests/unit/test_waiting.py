"""Waiting for the end of a job: nobody waits on behalf of who has gone."""

from __future__ import annotations

import asyncio

import pytest

from api.waiting import wait_final
from fumehood.bells import Bell
from fumehood.job import Job
from tests.unit.front_desk import Stand


@pytest.mark.parametrize("away", [True, False])
def test_who_has_gone_is_not_waited_for_whether_news_come_or_not(away: bool, stand: Stand) -> None:
    async def scene() -> Job:
        async def gone() -> bool:
            return True

        job = stand.store.get_job(tenant.id, job_id)
        async with asyncio.timeout(20):
            return await wait_final(stand.desk, job, 600.0, gone, bell=Bell("end", lambda: away))

    job_id = stand.us.job()
    tenant = stand.store.tenant_of_key(stand.key)
    assert tenant is not None
    assert stand.served.run(scene()).state == "queued"
