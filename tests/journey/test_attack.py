"""`fumehood doctor --attack` against a real service: one that holds, and one whose wall has a hole."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest

from cli.corpus import attacks
from fumehood.tenant import new_key
from fumehood.testing import free_port
from tests.journey.workshop import ROOT, Workshop, docker
from tests.services import until

START_SECONDS = 60.0
ATTACK_SECONDS = 240.0
# A worker whose sandboxes have a network, and a hostname that tells.
WEAK_WORKER = """
import sys
from worker import isolation
from worker.__main__ import leave, main

strong = isolation.container

def weak(**values):
    config, host_config = strong(**values)
    return config | {"Hostname": "worker-7", "NetworkDisabled": False}, host_config | {"NetworkMode": NETWORK}

isolation.container = weak
leave(main(sys.argv[1:]))
"""
# A worker that makes the directory of each attempt again when its erasure is signed.
LYING_WORKER = """
import os, sys
from pathlib import Path
from worker import journey
from worker.__main__ import leave, main

honest = journey._erase_once

def lying(job, deps, bench):
    erasure = honest(job, deps, bench)
    Path(os.environ["FUMEHOOD_HOME"], "scratch", erasure.container.removeprefix("fumehood-")).mkdir()
    return erasure

journey._erase_once = lying
leave(main(sys.argv[1:]))
"""


class Service:
    def __init__(self, workshop: Workshop, url: str, key: str) -> None:
        self.workshop = workshop
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FUMEHOOD_")}
        self._environment = kept | {"FUMEHOOD_URL": url, "FUMEHOOD_KEY": key, "XDG_CONFIG_HOME": str(workshop.home.parent / "config")}

    def doctor(self, *options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cli", "doctor", *map(str, options)]
        return subprocess.run(command, cwd=ROOT, env=self._environment, capture_output=True, text=True, timeout=ATTACK_SECONDS)


@contextmanager
def served(workshop: Workshop) -> Iterator[Service]:
    port, key = free_port(), new_key()
    url = f"http://127.0.0.1:{port}"
    given = {"FUMEHOOD_API_PORT": str(port), "FUMEHOOD_BOOTSTRAP_KEY": key}
    log = workshop.home.parent / "api.log"

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx.get(f"{url}/healthz", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False

    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "api"], cwd=ROOT, env=os.environ | workshop.environment | given, stderr=out)
    try:
        until(answers, seconds=START_SECONDS, what="the API answers")
        yield Service(workshop, url, key)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def service(workshop: Workshop) -> Iterator[Service]:
    with served(workshop) as service:
        yield service


@pytest.mark.timeout(400)
def test_a_service_that_holds_says_so_and_everything_was_looked_at(service: Service) -> None:
    service.workshop.start_worker()
    done = service.doctor("--attack", "--promise", 2, "--promise", 4, "--json", "--home", service.workshop.home)
    document = json.loads(done.stdout)
    assert done.returncode == 0, document
    assert (document["well"], document["not_looked"], document["canary_whole"]) == (True, "", True)
    assert {one["name"]: one["verdict"] for one in document["attacks"]}["reach_the_canary"] == "held"
    assert document["receipts_looked_after"] == len(document["attacks"]) >= 5
    assert document["receipts_signed"] is True
    assert document["grade"] in "ABCD"
    tried = sum(attack.promise == 2 for attack in attacks().values())
    assert document["promises"][0] == {"number": 2, "promise": "Nothing stays", "tried": tried, "held": tried, "broken": 0, "not_tried": 0}
    # Nothing of it is left but what the user had before: no job, no blob.
    assert list(service.workshop.home.glob("blobs/*/jobs/*")) == []


@pytest.mark.timeout(400)
def test_the_walls_of_this_machine_are_told_as_a_document(service: Service) -> None:
    service.workshop.start_worker(warm_min=0)
    done = service.doctor("--host", "--json", "--home", service.workshop.home)
    host = json.loads(done.stdout)["host"]
    found = {wall["name"]: wall["active"] for wall in host["walls"]}
    assert (found["memory limits"], found["system call filter"], found["home shut"]) == (True, True, True)
    assert host["grade"] in "ABCD"
    assert host["grade"] == "A" or host["steps"]
    service.workshop.home.chmod(0o755)
    opened = service.doctor("--host", "--json", "--home", service.workshop.home)
    service.workshop.home.chmod(0o700)
    assert opened.returncode == 1
    assert "home shut" in [step["wall"] for step in json.loads(opened.stdout)["host"]["steps"]]


@pytest.fixture
def network() -> Iterator[str]:
    """One that leads nowhere: the hole is there, and nobody comes to harm."""
    name = f"fumehood-test-{secrets.token_hex(6)}"
    docker("network", "create", "--internal", name)
    yield name
    docker("network", "rm", name)


@pytest.mark.timeout(400)
def test_a_hole_in_the_wall_is_found_and_named(network: str, service: Service) -> None:
    service.workshop.start_worker(program=("-c", f"NETWORK = {network!r}\n{WEAK_WORKER}"), warm_min=0, warm_max=0)
    done = service.doctor("--attack", "--promise", 1, "--promise", 4, "--home", service.workshop.home)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN: promises 1, 4." in done.stdout
    for name in ("reach_out", "look_around"):
        _, _, told = done.stdout.partition(f"  {name}: ")
        lines = [line.strip() for line in told.splitlines()[1:3]]
        assert lines[0] == "promised  it ends as ok", done.stdout
        assert lines[1].startswith("found     script_error: AssertionError"), done.stdout


@pytest.mark.timeout(400)
def test_a_receipt_that_lies_is_found(service: Service) -> None:
    """What the receipt names is looked for on the machine, whatever the record says."""
    service.workshop.start_worker(program=("-c", LYING_WORKER), reap_seconds=600)
    done = service.doctor("--attack", "--promise", 2, "--home", service.workshop.home)
    # What the liar left, and not what the worker is making meanwhile: that has a dot before its name.
    for path in service.workshop.home.glob("scratch/[!.]*"):
        with suppress(FileNotFoundError):
            if not any(path.iterdir()):
                path.rmdir()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "promised  what the receipt names is gone" in done.stdout
    assert "found     the scratch " in done.stdout
