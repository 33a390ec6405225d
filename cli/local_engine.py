"""The engine and the image of a local run: found, or a sentence that says what to do."""

from __future__ import annotations

import os
from pathlib import Path

from cli import config
from cli.errors import NoLocalRun
from cli.terminal import one_line
from fumehood.errors import SandboxError
from fumehood.settings import read
from worker.docker_engine import DockerEngine

IMAGE_LABEL = "fumehood.image=anaconda"
BUILD = "python3 images/build.py anaconda"
ANSWER_SECONDS = 30.0


def open_engine() -> tuple[str, DockerEngine]:
    """The engine's address, and the engine, which has answered.

    Raises:
        NoLocalRun: there is none, or this user may not talk to it.
    """
    settings = read(home="/")
    address = settings.docker_host
    if "docker_host" not in settings.model_fields_set:
        address = config.docker_host() or address
    if not address.startswith("unix://"):
        raise NoLocalRun(f"the Docker engine is at {one_line(address)}; a local run needs one on this machine, unix:///…")
    path = Path(address.removeprefix("unix://"))
    if not path.exists():
        raise NoLocalRun(f"there is no Docker engine at {one_line(path)}; a local run needs one: install Docker, or start it")
    if not os.access(path, os.R_OK | os.W_OK):
        raise NoLocalRun(f"you may not use the Docker engine at {one_line(path)}; become a member of the group docker, or root")
    engine = DockerEngine(address, answer_seconds=ANSWER_SECONDS, connections=4)
    try:
        engine.version()
    except SandboxError:
        engine.close()
        raise NoLocalRun(f"the Docker engine at {one_line(path)} does not answer; is it running?") from None
    return address, engine


def find_image(engine: DockerEngine, wanted: str | None = None) -> str:
    """The id of the image to run: `wanted`, else FUMEHOOD_IMAGE, else the newest that `images/build.py` made here.

    Raises:
        NoLocalRun: it is not here; says the command that builds one.
    """
    digest = wanted or read(home="/").image
    if digest is not None:
        if (engine.image(digest) or {}).get("Id") == digest:
            return digest
        whose = "the job's image" if wanted else "the image of FUMEHOOD_IMAGE"
        raise NoLocalRun(
            f"{whose}, {digest[:19]}…, is not on this machine; get it from the service's machine "
            f"(docker save {digest[:19]} | ssh HERE docker load), or build it from the service's version of the repository: {BUILD}"
        )
    found = engine.images(IMAGE_LABEL)
    if not found:
        raise NoLocalRun(f"there is no sandbox image on this machine; build it, in a clone of the repository, with: {BUILD}")
    return str(found[0]["Id"])
