"""The corpus: scripts that try to break the promises, each with how it must end. `fumehood doctor --attack` and the tests run them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from cli.differences import DIFFERENCES, GVISOR, Difference, heard
from fumehood.limits import KIB, MIB, Limits
from fumehood.outcome import Reason

# As docs/threat-model.md has them.
PROMISES = {
    1: "No byte leaves",
    2: "Nothing stays",
    3: "Nothing is lost",
    4: "Nobody gets in",
    5: "A bad script hurts only itself",
    6: "Bad bytes hurt only their job",
    7: "A forged report fools nobody but its author",
}
HEAD = re.compile(
    r"# expect: (?P<reason>\w+)\n# promise: (?P<promise>[1-7])\n(?:# limits: (?P<limits>\{.*\})\n)?\"\"\"(?P<what>[^\"]+)\"\"\"\n"
)
SMALL = Limits(
    wall_seconds=20.0, memory_bytes=256 * MIB, disk_bytes=16 * MIB, output_bytes=1 * MIB, processes=64, log_bytes=256 * KIB, figures=20
)
"""What an attack may use, but for what its head says."""

# An attack that names this means the path of a file of the host, which whoever runs it puts there.
CANARY = "CANARY_PATH"

_INSTALLED = Path(__file__).parent / "attacks"
_CHECKOUT = Path(__file__).parents[1] / "tests" / "hostile" / "attacks"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attack:
    """One script of the corpus. An attack that expects `ok` asserts by itself that everything it tried failed."""

    name: str
    reason: Reason
    promise: int
    limits: Limits
    what: str
    script: str

    def on(self, runtime: str) -> Attack:
        """The attack without the lines that cannot hold on this container runtime."""
        difference = _difference(self.name, runtime)
        script = self.script
        for line, other in difference.instead if difference else ():
            script = script.replace(line, other)
        return replace(self, script=script)

    def endings(self, runtime: str) -> frozenset[Reason]:
        """The reasons that keep the promise, where it runs as it is `on` this container runtime."""
        difference = _difference(self.name, runtime)
        others = difference.reasons if difference and not difference.instead else ()
        return heard({self.reason, *others}, runtime=runtime)


def _difference(name: str, runtime: str) -> Difference | None:
    return DIFFERENCES.get(name) if GVISOR in runtime else None


def read(path: Path) -> Attack:
    """Raises ValueError: it does not begin as an attack does."""
    text = path.read_text(encoding="utf-8")
    head = HEAD.match(text)
    if head is None:
        raise ValueError(f"{path.name} does not begin with `# expect:`, `# promise:` and a docstring")
    return Attack(
        name=path.stem,
        reason=Reason(head["reason"]),
        promise=int(head["promise"]),
        limits=replace(SMALL, **json.loads(head["limits"] or "{}")),
        what=" ".join(head["what"].split()),
        script=text,
    )


def attacks() -> dict[str, Attack]:
    """By name. A checkout reads them where the tests have them; a wheel brings them along."""
    directory = _CHECKOUT if _CHECKOUT.is_dir() else _INSTALLED
    return {path.stem: read(path) for path in sorted(directory.glob("*.py")) if path.name != "__init__.py"}
