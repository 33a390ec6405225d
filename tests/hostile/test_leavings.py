"""Nothing stays: what one tenant's job leaves, in every ending, the next one's does not find; in one slot, cold and warm.

The jobs are a chain. Each first looks for what the one before left, then leaves the same again, then ends in a way of its own.
Cold, all of them have one user id. Warm, there are two: the sandbox of the second job is made while the first runs, and the
third has the first one's user id again.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import pytest

from cli.differences import heard
from fumehood.limits import Limits
from fumehood.outcome import Reason
from fumehood.settings import Settings
from tests.hostile.corpus import STARTS, Ground, open_pool, take
from tests.sandboxes import SMALL, Ran, open_ahead, run_script
from worker.docker_sandbox import DockerHost
from worker.sandbox import Sandbox, Stop, StopSignal

HEAD = re.compile(r"# stays: (?P<stays>yes|no)\n\"\"\"(?P<what>[^\"]+)\"\"\"\n")
# `leave()` leaves something where `# stays: yes`, and asserts that it cannot where `no`; `look()` lists what it finds.
LEAVINGS = {path.stem: path.read_text() for path in sorted((Path(__file__).parent / "leavings").glob("*.py"))}

CHAIN = """
import json, os, pandas, signal
def azureml_main():
    rooms = {}
    for name, text in LEAVINGS.items():
        rooms[name] = {"__name__": name}
        exec(compile(text, name, "exec"), rooms[name])
    def look():
        return {name: [str(each) for each in room["look"]() if each] for name, room in rooms.items()}
    said = {"found": look(), "failed": {}}
    for name, room in rooms.items():
        try: room["leave"]()
        except Exception as error: said["failed"][name] = repr(error)
    said["left"] = look()
    print(json.dumps(said))
    ENDING
    return pandas.DataFrame({"a": [1]})
"""
ENOUGH_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Ending:
    code: str
    reason: Reason
    wall_seconds: float = SMALL.wall_seconds
    cancel_at_bytes: int | None = None
    """Of the log."""


ENDINGS = {
    "returns": Ending(code="pass", reason=Reason.OK),
    "raises": Ending(code="raise ValueError('no')", reason=Reason.SCRIPT_ERROR),
    "ends itself": Ending(code="os._exit(0)", reason=Reason.CRASHED),
    "is killed": Ending(code="os.kill(os.getpid(), signal.SIGKILL)", reason=Reason.CRASHED),
    "ends without pipes": Ending(code="os.closerange(0, 256); os.abort()", reason=Reason.CRASHED),
    "runs out of memory": Ending(code="hoard = [b'x' * 2**22 for _ in range(2000)]", reason=Reason.OUT_OF_MEMORY),
    "stops itself": Ending(code="os.kill(os.getpid(), signal.SIGSTOP)", reason=Reason.TIMED_OUT, wall_seconds=4.0),
    "is cancelled": Ending(code=f"print('x' * {ENOUGH_BYTES}); signal.pause()", reason=Reason.CANCELLED, cancel_at_bytes=ENOUGH_BYTES),
}


class Slot:
    """One job after the other, each in a sandbox of its own. Warm there are two user ids, else one."""

    def __init__(
        self, ground: Ground, start: str, *, limits: Limits = SMALL, leavings: Mapping[str, str] = MappingProxyType(LEAVINGS)
    ) -> None:
        first, count = {"cold": (4_000_000, 1), "warm": (4_000_100, 2), "prepared": (4_000_200, 1)}[start]
        uids = {"sandbox_uid_first": first, "sandbox_uid_count": count}
        settings = Settings(home=ground.home, image=ground.host.image, **{**ground.settings, **uids})
        self.start = start
        self.home, self.limits, self.runtime = ground.home, limits, ground.runtime
        self.leavings = dict(leavings)
        self.staying = {name for name, text in leavings.items() if text.startswith("# stays: yes\n")}
        self.host = DockerHost(settings, worker_id=f"slot-{start}")
        self.pool = open_pool(self.host, self.home, size=1, runtime=settings.runtime, limits=limits) if start == "warm" else None

    def run(self, ending: Ending) -> Ran:
        limits = replace(self.limits, wall_seconds=ending.wall_seconds)
        stop = StopSignal()

        def on_log(log_bytes: int) -> None:
            if ending.cancel_at_bytes is not None and log_bytes >= ending.cancel_at_bytes:
                stop.set(Stop.CANCELLED)

        ready: Sandbox | None = take(self.pool, limits) if self.pool else None
        script = CHAIN.replace("LEAVINGS", repr(self.leavings)).replace("ENDING", ending.code)
        if self.start == "prepared":
            ready = open_ahead(self.host, self.home, script, limits=limits)
        return run_script(self.host, self.home, script, limits=limits, stop=stop, on_log=on_log, ready=ready)

    def close(self) -> None:
        if self.pool:
            assert self.pool.close(), "the pool left something"
        self.host.close()


@pytest.mark.parametrize("start", STARTS)
def test_the_next_job_in_the_slot_finds_nothing_of_the_one_before(start: str, ground: Ground) -> None:
    with contextlib.closing(Slot(ground, start)) as slot:
        go_through(slot)


def go_through(slot: Slot) -> None:
    before = "nothing"
    for name, ending in [*ENDINGS.items(), ("returns, last", ENDINGS["returns"])]:
        ran = slot.run(ending)
        reasons = heard({ending.reason}, runtime=slot.runtime)
        assert ran.outcome.reason in reasons, (name, ran.outcome.message, ran.outcome.error, ran.log[-2000:])
        said = json.loads(ran.log.splitlines()[0])
        assert not any(said["found"].values()), f"after a job that {before}: {said['found']}"
        # Or else looking proves nothing: in the same sandbox, all that can be left is found.
        assert said["failed"] == {}, name
        assert {leaving for leaving, found in said["left"].items() if found} == slot.staying, name
        before = name


def test_every_leaving_says_what_it_leaves_and_whether_it_can() -> None:
    for name, text in LEAVINGS.items():
        assert HEAD.match(text), f"{name}.py does not begin with `# stays: yes` or `no` and a docstring"
