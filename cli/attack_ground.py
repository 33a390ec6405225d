"""The ground under an attack that is started beside the service: its engine, its scratch, and a file of a neighbour."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cli import doctor
from cli.attack import Afar, Ground
from fumehood.client.words import Document
from fumehood.errors import FumehoodError, SandboxError


class Beside:
    """The service's own machine, seen by somebody who may enter the home and talk to the engine."""

    def __init__(self, host: doctor.Host, canary: Path) -> None:
        from worker.docker_engine import DockerEngine

        self.host, self.canary, self.runtime = host, str(canary), host.settings.runtime
        self._secret = canary.read_bytes()
        settings = host.settings
        self._engine = DockerEngine(settings.docker_host, answer_seconds=settings.engine_seconds, connections=8)

    def left_of(self, receipt: Document) -> list[str] | None:
        from worker.isolation import PREFIX

        # By name and by id: something else may carry the name by now, and something gone may have been renamed.
        names = [str(receipt[key]) for key in ("container", "container_id") if receipt.get(key)]
        scratch, name = self.host.settings.home / "scratch", names[0].removeprefix(PREFIX)
        try:
            left = [f"the container {one}" for one in names if self._engine.inspect(one) is not None]
        except SandboxError:
            return None
        return left + [f"the scratch {path}" for path in (scratch / name, *scratch.glob(f".{name}.*")) if os.path.lexists(path)]

    def canary_is_whole(self) -> bool:
        try:
            return Path(self.canary).read_bytes() == self._secret
        except OSError:
            return False

    def walls(self) -> Document:
        return doctor.walls(self.host)

    def close(self) -> None:
        self._engine.close()


@contextmanager
def ground(home: Path | None, job: str, script: str) -> Iterator[tuple[Ground, str]]:
    """The ground, and why it is no better where nothing can be looked at. `script` is what `job` was submitted with: where its blob
    lies below a home of this machine, that home is the very service that the address leads to."""
    found = _beside(home, job, script)
    if isinstance(found, str):
        yield Afar(), found
        return
    with closing(found):
        yield found, ""


def _beside(home: Path | None, job: str, script: str) -> Beside | str:
    seen: list[doctor.Host] = []
    try:
        settings = doctor.settings_of(home)
        blobs = settings.home / "blobs"
        if not settings.home.is_dir():
            return f"there is no home {settings.home} on this machine (--home names another)"
        if not os.access(blobs, os.R_OK | os.X_OK):
            return f"{settings.home} is not this user's to look into"
        canary = next((path for path in blobs.glob(f"*/jobs/{job}/script.py") if path.read_text(encoding="utf-8") == script), None)
        if canary is None:
            return f"the home {settings.home} is another service's (--home names another)"
        refused = next((one for one in doctor.engine(settings, seen.append) if one.good is False), None)
        if not seen:
            return f"the engine: {refused.detail}" if refused else "the engine says nothing"
        return Beside(seen[0], canary)
    except ModuleNotFoundError as error:
        return f"that needs {error.name}, which is not installed (pip install 'fumehood[service]')"
    except PermissionError as error:
        return f"{error.filename} is not this user's to look into"
    except (FumehoodError, OSError) as error:
        return str(error)
