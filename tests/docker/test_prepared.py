"""A sandbox that waits with a script open: what its call finds done, and what ends it. Real engine, real runner."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fumehood.errors import SandboxError
from fumehood.outcome import Reason
from fumehood.settings import Settings
from tests.sandboxes import SMALL, Wall, open_ahead, run_script
from tests.services import until
from worker.container import DockerSandbox
from worker.docker_sandbox import DockerHost

LEFT, BROKEN_OFF = 3, 4
END_SECONDS = 20.0
SERVES = """
import os, threading, time, pandas, helper
print("top level")
beats = []
def beat():
    while True:
        beats.append(time.monotonic())
        time.sleep(0.01)
def init():
    print("init")
    threading.Thread(target=beat, daemon=True).start()
    return {"made_at": time.monotonic(), "model": helper.model()}
def azureml_main(frame=None, *, context, factor=2):
    print("call")
    rows = 0 if frame is None else len(frame)
    seen = len(beats)
    deadline = time.monotonic() + 5
    while len(beats) == seen and time.monotonic() < deadline:
        time.sleep(0.01)
    return pandas.DataFrame({"model": [context["model"]], "rows": [rows], "beats": [len(beats) > seen], "pid": [os.getpid()]})
"""


def zipped(**files: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"{name}.py", text)
    return packed.getvalue()


@pytest.fixture
def host(image: str, sandbox_home: Path) -> Iterator[DockerHost]:
    host = DockerHost(Settings(home=sandbox_home, image=image), worker_id="w1")
    yield host
    host.close()


Open = Callable[..., DockerSandbox]


@pytest.fixture
def opened(host: DockerHost, sandbox_home: Path) -> Iterator[Open]:
    """Makes one that waits with a script open; afterwards it is gone."""
    with contextlib.ExitStack() as last:

        def make(script: str, *, bundle: bytes | None = None, wall_seconds: float = 20.0) -> DockerSandbox:
            limits = replace(SMALL, wall_seconds=wall_seconds)
            sandbox = open_ahead(host, sandbox_home, script, limits=limits, bundle=bundle)
            last.callback(sandbox.scratch.erase)
            return last.enter_context(sandbox)

        yield make


def exit_code(wall: Wall, sandbox: DockerSandbox) -> int:
    until(lambda: not sandbox.waits, seconds=END_SECONDS, what="its end is seen")
    until(lambda: not wall.client.inspect_container(sandbox.name)["State"]["Running"], seconds=END_SECONDS, what="it ends")
    return int(wall.client.inspect_container(sandbox.name)["State"]["ExitCode"])


def test_a_call_finds_the_bundle_the_script_and_its_context_there_and_its_threads_alive(
    host: DockerHost, opened: Open, sandbox_home: Path
) -> None:
    sandbox = opened(SERVES, bundle=zipped(helper="def model():\n    return 'trained'\n"))
    sandbox.fit(replace(SMALL, wall_seconds=20.0))
    table = {"dataset1": ("csv", b"a\n1\n2\n")}
    ran = run_script(host, sandbox_home, "", limits=replace(SMALL, wall_seconds=20.0), ready=sandbox, inputs=table)
    assert ran.outcome.reason is Reason.OK, ran.outcome
    assert ran.log == "top level\ninit\ncall\n"
    assert (ran.report.result or {})["rows"] == 1
    assert [column["name"] for column in (ran.report.result or {})["columns"]] == ["model", "rows", "beats", "pid"]


def test_what_a_call_does_wrong_is_told_as_ever(host: DockerHost, opened: Open, sandbox_home: Path) -> None:
    script = "def init():\n    return 1\ndef azureml_main(frame, context):\n    raise ValueError(f'{context} is no {frame.a[0]}')\n"
    ran = run_script(host, sandbox_home, "", ready=opened(script), inputs={"dataset1": ("csv", b"a\n7\n")})
    assert (ran.outcome.reason, (ran.outcome.error or {})["message"]) == (Reason.SCRIPT_ERROR, "1 is no 7")
    assert (ran.outcome.error or {})["line"] == 4
    assert ran.log.endswith("ValueError: 1 is no 7\n")


def test_the_wall_limit_of_the_call_begins_with_the_call(host: DockerHost, opened: Open, sandbox_home: Path) -> None:
    script = (
        "import time, pandas\n"
        "def init():\n    time.sleep(1.5)\n"
        "def azureml_main(context):\n    time.sleep(1.5)\n    return pandas.DataFrame({'a': [1]})\n"
    )
    limits = replace(SMALL, wall_seconds=2.5)
    ran = run_script(host, sandbox_home, "", limits=limits, ready=opened(script, wall_seconds=2.5))
    assert ran.outcome.reason is Reason.OK, ran.outcome
    slow = opened(script.replace("    time.sleep(1.5)\n    return", "    time.sleep(9)\n    return"), wall_seconds=2.5)
    assert run_script(host, sandbox_home, "", limits=limits, ready=slow).outcome.reason is Reason.TIMED_OUT


@pytest.mark.parametrize(
    "script",
    [
        "def azureml_main(:\n",
        "1 / 0\n",
        "def init():\n    raise ValueError('no model')\ndef azureml_main(context):\n    return None\n",
        "import os\nos._exit(0)\n",
        "import time\ndef init():\n    time.sleep(60)\ndef azureml_main(context):\n    return None\n",
    ],
    ids=["no syntax", "top level", "init", "ends itself", "too slow"],
)
def test_a_script_that_cannot_be_opened_is_in_none_that_waits(opened: Open, wall: Wall, sandbox_home: Path, script: str) -> None:
    with pytest.raises(SandboxError, match="the script could not be opened"):
        opened(script, wall_seconds=2.0)


def test_the_end_of_its_child_or_of_its_stdin_ends_it(opened: Open, wall: Wall) -> None:
    script = (
        "import threading, os\ndef init():\n    threading.Timer(1.0, os._exit, (0,)).start()\ndef azureml_main(context):\n    return None\n"
    )
    assert exit_code(wall, opened(script)) == BROKEN_OFF, "the script's doing, whatever its call was about to do"
    left = opened("def azureml_main():\n    return None\n")
    left._stream.end_input()
    assert exit_code(wall, left) == LEFT


def test_what_it_uses_while_it_waits_is_seen(opened: Open) -> None:
    script = (
        "import threading\n"
        "def turn():\n    while True: pass\n"
        "def init():\n    threading.Thread(target=turn, daemon=True).start()\n"
        "def azureml_main(context):\n    return None\n"
    )
    busy, idle = opened(script), opened("def azureml_main():\n    return None\n")
    before = (busy.cpu_seconds(), idle.cpu_seconds())
    if None in before:
        pytest.skip("the kernel's figures cannot be seen here")
    until(lambda: (busy.cpu_seconds() or 0) - (before[0] or 0) > 0.5, seconds=END_SECONDS, what="the figures rise")
    assert (idle.cpu_seconds() or 0) - (before[1] or 0) < 0.25


def test_a_chatty_script_may_wait_and_its_words_are_in_the_log_of_its_call(host: DockerHost, opened: Open, sandbox_home: Path) -> None:
    script = (
        "import threading, time, pandas\n"
        "def talk():\n    while True:\n        print('x' * 100)\n        time.sleep(0.001)\n"
        "def init():\n    threading.Thread(target=talk, daemon=True).start()\n"
        "def azureml_main(context):\n    return pandas.DataFrame({'a': [1]})\n"
    )
    sandbox = opened(script)
    until(lambda: sandbox.scratch.size("log") > 30_000, seconds=END_SECONDS, what="it talks")
    assert sandbox.waits
    ran = run_script(host, sandbox_home, "", ready=sandbox)
    assert ran.outcome.reason is Reason.OK, ran.outcome
    assert ran.log_bytes > 30_000
