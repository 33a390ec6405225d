"""Removal: a dead container's end at the engine, begun in the background and waited for by whoever needs it to be over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Protocol

from fumehood.errors import SandboxError


class Removes(Protocol):
    def remove(self, name: str) -> bool:
        """Kill, remove, and look that it is gone. Raises SandboxError if it is not gone in time."""


class Removal:
    def __init__(self, engine: Removes, name: str) -> None:
        self._engine = engine
        self._name = name
        self._thread: threading.Thread | None = None
        self._gone = False

    def begin(self, *, after: Callable[[], object]) -> None:
        """Only of a container that is dead, or may die now; as soon as `after`, which has an end of its own, returns. Never
        raises: `finish` tries again."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=copy_context().run, args=(self._remove, after), name=f"removal-{self._name}", daemon=True
            )
            self._thread.start()

    def finish(self) -> None:
        """Returns when it is gone. Raises SandboxError if it is not in time."""
        if self._thread is not None:
            self._thread.join()  # Both of its steps have deadlines of their own.
            self._thread = None
        if not self._gone:
            self._engine.remove(self._name)
            self._gone = True

    def _remove(self, after: Callable[[], object]) -> None:
        after()
        try:
            self._engine.remove(self._name)
        except SandboxError:
            return
        self._gone = True
