"""The gate as a server, before an engine that says what the test lets it: HTTP's edges, bounds, and ends that are ends."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fumehood.settings import Settings
from gate import server
from tests.gates import SECONDS, ask, exchange, gate_here
from tests.services import until
from tests.unit.test_gate import ALLOWED, BODIES, FILTERS, IMAGE, NAME
from worker.isolation import LABEL_HOME

INFO = {"NCPU": 2, "CgroupVersion": "2", "SwapLimit": True}
HOME = Path("/srv/home")
SETTINGS = Settings(home=HOME, image=IMAGE)
ATTACH = f"{' '.join(ALLOWED['attach'])} HTTP/1.1\r\nHost: e\r\nContent-Length: 0\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode()
UPGRADED = b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"


def head_of(name: str) -> str:
    return " ".join(ALLOWED[name])


def answer(document: object, status: str = "200 OK", *headers: str) -> bytes:
    text = json.dumps(document).encode()
    head = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(text)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + text


class Engine:
    """`says` answers a request by its method and path; the description of the engine and whose a container is are there already.

    `lines` are the connections that it has, in the order in which they came; after an upgrade the test speaks on them itself.
    """

    def __init__(self, path: Path) -> None:
        self.asked: list[tuple[str, bytes]] = []
        self.says: dict[str, bytes] = {}
        self.lines: list[socket.socket] = []
        self.upgraded: list[socket.socket] = []
        self.owner = str(HOME)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        for line in self.lines:
            line.close()

    def of_the_worker(self) -> list[str]:
        """What was asked for it, without what the gate wanted to know."""
        return [head for head, _ in self.asked if head not in ("GET /info", f"GET /containers/{NAME}/json")]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = self._listener.accept()
                self.lines.append(line)
                threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with contextlib.suppress(OSError), line.makefile("rb") as reader:
            while head := reader.readline():
                size = 0
                while (header := reader.readline().strip()) != b"":
                    size = int(header.partition(b":")[2]) if header.lower().startswith(b"content-length") else size
                asked = head.decode().rsplit(" ", 1)[0]
                self.asked.append((asked, reader.read(size)))
                said = self._say(asked)
                if b"HTTP/1.1 101" in said:
                    # Before whoever reads the answer looks.
                    self.upgraded.append(line)
                    line.sendall(said)
                    return
                line.sendall(said)

    def _say(self, asked: str) -> bytes:
        if asked in self.says:
            return self.says[asked]
        if asked == "GET /info":
            return answer(INFO)
        if asked == f"GET /containers/{NAME}/json":
            return answer({"Config": {"Labels": {LABEL_HOME: self.owner}}})
        return answer({"asked": asked})


@pytest.fixture
def place() -> Iterator[Path]:
    """Short, because the path of a socket must be."""
    with tempfile.TemporaryDirectory(prefix="fumehood-") as directory:
        yield Path(directory)


@pytest.fixture
def engine(place: Path) -> Iterator[Engine]:
    engine = Engine(place / "engine.sock")
    yield engine
    engine.close()


@pytest.fixture
def gate(place: Path, engine: Engine) -> Iterator[Path]:
    with gate_here(SETTINGS, place, engine=place / "engine.sock") as path:
        yield path


def test_an_allowed_call_is_asked_and_its_answer_passed_on_with_the_gate_s_mark(gate: Path, engine: Engine) -> None:
    engine.says["GET /_ping"] = b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nX-Other: 1\r\nContent-Length: 2\r\n\r\nOK"
    said = exchange(gate, b"GET /_ping HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n").lower()
    assert said.startswith(b"http/1.1 200")
    assert said.endswith(b"\r\n\r\nok")
    assert b"\r\nfumehood-gate: " in said
    assert b"\r\napi-version: 1.41" in said
    assert b"x-other" not in said


def test_a_refusal_is_in_the_engine_s_form_and_the_engine_hears_nothing_of_it(gate: Path, engine: Engine) -> None:
    status, text = ask(gate, "POST /v1.41/containers/x/exec", b'{"Cmd": ["sh"]}')
    assert status == 403
    assert "is no call that a worker needs; allowed are ping, version" in json.loads(text)["message"]
    assert engine.of_the_worker() == []


def test_a_connection_goes_on_after_answers_and_refusals(gate: Path, engine: Engine) -> None:
    heads = ["GET /version", "GET /secrets", "GET /v1.41/info", f"GET /v1.41/containers/{NAME}/json", "GET /version"]
    sent = b"".join(f"{head} HTTP/1.1\r\nHost: e\r\n\r\n".encode() for head in heads)
    said = exchange(gate, sent + b"GET /_ping HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n")
    assert [part.split(b" ")[0] for part in said.split(b"HTTP/1.1 ")[1:]] == [b"200", b"403", b"200", b"200", b"200", b"200"]
    assert len(engine.lines) == 1


def test_a_body_in_chunks_is_read_and_waited_for(gate: Path, engine: Engine) -> None:
    target, body = ALLOWED["update"][1], BODIES["update"]
    head = f"POST {target} HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n".encode()
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(SECONDS)
        line.connect(str(gate))
        line.sendall(head)
        assert line.recv(1000).startswith(b"HTTP/1.1 100")
        for part in (body[:10], body[10:]):
            line.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        line.sendall(b"0\r\n\r\n")
        assert line.recv(1000).startswith(b"HTTP/1.1 200")
    assert json.loads(dict(engine.asked)[f"POST {target}"]) == json.loads(body)


def test_an_answer_in_chunks_comes_whole(gate: Path, engine: Engine) -> None:
    method, target = ALLOWED["list"]
    engine.says[f"{method} {target}"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n"
    said = exchange(gate, f"{method} {target} HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n".encode())
    assert b"[1," in said
    assert said.endswith(b"0\r\n\r\n")


def test_two_lengths_in_one_head_smuggle_nothing(gate: Path, engine: Engine) -> None:
    hidden = b"POST /v1.41/build HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n"
    two = (b"Content-Length: 0\r\nContent-Length: 5", b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: x, chunked")
    for lengths in two:
        with contextlib.suppress(OSError):
            exchange(gate, b"GET /version HTTP/1.1\r\nHost: e\r\n" + lengths + b"\r\n\r\n0\r\n\r\n" + hidden)
    assert all("build" not in head and b"build" not in body for head, body in engine.asked)


def test_a_body_or_a_head_above_its_bound_is_refused(gate: Path, engine: Engine) -> None:
    with contextlib.suppress(OSError):  # The gate may hang up before all is sent.
        assert ask(gate, " ".join(ALLOWED["create"]), b" " * (server.BODY_BYTES + 1))[0] == 403
    with contextlib.suppress(OSError):
        assert ask(gate, "GET /version", **{"X-Long": "x" * 3 * server.HEAD_BYTES})[0] == 431
    assert engine.asked == []


def test_a_request_that_does_not_come_to_its_end_is_given_up(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.2)
    assert exchange(gate, b"GET /version HTTP/1.1\r\nHo") == b""
    assert exchange(gate, b"POST /version HTTP/1.1\r\nHost: e\r\nContent-Length: 9\r\n\r\n1") == b""


def test_there_are_only_so_many_connections(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 2)
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            line = stack.enter_context(socket.socket(socket.AF_UNIX))
            line.settimeout(SECONDS)
            line.connect(str(gate))
            line.sendall(b"GET /_ping HTTP/1.1\r\nHost: e\r\n\r\n")
            assert line.recv(1000).startswith(b"HTTP/1.1 200")
        with contextlib.suppress(OSError):
            assert exchange(gate, b"GET /_ping HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n") == b""
    until(lambda: _pings(gate), seconds=SECONDS, what="a place is free again")


def _pings(gate: Path) -> bool:
    with contextlib.suppress(OSError, IndexError):
        return ask(gate, "GET /_ping")[0] == 200
    return False


@pytest.mark.parametrize("name", ["attach", "update", "inspect", "kill", "wait", "stats", "remove"])
def test_a_container_of_another_home_is_not_touched(gate: Path, engine: Engine, name: str) -> None:
    engine.owner = "/srv/other"
    more = {"Connection": "Upgrade", "Upgrade": "tcp"} if name == "attach" else {"Connection": "close"}
    status, text = ask(gate, head_of(name), BODIES.get(name, b""), **more)
    assert status == 403
    assert "which is not of this home" in text
    assert engine.of_the_worker() == []


def test_whose_a_container_is_is_asked_once_and_again_after_its_removal(gate: Path, engine: Engine) -> None:
    looked, removal = f"GET /containers/{NAME}/json", head_of("remove")
    for _ in range(2):
        assert ask(gate, head_of("kill"))[0] == 200
    assert [head for head, _ in engine.asked].count(looked) == 1
    assert ask(gate, removal)[0] == 200
    engine.owner = "/srv/other"
    assert ask(gate, removal)[0] == 403


def test_a_container_that_is_not_there_is_said_in_the_engine_s_words(gate: Path, engine: Engine) -> None:
    engine.says[f"GET /containers/{NAME}/json"] = answer({"message": "No such container"}, "404 Not Found")
    status, text = ask(gate, head_of("remove"))
    assert (status, "No such container" in text) == (404, True)


def test_an_engine_that_is_away_is_said_and_one_that_comes_back_is_used(place: Path) -> None:
    with gate_here(SETTINGS, place, engine=place / "engine.sock") as gate:
        status, text = ask(gate, "GET /version")
        assert (status, "the engine does not answer" in text) == (502, True)
        engine = Engine(place / "engine.sock")
        assert ask(gate, "GET /version")[0] == 200
        engine.close()


def test_an_engine_that_has_closed_an_idle_connection_is_asked_on_another(gate: Path, engine: Engine) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(SECONDS)
        line.connect(str(gate))
        for _ in range(2):
            line.sendall(b"GET /version HTTP/1.1\r\nHost: e\r\n\r\n")
            assert line.recv(4000).startswith(b"HTTP/1.1 200")
            engine.lines[-1].shutdown(socket.SHUT_RDWR)
            until(lambda: _closed(engine.lines[-1]), seconds=SECONDS, what="the engine has closed")
    assert len(engine.lines) == 2


def _closed(line: socket.socket) -> bool:
    return line.fileno() < 0 or line.recv(1) == b""


def test_half_an_answer_never_looks_whole(gate: Path, engine: Engine) -> None:
    method, target = ALLOWED["wait"]
    engine.says[f"{method} {target}"] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(SECONDS)
        line.connect(str(gate))
        line.sendall(f"{method} {target} HTTP/1.1\r\nHost: e\r\nContent-Length: 0\r\n\r\n".encode())
        assert b"200" in line.recv(1000)
        engine.lines[0].shutdown(socket.SHUT_RDWR)
        rest = b""
        while part := line.recv(1000):
            rest += part
        assert len(rest) < 100


def test_a_call_whose_caller_has_gone_is_broken_off_at_the_engine(gate: Path, engine: Engine) -> None:
    method, target = ALLOWED["wait"]
    engine.says[f"{method} {target}"] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(SECONDS)
        line.connect(str(gate))
        line.sendall(f"{method} {target} HTTP/1.1\r\nHost: e\r\nContent-Length: 0\r\n\r\n".encode())
        assert b"200" in line.recv(1000)
        held = engine.lines[0].dup()
    held.settimeout(SECONDS)
    with contextlib.suppress(ConnectionResetError):
        assert held.recv(1) == b""
    held.close()


# the tunnel ------------------------------------------------------------------------------------------------------------------
@pytest.fixture
def tunnel(gate: Path, engine: Engine) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A sandbox's stream: the worker's end, and the engine's."""
    engine.says[head_of("attach")] = UPGRADED + b"first"
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(SECONDS)
        line.connect(str(gate))
        line.sendall(ATTACH)
        said = b""
        while not said.endswith(b"first"):
            said += line.recv(1000)
        assert said.startswith(b"HTTP/1.1 101")
        far = engine.upgraded[0].dup()
        far.settimeout(SECONDS)
        yield line, far
        far.close()


