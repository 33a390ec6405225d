"""Secrets are in files, or in the environment of who needs them, and nowhere else: not in logs, records, answers, arguments, nor at rest.

Every secret setting has a known value here, whichever there are. API and worker are the real processes, over a PostgreSQL and a Redis with
passwords; what is asked goes well, goes wrong, and finds each of the services away.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args
from urllib.parse import quote

import psycopg
import pytest
import redis
from pydantic import SecretStr

from fumehood.blob_store import BlobStore
from fumehood.events import RedisEvents
from fumehood.job_store import JobStore
from fumehood.settings import Settings
from fumehood.tenant import new_key
from fumehood.testing import redis_server
from tests.api_process import ROOT, ApiProcess
from tests.postgres import PostgresServer
from tests.services import until
from tests.unit.front_desk import SCRIPT, Worker

SECRET_SETTINGS = sorted(
    name for name, info in Settings.model_fields.items() if SecretStr in (info.annotation, *get_args(info.annotation))
)  # fmt: skip
START_SECONDS = 60
# How long one that goes on in spite of it is listened to.
REST_SECONDS = 2


@dataclass
class Scene:
    api: ApiProcess
    secrets: dict[str, str]
    answers: list[str] = field(default_factory=list)
    """Everything that anybody was told, heads and bodies."""
    arguments: list[str] = field(default_factory=list)
    environments: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    redis: str = ""
    database: str = ""

    def ask(self, method: str, path: str, **request: Any) -> Any:
        with self.api.client() as client:
            answer = client.request(method, path, **request)
        self.answers.append(f"{answer.status_code} {answer.headers} {answer.text}")
        return answer


def look_at(scene: Scene, process: subprocess.Popen[bytes]) -> None:
    """What anybody on the machine can read of a process, and what its user can."""
    for path, found in (("cmdline", scene.arguments), ("environ", scene.environments)):
        found.append(Path(f"/proc/{process.pid}/{path}").read_bytes().decode(errors="replace"))


def given_wrongly(scene: Scene, **settings: str) -> None:
    """Both processes, with one thing wrong: what they say before they end, or until they are ended."""
    environment = {f"FUMEHOOD_{name.upper()}": value for name, value in settings.items()}
    for package in ("api", "worker"):
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen([sys.executable, "-m", package], cwd=ROOT, env=environment, stdout=output, stderr=output)
            look_at(scene, process)
            until(lambda: os.fstat(output.fileno()).st_size, seconds=START_SECONDS, what="what is wrong")
            try:
                process.wait(REST_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(START_SECONDS)
            output.seek(0)
            scene.outputs.append(output.read().decode(errors="replace"))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Scene]:
    place = tmp_path_factory.mktemp("secrets")
    known = {name: f"known-{secrets.token_hex(24)}" for name in SECRET_SETTINGS} | {"bootstrap_key": new_key()}
    files = {}
    for name, value in known.items():
        (place / name).write_text(value + "\n")
        files[f"{name}_file"] = str(place / name)
    with redis_server(password=known["redis_password"]) as server, postgres.database() as database:
        home = place / "home"
        given = {"redis_url": server.url, "database_url": database, "log_level": "debug", **files}
        api = ApiProcess(home, key=known["bootstrap_key"], bootstrap_key=None, **given)
        try:
            scene = Scene(api, known)
            play(scene, Settings(home=home, **given))
            scene.redis = contents(redis.Redis.from_url(server.url, password=known["redis_password"], decode_responses=True))
            scene.database = rows(database)
            image = {"image": f"sha256:{0:064}", "docker_host": f"unix://{place}/no.sock"}
            rest = {"home": str(home), "api_port": "1"} | given | image
            wrongs = (
                {"redis_url": "redis://127.0.0.1:1/0"},
                {"database_url": "postgresql+psycopg://fumehood@127.0.0.1:1/none"},
                {"database_url": f"postgresql+psycopg://fumehood:{known['database_password']}@127.0.0.1:1/none"},
                {"redis_url": f"redis://:{known['redis_password']}@127.0.0.1:1/0"},
                {"lease_seconds": "0.1"},
                {"image": "none"},
            )
            with ThreadPoolExecutor(4) as pool:
                for done in [pool.submit(given_wrongly, scene, **(rest | wrong)) for wrong in wrongs]:
                    done.result()
            yield scene
        finally:
            api.stop()


def play(scene: Scene, settings: Settings) -> None:
    """A job's way, with everything that can be asked of it, and with mistakes."""
    key = scene.secrets["bootstrap_key"]
    look_at(scene, scene.api.process)
    store = JobStore(settings.store_url)
    events = RedisEvents(settings)
    worker = Worker(SimpleNamespace(store=store, blobs=BlobStore(settings.home), events=events))  # type: ignore[arg-type]
    job = scene.ask("POST", "/v1/jobs", json={"script": SCRIPT}, headers={"Idempotency-Key": "once"}).json()["id"]
    worker.work()
    batch = scene.ask("POST", "/v1/batches", json={"script": SCRIPT, "items": [{}]}).json()["id"]
    for path in ("", "/log", "/figures", "/artifacts", "/inputs", "/result", "/result2", "/cancel", "/nothing"):
        scene.ask("GET", f"/v1/jobs/{job}{path}")
    for path in ("/v1/jobs", "/v1/datasets", "/v1/batches", f"/v1/batches/{batch}", f"/v1/batches/{batch}/items", "/v1/images"):
        scene.ask("GET", path)
    for path in ("/healthz", "/readyz", "/openapi.json", f"/v1/jobs/{'x' * 36}", "/v1/jobs?limit=x", "/v1/jobs?cursor=x"):
        scene.ask("GET", path)
    scene.ask("POST", "/v1/jobs", json={"script": SCRIPT, "limits": {"cpus": "many"}, "unknown": 1})
    scene.ask("POST", "/v1/jobs", content=b"{", headers={"Content-Type": "application/json"})
    scene.ask("POST", "/v1/jobs", json={"script": "def azureml_main(:"}, headers={"Idempotency-Key": "once"})
    # A key that was mistyped, and one in the wrong place: what is quoted back must not be it.
    scene.ask("GET", "/v1/jobs", headers={"Authorization": f"Bearer {key}x"})
    scene.ask("GET", "/v1/jobs", headers={"Authorization": key, "X-Request-Id": "plain"})
    store.close()
    events.close()


