"""A file of a gigabyte over HTTP to the service and back, against nginx with the same file and the same client."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import jobs
from benchmarks.gigabyte import GB, MIB, growth, memory_watched, write_table
from benchmarks.plan import Plan
from benchmarks.results import Row
from benchmarks.stand import Stand, service
from fumehood.testing import free_port

ROUNDS = 5
WAIT_SECONDS = 300.0
START_SECONDS = 10.0
LOOK_SECONDS = 0.02
BOUNDARY = "between-the-parts"
# Refused, as it takes no table: what the job does is nothing of this row.
SCRIPT = "def azureml_main():\n    return None\n"
FORM = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="script"\r\n\r\n{SCRIPT}\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="dataset1"; filename="table.arrow"\r\n'
    f"Content-Type: {jobs.ARROW}\r\n\r\n".encode(),
    f"\r\n--{BOUNDARY}--\r\n".encode(),
)
CONFIGURATION = """\
daemon off; master_process off; pid {place}/pid; error_log {place}/error.log;
events {{}}
http {{
    access_log off; sendfile on; tcp_nopush on; client_max_body_size 0; client_body_buffer_size 1m;
    client_body_temp_path {place}/body; proxy_temp_path {place}/t1; fastcgi_temp_path {place}/t2; uwsgi_temp_path {place}/t3;
    scgi_temp_path {place}/t4;
    server {{ listen 127.0.0.1:{port}; root {place}/files; location / {{ dav_methods PUT DELETE; }} }}
}}
"""


def transfer(plan: Plan) -> Iterator[Row]:
    """Uploads and downloads of 1 GB on loopback, in turn with nginx."""
    size = GB // 64 if plan.quick else GB
    spent: dict[str, list[float]] = {name: [] for name in ("download", "download by nginx", "dataset", "job", "upload to nginx")}
    grown: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="fumehood-bench-", dir="/var/tmp") as directory, service(plan.image, warm_min=1) as stand:
        place = Path(directory)
        with nginx(place) as port:
            table = write_table(place / "files" / "table.arrow", size)
            for number in range(1 + plan.count(ROUNDS)):
                took = _round(stand, table, port, grown)
                for name in spent if number else ():  # The first round finds cold caches.
                    spent[name].append(took[name])
    rate = {name: size / MIB / median(seconds) for name, seconds in spent.items()}
    told = (
        ("download", "download", "download by nginx"),
        ("upload with a job", "job", "upload to nginx"),
        ("upload as a dataset, which a sandbox looks into", "dataset", "upload to nginx"),
    )
    for what, name, baseline in told:
        yield Row(
            name=f"{what}, {size / GB:g} GB",
            ours=f"{rate[name]:,.0f} MiB/s",
            baseline=f"nginx: {rate[baseline]:,.0f} MiB/s",
            value=rate[name] / rate[baseline],
            target=0.7,
        )
    yield growth("growth of API and worker under uploads and downloads", grown)


def _round(stand: Stand, table: Path, nginx_port: int, grown: dict[str, int]) -> dict[str, float]:
    """Seconds of each; what was stored is forgotten again."""
    headers = {"Authorization": f"Bearer {stand.key}"}
    took: dict[str, float] = {}
    with stand.client() as client, memory_watched(stand, grown):
        took["dataset"], dataset = _send(stand.port, "POST", "/v1/datasets", table, {**headers, "Content-Type": jobs.ARROW})
        took["upload to nginx"], _ = _send(nginx_port, "PUT", "/sent", table, {})
        took["job"], job = _send(stand.port, "POST", "/v1/jobs", table, headers, form=FORM)
        took["download"] = _fetch(stand.port, f"/v1/datasets/{dataset['id']}/content", {**headers, "Accept": jobs.ARROW})
        took["download by nginx"] = _fetch(nginx_port, f"/{table.name}", {})
        while client.get(f"/v1/jobs/{job['id']}", params={"wait": 60}).raise_for_status().json()["finished_at"] is None:
            pass
        client.delete(f"/v1/jobs/{job['id']}").raise_for_status()
        client.delete(f"/v1/datasets/{dataset['id']}").raise_for_status()
    return took


def _send(
    port: int, method: str, path: str, file: Path, headers: dict[str, str], *, form: tuple[bytes, bytes] = (b"", b"")
) -> tuple[float, Any]:
    """Seconds until the answer to a body is there, and its JSON; `form` stands around the file."""
    before, after = form
    if before:
        headers = headers | {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    length = len(before) + file.stat().st_size + len(after)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
    with closing(connection), file.open("rb") as content:
        began = time.monotonic()
        connection.putrequest(method, path)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            connection.putheader(name, value)
        connection.endheaders(before or None)
        connection.sock.sendfile(content)
        connection.sock.sendall(after)
        answer = connection.getresponse()
        said = answer.read()
        seconds = time.monotonic() - began
    if answer.status not in (200, 201, 202, 204):
        raise RuntimeError(f"{method} {path} was answered with {answer.status}: {said[:500]!r}")
    return seconds, json.loads(said) if answer.getheader("Content-Type") == "application/json" else None


def _fetch(port: int, path: str, headers: dict[str, str]) -> float:
    """Seconds until the last byte is there; nothing is kept."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
    room, received = memoryview(bytearray(MIB)), 0
    with closing(connection):
        began = time.monotonic()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        while got := answer.readinto(room):
            received += got
        seconds = time.monotonic() - began
    if answer.status != 200 or received != int(answer.getheader("Content-Length", "0")):
        raise RuntimeError(f"GET {path} was answered with {answer.status} and {received:,} bytes")
    return seconds


@contextmanager
def nginx(place: Path) -> Iterator[int]:
    """The port of a server that serves, and takes, files in `place`/files."""
    port = free_port()
    (place / "files").mkdir()
    (place / "nginx.conf").write_text(CONFIGURATION.format(place=place, port=port))
    command = ["nginx", "-p", str(place), "-e", str(place / "error.log"), "-c", str(place / "nginx.conf")]
    try:
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        raise RuntimeError("nginx is not installed; it is the baseline of this row") from None
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"nginx does not listen: {(place / 'error.log').read_text()[-500:]}") from None
                time.sleep(LOOK_SECONDS)
        yield port
    finally:
        server.terminate()
        server.wait(START_SECONDS)
