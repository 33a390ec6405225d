"""The life of one container, from its start to its removal, on top of the few engine calls that it needs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

import structlog

from fumehood.errors import SandboxError
from fumehood.limits import Limits
from fumehood.log import said
from worker import cgroup, isolation, lines, runtimes
from worker.attach import AttachStream
from worker.cgroup import Seen
from worker.init_process import InitProcess
from worker.lines import SLACK_SECONDS
from worker.removal import Removal
from worker.sandbox import READY_SECONDS_MAX, Container, Exit, Stop, StopSignal
from worker.scratch import Scratch

log = structlog.get_logger(__name__)

# A cold start imports pandas; on a busy machine that takes some seconds, and longer with less than one processor.
READY_SECONDS = 30.0
LET_GO_SECONDS = 0.5
DEATH_SECONDS = 10.0
# Of the engine's answer about a container that waits, what must never change: another of these is another run of it.
IDENTITY = ("Id", "Name", "RestartCount", "Pid", "StartedAt", "Running", "Paused", "Restarting", "OOMKilled", "Dead")


class Engine(Protocol):
    """Every call is bounded and raises SandboxError, in a sentence without a path, where the engine did not do it."""

    def start(self, name: str) -> None: ...

    def inspect(self, name: str) -> dict[str, Any] | None:
        """None where there is no such container."""

    def update(self, name: str, resources: dict[str, int]) -> None:
        """Change what a live one may use; keys in the engine's terms."""

    def kill(self, name: str) -> None:
        """Fine where it has ended already."""

    def wait(self, name: str, seconds: float) -> None:
        """Until it does not run any more; may come back early."""

    def usage(self, name: str) -> tuple[float, int]:
        """CPU seconds and peak memory in bytes; 0 where the engine has no figure. May take a second."""

    def remove(self, name: str) -> bool:
        """Kill, remove, and look that it is gone. True if there was one."""


