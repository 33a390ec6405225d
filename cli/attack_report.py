"""The report of an attack: a row for each promise, what was broken with what was expected, and what was not tried and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cli.attack import Result, Verdict
from cli.corpus import PROMISES, Attack
from cli.terminal import columns, console, duration, harmless, mark, one_line, symbol
from fumehood.client.words import Document


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    url: str
    version: str
    results: Sequence[Result]
    """Of the attacks, by promise and name."""
    seconds: float
    before: Result
    signed: bool
    """The service signs receipts, and each was checked."""
    after: Result | None = None
    """Of the harmless jobs."""
    not_looked: str = ""
    """Why engine and scratch were not looked at; empty where they were."""
    canary_whole: bool | None = None
    """None where there was no neighbour's file."""
    walls: Document | None = None

    @property
    def well(self) -> bool:
        """Something was tried, and nothing was broken."""
        harmless = [one for one in (self.before, self.after) if one is not None]
        tried = any(one.verdict is not Verdict.NOT_TRIED for one in self.results)
        unharmed = self.after is not None and all(one.verdict is Verdict.HELD for one in harmless)
        return tried and unharmed and self.canary_whole is not False and not self.of(Verdict.BROKEN)

    def of(self, verdict: Verdict, promise: int | None = None) -> list[Result]:
        return [one for one in self.results if one.verdict is verdict and promise in (None, one.attack.promise)]

    def as_dict(self) -> Document:
        return {
            "service": self.url,
            "version": self.version,
            "well": self.well,
            "seconds": round(self.seconds, 3),
            "grade": self.walls and self.walls["grade"],
            "receipts_looked_after": sum(one.looked for one in self.results),
            "receipts_signed": self.signed,
            "not_looked": self.not_looked,
            "canary_whole": self.canary_whole,
            "promises": list(self.promises()),
            "harmless": {"before": _document(self.before), "after": self.after and _document(self.after)},
            "attacks": [_document(one) for one in self.results],
        }

    def promises(self) -> Iterator[Document]:
        for number, promise in PROMISES.items():
            counts = Counter(one.verdict for one in self.results if one.attack.promise == number)
            if counts:
                each = {verdict.value: counts[verdict] for verdict in Verdict}
                yield {"number": number, "promise": promise, "tried": counts[Verdict.HELD] + counts[Verdict.BROKEN], **each}


def _document(result: Result) -> dict[str, Any]:
    return {
        "name": result.attack.name,
        "promise": result.attack.promise,
        "tries": result.attack.what,
        "verdict": result.verdict.value,
        "job": result.job,
        "seconds": round(result.seconds, 3),
        "breaches": [{"expected": one.expected, "found": one.found} for one in result.breaches],
        "why_not": result.why_not,
    }


def show(report: Report) -> None:
    print(f"\n{len(report.results)} attacks on Fumehood {one_line(report.version)} at {one_line(report.url)}, {duration(report.seconds)}\n")
    rows = []
    for one in report.promises():
        sign = symbol(not one["broken"]) if one["tried"] else mark("·", "?   ")
        rows.append((sign, one["number"], one["promise"], one["tried"], one["held"], one["broken"], one["not_tried"]))
    columns(("", "", "PROMISE", "TRIED", "HELD", "BROKEN", "NOT TRIED"), rows)
    _paragraph("Broken", _broken(report))
    _paragraph("Not tried", (f"  {one.attack.name}: {one.why_not}" for one in report.of(Verdict.NOT_TRIED)))
    print()
    for good, sentence in _beside_the_attacks(report):
        print(f"{mark('·', '?   ') if good is None else symbol(good)} {harmless(sentence)}")
    print(f"\n{conclusion(report)}")


def conclusion(report: Report) -> str:
    broken = sorted({one.attack.promise for one in report.of(Verdict.BROKEN)})
    untried = len(report.of(Verdict.NOT_TRIED))
    rest = f" {_counted(untried, 'attack')} could not be tried." if untried else ""
    if broken:
        return f"BROKEN: promise{'s' * (len(broken) != 1)} {', '.join(map(str, broken))}.{rest}"
    if not report.well:
        return f"BROKEN: what was not attacked came to harm, or nothing was tried.{rest}"
    return f"Every promise that was tried held.{rest}"


def _broken(report: Report) -> Iterator[str]:
    for one in report.of(Verdict.BROKEN):
        yield f"  {one.attack.name}: {one.attack.what}"
        for breach in one.breaches:
            yield f"    promised  {breach.expected}"
            yield f"    found     {breach.found}"
        if one.job:
            yield f"    its job is kept: fumehood log {one.job}"


def _beside_the_attacks(report: Report) -> Iterator[tuple[bool | None, str]]:
    for when, one in (("before", report.before), ("after", report.after)):
        if one is None:
            yield False, f"a harmless job {when} them was not run"
        else:
            found = "; ".join(breach.found for breach in one.breaches) or one.why_not
            yield one.verdict is Verdict.HELD, f"a harmless job {when} them: {found or f'served in {duration(one.seconds)}'}"
    yield (True, "every receipt's signature was checked") if report.signed else (None, "the service does not sign its receipts")
    looked = sum(one.looked for one in report.results)
    if report.not_looked:
        yield None, f"the engine and the scratch were not looked at: {report.not_looked}"
    else:
        yield True, f"the engine and the scratch were looked at for {_counted(looked, 'receipt')}"
    if report.canary_whole is not None:
        yield report.canary_whole, "a neighbour's file is " + ("as it was" if report.canary_whole else "gone or changed")
    if report.walls:
        yield None, f"the host has the grade {report.walls['grade']} (`fumehood doctor --host` says why)"


def _paragraph(title: str, lines: Iterable[str]) -> None:
    if found := list(lines):
        print(f"\n{title}")
        for line in found:
            print(harmless(line))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def show_list(attacks: Iterable[Attack]) -> None:
    rows = [(one.name, one.promise, one.reason.value, one.what) for one in attacks]
    columns(("ATTACK", "PROMISE", "ENDS AS", "WHAT IT TRIES"), rows)


class Progress:
    """How far the attack is: a line that changes on a terminal, and nothing elsewhere."""

    def __init__(self, bar: Any, task: Any) -> None:
        self._bar, self._task = bar, task
        self._running: list[str] = []
        self._broken = 0

    def started(self, attack: Attack) -> None:
        self._running.append(attack.name)
        self._tell()

    def ended(self, result: Result) -> None:
        self._running.remove(result.attack.name)
        self._broken += result.verdict is Verdict.BROKEN
        self._tell(advance=1)

    def _tell(self, advance: int = 0) -> None:
        if self._bar is not None:
            broken = f"{self._broken} broken  " if self._broken else ""
            self._bar.update(self._task, advance=advance, text=broken + ", ".join(list(self._running)))


@contextmanager
def progress(total: int) -> Iterator[Progress]:
    import sys

    screen = console(sys.stderr)
    if not screen.is_terminal or screen.is_dumb_terminal:
        yield Progress(None, None)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    text = TextColumn("{task.fields[text]}", markup=False)
    with Bar(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), text, console=screen, transient=True) as bar:
        yield Progress(bar, bar.add_task("", total=total, text=""))
