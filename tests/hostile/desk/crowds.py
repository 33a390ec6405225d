"""Attacks by number and by slowness: connections that do nothing, readers who do not read, waiters without end, everything at once."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from tests.hostile.desk.documents import GOOD
from tests.hostile.desk.framing import JSON, head
from tests.hostile.desk.target import ANSWER_SECONDS, BIG_BYTES, PATIENCE_SECONDS, Target
from tests.hostile.desk.wire import Attack, Ending, exchange, get, post
from tests.services import until

STEP_SECONDS = PATIENCE_SECONDS / 5
# Twice the patience, and what a busy machine takes for it.
DROPPED_SECONDS = 30.0
# A place is free soon after whoever had it has gone, on a busy machine.
GONE_SECONDS = 10.0


@contextmanager
def many(target: Target, count: int, *, receive_bytes: int | None = None) -> Iterator[list[socket.socket]]:
    connections: list[socket.socket] = []
    try:
        for _ in range(count):
            connections.append(target.dial(receive_bytes=receive_bytes))
        yield connections
    finally:
        for connection in connections:
            connection.close()


def is_open(connection: socket.socket) -> bool:
    """Whether the other side has not closed it yet; what it said is thrown away."""
    connection.setblocking(False)
    try:
        while piece := connection.recv(65_536):
            del piece
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    return False


def dropped(connections: list[socket.socket], drip: bytes = b"", *, meanwhile: Callable[[], None] = lambda: None) -> Ending:
    """Give each of them the next byte of `drip` now and then, until all were closed."""
    end, step = time.monotonic() + DROPPED_SECONDS, 0
    left = list(connections)
    while left and time.monotonic() < end:
        for connection in left:
            with suppress(OSError):
                connection.send(drip[step % len(drip) :][:1] if drip else b"")
        step += 1
        meanwhile()
        time.sleep(STEP_SECONDS)
        left = [connection for connection in left if is_open(connection)]
    return f"{len(left)} left" if left else "dropped"


def slow_heads(target: Target) -> Ending:
    with many(target, 60) as connections:
        for connection in connections:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        return dropped(connections, b"abc", meanwhile=target.answers)


def slow_bodies(target: Target) -> Ending:
    """So slow that they would take hours, and never quite still."""
    with many(target, 30) as connections:
        for connection in connections:
            request = get("/v1/datasets", "Content-Type: text/csv", "Content-Length: 900000", method="POST")
            connection.sendall(target.filled(request) + b"a,b\n")
        return dropped(connections, b"1,2\n", meanwhile=target.answers)


def slow_chunks(target: Target) -> Ending:
    with many(target, 30) as connections:
        for connection in connections:
            connection.sendall(target.filled(head("Transfer-Encoding: chunked")))
        return dropped(connections, b"1\r\n \r\n", meanwhile=target.answers)


def answered_and_still_sending(target: Target) -> Ending:
    """The answer came at once; the body goes on, faster than anybody could call slow."""
    with many(target, 10) as connections:
        for connection in connections:
            connection.sendall(target.filled(get("/v1/nothing", "Content-Length: 99999999999", method="POST")))
        end = time.monotonic() + DROPPED_SECONDS
        left = set(connections)
        for connection in connections:
            connection.settimeout(1.0)
        while left and time.monotonic() < end:
            for connection in list(left):
                try:
                    connection.send(bytes(16_384))
                except TimeoutError:
                    pass
                except OSError:
                    left.discard(connection)
        return f"{len(left)} left" if left else "dropped"


def never_read(target: Target) -> Ending:
    """Many requests without a key, and not one answer read: each of them would hold a place."""
    with many(target, 40, receive_bytes=4096) as connections:
        for connection in connections:
            connection.settimeout(0.2)
            with suppress(OSError):
                connection.sendall(get("/openapi.json", key=False) * 300)
        return closed_unread(target, connections)


def big_and_never_read(target: Target) -> Ending:
    with many(target, 20, receive_bytes=4096) as connections:
        for connection in connections:
            connection.sendall(target.filled(get("/v1/jobs/{job}/result")))
        return closed_unread(target, connections)


def closed_unread(target: Target, connections: list[socket.socket]) -> Ending:
    """Looked at without reading: whoever was closed by the other side hears of it (a reset, as they were owed bytes)."""
    end, gone = time.monotonic() + DROPPED_SECONDS, set[socket.socket]()
    while len(gone) < len(connections) and time.monotonic() < end:
        target.answers()
        for connection in connections:
            if connection not in gone and connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                gone.add(connection)
        time.sleep(STEP_SECONDS)
    return "dropped" if len(gone) == len(connections) else f"{len(connections) - len(gone)} left"


def read_slowly(target: Target) -> Ending:
    """Some hundred bytes a second: it would take days."""
    with target.dial(receive_bytes=4096) as connection:
        connection.sendall(target.filled(get("/v1/jobs/{job}/result")))
        end, read = time.monotonic() + DROPPED_SECONDS, 0
        with suppress(ConnectionError):
            while time.monotonic() < end and (piece := connection.recv(100)):
                read += len(piece)
                time.sleep(STEP_SECONDS)
            return "still being sent" if time.monotonic() >= end else "dropped"
        return "dropped" if read < BIG_BYTES else "read"


def idle(target: Target) -> Ending:
    """Far more connections than there may be; whoever comes meanwhile is served, and the oldest of the idle ones are not there."""
    with many(target, 300) as connections:
        target.answers()
        opened = sum(is_open(connection) for connection in connections)
        last = is_open(connections[-1])
    return "the last ones stay" if last and opened <= 150 else f"{opened} open"


def answered(connections: list[socket.socket], *, until: Callable[[Counter[bytes]], bool]) -> Counter[bytes]:
    """The status lines that have come; who waits has none."""
    end, told = time.monotonic() + ANSWER_SECONDS, dict[socket.socket, bytes]()
    while True:
        for connection in connections:
            connection.setblocking(False)
            with suppress(BlockingIOError):
                told[connection] = told.get(connection, b"") + connection.recv(4096)
        count = Counter(answer.partition(b"\r\n")[0][9:12] for answer in told.values())
        if until(count) or time.monotonic() > end:
            return count
        time.sleep(STEP_SECONDS)


def crowd(target: Target, request: bytes, count: int) -> Ending:
    """So many at once by one tenant. Some are told that it is too many; then the neighbour is served, and so is everybody's health."""
    with many(target, count) as connections:
        for connection in connections:
            connection.sendall(target.filled(request))
        refused = answered(connections, until=lambda count: count[b"503"] >= 300)[b"503"]
        alive = exchange(target, get("/healthz", "Connection: close", key=False))
        theirs = get("/v1/images", "Connection: close").replace(b"Bearer {key}", b"Bearer {their_key}")
        # The last of the crowd may just be being refused.
        until(lambda: exchange(target, theirs)[0].status == 200, seconds=ANSWER_SECONDS, what="the neighbour is served")
    if alive[0].status != 200 or refused < 300:
        return f"health was told {alive[0].status}; {refused} were refused"
    until(lambda: places_are_free(target), seconds=GONE_SECONDS, what="places are free")
    return "the neighbour is served"