class DockerSandbox:
    """One container: prepared, used once, destroyed. A context manager: leaving it destroys the container."""

    def __init__(
        self,
        engine: Engine,
        scratch: Scratch,
        *,
        container: Container,
        uid: int,
        stream: AttachStream,
        config: dict[str, Any],
        host_config: dict[str, Any],
        forget: Callable[[str], None],
        gone: Callable[[str], None],
    ) -> None:
        """`forget` says that nobody here answers for the container any more, `gone` that the engine does not have it either."""
        self.name = container.name
        self.scratch = scratch
        self.image: str = config["Image"]
        self.uid = uid
        self.ready_seconds = ready_seconds(host_config["NanoCpus"] / 1e9)
        self.milliseconds: dict[str, float] = {}
        self._engine = engine
        self._stream = stream
        self._config = config
        self._host_config = host_config
        self._forget = forget
        self._gone = gone
        self.container = container
        self._id = container.id
        self._init: InitProcess | None = None
        self._started_at: float | None = None
        self._state_when_ready: dict[str, Any] = {}
        self._removal = Removal(engine, container.name)
        self._destroyed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.destroy()

    def make_ready(self, stop: StopSignal) -> bool:
        """Start the container, hold it against the policy and wait until its runner is ready; idempotent.

        False when it does not get ready in time, ends, or is stopped.

        Raises:
            SandboxError: it did not start, or the engine runs something else than it was asked for.
        """
        if self._started_at is None:
            self._started_at = time.monotonic()
            self._engine.start(self.name)
            self.milliseconds["start"] = _milliseconds_since(self._started_at)
            self._state_when_ready = self._hold_against_the_policy()
            self._init = InitProcess.find(self._state_when_ready["Pid"], self._id, runtime=self._host_config["Runtime"])
        stream = self._stream
        with stream.changed:
            stream.changed.wait_for(
                lambda: stream.ready or stream.ended or stream.flooded or stop.reason is not None,
                timeout=self._started_at + self.ready_seconds - time.monotonic(),
            )
            ready = stream.ready and not stream.flooded
        if "start" in self.milliseconds:  # Not of one that got ready long before its job came.
            self.milliseconds.setdefault("ready", _milliseconds_since(self._started_at))
        return ready

    @property
    def waits(self) -> bool:
        """It got ready and, as far as its stream tells, still is. Costs nothing; `fit` looks closely."""
        stream = self._stream
        return stream.ready and not (stream.ended or stream.done or stream.flooded)

    def cpu_seconds(self) -> float | None:
        """What it has used of the processors so far; None where the kernel's figures cannot be seen."""
        seen = cgroup.usage(self._id)
        return None if seen is None else seen.cpu_seconds

    def open_script(self, limits: Limits, *, stop: StopSignal) -> None:
        """Let the runner open the script that lies in the scratch, and wait with it. Raises SandboxError where it does not."""
        lines.open_script(self._stream, limits, stop)

    def on_end(self, listener: Callable[[], None]) -> None:
        """Call `listener`, from the thread that reads the stream, when the sandbox has ended by itself."""
        self._stream.on_end(listener)

    def fit(self, limits: Limits) -> None:
        """Give a sandbox that waits the memory, processors and processes of `limits`, and look that it is the one that got
        ready, that it still runs, and that it has just these.

        Raises:
            SandboxError: any of that does not hold; it must not be used.
        """
        began = time.monotonic()
        self.milliseconds.clear()  # What was spent before its job came is not the job's.
        wanted = isolation.changeable(limits, host=self._host_config)
        if any(self._host_config[key] != value for key, value in wanted.items()):
            self._engine.update(self.name, wanted)
            self._host_config = self._host_config | wanted
        state = self._hold_against_the_policy()
        if state != self._state_when_ready or not self.waits:
            changed = sorted(key for key in IDENTITY if state[key] != self._state_when_ready[key])
            raise SandboxError(f"the waiting sandbox is not as it was when it got ready: {', '.join(changed) or 'its stream'} changed")
        self.milliseconds["fit"] = _milliseconds_since(began)

    def run(self, limits: Limits, *, stop: StopSignal, on_log: Callable[[int], None]) -> Exit:
        """Send the go line, wait for the end, and kill the container if it is not over in time.

        The inputs and `request.json` lie in the scratch already. `on_log(n)` is called from this thread when the first n bytes
        of the log will not change any more. Never raises for anything the script does.

        Raises:
            SandboxError: the engine did not do what it was asked for; the service's fault.
        """
        # Only wake this thread: a listener that asked the engine itself would hold up whoever stops many runs at once.
        stop.on_set(self._stream.wake)
        ready = self.make_ready(stop)
        go_at = time.monotonic()
        stopped = stop.reason
        if self._stream.flooded:
            stopped = Stop.FLOODED
        elif ready and stopped is None:
            self._go(limits)
            stopped = self._watch(go_at + limits.wall_seconds + SLACK_SECONDS, stop, on_log)
            self.milliseconds["go"] = _milliseconds_since(go_at)
        wall_seconds = time.monotonic() - go_at
        if stopped is Stop.FLOODED:
            log.error("supervisor broke the rules of its stream", sandbox=self.name, found=self._stream.flooded)
        exit = self._end(ready=ready, stopped=stopped, wall_seconds=wall_seconds)
        # Nothing of it lives, so that its outputs can be read while the engine forgets it; `destroy` waits for that. Before the
        # engine has seen its end too, a removal would only be a kill, which takes longer.
        self._removal.begin(after=lambda: self._stream.ends_within(LET_GO_SECONDS))
        return exit

    def destroy(self) -> Container:
        """Remove the container and look that it is gone; returns which it was. Raises SandboxError if it is not gone in time."""
        if self._destroyed:
            return self.container
        began = time.monotonic()
        try:
            self._removal.finish()
        finally:
            # After the removal, because an engine whose stream is not read answers nothing. The supervisor of a container
            # that could not be removed sees the end of its stdin now and ends by itself.
            self._stream.close()
            if self._init is not None:
                self._init.close()
            self._forget(self.name)
        self._gone(self.name)
        self._destroyed = True
        self.milliseconds["destroy"] = _milliseconds_since(began)
        return self.container

    def _hold_against_the_policy(self) -> dict[str, Any]:
        """Returns what tells this run of this container from any other, and from one that was tampered with."""
        inspected = self._inspect()
        if inspected["Id"] != self._id:
            raise SandboxError("the sandbox is another container than the one that was made under its name")
        found = isolation.deviations(inspected, config=self._config, host_config=self._host_config)
        if found:
            log.error("sandbox deviates from the isolation policy", sandbox=self.name, deviations=found)
            raise SandboxError(f"the engine did not apply {len(found)} parts of the isolation policy; the log names them")
        return {key: (inspected | inspected["State"]).get(key) for key in IDENTITY}

    def _go(self, limits: Limits, **more: Any) -> None:
        assert self._started_at is not None
        waited_seconds = time.monotonic() - self._started_at
        self._stream.allow(limits.wall_seconds + SLACK_SECONDS)
        # A stream that broke shows as the end of the stream, which says more than this error would.
        with contextlib.suppress(OSError):
            self._stream.send(lines.go(limits, waited_seconds=waited_seconds, **more))

    def _watch(self, deadline: float, stop: StopSignal, on_log: Callable[[int], None]) -> Stop | None:
        """Until the run is over: None when it ended by itself, else why we end it."""
        stream, told_bytes = self._stream, 0

        def something_new() -> bool:
            return bool(stop.reason or stream.flooded or stream.done or stream.ended) or stream.log_bytes > told_bytes

        while True:
            with stream.changed:
                stream.changed.wait_for(something_new, timeout=deadline - time.monotonic())
                log_bytes = stream.log_bytes
            if stop.reason is not None:
                return stop.reason
            if stream.flooded:
                return Stop.FLOODED
            if time.monotonic() >= deadline and not stream.done:
                return Stop.DEADLINE
            if log_bytes > told_bytes:
                told_bytes = log_bytes
                on_log(min(log_bytes, self.scratch.size("log")))
            elif stream.done or stream.ended:
                return None

    def _end(self, *, ready: bool, stopped: Stop | None, wall_seconds: float) -> Exit:
        """Take what is only known of a live container, kill it, and take the rest."""
        stream = self._stream
        done, engine_error = stream.done, None
        began, seen = time.monotonic(), self._usage()
        state: dict[str, Any] | None = None
        if stopped is None and done:
            state = self._let_go(seen)
        elif stopped is None and stream.ended:
            state = self._state_of_death(SLACK_SECONDS)
            engine_error = None if state else "the sandbox's stream ended while the sandbox ran"
        if state is None:
            self._engine.kill(self.name)
            state = self._state_of_death(DEATH_SECONDS)
        if state is None:
            raise SandboxError(f"the sandbox still runs {DEATH_SECONDS:g} s after it was killed")
        self.milliseconds["end"] = _milliseconds_since(began)
        if state.get("Error"):
            log.error("engine reports an error of the sandbox", sandbox=self.name, error=said(SandboxError(str(state["Error"]))))
            engine_error = "the engine reports an error of the sandbox"
        if not ready and stopped is None:
            log.error("runner did not get ready", sandbox=self.name, exit_code=state["ExitCode"], stderr=stream.stderr)
        elif stopped is None and not done:
            # Without what it said: from the go line on that may hold something of the tenant's.
            log.error("supervisor ended without a word", sandbox=self.name, exit_code=state["ExitCode"])
        return Exit(
            exit_code=state["ExitCode"],
            # The engine may see the end before it hears of the kill.
            oom_killed=bool(state["OOMKilled"] or seen.oom_kills),
            mortal=runtimes.family(self._host_config["Runtime"]).init_is_mortal,
            stopped=stopped,
            ready=ready,
            done=done,
            wall_seconds=wall_seconds,
            cpu_seconds=seen.cpu_seconds,
            memory_peak_bytes=seen.memory_peak_bytes,
            engine_error=engine_error,
            # The same dictionary, on purpose: `destroy` adds its own figure afterwards.
            milliseconds=self.milliseconds,
        )

    def _usage(self) -> Seen:
        """The kernel's figures, or the engine's where they cannot be seen; but nobody waits for those with a kill due."""
        seen = cgroup.usage(self._id)
        if seen is None:
            cpu_seconds, peak_bytes = self._engine.usage(self.name) if self._stream.done else (0.0, 0)
            seen = Seen(cpu_seconds=cpu_seconds, memory_peak_bytes=peak_bytes, oom_kills=None, tasks=None)
        return seen

    def _let_go(self, seen: Seen) -> dict[str, Any] | None:
        """Tell a supervisor that is done to end by itself, which is cheaper than a kill. Its state, or None when it still lives."""
        self._stream.end_input()
        # Where the kernel told before what the engine would tell later, and says that nothing is left, the engine is not asked.
        state = None if seen.oom_kills is None else {"Running": False, "ExitCode": 0, "OOMKilled": seen.oom_kills > 0}
        if state is not None and self._init is not None:
            return state if self._init.ends_within(LET_GO_SECONDS) else None
        if not self._stream.ends_within(LET_GO_SECONDS):
            return None
        if state is not None and seen.tasks and cgroup.is_empty(self._id):
            return state
        return self._state_of_death(LET_GO_SECONDS)

    def _state_of_death(self, seconds: float) -> dict[str, Any] | None:
        """The container's state once it does not run any more; None where it still does after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            state: dict[str, Any] = self._inspect()["State"]
            if not state["Running"]:
                return state
            left_seconds = deadline - time.monotonic()
            if left_seconds <= 0:
                return None
            self._engine.wait(self.name, left_seconds)

    def _inspect(self) -> dict[str, Any]:
        found = self._engine.inspect(self.name)
        if found is None:
            raise SandboxError("the sandbox is gone before it was removed; expected it to be there")
        return found


def ready_seconds(cpus: float) -> float:
    """How long a runner that gets so much of the processors may take to be ready."""
    return min(READY_SECONDS_MAX, READY_SECONDS / min(1.0, cpus))


def _milliseconds_since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 3)
