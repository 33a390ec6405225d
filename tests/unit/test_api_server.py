"""`python -m api` as a process: what only a real connection shows. Redis is away the whole time, and nobody minds."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvicorn

from api.server import Server as IdleServer
from tests.api_process import ApiProcess
from tests.services import until
from tests.unit.front_desk import SCRIPT


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    made = ApiProcess(tmp_path_factory.mktemp("server") / "home")
    yield made
    made.stop()


def test_a_job_goes_through_and_its_events_end(server: ApiProcess) -> None:
    with server.client() as client, ThreadPoolExecutor(1) as pool:
        job = client.post("/v1/jobs", json={"script": SCRIPT}).json()["id"]
        with client.stream("GET", f"/v1/jobs/{job}/log", headers={"Accept": "text/event-stream"}) as events:
            lines = events.iter_lines()
            assert next(lines) == ": begin"
            with server.worker() as worker:
                pool.submit(worker.work).result(10)
            assert [line for line in lines if line.startswith("event:")] == ["event: progress", "event: log", "event: end"]
        assert client.get(f"/v1/jobs/{job}/result").content == b"ARROW1-result"


def test_what_was_acknowledged_survives_a_kill(server: ApiProcess) -> None:
    with server.client() as client:
        job = client.post("/v1/jobs", json={"script": SCRIPT}).json()["id"]
    server.stop()
    server.start()
    with server.client() as client:
        assert client.get(f"/v1/jobs/{job}").json()["state"] == "queued"


def test_a_connection_that_breaks_leaves_nothing(server: ApiProcess) -> None:
    connection = server.connect("POST /v1/datasets HTTP/1.1\r\nContent-Type: text/csv\r\nContent-Length: 10000000", b"a,b\n" * 100_000)
    until(server.incoming, seconds=10, what="a file on its way in")
    connection.close()
    until(lambda: not server.incoming(), seconds=10, what="an empty incoming directory")


def test_a_connection_that_stalls_is_closed(server: ApiProcess) -> None:
    with server.connect("POST /v1/datasets HTTP/1.1\r\nContent-Type: text/csv\r\nContent-Length: 10000000", b"a,b\n") as connection:
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"body-stalled" in answer
    assert server.incoming() == []


@pytest.mark.parametrize("head", [b"", b"GET /healthz HTTP/1.1\r\nHost:", b"GET /healthz HTTP/1.1\r\nHost: desk\r\n\r\nGET /hea"])
def test_a_head_that_never_ends_is_not_waited_for(server: ApiProcess, head: bytes) -> None:
    with server.dial() as connection:
        connection.sendall(head)
        assert b"".join(iter(lambda: connection.recv(4096), b"")).count(b"HTTP/1.1 200") == head.count(b"\r\n\r\n")


def test_an_answer_before_the_end_of_the_body_arrives_and_the_rest_is_bounded(server: ApiProcess) -> None:
    with server.connect("POST /v1/datasets HTTP/1.1\r\nContent-Type: text/csv\r\nContent-Length: 99999999999") as connection:
        chunk, sent = b"x" * 65_536, 0
        with pytest.raises((ConnectionError, BrokenPipeError)):  # noqa: PT012
            while sent < 2**34:
                sent += connection.send(chunk)
    with server.client() as client:
        assert client.post("/v1/jobs", content=b"x" * 5_000_000, headers={"Content-Type": "application/json"}).status_code == 413


def test_headers_that_are_too_large_are_refused(server: ApiProcess) -> None:
    with server.connect(f"POST /v1/jobs HTTP/1.1\r\nX: {'x' * 100_000}") as connection:
        assert connection.recv(4096).startswith(b"HTTP/1.1 4")
    assert server.answers()


@pytest.mark.parametrize("head", ["Content-Length: 5\r\nContent-Length: 6", "Content-Length: -1", "Bad Header: 1"])
def test_a_malformed_head_is_refused_in_the_words_of_every_problem(server: ApiProcess, head: str) -> None:
    with server.connect(f"POST /v1/jobs HTTP/1.1\r\n{head}") as connection:
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    told, _, body = answer.partition(b"\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 400")
    for header in (b"content-type: application/problem+json", b"x-content-type-options: nosniff", b"cache-control: no-store"):
        assert header in told.lower()
    assert json.loads(body)["type"] == "urn:fumehood:problem:malformed"
    assert server.answers()


def test_the_server_does_not_name_itself(server: ApiProcess) -> None:
    with server.client() as client:
        assert "server" not in client.get("/healthz").headers


def test_a_stop_is_orderly_and_the_log_holds_no_key(server: ApiProcess) -> None:
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) in (0, -signal.SIGTERM)
    assert server.key not in server.log
    server.start()


def test_an_idle_server_is_told_to_end_and_does_not_look_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.server.DATE_SECONDS", 60.0)

    async def end() -> None:
        config = uvicorn.Config("api.app:create_app", log_config=None)
        config.encoded_headers = []
        idle = IdleServer(config)
        looking = asyncio.create_task(idle.main_loop())
        await asyncio.sleep(0)
        idle.handle_exit(signal.SIGTERM, None)
        async with asyncio.timeout(20):
            await looking

    asyncio.run(end())
