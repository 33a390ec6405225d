"""The service with PostgreSQL as its store: set up by one word, and the example goes through it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from fumehood.testing import free_port
from tests.e2e.stand import EXAMPLES, TABLE, Stand, docker, standing, submit
from tests.services import until


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with standing(Stand(home=tmp_path_factory.mktemp("stand-postgres") / "home", port=free_port(), store="postgres")) as made:
        yield made


def test_the_example_goes_through_it_and_the_record_outlives_the_server(stand: Stand, client: httpx.Client) -> None:
    script = (EXAMPLES / "feature_importance.py").read_text()
    record = submit(client, script, TABLE.read_text(), wait_seconds=60)
    assert (record["state"], record["reason"]) == ("succeeded", "ok"), record
    assert not (stand.home / "fumehood.db").exists()
    jobs = ["exec", stand.containers()["postgres"], "psql", "-U", "postgres", "-h", "/tmp", "-d", "fumehood", "-tAc", "SELECT id FROM jobs"]
    assert docker(*jobs).split() == [record["id"]]

    # The service stands its store's restart, and so does the record.
    docker("kill", "--signal", "KILL", stand.containers()["postgres"])
    docker("start", stand.containers()["postgres"])
    until(lambda: client.get("/readyz").status_code == 200, seconds=30, what="the service is ready again")
    assert client.get(f"/v1/jobs/{record['id']}").raise_for_status().json()["state"] == "succeeded"


def test_the_store_is_confined_and_its_password_is_nowhere_to_be_seen(stand: Stand) -> None:
    found = stand.inspect("postgres")
    host = found["HostConfig"]
    assert found["Config"]["User"].split(":")[0] not in ("", "0")
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["Privileged"], host["PortBindings"]) == (True, ["ALL"], False, {})
    assert host["Memory"]
    password = (stand.home / "secrets" / "postgres_password").read_text().strip()
    for service in stand.containers():
        assert password not in docker("inspect", stand.containers()[service])
        assert password not in docker("logs", stand.containers()[service])
    assert (stand.home / "postgres").stat().st_mode & 0o077 == 0


def test_a_home_keeps_its_store(stand: Stand) -> None:
    other = Stand(home=stand.home, port=stand.port, store="sqlite")
    command = [sys.executable, "-B", "setup", "start"]
    done = subprocess.run(command, env=other.environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "are in postgres, and a home keeps its store" in done.stderr
