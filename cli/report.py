"""Report: a job's record in words, with the blame where it belongs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cli.errors import ExitCode
from cli.terminal import duration, harmless, one_line, size
from fumehood.client.words import Document
from fumehood.text import places

NOTES_SHOWN = 20


def exit_code(record: Document) -> ExitCode:
    """What a final record means for a shell."""
    if record["state"] == "succeeded":
        return ExitCode.OK
    return ExitCode.SERVICE if record.get("blame") == "service" else ExitCode.FAILED


def state(record: Document) -> str:
    """One line on where the job is."""
    words = str(record["state"])
    if record.get("queue_position") is not None:
        ahead = record["queue_position"]
        words += ", next of yours" if ahead == 0 else f", {places(ahead)} job{'s' * (ahead != 1)} of yours ahead"
        if record.get("estimated_start_at"):
            words += f", starts about {when(record['estimated_start_at'])}"
    if record.get("reason") not in (None, "ok", record["state"]):
        words += f" ({record['reason']})"
    if words == "running" and record.get("attempt", 1) > 1:
        words += f", attempt {record['attempt']} of {record.get('attempts_max', '?')}"
    if record.get("cancel_requested") and record["state"] in ("queued", "running"):
        words += ", cancel requested"
    return words


def failure(record: Document) -> Iterator[str]:
    """Why the job did not succeed: the script's own error with its line, or what the service says."""
    error = record.get("error") or {}
    message = one_line(record.get("message") or "")
    if error.get("line"):
        file = error.get("file") or "script.py"
        frames = [frame for frame in error.get("frames") or [] if isinstance(frame, dict)]
        # The last frames may lie in a library; the function meant is the one that holds the line.
        holding = [frame for frame in frames if (frame.get("file"), frame.get("line")) == (error.get("file"), error["line"])]
        function = str(holding[-1].get("function") or "") if holding else ""
        yield one_line(f"{file}, line {error['line']}" + (f", in {function}" if function not in ("", "<module>") else ""))
    if error.get("source"):
        yield f"    {one_line(str(error['source']).strip())}"
    said = f"{one_line(error['type'])}: {one_line(error.get('message') or '')}" if error.get("type") else ""
    if said:
        yield said
    # The message of an exception of the script says the same in one line; with a hint, in other punctuation.
    if message and not (said and (said in message or record.get("reason") == "script_error")):
        yield message
    if record.get("blame") == "service":
        yield "this was the service's fault, not the script's"


def notes(record: Document) -> Iterator[str]:
    """What the runner changed or left out on the way."""
    found = [note for note in record.get("notes") or [] if isinstance(note, dict)]
    for note in found[:NOTES_SHOWN]:
        yield one_line(note.get("text") or note.get("kind"))
    if len(found) > NOTES_SHOWN:
        yield f"… and {len(found) - NOTES_SHOWN} more notes"


def table_shape(table: Document) -> str:
    rows = "? rows" if table.get("rows") is None else f"{table['rows']:,} rows"
    return f"{rows}, {len(table.get('columns') or [])} columns, {size(table['bytes'])}"


def times(record: Document) -> str:
    """How long the job waited, ran and took altogether, and what it used."""
    created, started, finished = (_moment(record.get(name)) for name in ("created_at", "started_at", "finished_at"))
    parts = []
    if created and started:
        parts.append(f"queued {duration((started - created).total_seconds())}")
    usage = record.get("usage") or {}
    if usage.get("wall_seconds"):
        parts.append(f"run {duration(usage['wall_seconds'])}")
    if created and finished:
        parts.append(f"altogether {duration((finished - created).total_seconds())}")
    if usage.get("cpu_seconds"):
        parts.append(f"CPU {duration(usage['cpu_seconds'])}")
    if usage.get("memory_peak_bytes"):
        parts.append(f"memory {size(usage['memory_peak_bytes'])} at most")
    return ", ".join(parts) or "not started"


def receipt(record: Document) -> str:
    """The erasure receipt in one line."""
    gone = record.get("erasure")
    if not gone:
        return "no receipt yet"
    what = "no container was ever made" if gone.get("container") is None else f"container {one_line(gone['container'])}"
    return f"{what}; {gone['files']} files, {size(gone['bytes'])}; gone at {when(gone['erased_at'])}"


def tenant_receipt(gone: Document) -> str:
    """The receipt of a tenant in one line."""
    counts = ", ".join(f"{gone[name]} {name}" for name in ("jobs", "batches", "datasets", "keys"))
    return f"{one_line(gone['tenant'])}: {counts}; {gone['files']} files, {size(gone['bytes'])}; gone at {when(gone['erased_at'])}"


def taken_from(record: Document) -> str | None:
    """Whose result a job has that never ran."""
    earlier = record.get("cached_from")
    return f"result of {one_line(earlier['job'])}, which ended at {when(earlier['finished_at'])}" if earlier else None


def when(text: str | None) -> str:
    """A timestamp of the service as a person reads it, in the local time zone."""
    moment = _moment(text)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else "-"


def details(record: Document) -> Iterator[tuple[str, str]]:
    """A whole record as labelled lines."""
    yield "job", one_line(record["id"])
    yield "state", state(record)
    if record.get("labels"):
        yield "labels", ", ".join(f"{one_line(k)}={one_line(v)}" for k, v in record["labels"].items())
    yield "created", when(record.get("created_at"))
    if record.get("finished_at"):
        yield "finished", when(record["finished_at"])
    if told := taken_from(record):
        yield "cached", told
    for line in failure(record) if record["state"] == "failed" else ():
        yield "error", line
    for port, entry in (record.get("inputs") or {}).items():
        origin = entry.get("dataset") or entry.get("job")
        yield (
            one_line(port),
            f"{one_line(entry.get('format'))}, {size(entry.get('bytes') or 0)}" + (f", from {one_line(origin)}" if origin else ""),
        )
    for port in ("result", "result2"):
        if record.get(port):
            yield port, table_shape(record[port])
    for name in ("figures", "artifacts"):
        if record.get(name):
            yield name, str(record[name])
    for line in notes(record):
        yield "note", line
    if record.get("started_at"):
        yield "times", times(record)
    if record.get("erasure"):
        yield "erased", receipt(record)


def labelled(label: str, text: str) -> str:
    return f"{label:<9}{harmless(text)}"


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
