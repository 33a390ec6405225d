"""/v1/quota: what the tenant may have, and what it has now."""

from __future__ import annotations

import time

from fastapi import APIRouter, Depends

from api.answers import problems
from api.auth import TenantDep, known_parameters
from api.desk import DeskDep
from api.quota_schemas import QuotaLimits, QuotaRecord, QuotaUse
from fumehood.quota import DAY_SECONDS
from fumehood.text import timestamp
from fumehood.usage import day_of

router = APIRouter(prefix="/v1/quota", tags=["usage"], dependencies=[Depends(known_parameters)])


@router.get("", summary="Quotas, and what is used of them", response_model=QuotaRecord, responses=problems())
async def read_quota(desk: DeskDep, tenant: TenantDep) -> QuotaRecord:
    """The tenant's own. How many requests are left stands in the `RateLimit` header of every answer."""
    used = await desk.ask(desk.store.use_of, tenant.id)
    return QuotaRecord(
        quota=QuotaLimits.model_validate(tenant.quota.as_dict()),
        used=QuotaUse(
            running_jobs=used.running_jobs,
            queued_jobs=used.queued_jobs,
            stored_bytes=used.stored_bytes,
            cpu_seconds_per_day=used.cpu_seconds_per_day,
        ),
        day_ends_at=timestamp((day_of(time.time()) + 1) * DAY_SECONDS),
    )
