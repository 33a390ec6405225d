"""Which environment is meant, and what is in it: asked of the service, or read from the images of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cli.environment_files import Environment
from cli.errors import BadInput
from fumehood.client.surface import Surface
from fumehood.image import LABEL_PACKAGES, Image, labelled


def on_service(client: Surface, wanted: str | None) -> Environment:
    """The image `wanted` (a digest or its beginning); without one that which the service runs now, the newest of several.

    Raises:
        BadInput: there is none, several begin so, or it does not say what is in it.
    """
    listed = list(client.listing("/v1/images"))
    if wanted is None:
        listed = [image for image in listed if image["current"]][:1] or listed[:1]
        if not listed:
            raise BadInput("the service has no image yet; is a worker running?")
    digest = _only(wanted, [image["digest"] for image in listed], where="the service")
    python = next(image["python"] for image in listed if image["digest"] == digest)
    count = next(image["packages"] for image in listed if image["digest"] == digest)
    if python is None or count is None:
        raise _silent(digest)
    packages = {each["name"]: each["version"] for each in client.listing(f"/v1/images/{digest}/packages")}
    return Environment(digest=digest, python=python, packages=packages)


def on_this_machine(wanted: str | None) -> Environment:
    """The same for the images of the local Docker engine; without `wanted` that which a local run takes.

    Raises:
        NoLocalRun: there is no engine, or no image.
        BadInput: as above.
    """
    from cli.local_engine import find_image, open_engine

    _, engine = open_engine()
    try:
        images = local_images(engine)
        digest = find_image(engine) if wanted is None else _only(wanted, [image.digest for image in images], where="this machine")
    finally:
        engine.close()
    image = next((image for image in images if image.digest == digest), None)
    if image is None or image.python is None or image.packages is None:
        raise _silent(digest)
    return Environment(digest=digest, python=image.python, packages=image.packages)


def local_images(engine: Any) -> list[Image]:
    """The sandbox images of the engine, the newest first."""
    from cli.local_engine import IMAGE_LABEL

    return [labelled(each["Id"], (each["Labels"] or {}).get(LABEL_PACKAGES)) for each in engine.images(IMAGE_LABEL)]


def _only(wanted: str | None, digests: Sequence[str], *, where: str) -> str:
    beginning = "sha256:" + (wanted or "").removeprefix("sha256:")
    found = [digest for digest in digests if digest.startswith(beginning)]
    if len(found) != 1:
        known = ", ".join(digest[:19] for digest in digests) or "none"
        raise BadInput(f"{len(found) or 'no'} images of {where} begin with {wanted!r}; it has {known}")
    return found[0]


def _silent(digest: str) -> BadInput:
    return BadInput(f"the image {digest[:19]}… does not say what is in it: it was built before images carried the label {LABEL_PACKAGES}")
