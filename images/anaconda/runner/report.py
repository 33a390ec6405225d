"""The report: the child's half checked field by field, the supervisor's own half, and the cap on the whole."""

import contextlib
import json
import os
import signal

from . import described, disk, formats, places
from .failure import cut, safe_text, size
from .log import Log

CHILD_REASONS = frozenset({
    "ok", "script_error", "bad_entry_point", "bad_parameters", "bad_return", "bad_input", "out_of_memory", "disk_full",
    "output_too_large", "too_many_processes", "crashed", "sandbox_error",
})  # fmt: skip
PARTS = ("read", "script", "write", "files")
NOTE_KEYS = ("kind", "text", "port", "column", "from", "to")
ERROR_KEYS = {
    "type": places.NAME_CHARACTERS,
    "message": places.MESSAGE_CHARACTERS,
    "traceback": places.TRACEBACK_CHARACTERS,
    "file": places.NAME_CHARACTERS,
    "source": places.SOURCE_CHARACTERS,
}
INTEGER_MOST = 2**63 - 1
SIMPLE_NAMES = ("int", "float", "str", "bool")
SCHEMA_PORTS = {"inputs": ("dataset1", "dataset2"), "outputs": ("result", "result2")}
ARROW_MARK = b"ARROW1"
# The other formats begin and end with what they hold.
MARKS = {"arrow": ARROW_MARK, "parquet": b"PAR1"}
# Requests that run a script, and so have a result where they end well.
RUNS = frozenset({"script", "check", "score"})


def assemble(
    *, said: bytes, status: int | None, timed_out: bool, request: dict, files: dict, log: Log, milliseconds: dict,
    memory_peak_bytes: int | None, oom_kills: int | None,
) -> bytes:  # fmt: skip
    """The whole report as JSON, at most REPORT_BYTES. Also ends the log, with a failure's traceback at its end.

    `status`: the child's wait status; `files`: what the collector said.
    """
    words, script_started = read_words(said)
    code = os.waitstatus_to_exitcode(status) if status is not None else None
    ending = timed_out_ending(request) if timed_out else clean_ending(words, script_started, code, oom_kills, request["limits"])
    if ending["error"] and not timed_out:
        log.feed_paragraph(ending["error"]["traceback"])
    log_facts = log.finish()
    if log.disk_full or files.get("disk_full"):
        # We saw it ourselves, so it is true whatever the script did. No part of such a run is complete.
        ending, files = {"reason": "sandbox_error", "message": disk.MESSAGE, "error": None}, {}
    results = {port: clean_table(words.get(port)) for port in places.RESULTS}
    answer = request.get("answer")
    if ending["reason"] == "ok" and request.get("kind", "script") in RUNS and not are_written(results, answer or "arrow"):
        ending = {"reason": "crashed", "message": "The script ended its process before its result was written.", "error": None}
    notes = clean_notes(words.get("notes")) + files.get("notes", [])
    if ending["reason"] == "ok" and oom_kills:
        notes.append({"kind": "warning", "text": "A process that the script had started was ended because memory ran out."})
    if ending["reason"] != "ok":
        results = dict.fromkeys(results)
    for port, path in places.RESULTS.items():
        if results[port] is None and not (ending["reason"] == "ok" and request.get("kind") in ("convert", "describe")):
            # Half a table is worse than none.
            with contextlib.suppress(OSError):
                os.truncate(path, 0)
    report = {
        "version": 1,
        **ending,
        "child": {
            "exit_code": code if code is not None and code >= 0 else None,
            "signal": -code if code is not None and code < 0 else None,
        },
        **results,
        "files": files.get("files", []),
        "log": log_facts,
        "notes": notes[: places.NOTES],
        "milliseconds": {**milliseconds, **clean_milliseconds(words), "files": files.get("milliseconds", 0)},
        "memory_peak_bytes": memory_peak_bytes,
        "oom_kills": oom_kills,
    }
    if ending["reason"] == "ok":
        if request.get("kind") == "check":
            report |= {"entry": clean_entry(words.get("entry")), "schemas": clean_schemas(words.get("schemas"))}
        if answer is not None:
            report["answer"] = {"format": answer, "media_type": formats.MEDIA_TYPES[answer]}
    return shrink(report)


