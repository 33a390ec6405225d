"""The child that is forked before its job is known: a fork copies the tables of all pages, and nobody waits for it then."""

import os

from . import child
from .attempt import Forked, fork


class WaitingChild:
    """Forked, rehearsed and blocked on a pipe; it becomes the job's child, or ends without having done anything."""

    def __init__(self, modules_at_start: frozenset[str]):
        """Raises RuntimeError if it does not come as far."""
        go_end, self._go_pipe = os.pipe()
        self._forked = fork(lambda log_end, report_end: child.wait(go_end, log_end, report_end, modules_at_start))
        os.close(go_end)
        if not os.read(self._forked.report_pipe, 1):
            raise RuntimeError("the waiting child ended before it was ready")

    def dismiss(self) -> None:
        """There is no job for it: it ends."""
        for descriptor in (self._go_pipe, *self._forked[1:]):
            os.close(descriptor)

    def prepare(self, file_bytes: int) -> Forked:
        """Let it open its script; `go` is to follow once it has said that it did. Raises BrokenPipeError if it is not there any more."""
        os.write(self._go_pipe, b"%s%d" % (child.PREPARE, file_bytes))
        return self._forked

    def go(self, file_bytes: int) -> Forked:
        """Let it do its job; none of its files can grow past `file_bytes`. Raises BrokenPipeError if it is not there any more."""
        os.write(self._go_pipe, b"%d" % file_bytes)
        os.close(self._go_pipe)
        return self._forked
