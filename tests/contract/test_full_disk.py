"""The host's disk is full: the service's fault, and only where the supervisor sees it. What a script fills is its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.samples import csv
from tests.services import missing

GOOD = "import pandas\ndef azureml_main():\n    print('x' * 100)\n    return pandas.DataFrame({'a': range(3_000_000)})\n"
FIGURE = "import pandas\nopen('a.svg', 'w').write('<svg/>')\ndef azureml_main():\n    return pandas.DataFrame({'a': [1]})\n"
MESSAGE = "The host's disk is full, so an output of the job could not be written."
# Says in the runner's name that the disk is full, as the runner itself would.
FORGED = """
import json, os
def azureml_main():
    word = {"reason": "sandbox_error", "message": "The host's disk is full, so an output of the job could not be written."}
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, json.dumps(word).encode() + b"\\n")
        except OSError:
            pass
    os._exit(1)
"""


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of 20 MiB: 16 of them are the least at which the runner calls a disk full."""
    directory = tmp_path_factory.mktemp("small")
    if os.geteuid() != 0:
        missing("only root can mount a small disk")
    for parent in (directory, directory.parent, directory.parent.parent):
        parent.chmod(0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m,mode=755", "tmpfs", str(directory)], check=True)
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


@pytest.mark.parametrize(("output", "script"), [("log", GOOD), ("files.bin", FIGURE)])
def test_an_output_of_the_supervisors_own_is_believed(sandbox, output, script):
    run = sandbox.run(script, full=(output,))
    assert (run.reason, run.report["message"], run.report["result"]) == ("sandbox_error", MESSAGE, None)
    assert run.report["files"] == []
    assert (run.home / "out" / "result.arrow").stat().st_size == 0


def test_a_report_that_cannot_be_written_is_never_taken_for_the_scripts_end(sandbox):
    run = sandbox.run(GOOD, full=("report.json",))
    assert (run.exit_code, [event["event"] for event in run.events if event["event"] != "log"]) == (3, ["ready"])


def test_a_table_that_fills_the_disk_is_the_services_fault(sandbox, small_disk):
    run = sandbox.run(GOOD, home=small_disk / "script")
    assert (run.reason, run.report["message"], run.report["error"]) == ("sandbox_error", MESSAGE, None)
    # What it had taken is given back at once.
    assert (run.home / "out" / "result.arrow").stat().st_size == 0


def test_an_errand_that_fills_the_disk_is_the_services_fault(sandbox, small_disk):
    text = "a\n" + "1\n" * 3_000_000
    run = sandbox.run(kind="describe", inputs={"dataset1": csv(text)}, home=small_disk / "errand")
    assert (run.reason, run.report["message"]) == ("sandbox_error", MESSAGE)


@pytest.mark.parametrize("script", [FORGED, GOOD])
def test_only_a_disk_that_the_supervisor_sees_full_is_believed(sandbox, script):
    """The child has no room for its table, or says so; the file system it lies on has plenty."""
    run = sandbox.run(script, full=("result.arrow",))
    assert run.reason == "crashed"


@pytest.mark.parametrize("place", ["/job/a", "/dev/shm/a"])
def test_a_script_that_fills_its_own_space_is_to_blame(sandbox, small_disk, place):
    script = f"def azureml_main():\n    open({place!r}, 'wb').write(bytes(70_000_000))\n"
    run = sandbox.run(script, disk_bytes=32 * 1024 * 1024, home=small_disk / place.replace("/", "-"))
    assert run.reason == "disk_full"
