"""Tables of the reference, from the tables of the code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic_core import PydanticUndefined

from api.problems import FRAMEWORK, INTERNAL, PROBLEMS, TYPE_PREFIX
from fumehood.dataset import FORMATS
from fumehood.limits import FLOOR, REQUESTABLE
from fumehood.outcome import Reason
from fumehood.settings import Settings
from worker.verdict import TABLE
from worker.walls import WALLS

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "images" / "anaconda" / "requirements.lock"
UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))

# What each ending means for the one who reads it; every reason has its line, or the page is not built.
MEANINGS: dict[Reason, str] = {
    Reason.OK: "The script returned, and its result is published.",
    Reason.SCRIPT_ERROR: "The script raised an exception; `error` holds its type, message, traceback and line.",
    Reason.BAD_ENTRY_POINT: "No callable `azureml_main` that fits, or more tables are connected than it takes.",
    Reason.BAD_PARAMETERS: "A parameter is unknown, missing or of another type than the function says.",
    Reason.BAD_RETURN: "What the function returned is no table, or has a column that Arrow cannot hold.",
    Reason.BAD_INPUT: "A table or bundle is malformed; the message names port and place.",
    Reason.TIMED_OUT: "The script ran longer than `wall_seconds`.",
    Reason.OUT_OF_MEMORY: "The script needed more than `memory_bytes`.",
    Reason.DISK_FULL: "The working directory grew past `disk_bytes`.",
    Reason.OUTPUT_TOO_LARGE: "A table or the files left behind are larger than `output_bytes`.",
    Reason.TOO_MANY_PROCESSES: "The script started more than `processes` processes and threads.",
    Reason.CRASHED: "The script's process ended before it returned: `sys.exit`, a signal, or a fault in native code.",
    Reason.CANCELLED: "Somebody cancelled the job.",
    Reason.EXPIRED: "The job waited longer for its turn than it may.",
    Reason.SANDBOX_ERROR: "The container engine failed, or the host was full.",
    Reason.LOST: "The worker went away while the job ran.",
}


def rows(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; `|` in a cell is escaped."""
    texts = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in (head, ["---"] * len(head), *lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in texts)


def settings() -> str:
    return rows(
        ("setting", "default", "meaning"),
        ((f"`FUMEHOOD_{name.upper()}`", _default(name, field.default), field.description) for name, field in Settings.model_fields.items()),
    )


def _default(name: str, value: object) -> str:
    if name in ("limits", "ceiling"):
        return "[see limits](#limits)"
    if name in ("quota", "retention"):
        return "[see tenants](../how-to/tenants.md)"
    if value is PydanticUndefined:
        return "one per CPU"
    return "" if value is None else f"`{value}`"


def limits() -> str:
    default, ceiling = (Settings.model_fields[name].get_default(call_default_factory=True).as_dict() for name in ("limits", "ceiling"))
    return rows(
        ("limit", "default", "ceiling", "floor", "settable per job"),
        ((f"`{name}`", *(_amount(name, found[name]) for found in (default, ceiling, FLOOR)), "yes" if name in REQUESTABLE else "no")
         for name in default),
    )  # fmt: skip


def _amount(name: str, value: float) -> str:
    unit, size = next(((unit, size) for unit, size in UNITS if name.endswith("_bytes") and value % size == 0), ("", 1))
    return f"{value / size:,g} {unit}".strip()


def reasons() -> str:
    """Reasons in the order of the code, with their blame and the sentences that the worker has for them."""
    said = {reason: [row.message for row in TABLE if row.reason is reason and row.message] for reason in Reason}
    return rows(
        ("reason", "blame", "meaning", "sentences of the service"),
        ((f"`{reason}`", reason.blame, MEANINGS[reason], " ".join(said[reason])) for reason in Reason),
    )


def problems() -> str:
    table = [(status, slug, title) for status, slug, title in PROBLEMS.values()]
    table += [(status, slug, title) for status, (slug, title) in FRAMEWORK.items()] + [INTERNAL]
    return rows(("status", "type", "title"), ((status, f"`{TYPE_PREFIX}{slug}`", title) for status, slug, title in sorted(set(table))))


def formats() -> str:
    return rows(
        ("format", "media types", "file endings"),
        ((f"`{name}`", _codes(media), _codes(endings)) for name, (media, endings) in FORMATS.items()),
    )


def packages() -> str:
    """What the lock of the image pins."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", LOCK.read_text(), re.M)
    return f"{len(found)} packages:\n\n" + rows(("package", "version"), sorted(found, key=lambda pair: pair[0].lower()))


def _codes(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def walls() -> str:
    """The walls of a host, in the order in which the next steps are told."""
    return rows(("wall", "kind", "what it adds", "how to switch it on"), ((one.name, one.kind, one.adds, one.advice) for one in WALLS))
