"""JobQueue: Celery settings, each with its reason, and tickets. A message is a ticket: «there is work»; it names no job."""

from __future__ import annotations

from fumehood.job import Lane

TASK_NAME = "fumehood.ticket"


def queue_name(lane: Lane) -> str:
    return f"fumehood.{lane}"


class JobQueue:
    """`CeleryQueue(settings)` and, in fumehood.testing, an in-memory one."""

    def send_ticket(self, lane: Lane) -> bool:
        """Never raises and never waits longer than a second or two: a lost ticket is sent again by the reconciler.
        False where Redis did not take it."""
        raise NotImplementedError

    def depth(self, lane: Lane) -> int | None:
        """Tickets waiting; None where Redis does not answer."""
        raise NotImplementedError
