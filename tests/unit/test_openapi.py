"""Every call of the OpenAPI document, over HTTP and with a worker that makes results up: nothing outside the document, and no 5xx."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from schemathesis.core.failures import FailureGroup

from api.protocol import Door, patient
from fumehood.delivery_store import Share
from fumehood.errors import TooLarge
from fumehood.image import Image
from fumehood.job import Lane
from fumehood.job_store import JobStore
from fumehood.outcome import Reason
from fumehood.receipt import unsealed
from fumehood.tenant import TENANT_SCOPES
from fumehood.testing import free_port
from tests.openapi_walk import MODES, SCRIPT, Walk
from tests.postgres import PostgresServer
from tests.services import until
from tests.unit.front_desk import Made, Stand

EXAMPLES = 15
STUDIO_JOB = "/compat/studio/workspaces/{workspace}/services/{service}/jobs/{job_id}"


class Server:
    """The stand's application behind the server that it has in the service."""

    def __init__(self, stand: Stand) -> None:
        self.port = free_port()
        door = Door(connections_max=100, patience_seconds=30)
        config = uvicorn.Config(
            stand.app, host="127.0.0.1", port=self.port, http=patient(door), lifespan="off", log_config=None, access_log=False, ws="none"
        )
        self._server = uvicorn.Server(config)
        self._served = asyncio.run_coroutine_threadsafe(self._server.serve(), stand.served._loop)
        until(lambda: self._server.started, seconds=20, what="the server listens")

    def stop(self) -> None:
        self._server.should_exit = True
        self._served.result(20)


def batch(stand: Stand) -> str:
    answer = stand.us.post("/v1/batches", json={"script": SCRIPT, "items": [{}, {}]})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def script(stand: Stand, name: str, versions: int = 1) -> str:
    """Of another name than the document has as its example, which the walk deletes."""
    sample = stand.us.dataset()
    for _ in range(versions):
        document = {"script": SCRIPT, "sample": sample, "concurrency": 100}
        answer = stand.us.put(f"/v1/scripts/{name}", json=document)
        assert answer.status_code == 202, answer.text
        stand.worker.work(Lane.JOBS)
    return name


def studio_job(stand: Stand, name: str) -> str:
    answer = stand.us.post(f"/compat/studio/workspaces/w/services/{name}/jobs", json={})
    assert answer.status_code == 200, answer.text
    return str(answer.json())


def alias(stand: Stand, name: str, alias: str) -> str:
    for number in (1, 2):
        answer = stand.us.put(f"/v1/scripts/{name}/aliases/{alias}", json={"versions": [{"number": number}]})
        assert answer.status_code == 200, answer.text
    return alias


