"""`runner debug`: the same job under pdb, at a terminal of its own inside the sandbox.

The supervisor holds the terminal's other end: what is typed comes in as lines of JSON on stdin, what is shown goes out on
stdout as it is. The script sits in the same sandbox as ever, and nobody but its author believes a word of it. As in a run,
the end of stdin ends everything, and so does the deadline.
"""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import termios
import time
import traceback

from . import child, debugger, environment, places, processes, supervisor

TERMINAL_EVENT = "terminal"
PORTION_BYTES = 64 * 1024
DRAIN_SECONDS = 2.0


class Lines:
    """JSON lines from stdin; the end of stdin is the end of the sandbox."""

    def __init__(self):
        self._rest = b""
        self._waiting: list[dict] = []

    def read(self) -> list[dict]:
        """Take what is there, waiting for at least some bytes."""
        data = os.read(0, PORTION_BYTES)
        if not data or len(self._rest) > places.GO_LINE_BYTES:
            os._exit(supervisor.EXIT_LEFT)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def first(self, deadline: supervisor.Deadline) -> dict:
        """The go line. Nothing else comes before the debugger has said that it listens."""
        lines: list[dict] = []
        while not lines:
            readable, _, _ = select.select([0], [], [], max(0.0, deadline.at - time.monotonic()))
            deadline.check()
            lines = self.read() if readable else []
        return lines[0]


def main(*, started_at: float, wait_seconds: float, modules_at_start: frozenset[str]) -> None:
    """From `ready` to the end of the session. Never returns."""
    processes.set_dumpable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    deadline = supervisor.Deadline(started_at + wait_seconds)
    supervisor.fill_casts()
    tell("ready")
    lines = Lines()
    go = lines.first(deadline)
    deadline.move(started_at + float(go["expires_seconds"]))
    processes.lower_file_limit(int(go["file_bytes"]))
    request = child.read_request()
    master, slave = pty.openpty()
    resize(master, go["size"])
    child_ended = supervisor.wake_on_child_end()
    tell(TERMINAL_EVENT)
    pid = os.fork()
    if pid == 0:
        sit_down(request, slave, go, modules_at_start)
    os.close(slave)
    status = pass_on(pid, master, lines, child_ended)
    drain(master)
    os._exit(status)


def tell(event: str) -> None:
    write(json.dumps({"event": event}).encode() + b"\n")


def write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def resize(terminal: int, size: list[int]) -> None:
    rows, columns = (max(1, min(int(number), 10_000)) for number in size)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def sit_down(request: dict, slave: int, go: dict, modules_at_start: frozenset[str]) -> None:
    """In the child: make `slave` the terminal of this process, then debug. Never returns."""
    code = child.EXIT_NO_REPORT
    try:
        # `settle` closes every descriptor but the standard ones and one more.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        child.settle(slave, nowhere)
        environment.for_script(float(request["limits"]["cpus"]))
        fcntl.ioctl(1, termios.TIOCSCTTY, 0)
        os.environ["TERM"] = str(go.get("term") or "dumb")[:64]
        code = debugger.debug(request, child.Progress(nowhere), modules_at_start, step=bool(go.get("step")), lines=go.get("breaks") or [])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def pass_on(pid: int, master: int, lines: Lines, child_ended: int) -> int:
    """Carry bytes both ways until the child has ended; the code to end with."""
    poller = select.poll()
    for descriptor in (0, master, child_ended):
        poller.register(descriptor, select.POLLIN)
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == child_ended:
                os.read(child_ended, 4096)
                status = processes.reap().get(pid)
                if status is not None:
                    return os.waitstatus_to_exitcode(status) & 0xFF if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
            elif descriptor == 0:
                for line in lines.read():
                    obey(line, master)
            elif not show(master):
                poller.unregister(master)


def obey(line: dict, master: int) -> None:
    if "size" in line:
        resize(master, line["size"])
    view = memoryview(str(line.get("input", "")).encode("latin-1"))
    while view:
        view = view[os.write(master, view) :]


def show(master: int) -> bool:
    """One portion of what the terminal shows. False at its end: the last process that had it open is gone."""
    try:
        data = os.read(master, PORTION_BYTES)
    except OSError:
        return False
    write(data)
    return bool(data)


def drain(master: int) -> None:
    end_at = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < end_at and select.select([master], [], [], 0)[0] and show(master):
        pass
