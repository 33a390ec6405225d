"""Failed: a try that came to nothing, and why."""

from __future__ import annotations

from fumehood.delivery import Trouble


class Failed(Exception):
    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.value)
        self.trouble = trouble