def things_of_every_kind(stand: Stand) -> dict[str, list[str]]:
    """What the walk finds there, by the name that it has in a path."""
    datasets = [stand.us.dataset(f"a,b\n{number},2\n".encode()) for number in range(20)]
    jobs = []
    for _ in range(10):
        jobs.append(stand.us.job(labels={"team": "blue"}, dataset1=datasets[0]))
        stand.worker.work(Lane.JOBS)
    spare = [stand.us.job() for _ in range(10)]
    stand.worker.work(Lane.JOBS)
    batches, spare_batches = [batch(stand) for _ in range(3)], [batch(stand) for _ in range(10)]
    stand.worker.work(Lane.JOBS)
    called_off = [batch(stand) for _ in range(20)]
    for batch_id in called_off:
        assert stand.us.post(f"/v1/batches/{batch_id}/cancel").status_code == 202
    scripts, spare_scripts = [script(stand, "walked", 20)], [script(stand, f"spare-{number}") for number in range(10)]
    aliases, spare_aliases = [alias(stand, "walked", "lively")], [alias(stand, "walked", f"spare-{number}") for number in range(10)]
    studio_jobs = [studio_job(stand, "walked") for _ in range(3)]
    stand.worker.work(Lane.JOBS)
    failed = stand.us.job()
    claimed = stand.worker.claim()
    assert claimed is not None
    stand.worker.finish(claimed, Made(Reason.SCRIPT_ERROR, "it failed", error={"type": "ValueError", "message": "no", "traceback": ""}))
    cancelled = stand.us.job()
    assert stand.us.post(f"/v1/jobs/{cancelled}/cancel").status_code == 202
    running = stand.us.job()
    assert stand.worker.claim() is not None
    running_batch = batch(stand)
    assert stand.worker.claim() is not None
    jobs += [failed, cancelled, running, *(stand.us.job() for _ in range(3))]
    told = [stand.us.job(callback_url="https://example.com/hook") for _ in range(6)]
    for about in told:
        assert stand.us.post(f"/v1/jobs/{about}/cancel").status_code == 202
    deliveries = [one["id"] for one in stand.us.get("/v1/webhooks/deliveries").json()["items"]]
    stand.store.claim_deliveries(room=1, share=Share(of_tenant=1, of_host=1), lease_seconds=1e6)
    # From now on nothing waits for long.
    stand.queue.awake = set(Lane)
    spare_keys = []
    for number in range(10):
        stand.store.create_tenant(f"spare{number}")
        spare_keys.append(stand.store.create_key(f"spare{number}", name="", scopes=TENANT_SCOPES)[0].prefix)
    keys = [stand.store.create_key("other", name="", scopes=TENANT_SCOPES)[0].prefix for _ in range(20)]
    gone = stand.store.begin_erasure(stand.store.create_tenant("gone").id).id
    assert stand.store.end_erasure(gone, worker="wrk_test", nothing_left=lambda: True, seal=unsealed)
    digest = f"sha256:{0:064}"
    tomorrow = JobStore(stand.settings.store_url, clock=lambda: time.time() + 86_400)
    tomorrow.worker_beat("wrk_1", {"ready": True, "image": digest})  # it is ready for as long as the walk takes
    tomorrow.close()
    stand.store.keep_image(Image(digest=digest, python="3.13.1", packages={"numpy": "2.4.1"}))
    return {
        "digest": [digest],
        "tenant": ["other"],
        "GET tenant": ["other", gone],
        "DELETE tenant": [f"spare{number}" for number in range(10)],
        "DELETE prefix": spare_keys,
        "prefix": keys,
        "dataset_id": datasets,
        "service": scripts,
        f"GET {STUDIO_JOB} job_id": studio_jobs,
        f"DELETE {STUDIO_JOB} job_id": studio_jobs,
        f"POST {STUDIO_JOB}/start job_id": studio_jobs,
        f"GET {STUDIO_JOB}/outputs/{{output}} job_id": studio_jobs,
        f"GET {STUDIO_JOB}/outputs/{{output}} output": ["output1", "output2"],
        "DELETE dataset_id": [stand.us.dataset(f"b,a\n{number},2\n".encode()) for number in range(10)],
        "DELETE /v1/datasets/{dataset_id}/pin dataset_id": datasets,
        "DELETE job_id": spare,
        "POST job_id": [running, failed],
        "job_id": jobs,
        "DELETE batch_id": spare_batches,
        "POST batch_id": [running_batch],
        "POST /v1/batches/{batch_id}/retry batch_id": called_off[:10],
        "POST /v1/batches/{batch_id}/items/{number}/retry batch_id": called_off[10:],
        "batch_id": [*batches, running_batch],
        "DELETE /v1/scripts/{script} script": spare_scripts,
        "script": scripts,
        "DELETE alias": spare_aliases,
        "alias": aliases,
        "DELETE /v1/scripts/{script}/versions/{number} number": [str(number) for number in range(10, 20)],
        "GET /v1/scripts/{script}/versions/{number}/source number": ["1", "2"],
        "GET /v1/scripts/{script}/versions/{number}/sample number": ["1", "2"],
        "other": ["1", "2"],
        "number": ["0", "1"],
        "n": ["0", "1"],
        "name": ["models/ä b.bin"],
        "port": ["script", "dataset1"],
        "output": ["result", "result2"],
        "delivery_id": deliveries,
    }


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, template: Path, postgres: PostgresServer) -> Iterator[Stand]:
    """On PostgreSQL, which is the pickier of the two about what it stores."""
    with postgres.database() as url:
        stand = Stand(tmp_path_factory.mktemp("desk") / "home", template, database_url=url)
        yield stand
        stand.close()


@pytest.fixture(scope="module")
def walk(desk: Stand) -> Iterator[Walk]:
    known, server = things_of_every_kind(desk), Server(desk)
    with Walk(f"http://127.0.0.1:{server.port}", desk.key, known) as walk:
        yield walk
    server.stop()


def test_every_call_answers_as_the_document_says(walk: Walk) -> None:
    for mode in MODES:
        for operation in walk.operations():
            walk.go(operation, mode, examples=EXAMPLES)
    # It came past the first refusal everywhere.
    assert {name: seen for name, seen in walk.seen.items() if min(seen) >= 400} == {}


def test_without_a_known_key_every_call_is_refused(walk: Walk) -> None:
    for operation in walk.operations():
        walk.without_a_key(operation)


def test_the_walk_finds_a_mistake_and_an_answer_that_is_not_described(walk: Walk, desk: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    operation = next(each for each in walk.operations() if each.label == "GET /v1/datasets")

    def planted(*_: object, **__: object) -> object:
        raise RuntimeError("planted")

    def not_described(*_: object, **__: object) -> object:
        raise TooLarge("planted", limit=1)

    with monkeypatch.context() as patch:
        patch.setattr(type(desk.store), "list_datasets", planted)
        with pytest.raises(FailureGroup) as caught:
            walk.go(operation, "as described", examples=3)
        assert any("GET /v1/datasets: 500" in str(failure) for failure in caught.value.exceptions)
    with monkeypatch.context() as patch:
        patch.setattr(type(desk.store), "list_datasets", not_described)
        with pytest.raises(FailureGroup) as caught:
            walk.go(operation, "as described", examples=3)
        assert any("Undocumented status code" in str(failure) for failure in caught.value.exceptions)