def are_written(results: dict, answer: str) -> bool:
    """True if there is a first table, and a file with its format's first and last bytes for each that is described.

    A script can say «ok» in the runner's name before there is a result; nothing more of the files is read here.
    """
    marks = {"result": MARKS.get(answer, b""), "result2": ARROW_MARK}
    there = (has_both_marks(path, marks[port]) for port, path in places.RESULTS.items() if results[port] is not None)
    return results["result"] is not None and all(there)


def has_both_marks(path: str, mark: bytes) -> bool:
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        ends = [os.pread(file.fileno(), len(mark), at) for at in (0, max(0, size - len(mark)))]
    return size > 2 * len(mark) and ends == [mark, mark]


def of_failure(reason: str, error: Exception) -> bytes:
    """The report where the supervisor itself could not go on: `crashed` once a script has run, `sandbox_error` before."""
    what = "The script left its sandbox unable to tell how it went" if reason == "crashed" else "The sandbox could not begin"
    message = f"{what} ({type(error).__name__}: {safe_text(error)})."
    if disk.means_full(error):
        reason, message = "sandbox_error", disk.MESSAGE
    nothing = {"error": None, "child": {"exit_code": None, "signal": None}, "result": None, "result2": None, "files": [], "notes": []}
    unknown = {"log": {"bytes": 0, "truncated": True}, "milliseconds": {}, "memory_peak_bytes": None, "oom_kills": None}
    return json.dumps({"version": 1, "reason": reason, "message": cut(message, places.MESSAGE_CHARACTERS), **nothing, **unknown}).encode()


def read_words(said: bytes) -> tuple[dict, bool]:
    """The child's last complete line, and whether the script had started before it."""
    lines = said.split(b"\n")[:-1]
    parsed = []
    for line in lines[:1] + lines[-1:]:
        try:
            words = json.loads(line)
        except (ValueError, RecursionError):
            words = None
        parsed.append(words if isinstance(words, dict) else {})
    if not parsed:
        return {}, False
    started = parsed[0].get("script_started") is True
    return (parsed[-1] if "reason" in parsed[-1] else {}), started


def timed_out_ending(request: dict) -> dict:
    seconds = request["limits"]["wall_seconds"]
    return {"reason": "timed_out", "message": f"The script did not end within its wall limit of {seconds:g} s (wall_seconds).", "error": None}


def clean_ending(words: dict, script_started: bool, code: int | None, oom_kills: int | None, limits: dict) -> dict:
    """Reason, message and error; for a child that ended without a word, from the way it ended."""
    reason = text(words.get("reason"), places.NAME_CHARACTERS)
    if reason not in CHILD_REASONS:
        return unreported_ending(code, oom_kills, script_started, limits)
    if reason == "sandbox_error" and script_started and disk.is_full():
        # It may be the script that says so; that the disk is full is true all the same. The words are ours.
        return {"reason": reason, "message": disk.MESSAGE, "error": None}
    if reason == "sandbox_error" and script_started:
        # Not our fault any more: the script has broken what the runner needs in its process.
        reason = "crashed"
    return {"reason": reason, "message": text(words.get("message"), places.MESSAGE_CHARACTERS), "error": clean_error(words.get("error"))}


def unreported_ending(code: int | None, oom_kills: int | None, script_started: bool, limits: dict) -> dict:
    who = "The script" if script_started else "Reading the inputs"
    if code == -signal.SIGKILL and oom_kills:
        message = f"{who} took more memory than the limit of {size(limits, 'memory_bytes')} and was ended."
        return {"reason": "out_of_memory", "message": message, "error": None}
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        what = f"{who} was ended by {name}"
    else:
        what = f"{who} ended its process with exit code {code} before azureml_main returned"
    # Hostile input bytes can crash a reader, so that too is blamed on the job, not on the service.
    return {"reason": "crashed", "message": what + ".", "error": None}