def test_a_stream_carries_bytes_both_ways(tunnel: tuple[socket.socket, socket.socket]) -> None:
    near, far = tunnel
    block = os.urandom(1 << 20)
    for source, target in ((near, far), (far, near)):
        sender = threading.Thread(target=source.sendall, args=(block,))
        sender.start()
        got = b""
        while len(got) < len(block):
            got += target.recv(1 << 16)
        sender.join()
        assert got == block


def test_half_an_end_is_half_an_end(tunnel: tuple[socket.socket, socket.socket]) -> None:
    near, far = tunnel
    near.shutdown(socket.SHUT_WR)
    assert far.recv(10) == b""
    far.sendall(b"still here")
    assert near.recv(10) == b"still here"


@pytest.mark.parametrize("end", [lambda line: line.close(), lambda line: line.shutdown(socket.SHUT_RDWR)], ids=["closed", "shut down"])
def test_a_worker_that_is_gone_ends_the_engine_s_side_whole(
    tunnel: tuple[socket.socket, socket.socket], end: Callable[[socket.socket], None]
) -> None:
    near, far = tunnel
    end(near)
    assert far.recv(10) == b""
    until(lambda: _is_hung_up(far), seconds=SECONDS, what="the engine's side is closed")


def test_an_engine_that_ends_the_stream_is_heard_to_the_last_byte(tunnel: tuple[socket.socket, socket.socket], engine: Engine) -> None:
    near, far = tunnel
    far.sendall(b"last words")
    far.shutdown(socket.SHUT_RDWR)
    assert near.recv(100) == b"last words"
    assert near.recv(100) == b""


