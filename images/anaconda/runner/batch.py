"""A chunk: many items of one batch, one after the other, each in a child of its own and in an empty working directory.

Runs in the supervisor. Between two items every other process of the sandbox is killed, and whatever the item left in the
working directory and in shared memory is removed. Results and logs of all items lie one behind the other in the same two files;
only their ends are ours: an item could write over those of its own batch that came before it.
"""

import contextlib
import errno
import json
import os
import time

from . import child, disk, forkable, item, places, processes, rehearsal, report, sweeping
from .attempt import KILL_SECONDS, Attempt
from .log import Log

KILL_AGAIN_SECONDS = 1.0
# Python adapts its code to what it does in the first few runs of it.
REHEARSALS = 3
# Of one item in the report, so that the whole fits into what the worker reads.
ITEM_CHARACTERS = {"message": 1_000, "type": 200, "traceback": 2_000, "file": 200, "source": 200}
ITEM_BYTES = 7 * 1024
ITEM_NOTES = 10
ITEM_COLUMNS = 100
OTHERS = (places.RESULT2, places.FILES)


class Chunk:
    """The items' way through one sandbox."""

    def __init__(self, request: dict, worker, log_descriptor: int, log_bytes: int, wall_at: float, modules_at_start: frozenset[str]):
        self._request = request
        self._worker = worker
        self._wall_at = wall_at
        self._modules_at_start = modules_at_start
        self._result = os.open(places.RESULT, os.O_RDWR)
        self._result_end = 0
        self._log = log_descriptor
        self._log_end = 0
        # Nobody's log can leave the others without.
        self._log_bytes = log_bytes // max(1, len(request["items"]))
        self.truncated = False
        rehearse()

    def run(self, child_ended: int) -> list[dict]:
        """What to report of each item, by number."""
        endings = []
        for one in self._request["items"]:
            began_at = time.monotonic()
            if began_at >= self._wall_at:
                endings.append(self._not_reached(one))
                continue
            self._clear()
            endings.append(bounded(self._run_one(one, child_ended, began_at)))
        self._clear()
        return endings

    def _run_one(self, one: dict, child_ended: int, began_at: float) -> dict:
        request = item.request_of(self._request, one, result_end=aligned(self._result_end))
        wall_at = began_at + request["limits"]["wall_seconds"]
        log = Log(self._log, self._log_bytes, begin=self._log_end)
        kills = processes.first_figure(processes.OOM_KILLS) or 0
        attempt = Quiet(self._worker, log, min(wall_at, self._wall_at))
        attempt.start(lambda log_end, report_end: child.main(request, log_end, report_end, self._modules_at_start))
        attempt.watch(child_ended)
        attempt.end()
        kills = (processes.first_figure(processes.OOM_KILLS) or 0) - kills
        ending, tables, notes = self._judge(attempt, request, kills)
        if attempt.timed_out and wall_at > self._wall_at:
            ending["message"] = f"The time of the item's whole chunk, {self._request['limits']['wall_seconds']:g} s, was over before the item was done."
        if ending["error"]:
            log.feed_paragraph(ending["error"]["traceback"])
        facts = log.finish()
        if log.disk_full or (ending["reason"] == "sandbox_error" and disk.is_full()):
            # Told by the whole chunk: nobody's fault in here, and to be run again.
            raise OSError(errno.ENOSPC, disk.MESSAGE)
        window = {"offset": self._log_end, **facts}
        self._log_end += facts["bytes"]
        self.truncated = self.truncated or facts["truncated"]
        spent = round((time.monotonic() - began_at) * 1000)
        return {"number": one["number"], **ending, **tables, "log": window, "notes": notes, "milliseconds": spent}

    def _judge(self, attempt: Attempt, request: dict, oom_kills: int) -> tuple[dict, dict, list]:
        """The ending, the tables that are really there, and the notes. What lies behind the last good table is cut off."""
        words, script_started = report.read_words(attempt.said())
        code = os.waitstatus_to_exitcode(attempt.status) if attempt.status is not None else None
        if attempt.timed_out:
            ending = report.timed_out_ending(request)
        else:
            ending = report.clean_ending(words, script_started, code, oom_kills, request["limits"])
        tables = dict.fromkeys(places.RESULTS)
        end = self._result_end
        if ending["reason"] == "ok":
            for port in places.RESULTS:
                tables[port] = self._table(words.get(port), aligned(end))
                end = tables[port]["offset"] + tables[port]["bytes"] if tables[port] else end
            if tables["result"] is None or bool(tables["result2"]) != bool(words.get("result2")):
                tables, end = dict.fromkeys(places.RESULTS), self._result_end
                ending = {"reason": "crashed", "message": "The script ended its process before its result was written.", "error": None}
        os.ftruncate(self._result, end)
        self._result_end = end
        return ending, tables, report.clean_notes(words.get("notes"))

    def _table(self, said: object, offset: int) -> dict | None:
        """What the child said of a table, if there is one where it has to be, with an Arrow file's first and last bytes."""
        table = report.clean_table(said)
        size = report.number(said.get("bytes")) if table else None
        if not size or size <= 2 * len(report.ARROW_MARK):
            return None
        ends = [os.pread(self._result, len(report.ARROW_MARK), offset + at) for at in (0, size - len(report.ARROW_MARK))]
        return {**table, "offset": offset, "bytes": size} if ends == [report.ARROW_MARK] * 2 else None

    def _not_reached(self, one: dict) -> dict:
        seconds, count = self._request["limits"]["wall_seconds"], len(self._request["items"])
        message = f"The item was not reached: the time of its chunk of {count} items, {seconds:g} s, was over before."
        window = {"offset": self._log_end, "bytes": 0, "truncated": False}
        ending = {"reason": "timed_out", "message": message, "error": None, **dict.fromkeys(places.RESULTS)}
        return {"number": one["number"], **ending, "log": window, "notes": [], "milliseconds": 0}

    def _clear(self) -> None:
        """Nothing of the item before is left: no process, no file, no shared memory."""
        processes.kill_all(KILL_SECONDS)
        for directory in (places.JOB, places.SHARED_MEMORY):
            sweeping.empty(directory)
        for path in OTHERS:
            os.truncate(path, 0)


