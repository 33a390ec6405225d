"""The Docker engine: there, started if need be, and usable by who runs this."""

from __future__ import annotations

import grp
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

from progress import SetupError, quiet, say, step

SOCKET = Path("/var/run/docker.sock")
DAEMON_LOG = Path("/var/log/fumehood-dockerd.log")
START_SECONDS = 60.0
# What sudo must hand on; it drops most of the environment by itself.
KEPT, KEPT_BEGINNINGS = ("HOME", "PATH", "LANG", "TERM", "FORCE", "CI"), ("FUMEHOOD_", "XDG_", "PIP_")


def ensure() -> None:
    """Return when the engine answers; where only the group `docker` is missing, start this program again with it.

    Raises:
        SetupError: it does not answer; with the last lines of its log.
    """
    if os.environ.get("DOCKER_HOST", f"unix://{SOCKET}") not in (f"unix://{SOCKET}", "unix:///run/docker.sock"):
        raise SetupError(f"DOCKER_HOST is {os.environ['DOCKER_HOST']!r}; the service needs the engine of this machine, at {SOCKET}")
    if _answers():
        return
    if not _listening():
        with step("engine: starting dockerd"):
            _start()
    if not _answers():
        _again_in_the_group()


def group() -> int:
    """The group that may use the engine's socket."""
    return SOCKET.stat().st_gid


def _answers() -> bool:
    return quiet(["docker", "version", "--format", "{{.Server.Version}}"], timeout_seconds=20)[0] == 0


def _listening() -> bool:
    """Does anybody answer at the socket? One that is closed to us does: we are only not in its group."""
    code, output = quiet(["docker", "version"], timeout_seconds=20)
    return code == 0 or "permission denied" in output.lower()


def _start() -> None:
    root = [] if os.getuid() == 0 else ["sudo"]
    if Path("/run/systemd/system").is_dir():
        code, output = quiet([*root, "systemctl", "start", "docker"], timeout_seconds=START_SECONDS)
        if code:
            raise SetupError(f"systemctl start docker failed:\n{output}\n{quiet([*root, 'journalctl', '-n', '20', '-u', 'docker'])[1]}")
    else:
        # No init system: a session of its own, so that it outlives make and the terminal.
        daemon = shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if daemon is None:
            raise SetupError("dockerd is not on this machine and no engine answers; install docker.io")
        command = f"exec setsid {daemon} >>{DAEMON_LOG} 2>&1 </dev/null &"
        subprocess.run([*root, "sh", "-c", command], check=True, timeout=30, cwd="/")
    deadline = time.monotonic() + START_SECONDS
    while not _listening():
        if time.monotonic() > deadline:
            tail = quiet([*root, "tail", "-n", "15", DAEMON_LOG])[1] if not Path("/run/systemd/system").is_dir() else ""
            raise SetupError(f"dockerd does not answer after {START_SECONDS:.0f} s; the last lines of {DAEMON_LOG}:\n{tail}")
        time.sleep(0.5)


def _again_in_the_group() -> None:
    """The engine runs, but its socket is closed to us: take the group for this one command, by sudo, and begin again."""
    if not SOCKET.exists() or os.getuid() == 0 or os.environ.get("FUMEHOOD_IN_GROUP") or not shutil.which("sudo"):
        raise SetupError(f"the Docker engine does not answer at {SOCKET}:\n{quiet(['docker', 'version'])[1]}")
    name = grp.getgrgid(group()).gr_name
    if not stat.S_IMODE(SOCKET.stat().st_mode) & 0o020:
        raise SetupError(f"{SOCKET} cannot be written by its group, {name}; expected mode 0660")
    say(f"engine: its socket is for the group {name}; going on with that group through sudo")
    kept = [f"{key}={value}" for key, value in os.environ.items() if key in KEPT or key.startswith(KEPT_BEGINNINGS)]
    os.execvp("sudo", ["sudo", "-g", name, "env", *kept, "FUMEHOOD_IN_GROUP=1", sys.executable, *sys.argv])