def _is_hung_up(line: socket.socket) -> bool:
    """Both halves are closed; seen without a byte sent, because a silent sandbox sends none."""
    poll = select.poll()
    poll.register(line, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


# whatever comes --------------------------------------------------------------------------------------------------------------
CALLS = [(head_of(name), BODIES.get(name, b"")) for name in ALLOWED]
CALLS += [("POST /build", b""), (f"GET /v1.41/containers/json?filters={FILTERS}", b""), (head_of("kill"), b"{}")]
EXTRA = ["Content-Length: 3", "Transfer-Encoding: chunked", "Upgrade: tcp", "Connection: Upgrade", "Connection: close", "Host: f"]
MORE = st.sampled_from(EXTRA)
REQUESTS = st.builds(
    lambda call, more: "\r\n".join([f"{call[0]} HTTP/1.1", "Host: e", f"Content-Length: {len(call[1])}", *more, "", ""]).encode() + call[1],
    st.sampled_from(CALLS),
    st.just([]) | st.lists(MORE, max_size=2),
)


@st.composite
def bent(draw: st.DrawFn) -> bytes:
    content = bytearray(b"".join(draw(st.lists(REQUESTS, min_size=1, max_size=3))))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 20)))
        content[start:end] = draw(st.binary(max_size=20) | st.sampled_from([b"\r\n", b"\0", b"POST /build HTTP/1.1\r\n\r\n"]))
    return bytes(content)


def test_whatever_bytes_come_the_engine_is_asked_nothing_but_what_is_in_the_table(gate: Path, engine: Engine) -> None:
    known = {" ".join(each) for each in ALLOWED.values()} | {"GET /info", f"GET /containers/{NAME}/json"}
    unversioned = {head.replace("/v1.41", "") for head in known}

    @hypothesis_settings(max_examples=int(os.environ.get("FUMEHOOD_TEST_EXAMPLES", "150")))
    @given(content=bent() | st.binary(max_size=300))
    def throw(content: bytes) -> None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as line:
            # What it still waits for, nobody sends.
            line.settimeout(0.1)
            line.connect(str(gate))
            line.sendall(content)
            while line.recv(65536):
                pass
        versions = {head.replace(head.split("/")[1], "v1.41", 1) if "/v1." in head else head for head, _ in engine.asked}
        assert versions <= known | unversioned

    throw()
    # Or nothing was tried.
    assert len(set(engine.of_the_worker())) > 3
    assert _pings(gate)