def rehearse() -> None:
    """Take a table of our own the whole way here, so that no item has to be the first: a third of what an item costs is the copying
    of pages that are touched for the first time after a fork.

    Raises:
        RuntimeError: a library has started a thread, so that no fork would be safe any more.
    """
    rehearsal.rehearse()
    forkable.fill_holes()
    forkable.gather_code(rehearsal.rehearse)
    for _ in range(REHEARSALS):
        rehearsal.rehearse()
    if len(os.listdir("/proc/self/task")) != 1:
        raise RuntimeError("a library has left a thread behind in the supervisor")
    forkable.share_objects()
    forkable.enlarge_pages()


class Quiet(Attempt):
    """An attempt that nobody follows while it runs. Most items end before anybody listens to them, which spares two changes of the
    process for each."""

    LISTEN_AFTER_SECONDS = 0.5

    def _tell_log(self) -> None:
        self._told_bytes = self._log.settled_bytes


def outlive(chunk: Chunk, child_ended: int, milliseconds: dict) -> bytes:
    """See all items to their end; the report."""
    try:
        began_at = time.monotonic()
        endings = chunk.run(child_ended)
        milliseconds["items"] = round((time.monotonic() - began_at) * 1000)
        return assemble(endings, chunk, milliseconds)
    except Exception as error:
        with contextlib.suppress(Exception):
            processes.kill_all(KILL_AGAIN_SECONDS)
        return report.of_failure("crashed", error)


def assemble(endings: list[dict], chunk: Chunk, milliseconds: dict) -> bytes:
    nothing = {"error": None, "result": None, "result2": None, "files": [], "notes": []}
    whole = {
        "version": 1, "reason": "ok", "message": "", "child": {"exit_code": None, "signal": None}, **nothing,
        "log": {"bytes": 0, "truncated": chunk.truncated}, "milliseconds": milliseconds,
        "memory_peak_bytes": processes.first_figure(processes.MEMORY_PEAK), "oom_kills": processes.first_figure(processes.OOM_KILLS),
        "items": endings,
    }  # fmt: skip
    return json.dumps(whole).encode()


def bounded(ending: dict) -> dict:
    """The ending with texts and lists as short as one of many needs them; the whole traceback stands in the log."""
    ending["message"] = report.text(ending["message"], ITEM_CHARACTERS["message"])
    if error := ending["error"]:
        error |= {name: report.text(error[name], most) for name, most in ITEM_CHARACTERS.items() if name != "traceback"}
        error |= {"traceback": error["traceback"][-ITEM_CHARACTERS["traceback"] :], "frames": []}
    ending["notes"] = ending["notes"][:ITEM_NOTES]
    for port in places.RESULTS:
        if ending[port]:
            ending[port]["columns"] = ending[port]["columns"][:ITEM_COLUMNS]
    for shorten in SHRINKING:
        if len(json.dumps(ending)) <= ITEM_BYTES:
            break
        shorten(ending)
    return ending


SHRINKING = (
    lambda ending: ending.update(notes=[]),
    lambda ending: [ending[port].update(columns=[]) for port in places.RESULTS if ending[port]],
    lambda ending: ending["error"] and ending["error"].update(traceback="", message="", source=""),
    lambda ending: ending.update(message=ending["message"][:200], error=None),
)


def aligned(end: int) -> int:
    return -(-end // item.ALIGNMENT_BYTES) * item.ALIGNMENT_BYTES
