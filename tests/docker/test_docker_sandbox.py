"""The life of a sandbox: how it ends, who ends it, and that nothing of it is left. Real engine, real image."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from fumehood.errors import SandboxError
from fumehood.outcome import Reason
from fumehood.settings import Settings
from tests.sandboxes import PYTHON, SMALL, Wall, run_script
from worker import container, isolation
from worker.collect import collect
from worker.docker_sandbox import DockerHost
from worker.sandbox import Exit, Stop, StopSignal
from worker.scratch import Scratch, owners
from worker.verdict import judge

EMPTY_TABLE = "import pandas\ndef azureml_main(): return pandas.DataFrame({'a': [1, 2]})\n"


@pytest.fixture
def host(image: str, sandbox_home: Path) -> Iterator[DockerHost]:
    host = DockerHost(Settings(home=sandbox_home, image=image), worker_id="w1")
    yield host
    host.close()


@pytest.fixture
def scratch(host: DockerHost, sandbox_home: Path) -> Iterator[Scratch]:
    scratch = Scratch.create(sandbox_home, worker="w1")
    yield scratch
    scratch.erase()


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replace the runner by a piece of Python, as if somebody had taken it over."""

    def replace_by(code: str) -> None:
        original = isolation.container

        def taken_over(**values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
            config, host_config = original(**values)
            return config | {"Entrypoint": [PYTHON, "-I", "-u", "-c", code]}, host_config

        monkeypatch.setattr(isolation, "container", taken_over)

    return replace_by


def run(host: DockerHost, scratch: Scratch, *, stop: StopSignal | None = None, wall_seconds: float = 20.0) -> Exit:
    limits = replace(SMALL, wall_seconds=wall_seconds)
    with host.prepare(scratch, limits) as sandbox:
        return sandbox.run(limits, stop=stop or StopSignal(), on_log=lambda count: None)


READY = 'print(\'{"event": "ready"}\'); '


def test_a_script_runs_and_its_usage_is_measured(host: DockerHost, sandbox_home: Path) -> None:
    ran = run_script(host, sandbox_home, EMPTY_TABLE)
    assert ran.outcome.reason is Reason.OK, ran.outcome
    assert ran.outcome.report["result"] == {"rows": 2, "columns": [{"name": "a", "type": "int64", "nullable": False}]}
    assert (ran.exit.ready, ran.exit.done, ran.exit.stopped, ran.exit.engine_error) == (True, True, None, None)
    assert 0.05 < ran.exit.cpu_seconds < 20
    assert 20e6 < ran.exit.memory_peak_bytes <= SMALL.memory_bytes
    assert set(ran.exit.milliseconds) == {"create", "start", "ready", "go", "end", "destroy"}


def test_a_cancel_ends_the_run_at_once(host: DockerHost, scratch: Scratch, supervisor: Callable[[str], None]) -> None:
    supervisor(READY + "import signal; signal.pause()")
    stop = StopSignal()
    timer = threading.Timer(1.5, stop.set, [Stop.CANCELLED])
    timer.start()
    began = time.monotonic()
    exit = run(host, scratch, stop=stop)
    timer.join()
    assert (exit.stopped, exit.exit_code, exit.oom_killed) == (Stop.CANCELLED, 137, False)
    assert time.monotonic() - began < 10


def test_a_run_that_was_stopped_before_it_began_gets_no_go_line(
    host: DockerHost, scratch: Scratch, supervisor: Callable[[str], None]
) -> None:
    supervisor(READY + 'input(); print(\'{"event": "done"}\'); input()')
    stop = StopSignal()
    stop.set(Stop.SHUTDOWN)
    exit = run(host, scratch, stop=stop)
    assert (exit.stopped, exit.done) == (Stop.SHUTDOWN, False)


def test_a_supervisor_that_never_reports_is_killed_two_seconds_after_the_limit(
    host: DockerHost, scratch: Scratch, supervisor: Callable[[str], None]
) -> None:
    supervisor(READY + "import signal; [signal.signal(n, signal.SIG_IGN) for n in (2, 15)]; signal.pause()")
    exit = run(host, scratch, wall_seconds=0.2)
    assert (exit.stopped, exit.exit_code) == (Stop.DEADLINE, 137)
    assert 0.2 + container.SLACK_SECONDS <= exit.wall_seconds < 0.2 + container.SLACK_SECONDS + 1


@pytest.mark.parametrize(
    "words",
    [
        "while True: print('x' * 400)",
        'while True: print(\'{"event": "log", "bytes": 1}\')',
        "print('x' * 100_000, end='')",
        "print('[' * 500)",
        'print(\'{"event": "log", "bytes": 5}\'); print(\'{"event": "log", "bytes": 4}\')',
        'print(\'{"event": "other"}\')',
        "print('\\xff')",
    ],
)
def test_a_stream_that_breaks_the_rules_ends_the_run_and_never_stops_the_engine(
    words: str, host: DockerHost, scratch: Scratch, supervisor: Callable[[str], None]
) -> None:
    supervisor(READY + "import signal\n" + words + "\nsignal.pause()")
    exit = run(host, scratch)
    assert exit.stopped is Stop.FLOODED


def test_an_event_for_every_log_line_is_told_in_order(host: DockerHost, scratch: Scratch, supervisor: Callable[[str], None]) -> None:
    code = """
import sys
sys.stdin.readline()
with open("/out/log", "wb", buffering=0) as log:
    for count in range(1, 6):
        log.write(b"x")
        print('{"event": "log", "bytes": %d}' % (count if count < 5 else 10**30))
print('{"event": "done"}')
sys.stdin.read()
"""
    supervisor(READY + code)
    told: list[int] = []
    with host.prepare(scratch, SMALL) as sandbox:
        exit = sandbox.run(SMALL, stop=StopSignal(), on_log=told.append)
    assert exit.done
    assert exit.exit_code == 0, "a supervisor that is done is let go, not killed"
    assert told == sorted(told)
    assert told[-1] == 5, "never more than the file has"


def test_a_supervisor_that_is_done_but_stays_is_killed(host: DockerHost, scratch: Scratch, supervisor: Callable[[str], None]) -> None:
    supervisor(READY + 'input(); print(\'{"event": "done"}\'); import signal; signal.pause()')
    exit = run(host, scratch)
    assert (exit.done, exit.stopped, exit.exit_code) == (True, None, 137)


def test_a_container_that_ends_before_it_is_ready_is_an_exit_with_what_it_said_in_our_log(
    host: DockerHost, scratch: Scratch, supervisor: Callable[[str], None]
) -> None:
    supervisor("raise SystemExit('no such library')")
    with capture_logs() as logs:
        exit = run(host, scratch)
    assert (exit.ready, exit.done, exit.exit_code, exit.stopped) == (False, False, 1, None)
    assert any("no such library" in str(entry.get("stderr")) for entry in logs)


def test_a_supervisor_that_ends_after_the_go_line_is_an_exit_with_its_code_and_nothing_it_said_in_our_log(
    host: DockerHost, scratch: Scratch, supervisor: Callable[[str], None]
) -> None:
    supervisor(READY + "input(); raise SystemExit('a secret of the tenant')")
    with capture_logs() as logs:
        exit = run(host, scratch)
    assert (exit.ready, exit.done, exit.exit_code, exit.stopped, exit.engine_error) == (True, False, 1, None, None)
    assert judge(exit, collect(scratch, SMALL)).reason is Reason.CRASHED
    assert "ended without a word" in str(logs)
    assert "secret" not in str(logs)


def test_two_sandboxes_have_two_uids_and_a_destroyed_one_gives_its_back(image: str, sandbox_home: Path) -> None:
    host = DockerHost(Settings(home=sandbox_home, image=image, sandbox_uid_count=2), worker_id="w1")
    scratches = [Scratch.create(sandbox_home, worker="w1") for _ in range(3)]
    with host.prepare(scratches[0], SMALL) as one:
        with host.prepare(scratches[1], SMALL) as two:
            assert one.uid != two.uid
            with pytest.raises(SandboxError, match="all 2 user ids"):
                host.prepare(scratches[2], SMALL)
        with host.prepare(scratches[2], SMALL) as three:
            assert three.uid == two.uid
    for scratch in scratches:
        scratch.erase()
    host.close()


def test_sandboxes_leave_no_descriptor_and_no_thread_behind(host: DockerHost, sandbox_home: Path) -> None:
    def held() -> tuple[int, int]:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    # The client keeps the connections of its last 25 addresses; only what is more than that would be a leak.
    counts = []
    for _ in range(9):
        run_script(host, sandbox_home, EMPTY_TABLE)
        counts.append(held())
    assert counts[-1] == counts[-3], counts


def test_destroying_twice_is_fine_and_says_the_name(host: DockerHost, scratch: Scratch) -> None:
    sandbox = host.prepare(scratch, SMALL)
    first = sandbox.destroy()
    assert sandbox.destroy() == first
    assert first.name == host.name_of(scratch)
    assert host.remove(sandbox.name) is None


def test_what_is_removed_is_named_by_the_id_and_the_beginning_that_the_engine_has(host: DockerHost, scratch: Scratch, wall: Wall) -> None:
    with host.prepare(scratch, SMALL) as sandbox:
        found = wall.client.inspect_container(sandbox.name)
        assert sandbox.container.id == found["Id"]
        removed = host.remove(sandbox.name)
        assert removed is not None
        assert (removed.name, removed.id) == (sandbox.name, found["Id"])
        assert abs(removed.began_at - sandbox.container.began_at) < 5


def test_another_container_under_the_name_of_a_sandbox_is_not_used(host: DockerHost, scratch: Scratch, wall: Wall) -> None:
    with host.prepare(scratch, SMALL) as sandbox:
        wall.client.remove_container(sandbox.name, force=True)
        host.engine.create(sandbox.name, sandbox._config, sandbox._host_config)
        with pytest.raises(SandboxError, match="is another container than the one that was made"):
            sandbox.make_ready(StopSignal())


def test_a_control_that_the_engine_drops_is_found_out(
    host: DockerHost, scratch: Scratch, monkeypatch: pytest.MonkeyPatch, wall: Wall
) -> None:
    monkeypatch.setitem(isolation.ISOLATION, "FieldOfTheFuture", "strict")
    with capture_logs() as logs, pytest.raises(SandboxError, match="did not apply 1 parts"):
        run(host, scratch)
    assert "HostConfig.FieldOfTheFuture" in str(logs)


def test_a_mount_that_the_engine_does_not_see_fails_the_create_and_leaves_nothing(image: str, sandbox_home: Path) -> None:
    """The engine resolves mounts on its own host, so this is also what a worker finds out whose home lies elsewhere there."""
    host = DockerHost(Settings(home=sandbox_home, image=image, sandbox_uid_count=1), worker_id="w1")
    scratch = Scratch.create(sandbox_home, worker="w1")
    scratch.inside.rmdir()
    with pytest.raises(SandboxError, match="could not create the sandbox") as caught:
        host.prepare(scratch, SMALL)
    assert str(sandbox_home) not in str(caught.value)
    scratch.inside.mkdir()
    with host.prepare(scratch, SMALL):
        pass  # The only uid is free again.
    scratch.erase()
    host.close()


def test_without_its_scratch_a_sandbox_is_neither_made_nor_started(host: DockerHost, sandbox_home: Path, wall: Wall) -> None:
    """What keeps a worker that was frozen from going on with an attempt that was taken over: the reaper erases the scratch first."""
    first, second = (Scratch.create(sandbox_home, worker="frozen") for _ in range(2))
    first.erase()
    with capture_logs(), pytest.raises(SandboxError):
        host.prepare(first, SMALL)
    with capture_logs(), host.prepare(second, SMALL) as sandbox:
        second.erase()
        with pytest.raises(SandboxError):
            sandbox.make_ready(StopSignal())
        assert wall.client.inspect_container(sandbox.name)["State"]["Pid"] == 0
    assert not [name for name in (host.name_of(first), host.name_of(second)) if host.engine.inspect(name)]


def test_orphans_are_those_of_dead_workers_and_those_that_we_forgot(host: DockerHost, image: str, sandbox_home: Path) -> None:
    dead = DockerHost(Settings(home=sandbox_home, image=image), worker_id="dead")
    scratches = [Scratch.create(sandbox_home, worker=worker) for worker in ("w1", "dead")]
    with host.prepare(scratches[0], SMALL) as mine, dead.prepare(scratches[1], SMALL) as theirs:
        assert host.orphans(is_live=lambda worker: worker != "dead") == [(theirs.name, "dead")]
        host._forget(mine.name)
        assert sorted(host.orphans(is_live=lambda worker: True)) == [(mine.name, "w1")]
        assert host.remove(theirs.name) is not None
        assert host.remove(theirs.name) is None
    assert {owner for _, owner in owners(sandbox_home)} == {"w1", "dead"}
    for scratch in scratches:
        scratch.erase()
    dead.close()


def test_a_container_of_another_home_is_never_removed(host: DockerHost, wall: Wall) -> None:
    with wall.open("input()") as foreign, pytest.raises(SandboxError, match="no label of this home"):
        host.remove(foreign.name)


def test_the_check_passes_and_leaves_nothing(host: DockerHost, sandbox_home: Path) -> None:
    host.check()
    assert list((sandbox_home / "blobs").iterdir()) == list((sandbox_home / "scratch").iterdir()) == []
    assert host.weaker() == []


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image": None}, "no image is set"),
        ({"image": "sha256:" + "0" * 64}, "has no image"),
        ({"runtime": "moonshine"}, "knows no runtime moonshine"),
        ({"docker_host": "unix:///nowhere/engine.sock"}, "could not say its version"),
    ],
)
def test_the_check_says_what_is_missing(values: dict[str, Any], message: str, image: str, sandbox_home: Path) -> None:
    host = DockerHost(Settings(**({"home": sandbox_home, "image": image} | values)), worker_id="w1")
    with pytest.raises(SandboxError, match=message) as caught:
        host.check()
    assert "nowhere" not in str(caught.value)
    host.close()
    del caught
    gc.collect()  # The client never closes a socket that could not connect; its warning belongs here.


def test_the_check_finds_an_image_that_is_none_of_ours(wall: Wall, host: DockerHost, supervisor: Callable[[str], None]) -> None:
    supervisor("print('hello')")
    with pytest.raises(SandboxError, match="did not get ready"):
        host.check()


def test_the_wait_limit_ends_a_container_that_nobody_uses(host: DockerHost, scratch: Scratch, wall: Wall) -> None:
    with host.prepare(scratch, SMALL, wait_seconds=1.0) as sandbox:
        sandbox.make_ready(StopSignal())
        assert wall.client.wait(sandbox.name, timeout=20)["StatusCode"] == 3


def test_the_go_line_is_the_one_of_the_wall(host: DockerHost, scratch: Scratch, supervisor: Callable[[str], None]) -> None:
    code = "import sys; line = sys.stdin.readline(); open('/out/log', 'w').write(line); print('{\"event\": \"done\"}'); sys.stdin.read()"
    supervisor(READY + code)
    run(host, scratch)
    line = json.loads(scratch.read("log", limit_bytes=1000))
    assert line.pop("expires_seconds") > 20.0
    assert line == {"go": 1, "wall_seconds": 20.0, "file_bytes": SMALL.file_bytes, "log_bytes": SMALL.log_bytes}
