"""What others would do without us: `docker run`, the engine through its API, and the script in a Python of its own."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker

PYTHON = "/opt/fumehood/python/bin/python"
IMPORTS = "import pandas, pyarrow"
DEADLINE_SECONDS = 600

# A whole run by hand: read the table, call the entry point, write the result. Prints the seconds behind the imports.
HARNESS = """
import sys, time
import pandas, pyarrow, pyarrow.ipc
began = time.monotonic()
sys.path.insert(0, "/data")
import script
with pyarrow.memory_map("/data/table.arrow") as source:
    frame = pyarrow.ipc.open_file(source).read_all().to_pandas()
    result = script.azureml_main(frame)[0]
    table = pyarrow.Table.from_pandas(result, preserve_index=False)
    with pyarrow.OSFile("/data/result.arrow", "wb") as sink, pyarrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
print(time.monotonic() - began)
"""


@contextmanager
def workplace(script: str, table: bytes) -> Iterator[Path]:
    """A directory with the script, the table and the harness."""
    with tempfile.TemporaryDirectory(prefix="fumehood-bench-", dir="/var/tmp") as name:
        place = Path(name)
        place.chmod(0o777)
        for file, content in (("script.py", script.encode()), ("table.arrow", table), ("harness.py", HARNESS.encode())):
            (place / file).write_bytes(content)
        yield place


def run_import(image: str) -> float:
    """Seconds of a `docker run` that only imports the libraries."""
    return _timed(["docker", "run", "--rm", "--network", "none", "--entrypoint", PYTHON, image, "-c", IMPORTS])[0]


def run_script(image: str, place: Path) -> float:
    """Seconds of a `docker run` that does the work of a job."""
    return _timed(_harness(image, place))[0]


def run_inside(image: str, place: Path) -> float:
    """Seconds that the work of a job takes behind the imports, in a Python that has the machine for itself."""
    return float(_timed(_harness(image, place))[1])


def run_by_api(engine: docker.DockerClient, image: str, place: Path) -> float:
    """Seconds of the same through the engine's API: create, start, wait, remove."""
    began = time.monotonic()
    container = engine.containers.create(
        image,
        ["/data/harness.py"],
        entrypoint=[PYTHON],
        network_mode="none",
        user="0:0",
        volumes={str(place): {"bind": "/data", "mode": "rw"}},
    )
    try:
        container.start()
        code = container.wait(timeout=DEADLINE_SECONDS)["StatusCode"]
    finally:
        container.remove(force=True)
    if code:
        raise RuntimeError(f"the baseline ended with {code}")
    return time.monotonic() - began


def _harness(image: str, place: Path) -> list[str]:
    mount = f"{place}:/data"
    return ["docker", "run", "--rm", "--network", "none", "--user", "0:0", "-v", mount, "--entrypoint", PYTHON, image, "/data/harness.py"]


def _timed(command: list[str]) -> tuple[float, str]:
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    seconds = time.monotonic() - began
    if done.returncode:
        raise RuntimeError(f"the baseline ended with {done.returncode}: {done.stderr[-500:]}")
    return seconds, done.stdout
