"""/v1/receipts: the keys with which workers sign that what ran is gone. The receipts themselves stand in the jobs' records."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from api.answers import problems
from api.auth import TenantDep, known_parameters
from api.desk import DeskDep
from api.schemas import ReceiptKey, ReceiptKeyList
from fumehood.text import timestamp

router = APIRouter(prefix="/v1/receipts", tags=["receipts"], dependencies=[Depends(known_parameters)])


@router.get("/keys", summary="List the receipts' public keys", response_model=ReceiptKeyList, responses=problems())
async def list_receipt_keys(desk: DeskDep, tenant: TenantDep) -> ReceiptKeyList:
    """Every key that a worker has ever signed with, the newest first. Keep a copy: one that was taken before counts more than one that is
    fetched together with the receipt."""
    found = await desk.ask(desk.store.receipt_keys)
    return ReceiptKeyList(
        items=[
            ReceiptKey(id=key.id, algorithm="Ed25519", public=key.public, since=timestamp(key.since) or "") for key in found
        ]
    )
