"""The service: docker-compose, whichever version is there, and what it started."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
import urllib.error
import urllib.request

from home import Home, write
from progress import ROOT, SetupError, environment, logged, quiet, say, step

FILE = ROOT / "docker-compose.yml"
UP_SECONDS = 180.0
DOWN_SECONDS = 180.0
READY_SECONDS = 120.0
RESTARTS_MAX = 3


def command(home: Home, *arguments: str) -> list[str]:
    """A command line of Compose 2, or else 1, for this home.

    Raises:
        SetupError: neither is there.
    """
    for program in (["docker", "compose"], ["docker-compose"]):
        if quiet([*program, "version"])[0] == 0:
            profile = ["--profile", home.store] if home.store != "sqlite" else []
            files = ["--file", str(FILE), "--env-file", str(home.compose_env), "--project-name", home.project]
            return [*program, *files, *profile, *arguments]
    raise SetupError("neither `docker compose` nor `docker-compose` works; install docker-compose")


def up(home: Home) -> None:
    """Start what does not run, and return when the service is ready; nothing happens where nothing changed.

    Raises:
        SetupError: it is not ready in time; with the last lines of every service.
    """
    stamp = home.config / "compose.stamp"
    inputs = (FILE, home.compose_env, home.store_env, home.settings, home.seccomp, home.secrets / "redis.conf")
    state = hashlib.sha256(b"\0".join(path.read_bytes() for path in inputs)).hexdigest()
    if containers(home) and (not stamp.exists() or stamp.read_text() != state):
        # Compose 1.29 cannot recreate containers of images that newer builders made, so they go first.
        with step("service: something changed, taking the old containers down"):
            down(home)
    with step("service: starting"):
        if home.store == "postgres":
            # First, since the others end where their store does not answer; Compose 1.29 cannot wait for what may be absent.
            logged(command(home, "up", "-d", "--no-build", "postgres"), deadline_seconds=UP_SECONDS)
            _wait_answers(home, "postgres", ["pg_isready", "--quiet", "--host=/tmp"])
        logged(command(home, "up", "-d", "--no-build", "--remove-orphans"), deadline_seconds=UP_SECONDS)
    write(home, stamp, state)
    _wait_ready(home)


def down(home: Home) -> None:
    """Remove containers, networks and the place of the gate's socket; what is stored stays."""
    if home.compose_env.exists():
        logged(command(home, "down", "--remove-orphans", "--volumes"), deadline_seconds=DOWN_SECONDS)


def logs(home: Home) -> None:
    subprocess.run(command(home, "logs", "--follow", "--tail", "100"), env=environment(), cwd=ROOT)


def containers(home: Home) -> dict[str, str]:
    """Service → id of its container, running or not."""
    shape = '{{.Label "com.docker.compose.service"}} {{.ID}}'
    ours = f"label=com.docker.compose.project={home.project}"
    code, output = quiet(["docker", "ps", "--all", "--no-trunc", "--filter", ours, "--format", shape])
    if code:
        raise SetupError(f"docker ps failed: {output}")
    return dict(line.split(" ", 1) for line in output.splitlines())


def is_running(home: Home, service: str) -> bool:
    container = containers(home).get(service)
    return container is not None and quiet(["docker", "inspect", "--format", "{{.State.Running}}", container])[1] == "true"


def remove_sandboxes(home: Home) -> None:
    """Remove sandboxes that a dead worker of this home left behind."""
    found = quiet(["docker", "ps", "--all", "--quiet", "--filter", f"label=fumehood.home={home.path}"])[1].split()
    if found:
        logged(["docker", "rm", "--force", "--volumes", *found], deadline_seconds=60)


def _wait_answers(home: Home, service: str, question: list[str]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while quiet(["docker", "exec", containers(home)[service], *question])[0]:
        if time.monotonic() > deadline:
            raise SetupError(f"{service} does not answer after {READY_SECONDS:.0f} s\n{_last_lines(home, [service])}")
        time.sleep(0.5)


def _wait_ready(home: Home) -> None:
    address = f"http://127.0.0.1:{home.remembered()['FUMEHOOD_API_PORT']}/readyz"
    deadline, said = time.monotonic() + READY_SECONDS, ""
    while True:
        ready, answer = _ask(address)
        if ready:
            return
        if answer != said:
            said = answer
            say(f"    not ready yet: {answer[:200]}")
        restarts = {name: quiet(["docker", "inspect", "--format", "{{.RestartCount}}", one])[1] for name, one in containers(home).items()}
        broken = [name for name, count in restarts.items() if count.isdigit() and int(count) >= RESTARTS_MAX]
        if broken or time.monotonic() > deadline:
            why = f"{', '.join(broken)} keeps ending" if broken else f"{address} is not ready after {READY_SECONDS:.0f} s: {answer[:500]}"
            raise SetupError(f"{why}\n{_last_lines(home, broken or sorted(containers(home)))}")
        time.sleep(0.5)


def _ask(address: str) -> tuple[bool, str]:
    try:
        with urllib.request.urlopen(address, timeout=5) as response:
            return response.status == 200, ""
    except urllib.error.HTTPError as error:
        return False, _words(error.read(65536))
    except OSError as error:
        return False, f"the API does not answer ({getattr(error, 'reason', error)})"


def _words(body: bytes) -> str:
    try:
        return json.dumps(json.loads(body), ensure_ascii=False)
    except ValueError:
        return body.decode(errors="replace")


def _last_lines(home: Home, services: list[str]) -> str:
    found = containers(home)
    return "\n".join(f"── {name}\n{quiet(['docker', 'logs', '--tail', '15', found[name]])[1]}" for name in services if name in found)