def text(value: object, characters: int) -> str:
    """A bounded string that can be written as UTF-8."""
    return cut(value, characters).encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def number(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= INTEGER_MOST else None


def clean_error(error: object) -> dict | None:
    if not isinstance(error, dict):
        return None
    frames = error.get("frames")
    return {
        **{key: text(error.get(key), characters) for key, characters in ERROR_KEYS.items()},
        "line": number(error.get("line")),
        "frames": [clean_frame(frame) for frame in frames[-places.FRAMES :] if isinstance(frame, dict)] if isinstance(frames, list) else [],
    }


def clean_frame(frame: dict) -> dict:
    return {
        "file": text(frame.get("file"), places.NAME_CHARACTERS),
        "line": number(frame.get("line")),
        "function": text(frame.get("function"), places.NAME_CHARACTERS),
        "source": text(frame.get("source"), places.SOURCE_CHARACTERS),
    }


def clean_notes(notes: object) -> list[dict]:
    if not isinstance(notes, list):
        return []
    return [
        {key: text(note[key], places.SOURCE_CHARACTERS) for key in NOTE_KEYS if isinstance(note.get(key), str)}
        for note in notes[: places.NOTES]
        if isinstance(note, dict) and isinstance(note.get("kind"), str)
    ]


def clean_table(table: object) -> dict | None:
    if not isinstance(table, dict):
        return None
    columns = table.get("columns")
    return {
        "rows": number(table.get("rows")) or 0,
        "columns": [
            {"name": text(column.get("name"), places.NAME_CHARACTERS), "type": text(column.get("type"), places.NAME_CHARACTERS),
             "nullable": column.get("nullable") is True}
            for column in (columns if isinstance(columns, list) else [])[: places.COLUMNS_REPORTED]
            if isinstance(column, dict)
        ],
    }  # fmt: skip


def clean_entry(entry: object) -> dict | None:
    """What the entry point takes, in the shape of described.py."""
    if not isinstance(entry, dict):
        return None
    parameters = entry.get("parameters")
    return {
        "parameters": [clean_parameter(one) for one in (parameters if isinstance(parameters, list) else [])[: described.PARAMETERS] if isinstance(one, dict)],
        "more": entry.get("more") is True,
        "init": entry.get("init") is True,
    }  # fmt: skip


def clean_parameter(parameter: dict) -> dict:
    kind = parameter.get("type")
    cleaned = {
        "name": text(parameter.get("name"), places.NAME_CHARACTERS),
        "type": kind if kind in SIMPLE_NAMES else None,
        "required": parameter.get("required") is True,
    }
    return cleaned | ({"default": parameter["default"]} if "default" in parameter and described.is_plain(parameter["default"]) else {})


def clean_schemas(schemas: object) -> dict | None:
    """The columns of each table; None for anything in another shape: of half a schema nobody could tell what is missing."""
    try:
        cleaned = {
            side: {port: [clean_column(column) for column in schemas[side][port]] for port in ports if port in schemas[side]}
            for side, ports in SCHEMA_PORTS.items()
        }
    except (AttributeError, KeyError, TypeError):
        return None
    return cleaned if len(json.dumps(cleaned)) <= 2 * places.SCHEMAS_BYTES else None


def clean_column(column: dict) -> dict:
    return {
        "name": text(column["name"], places.SCHEMA_CHARACTERS),
        "type": text(column["type"], places.SCHEMA_CHARACTERS),
        "nullable": column["nullable"] is True,
    }


def clean_milliseconds(words: dict) -> dict:
    given = words.get("milliseconds")
    return {part: number(given.get(part)) or 0 for part in PARTS} if isinstance(given, dict) else {}


# What goes first when the whole is too large: long lists before texts.
SHRINKING = (
    lambda report: report.update(notes=report["notes"][:10]),
    lambda report: [table.update(columns=table["columns"][:200]) for port in ("result", "result2") if (table := report[port])],
    lambda report: report["error"] and report["error"].update(frames=[], traceback=report["error"]["traceback"][-4_000:]),
    lambda report: [table.update(columns=[]) for port in ("result", "result2") if (table := report[port])],
    lambda report: report.update(files=report["files"][:200]),
    lambda report: report.update(files=[], notes=[], error=None),
    lambda report: report.update(schemas=None),
)


def shrink(report: dict) -> bytes:
    """The report as JSON, with less and less in it until it fits."""
    encoded = json.dumps(report).encode()
    for step in SHRINKING:
        if len(encoded) <= places.REPORT_BYTES:
            break
        step(report)
        encoded = json.dumps(report).encode()
    return encoded
