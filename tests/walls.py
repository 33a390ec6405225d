"""Engines of the tests' own with other walls than the machine's: gVisor and its like as runtimes, user ids that are mapped."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.engine import PrivateEngine, private_engine
from tests.services import missing

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What docs/how-to/stronger-walls.md says to register; the platform that needs nothing of the processor.
GVISOR_ARGUMENTS = ["--network=none", "--oci-seccomp", "--platform=ptrace"]


@contextmanager
def engine_with(image: str, configuration: dict[str, Any], *, inside: tuple[str, ...] = ()) -> Iterator[PrivateEngine]:
    """`configuration` is what would stand in /etc/docker/daemon.json."""
    with tempfile.NamedTemporaryFile("w", prefix="fh-daemon-", suffix=".json") as file:
        json.dump(configuration, file)
        file.flush()
        with private_engine(image, options=("--config-file", file.name), inside=inside) as engine:
            yield engine


def packaged(program: str) -> Path:
    """Where the program is; ends the test where it is missing although a package of that name could be installed."""
    found = shutil.which(program, path=PATH)
    if found:
        return Path(found)
    shown = subprocess.run(["apt-cache", "show", program], capture_output=True, text=True, timeout=30, check=False)
    if f"Package: {program}\n" not in shown.stdout:
        pytest.skip(f"no {program} on this machine, and no package of that name in its release")
    missing(f"no {program} on this machine; `sh setup/packages.sh test` installs it")


@contextmanager
def mapped_ids(user: str, *, first: int, count: int) -> Iterator[tuple[str, ...]]:
    """A command that runs another where /etc/subuid and /etc/subgid give `user` these ids; the machine's own files stay."""
    with tempfile.TemporaryDirectory(prefix="fh-ids-") as directory:
        ids = Path(directory) / "ids"
        ids.write_text(f"{user}:{first}:{count}\n")
        mounts = f"mount --bind {ids} /etc/subuid && mount --bind {ids} /etc/subgid && echo ready && exec cat"
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", mounts]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
            assert keeper.stdout is not None
            assert keeper.stdout.readline() == "ready\n"
            yield ("nsenter", f"--mount=/proc/{keeper.pid}/ns/mnt", "--")
            keeper.communicate(timeout=30)
