"""Plan: what every row of a benchmark is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.jobs import Done


@dataclass(slots=True)
class Plan:
    image: str
    """The image's id."""
    quick: bool = False
    """Whether to look only that everything runs; its figures mean nothing."""
    phases: list[Done] = field(default_factory=list)
    """Warm jobs whose phases are drawn."""

    def count(self, full: int) -> int:
        return max(2, full // 50) if self.quick else full

    def keep_phases(self, done: list[Done]) -> None:
        self.phases += done
