"""The service as the operator runs it: what each container may, what survives a kill, a stop and a second start."""

from __future__ import annotations

import json
import os
import signal

import httpx
import pytest

from tests.e2e.stand import Stand, docker, ended, run, submit
from tests.services import until

ONE_ROW = "a\n1\n"
SERVICES = ("redis", "api", "gate", "worker", "courier")
IDENTITY = "def azureml_main(frame):\n    return frame\n"
THREE_SECONDS = """\
import time

def azureml_main(frame):
    time.sleep(3)
    return frame
"""


def test_every_container_is_confined(stand: Stand) -> None:
    for service in SERVICES:
        found = stand.inspect(service)
        host = found["HostConfig"]
        assert found["Config"]["User"].split(":")[0] not in ("", "0"), service
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        assert "no-new-privileges:true" in host["SecurityOpt"], service
        assert not host["Privileged"], service
        assert host["RestartPolicy"]["Name"] == "unless-stopped", service
        assert host["LogConfig"]["Config"]["max-size"], service


def test_only_the_gate_has_the_engine_and_only_the_api_a_port(stand: Stand) -> None:
    with_engine = [name for name in SERVICES if any("docker.sock" in mount["Source"] for mount in stand.inspect(name)["Mounts"])]
    with_port = {name: ports for name in SERVICES if (ports := stand.inspect(name)["HostConfig"]["PortBindings"])}
    assert with_engine == ["gate"]
    with_gate = [name for name in SERVICES if any(mount["Destination"] == "/run/fumehood" for mount in stand.inspect(name)["Mounts"])]
    assert with_gate == ["gate", "worker"]
    assert {name: stand.inspect(name)["HostConfig"]["GroupAdd"] or [] for name in SERVICES if name != "gate"} == {
        "redis": [],
        "api": [],
        "worker": [],
        "courier": [],
    }
    assert list(stand.inspect("gate")["NetworkSettings"]["Networks"]) == ["none"]
    assert list(with_port) == ["api"]
    assert with_port["api"]["8765/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(stand.port)}]


def test_the_worker_reaches_the_engine_through_the_gate_and_makes_no_links(stand: Stand) -> None:
    code = (
        "import os, socket\n"
        "def ask(head):\n"
        "    with socket.socket(socket.AF_UNIX) as line:\n"
        "        line.connect('/run/fumehood/engine.sock')\n"
        "        line.sendall(head.encode() + b' HTTP/1.1\\r\\nHost: e\\r\\nConnection: close\\r\\n\\r\\n')\n"
        "        return line.recv(100).split()[1].decode()\n"
        "print(ask('GET /_ping'), ask('GET /volumes'))\n"
        f"for change in (lambda: os.symlink('/', '{stand.home}/scratch/link'), lambda: open('{stand.home}/config/settings.env', 'a')):\n"
        "    try: change(); print('done')\n"
        "    except OSError as error: print(error.strerror)\n"
    )
    said = run(["docker", "exec", stand.containers()["worker"], "python", "-c", code], seconds=30)
    assert said.splitlines() == ["200 403", "Operation not permitted", "Read-only file system"]


def test_the_api_makes_no_links_and_touches_nothing_that_is_mounted_or_decides_how_containers_are_made(stand: Stand) -> None:
    code = (
        "import os\n"
        f"home = {str(stand.home)!r}\n"
        "changes = {\n"
        "    'a link': lambda: os.symlink('/', home + '/link'),\n"
        "    'a file for the next start': lambda: open(home + '/config/compose.env', 'a'),\n"
        "    'another directory in its place': lambda: os.rename(home + '/config', home + '/other'),\n"
        "    'the scratch': lambda: os.listdir(home + '/scratch'),\n"
        "    'something in it': lambda: os.mkdir(home + '/scratch/mine'),\n"
        "}\n"
        "for name, change in changes.items():\n"
        "    try: change(); print('done:', name)\n"
        "    except OSError as error: print(error.strerror)\n"
    )
    said = run(["docker", "exec", stand.containers()["api"], "python", "-c", code], seconds=30)
    refused = ["Operation not permitted", "Read-only file system", "Device or resource busy", "Permission denied", "Permission denied"]
    assert said.splitlines() == refused


def test_a_job_whose_gate_is_killed_succeeds_in_its_second_attempt(stand: Stand, client: httpx.Client) -> None:
    before = stand.inspect("gate")["RestartCount"]
    job = submit(client, THREE_SECONDS, ONE_ROW)["id"]
    until(lambda: client.get(f"/v1/jobs/{job}").json()["state"] == "running" and stand.sandboxes(), seconds=30, what="the job runs")
    os.kill(stand.processes("gate")[0], signal.SIGKILL)
    record = ended(client, job, seconds=90)
    assert (record["state"], record["reason"], record["attempt"]) == ("succeeded", "ok", 2), record
    assert stand.inspect("gate")["RestartCount"] > before


def test_no_secret_stands_in_a_container_s_description(stand: Stand) -> None:
    secrets = [(stand.home / "secrets" / name).read_text().strip() for name in ("redis_password", "bootstrap_key")]
    secrets.append((stand.home / "signing" / "receipt_key").read_text().strip())
    assert all(len(secret) > 40 for secret in secrets)
    for service in SERVICES:
        assert not any(secret in json.dumps(stand.inspect(service)) for secret in secrets), service


def test_only_the_worker_can_read_the_key_of_the_receipts(stand: Stand) -> None:
    key = stand.home / "signing" / "receipt_key"
    containers = stand.containers()
    assert docker("exec", containers["worker"], "cat", str(key)).strip() == key.read_text().strip()
    code = (
        "import os\n"
        f"try: open({str(key)!r}); print('open')\n"
        "except OSError as error: print(error.strerror)\n"
        "print(repr(os.environ.get('FUMEHOOD_RECEIPT_KEY')), 'FUMEHOOD_RECEIPT_KEY_FILE' in os.environ)\n"
    )
    for service in ("api", "gate", "courier"):
        assert docker("exec", containers[service], "python", "-c", code).splitlines() == ["Permission denied", "'' False"], service
    assert "receipt_key" not in json.dumps(stand.inspect("redis"))


def test_what_is_stored_is_for_the_service_alone(stand: Stand) -> None:
    directories = [stand.home, *(path for path in stand.home.iterdir() if path.is_dir())]
    assert {path.name: oct(path.stat().st_mode & 0o077) for path in directories if path.stat().st_mode & 0o077} == {}
    for path in stand.home.rglob("secrets/*"):
        assert path.stat().st_mode & 0o077 == 0


def test_every_container_is_healthy(stand: Stand) -> None:
    """The engine's own look, taken now: it takes one every two minutes."""
    for service in SERVICES:
        kind, *command = stand.inspect(service)["Config"]["Healthcheck"]["Test"]
        run(["docker", "exec", stand.containers()[service], *(["sh", "-c"] if kind == "CMD-SHELL" else []), *command], seconds=30)


def test_a_job_whose_worker_is_killed_succeeds_in_its_second_attempt(stand: Stand, client: httpx.Client) -> None:
    before = stand.inspect("worker")
    # Of the services' own processes: `docker kill` would count as a stop, and nothing would start again.
    processes = stand.processes("worker")
    assert processes
    job = submit(client, THREE_SECONDS, ONE_ROW)["id"]
    until(lambda: client.get(f"/v1/jobs/{job}").json()["state"] == "running" and stand.sandboxes(), seconds=30, what="the job runs")

    os.kill(processes[0], signal.SIGKILL)

    record = ended(client, job, seconds=90)
    assert (record["state"], record["reason"], record["attempt"]) == ("succeeded", "ok", 2), record
    after = stand.inspect("worker")
    assert after["Id"] == before["Id"]
    assert after["RestartCount"] == before["RestartCount"] + 1


@pytest.mark.parametrize("service", ["api", "redis"])
def test_a_service_that_is_killed_comes_back_and_nothing_is_lost(service: str, stand: Stand, client: httpx.Client) -> None:
    job = submit(client, THREE_SECONDS, ONE_ROW)["id"]
    before = stand.inspect(service)
    victim = (stand.processes(service) or [before["State"]["Pid"]])[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: stand.inspect(service)["RestartCount"] > before["RestartCount"], seconds=30, what=f"{service} is started again")
    assert ended(client, job, seconds=60)["state"] == "succeeded"


def test_what_is_stored_outlives_a_stop_and_a_second_start_changes_nothing(stand: Stand) -> None:
    with stand.client() as client:
        job = submit(client, IDENTITY, ONE_ROW, wait_seconds=60)["id"]
    stand.setup("stop")
    assert stand.containers() == {}
    stand.setup("start")
    first = stand.containers()
    stand.setup("start")
    assert stand.containers() == first
    with stand.client() as client:
        assert client.get(f"/v1/jobs/{job}").json()["state"] == "succeeded"
        assert client.get(f"/v1/jobs/{job}/result").raise_for_status().content


def test_the_operator_s_settings_reach_the_services(stand: Stand) -> None:
    settings = stand.home / "config" / "settings.env"
    before = settings.read_text()
    try:
        settings.write_text(before + "FUMEHOOD_CEILING__WALL_SECONDS=7\nFUMEHOOD_LIMITS__WALL_SECONDS=5\n")
        stand.setup("start")
        with stand.client() as client:
            answer = client.post("/v1/jobs", json={"script": "def azureml_main(): pass", "limits": {"wall_seconds": 8}})
            assert answer.status_code == 422
            assert "7" in answer.json()["errors"][0]["detail"]
    finally:
        settings.write_text(before)
        stand.setup("start")