def contents(client: redis.Redis) -> str:
    with client:
        found = []
        for name in client.scan_iter():
            kind = str(client.type(name))
            reader: Any = {
                "list": lambda n: client.lrange(n, 0, -1),
                "stream": client.xrange,
                "set": client.smembers,
                "hash": client.hgetall,
            }
            found.append(f"{name}: {reader.get(kind, client.get)(name)}")
        return "\n".join(found)


def rows(database: str) -> str:
    with psycopg.connect(database.replace("+psycopg", "")) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return "\n".join(str(connection.execute(f'SELECT * FROM "{table}"').fetchall()) for (table,) in tables)  # type: ignore[call-overload]


def holding(scene: Scene, texts: list[str]) -> list[str]:
    """The names of the secrets that stand in one of the texts, as they are or as an address has them."""
    whole = "\n".join(texts)
    secret = {name: value.rpartition("_")[2] for name, value in scene.secrets.items()}  # of a key the public part may be told
    return [name for name, value in secret.items() if value in whole or quote(value, safe="") in whole]


def test_every_secret_setting_has_a_value_that_is_looked_for(scene: Scene) -> None:
    assert {"bootstrap_key", "database_password", "redis_password"} <= set(scene.secrets) == set(SECRET_SETTINGS)
    assert all(value == (scene.api.home.parent / name).read_text().strip() for name, value in scene.secrets.items())


def test_they_are_in_use(scene: Scene) -> None:
    """Or nothing would be shown by their absence."""
    told = "\n".join(scene.answers)
    assert "'succeeded'" in told or '"state":"succeeded"' in told
    assert '"redis":{"ok":true' in told
    assert scene.redis
    assert scene.database
    assert any("cannot start" in said or "setting" in said for said in scene.outputs)


@pytest.mark.parametrize("where", ["answers", "arguments", "outputs"])
def test_none_of_them_is_told(where: str, scene: Scene) -> None:
    assert getattr(scene, where)
    assert holding(scene, getattr(scene, where)) == []


def test_none_of_them_is_in_the_environment_of_a_process_that_has_them_from_files(scene: Scene) -> None:
    assert "FUMEHOOD_REDIS_PASSWORD_FILE" in scene.environments[0]
    assert holding(scene, scene.environments[:1]) == []


def test_none_of_them_is_in_a_log(scene: Scene) -> None:
    until(lambda: "request" in scene.api.log, seconds=10, what="a log")
    assert holding(scene, [scene.api.log]) == []


def test_none_of_them_is_in_the_store_in_redis_or_in_the_home(scene: Scene) -> None:
    stored = [path.read_bytes().decode("latin-1") for path in scene.api.home.rglob("*") if path.is_file()]
    assert stored
    assert holding(scene, [scene.database, scene.redis, *stored]) == []


def test_one_that_is_told_would_be_found(scene: Scene) -> None:
    for name, value in scene.secrets.items():
        assert holding(scene, [f"redis://:{quote(value, safe='')}@host"]) == [name]