def places_are_free(target: Target) -> bool:
    with many(target, 100) as connections:
        for connection in connections:
            connection.sendall(target.filled(get("/v1/jobs/{queued}?wait=0.3", "Connection: close")))
        return answered(connections, until=lambda count: count.total() == len(connections))[b"200"] == len(connections)


def waiters(target: Target) -> Ending:
    return crowd(target, get("/v1/jobs/{queued}?wait=60"), 600)


def followers(target: Target) -> Ending:
    return crowd(target, get("/v1/jobs/{queued}/log", "Accept: text/event-stream"), 600)


def given_up(target: Target) -> Ending:
    """Uploads that break off, half of them without a word of farewell."""
    with many(target, 30) as connections:
        for connection in connections:
            request = get("/v1/datasets", "Content-Type: text/csv", "Content-Length: 900000", method="POST")
            connection.sendall(target.filled(request) + b"a,b\n" * 50_000)
    return "dropped"


def raced(target: Target) -> Ending:
    """The same key with the same request, from many at once: one job, whoever asks."""
    request = post("/v1/jobs", GOOD.encode(), JSON, f"Idempotency-Key: raced-{time.monotonic_ns()}")
    with ThreadPoolExecutor(16) as pool:
        found = [answers[0] for answers in pool.map(lambda _: exchange(target, request), range(48))]
    jobs = {answer.headers["location"] for answer in found if answer.status == 202}
    others = {answer.status for answer in found} - {202, 409}
    return "one job" if len(jobs) == 1 and not others else f"{len(jobs)} jobs, {sorted(others)}"


def large_documents(target: Target) -> Ending:
    """Each costs what a document may cost, all at once; the desk is there for others meanwhile."""
    wrong = b'{"labels":{' + b",".join(b'"%x":0' % number for number in range(60_000)) + b"}}"
    with ThreadPoolExecutor(12) as pool:
        sent = [pool.submit(exchange, target, post("/v1/jobs", wrong, JSON)) for _ in range(24)]
        target.answers()
        found = {answer.status for each in sent for answer in each.result(DROPPED_SECONDS * 4)}
    return tuple(sorted(found))


CROWDS: dict[str, Attack] = {
    "slow heads": Attack(tries="connections that are about to ask, for good", ends="dropped", run=slow_heads),
    "slow bodies": Attack(tries="places, for bodies that take hours", ends="dropped", run=slow_bodies),
    "slow chunks": Attack(tries="places, for bodies that take hours", ends="dropped", run=slow_chunks),
    "bodies without end": Attack(tries="to be read from for good, after the answer", ends="dropped", run=answered_and_still_sending),
    "answers that nobody reads": Attack(tries="places, for answers that cannot be sent", ends="dropped", run=never_read),
    "a result that nobody reads": Attack(tries="places and open files, for good", ends="dropped", run=big_and_never_read),
    "a result that is read slowly": Attack(tries="a place and an open file, for days", ends="dropped", run=read_slowly),
    "idle connections": Attack(tries="all connections that there may be", ends="the last ones stay", run=idle),
    "waiters": Attack(tries="all places that there are", ends="the neighbour is served", run=waiters),
    "followers": Attack(tries="all places that there are", ends="the neighbour is served", run=followers),
    "uploads given up": Attack(tries="files that nobody removes", ends="dropped", run=given_up),
    "one key from many": Attack(tries="two jobs by one key", ends="one job", run=raced),
    "large documents": Attack(tries="the processor, from everybody else", ends=(422,), run=large_documents),
}
