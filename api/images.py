"""/v1/images: the pinned environments that scripts run in, and what is installed in them."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Path

from api.answers import missing, problems
from api.auth import TenantDep, known_parameters
from api.desk import DeskDep
from api.health import workers_seen
from api.schemas import ImageList, ImageRecord, Package, PackageList
from fumehood.errors import NotFound

router = APIRouter(prefix="/v1/images", tags=["images"], dependencies=[Depends(known_parameters)])

Digest = Annotated[str, Path(description="An image's `digest`, as records name it.", examples=["sha256:" + "0" * 64])]
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@router.get("", summary="List images", response_model=ImageList, responses=problems())
async def list_images(desk: DeskDep, tenant: TenantDep) -> ImageList:
    """Those that workers run or have run, the newest first."""
    images = await desk.ask(desk.store.images)
    running = {facts.get("image") for facts in await workers_seen(desk)}
    return ImageList(
        items=[
            ImageRecord(
                digest=image.digest,
                python=image.python,
                packages=None if image.packages is None else len(image.packages),
                current=image.digest in running,
            )
            for image in images
        ]
    )


@router.get("/{digest}/packages", summary="List an image's packages", response_model=PackageList, responses=problems(404))
async def list_packages(digest: Digest, desk: DeskDep, tenant: TenantDep) -> PackageList:
    """By name. An image that does not say what is in it has no such list."""
    if not _DIGEST.fullmatch(digest):
        raise missing("image")
    try:
        image = await desk.ask(desk.store.get_image, digest)
    except NotFound:
        raise missing("image") from None
    if image.packages is None:
        raise NotFound("the image does not say what is in it")
    found = sorted(image.packages.items(), key=lambda package: (package[0].lower(), package[0]))
    return PackageList(items=[Package(name=name, version=version) for name, version in found])
