"""Doctor: looks at one thing after the other, and says of each what is wrong and what to do."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from cli import config
from cli.terminal import one_line, size
from fumehood import __version__
from fumehood.client.errors import ClientError, KeyRefused
from fumehood.client.surface import Surface
from fumehood.client.words import Document
from fumehood.errors import FumehoodError

if TYPE_CHECKING:
    from fumehood.settings import Settings


# As Compose names what it started.
WORKER_LABEL = "com.docker.compose.service=worker"


@dataclass(frozen=True, slots=True)
class Finding:
    """`good` is None for a remark that is neither. `advice` says what to do about a bad one."""

    what: str
    good: bool | None
    detail: str
    advice: str = ""


def service() -> Iterator[Finding]:
    """Configuration, address, version, key, and the parts of the service. What hangs on a bad finding is not looked at."""
    try:
        found = config.read()
    except ClientError as error:
        yield Finding("configuration", False, error.detail)
        return
    yield Finding(
        "configuration", True, f"{found.url} from {found.url_from}, key {config.shown_key(found.key)} from {found.key_from or 'nowhere'}"
    )
    with config.client_of(found) as client:
        try:
            version = str(client.health().get("version"))
        except ClientError as error:
            yield Finding("service", False, error.detail, "start it with `make run`, or correct the address")
            return
        yield Finding("service", True, "answers")
        same = version.split(".")[:2] == __version__.split(".")[:2]
        yield Finding("version", same, f"service {one_line(version)}, command {__version__}", "use a command of the service's version")
        yield _key(client, found)
        parts = client.ready().get("parts") or {}
        if not parts:
            yield Finding("readiness", False, "the service does not say how its parts are", "is this the address of a Fumehood?")
        for name, part in parts.items():
            yield Finding(one_line(name), part.get("ok") is True, one_line(part.get("detail") or ""), _ADVICE.get(name, "see `make logs`"))


_ADVICE = {
    "store": "see the API's log: `make logs`; is the disk full?",
    "redis": "is Redis running? jobs are accepted and wait until it is; see `make logs`",
    "workers": "is a worker running, and does it accept its image? see `make logs`, and `fumehood doctor --host` on its machine",
}


def _key(client: Surface, found: config.Config) -> Finding:
    if found.key is None:
        return Finding("key", False, "none is set", "set FUMEHOOD_KEY, or: fumehood config write --url URL --key-file FILE")
    try:
        next(client.jobs(limit="1"), None)
    except KeyRefused as error:
        return Finding("key", False, error.detail, f"the key from {found.key_from} is not one of this service's; ask its operator")
    except ClientError as error:
        return Finding("key", False, error.detail, "try again")
    return Finding("key", True, "accepted")


@dataclass(frozen=True, slots=True)
class Host:
    """This machine as the service sees it: its settings, and what the engine says of itself."""

    settings: Settings
    info: dict[str, Any]
    version: dict[str, Any]
    worker_mounts: list[list[str]]
    """For each container with a worker of this home: the paths of the host that it has."""


def host(home: Path | None, on_host: Callable[[Host], None] = lambda _: None) -> Iterator[Finding]:
    """What the service's own machine must offer: the engine, the home's mount, room on the disk. `on_host` gets what was found of
    it as soon as the engine has answered."""
    try:
        settings = settings_of(home)
    except PermissionError as error:
        detail = f"{one_line(error.filename)} is not this user's to read"
        yield Finding("settings", False, detail, "run this as root or as the service's user")
        return
    except (FumehoodError, OSError) as error:
        yield Finding("settings", False, one_line(error), "correct the setting")
        return
    answered: list[Host] = []
    yield from engine(settings, answered.append)
    if not answered:
        return
    on_host(answered[0])
    if not settings.home.is_dir():
        yield Finding("home", False, f"there is no {settings.home}", "start the service once, or name its home with --home")
        return
    yield from _home(settings)
    yield _trial(settings)


def engine(settings: Settings, on_host: Callable[[Host], None]) -> Iterator[Finding]:
    from fumehood import log
    from fumehood.errors import SandboxError
    from worker import host_check
    from worker.docker_engine import DockerEngine

    # What the worker's parts would log stands in the findings.
    log.configure("error", stream=io.StringIO())
    with closing(DockerEngine(settings.docker_host, answer_seconds=settings.engine_seconds, connections=1)) as docker:
        try:
            version, info = docker.version(), docker.info()
            workers = [docker.inspect(name) for name, _ in docker.labelled(WORKER_LABEL)]
        except SandboxError as error:
            yield Finding("engine", False, error.detail, "is Docker running, and may this user talk to it (group docker)?")
            return
    mounts = [[str(mount.get("Source")) for mount in each.get("Mounts") or []] for each in workers if each]
    on_host(Host(settings, info, version, [each for each in mounts if str(settings.home) in each]))
    yield from _engine_facts(version, info)
    for problem in host_check.problems_of_engine(version, info, runtime=settings.runtime):
        yield Finding("engine", False, problem, "see docs/how-to/mend.md")


def walls(found: Host) -> Document:
    """The walls of this machine, its grade and the next steps, as a document."""
    from worker import host_facts
    from worker import walls as table

    remembered = _remembered(found.settings.home)
    port, owner = remembered.get("FUMEHOOD_API_PORT"), remembered.get("FUMEHOOD_UID")
    facts = host_facts.gather(
        found.settings,
        info=found.info,
        version=found.version,
        port=int(port) if port else found.settings.api_port,
        owner=int(owner) if owner else None,
        worker_mounts=found.worker_mounts,
    )
    standings = table.look(facts)
    verdict = table.judge(standings)
    return {
        "grade": verdict.grade.letter,
        "rule": verdict.grade.rule,
        "steps": [{"wall": one.wall.name, "advice": one.wall.advice} for one in verdict.missing],
        "walls": [
            {
                "name": one.wall.name,
                "kind": one.wall.kind.value,
                "active": one.active,
                "found": one_line(one.found),
                "adds": one.wall.adds,
                "advice": one.wall.advice,
            }
            for one in standings
        ],
    }


def settings_of(home: Path | None) -> Settings:
    """The settings of the service that `make run` made: the environment's, those of its home's `config/settings.env`, and its image."""
    from fumehood.settings import read

    # A user's own service lives in the user's data directory, root's where the settings say.
    candidates = [home] if home else [read().home, Path(platformdirs.user_data_dir("fumehood"))]
    found = next((path for path in candidates if path.is_dir()), candidates[0]).resolve()
    image = _remembered(found).get("FUMEHOOD_IMAGE")
    return read(home=found, _env_file=found / "config" / "settings.env", **({"image": image} if image else {}))


def _remembered(home: Path) -> dict[str, str]:
    """What `make run` wrote down: images, port, user."""
    path = home / "config" / "compose.env"
    lines = path.read_text().splitlines() if path.is_file() else []
    return {name: value for name, _, value in (line.partition("=") for line in lines) if value}


def _engine_facts(version: dict[str, Any], info: dict[str, Any]) -> Iterator[Finding]:
    yield Finding("engine", True, f"Docker {version.get('Version')}, API {version.get('ApiVersion')}, kernel {info.get('KernelVersion')}")
    yield Finding("engine", True, f"cgroup v{info.get('CgroupVersion', '1')}, storage {info.get('Driver')}")
    yield Finding(
        "engine",
        True,
        f"runtimes {', '.join(sorted(info.get('Runtimes') or {}))}; {info.get('NCPU')} CPUs, {size(info.get('MemTotal') or 0)} memory",
    )


def _home(settings: Settings) -> Iterator[Finding]:
    inner = mounts_below(settings.home, Path("/proc/self/mountinfo").read_text())
    yield Finding(
        "home",
        not inner,
        f"{settings.home} is one mount" if not inner else f"something else is mounted at {', '.join(inner)}",
        "blobs are linked into the scratch, so the home must be one mount; unmount it",
    )
    free = shutil.disk_usage(settings.home).free
    needed = settings.disk_floor_bytes + settings.limits.reserved_bytes
    yield Finding(
        "disk",
        free >= needed,
        f"{size(free)} free; one job of default size needs {size(needed)}",
        "free some space, or lower FUMEHOOD_LIMITS",
    )


def mounts_below(directory: Path, mountinfo: str) -> list[str]:
    """Mount points strictly below `directory`, by the text of /proc/self/mountinfo."""
    points = (line.split(" ")[4].encode().decode("unicode_escape") for line in mountinfo.splitlines() if line.count(" ") > 4)
    return sorted(point for point in points if point.startswith(f"{directory}/"))


def _trial(settings: Settings) -> Finding:
    """The worker's own check, which starts a container of the image. As another user it would leave files that the worker
    could not lock, so it is only done as the home's owner."""
    from worker.docker_sandbox import DockerHost
    from worker.registration import Registration

    owner, me = settings.home.stat().st_uid, os.geteuid()
    if me != owner:
        detail = f"not tried: the home belongs to the user id {owner}, and this is {me}; the worker tries it when it starts"
        return Finding("sandbox", None, detail)
    # Registered as a worker for so long: the reaper of one that runs would take the container for an orphan.
    registration = Registration(settings.home)
    try:
        with closing(DockerHost(settings, worker_id=registration.worker)) as docker:
            docker.check()
    except FumehoodError as error:
        return Finding("sandbox", False, str(error), "the worker refuses to start until this is mended")
    finally:
        registration.leave()
    return Finding("sandbox", True, "a container of the image starts and gets ready")
