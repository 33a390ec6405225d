"""What is attacked: an API behind a real socket, two tenants with a thing of every kind each, and what must not change meanwhile."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from fumehood.job import Lane, new_id
from fumehood.limits import KIB, MIB
from fumehood.tenant import new_key
from fumehood.testing import dataset
from tests.api_process import ApiProcess
from tests.services import until
from tests.unit.front_desk import SCRIPT, Made, Worker, ran

PATIENCE_SECONDS = 1.0
# The settings of all targets: caps that an attack reaches soon.
SMALL = {
    "document_bytes": 1 * MIB,
    "script_bytes": 64 * KIB,
    "dataset_bytes": 1 * MIB,
    "bundle_bytes": 256 * KIB,
    "errand_wait_seconds": 20,
    "body_idle_seconds": PATIENCE_SECONDS,
    "image_python": "3.11",  # scripts are checked, whatever the service runs with
}
BIG_BYTES = 24 * MIB
"""Of a stored result: more than what the kernel keeps for a reader who does not read."""
ANSWER_SECONDS = 20.0
"""How long a good request may take on a machine that does much else. Who is kept out waits for longer than that."""
GROWTH_MIB = 250
SETTLE_SECONDS = 20.0
SECRET = "neighbour-only"

# What a script may have called its files; the last one is a page that would like to run as one of ours.
FILE_NAMES = (
    'quote".bin',
    "line\r\nX-Injected: 1.bin",
    "\u202egnp.exe",
    "half \ud800.bin",
    "nul\0.bin",
    "e\u0301 and \u00e9.bin",
    "x" * 2000,
    "../../../../etc/passwd",
    "/etc/passwd",
    "a//b",
    "page.html",
)


def hostile() -> Made:
    """A job of ours whose report lies in every name, and whose result is big."""
    made = ran()
    listed = [
        {"role": role, "name": name, "media_type": "text/html\r\nX: 1" if "quote" in name else "text/html", "offset": 0, "bytes": 8}
        for role in ("figure", "artifact")
        for name in FILE_NAMES
    ]
    made.outputs["result"] = bytes(BIG_BYTES)
    made.report["files"] = [*made.report["files"], *listed, {"role": "artifact", "name": "beyond", "offset": 10, "bytes": 2**40}]
    return made


@dataclass
class Target:
    port: int
    key: str
    other_key: str
    home: Path
    names: dict[str, str] = field(default_factory=dict)
    """What stands for `{…}` in a request: ids of ours, of the neighbour's (`their_…`), and the keys."""
    pid: int | None = None
    """None where the API runs in this very process."""

    def client(self, key: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=ANSWER_SECONDS)

    def dial(self, *, receive_bytes: int | None = None) -> socket.socket:
        """`receive_bytes`: how much the kernel takes for who does not read."""
        connection = socket.socket()
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def filled(self, request: bytes) -> bytes:
        for name, value in self.names.items():
            request = request.replace(b"{%s}" % name.encode(), value.encode())
        return request.replace(b"{length}", str(len(request.partition(b"\r\n\r\n")[2])).encode(), 1)

    # what must hold, whatever was tried -------------------------------------------------------------------------------
    def answers(self) -> None:
        """A good request of each tenant's is answered. Raises where it is not."""
        for key in (self.key, self.other_key):
            with self.client(key) as client:
                answer = client.get("/v1/jobs", params={"limit": 1})
                assert answer.status_code == 200, answer.text

    def memory_mib(self) -> int:
        status = Path(f"/proc/{self.pid or os.getpid()}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) // 1024

    def open_files(self) -> int:
        """But for the store's, which keeps some connections of three files each: as many as were ever asked for at once."""
        descriptors = Path(f"/proc/{self.pid or os.getpid()}/fd")
        names = []
        for each in descriptors.iterdir():
            with suppress(FileNotFoundError):  # Closed between the two looks.
                names.append(str(each.readlink()))
        return sum(not name.startswith(str(self.home / "fumehood.db")) for name in names)

    def in_flight(self) -> list[str]:
        """Files that nobody will ever ask for."""
        return [path.name for place in ("incoming", "unsettled") for path in (self.home / place).iterdir()]

    def theirs_are_there(self) -> None:
        with self.client(self.other_key) as client:
            for name, path in (("their_job", "jobs"), ("their_queued", "jobs"), ("their_dataset", "datasets"), ("their_batch", "batches")):
                record = client.get(f"/v1/{path}/{self.names[name]}").json()
                assert record["id"] == self.names[name]
                assert record.get("cancel_requested", False) is False
            assert client.get(f"/v1/scripts/{self.names['their_script']}").json()["versions"] == 1


def populate(target: Target, worker: Worker) -> None:
    worker.desk.store.ensure_tenant("other", target.other_key)
    target.names |= {"key": target.key, "their_key": target.other_key, "key_begin": target.key[:-64]}
    for prefix, key in (("", target.key), ("their_", target.other_key)):
        labels = {"secret": SECRET} if prefix else {}
        with target.client(key) as client:
            target.names[f"{prefix}job"] = client.post("/v1/jobs", json={"script": SCRIPT, "labels": labels}).json()["id"]
        claimed = worker.claim()
        assert claimed is not None
        worker.finish(claimed, ran() if prefix else hostile())
        target.names[f"{prefix}dataset"] = _stored(worker, claimed.tenant, prefix or "our_")
        target.names[f"{prefix}tenant"] = claimed.tenant
    for prefix, key in (("", target.key), ("their_", target.other_key)):
        with target.client(key) as client:
            # Run by nobody: what follows is about the desk.
            target.names[f"{prefix}queued"] = client.post("/v1/jobs", json={"script": SCRIPT}).json()["id"]
            target.names[f"{prefix}batch"] = client.post("/v1/batches", json={"script": SCRIPT, "items": [{}]}).json()["id"]
            target.names[f"{prefix}script"] = name = f"{prefix or 'our_'}script".replace("_", "-")
            assert client.put(f"/v1/scripts/{name}", json={"script": SCRIPT}).status_code == 202


def _stored(worker: Worker, tenant: str, whose: str) -> str:
    dataset_id = new_id("ds")
    keys = [f"datasets/{dataset_id}/{name}" for name in ("original", "table")]
    content = f"{whose}{SECRET}".encode()
    for key in keys:
        with worker.desk.blobs.incoming() as incoming:
            incoming.write(content)
            worker.desk.blobs.keep(incoming, tenant, key)
    described = dataset(
        id=dataset_id, tenant=tenant, bytes=len(content), blob=keys[0], table_blob=keys[1], table_bytes=len(content), name=f"{whose}n.csv"
    )
    worker.desk.store.add_dataset(described)
    return dataset_id


@contextmanager
def process(home: Path, **settings: object) -> Iterator[Target]:
    """`python -m api`, as it runs in the service; Redis is away the whole time, which makes nothing easier for it."""
    api = ApiProcess(home, **(SMALL | settings))
    try:
        target = Target(api.port, api.key, new_key(), home, pid=api.process.pid)
        with api.worker() as worker:
            populate(target, worker)
            with describing(worker):
                yield target
    finally:
        api.stop()


@contextmanager
def describing(worker: Worker) -> Iterator[None]:
    """Whoever uploads is waited on."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            worker.work(Lane.ERRANDS)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(ANSWER_SECONDS)


@contextmanager
def unharmed(target: Target) -> Iterator[None]:
    """Around attacks: afterwards all is as it was."""
    files, memory = target.open_files(), target.memory_mib()
    yield
    target.answers()
    target.theirs_are_there()
    until(lambda: target.in_flight() == [], seconds=SETTLE_SECONDS, what="no file on its way in")
    # Whoever asked last may not be gone yet.
    until(lambda: target.open_files() <= files + 8, seconds=SETTLE_SECONDS, what="no file left open")
    grown = target.memory_mib() - memory
    assert grown < GROWTH_MIB, f"{grown} MiB more at its fullest"
