"""Ways to take one control of the runner away, and what then gets through: an attack, a hostile table or a hostile bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fumehood.outcome import Reason
from tests.sandboxes import Ran
from worker.sandbox import Stop


@dataclass(frozen=True, kw_only=True)
class Weaker:
    """The runner after `change` (and `first`, before its environment is made). With it exactly one of these ends in another way:
    as `ends` says, which it must not without the change; or `shows` is true, which it must not be without."""

    change: str = ""
    first: str = ""
    attack: str = ""
    table: str = ""
    bundle: str = ""
    ends: Reason | None = None
    shows: Callable[[Ran], bool] | None = None


def names(ran: Ran, role: str) -> list[str]:
    return [file["name"] for file in ran.outcome.report["files"] if file["role"] == role]


OF_THE_CHILD = {
    "the child's descriptors are closed": Weaker(
        change="without(child, 'os', 'closerange')", attack="inherited_descriptors", ends=Reason.SCRIPT_ERROR
    ),
    "the child hears nothing of the worker": Weaker(
        change="without(child, 'os'); dup2 = os.dup2; child.os.dup2 = lambda old, new: new and dup2(old, new)",
        attack="inherited_descriptors",
        ends=Reason.SCRIPT_ERROR,
    ),
    "the child's signals are a program's": Weaker(
        change="without(child, 'signal', 'signal', 'set_wakeup_fd')", attack="inherited_descriptors", ends=Reason.SCRIPT_ERROR
    ),
    "the environment is replaced": Weaker(
        first="environment.replace = lambda variables: None", attack="inherited_descriptors", ends=Reason.SCRIPT_ERROR
    ),
    "the child goes first when memory runs out": Weaker(
        change="child.open = lambda path, *more, **named: open(os.devnull if 'oom' in str(path) else path, *more, **named)",
        attack="go_last_for_memory",
        ends=Reason.SCRIPT_ERROR,
    ),
    "only the process that was asked reports": Weaker(
        change="child.Progress.is_this_process = lambda self: True", attack="return_twice", ends=Reason.OK
    ),
    "nothing runs on after the report": Weaker(
        change="without(child, 'os'); child.os._exit = sys.exit", attack="late_hooks", ends=Reason.TIMED_OUT
    ),
    "the runner's modules have names of their own": Weaker(
        change="sys.path.append(here)", attack="shadow_the_runner", ends=Reason.SCRIPT_ERROR
    ),
}
OF_THE_SUPERVISOR = {
    "what the child left is killed": Weaker(
        change="processes.kill_all = lambda seconds: processes.reap()", attack="daemon_outlives", ends=Reason.CRASHED
    ),
    "the wall limit": Weaker(
        change="init = attempt.Attempt.__init__\n"
        "attempt.Attempt.__init__ = lambda self, worker, log, wall_at: init(self, worker, log, wall_at + 99)",
        attack="stop_oneself",
        shows=lambda ran: ran.exit.stopped is Stop.DEADLINE,
    ),
    "the clock decides, not a signal": Weaker(
        change="supervisor.Deadline.check = lambda self: os._exit(3)", attack="kill_everybody", ends=Reason.SANDBOX_ERROR
    ),
    "an interrupt is ignored": Weaker(
        change="without(supervisor, 'signal'); plain = supervisor.signal.signal\n"
        "supervisor.signal.signal = lambda number, what: None if number == supervisor.signal.SIGINT else plain(number, what)",
        attack="kill_everybody",
        ends=Reason.CRASHED,
    ),
    "how much the child may say": Weaker(
        change="places.CHILD_REPORT_BYTES = 2**40", attack="flood_the_report_pipe", ends=Reason.OUT_OF_MEMORY
    ),
}
OF_THE_REPORT = {
    "the report is written after the child's death": Weaker(
        change="report_file.replace = lambda descriptor, text: None", attack="forge_a_report", ends=Reason.OK
    ),
    "the report is cut to its length": Weaker(
        change="without(report_file, 'os', 'ftruncate')", attack="a_longer_report", ends=Reason.CRASHED
    ),
    "a report that fits": Weaker(
        change="import json; report.shrink = lambda whole: json.dumps(whole).encode()", attack="a_report_too_large", ends=Reason.CRASHED
    ),
    "a good word needs a table": Weaker(
        change="report.are_written = lambda results, answer: True", attack="forge_a_result", ends=Reason.OK
    ),
    "the disk is full when we see it": Weaker(
        change="report.disk.is_full = lambda: True", attack="blame_through_the_pipe", ends=Reason.SANDBOX_ERROR
    ),
    "words are held against their shape": Weaker(
        change="report.text = lambda value, characters: value; report.clean_error = lambda error: error",
        attack="rubbish_words",
        ends=Reason.CRASHED,
    ),
    "half a table is none": Weaker(
        change="without(report, 'os', 'truncate')", attack="rubbish_as_result", shows=lambda ran: ran.result_bytes > 0
    ),
    "the log's cap": Weaker(
        change="init = log.Log.__init__; log.Log.__init__ = lambda self, descriptor, cap, **more: init(self, descriptor, 2**40, **more)",
        attack="log_flood",
        ends=Reason.OUTPUT_TOO_LARGE,
    ),
    "the log is cut to what was said": Weaker(
        change="without(log, 'os', 'ftruncate')", attack="scribble_on_the_log", shows=lambda ran: "all is well" in ran.log
    ),
    "a table's size": Weaker(
        change="import contextlib; tables_out.output_limit = lambda *_: contextlib.nullcontext()",
        attack="result_too_large",
        shows=lambda ran: "result.arrow" in ran.report.too_large,
    ),
}
OF_THE_COLLECTOR = {
    "links are not followed": Weaker(
        change="collector.FILE_FLAGS &= ~os.O_NOFOLLOW",
        attack="rubbish_under_outputs",
        shows=lambda ran: "passwd" in names(ran, "artifact"),
    ),
    "a PNG is one": Weaker(
        change="collector.PNG_START = b''", attack="rubbish_under_outputs", shows=lambda ran: "false.png" in names(ran, "figure")
    ),
    "so many figures": Weaker(
        change="take = collector.take_figures; collector.take_figures = lambda box, most: take(box, 10**9)",
        attack="many_figures",
        shows=lambda ran: len(names(ran, "figure")) > 20,
    ),
    "so many files, with names so long": Weaker(
        change="places.ARTIFACTS = collector.NAMES_BYTES = 10**9; report.shrink = lambda whole: report.json.dumps(whole).encode()",
        attack="many_figures",
        shows=lambda ran: len(names(ran, "artifact")) > 1_000 or ran.outcome.reason is Reason.CRASHED,
    ),
    "files so deep": Weaker(
        change="places.ARTIFACT_DEPTH = 10**9",
        attack="many_figures",
        shows=lambda ran: any(name.endswith("/deep") for name in names(ran, "artifact")),
    ),
    "paths so long": Weaker(
        change="places.ARTIFACT_PATH_BYTES = 10**9",
        attack="many_figures",
        shows=lambda ran: any(name.endswith("/long") for name in names(ran, "artifact")),
    ),
}
OF_THE_READERS = {
    "Arrow: columns are validated": Weaker(
        change="arrow_guard.Room.check = lambda self, batch: None", table="arrow: bad offsets", ends=Reason.OK
    ),
    "Arrow: what a column claims": Weaker(
        change="arrow_guard.claimed_bytes = lambda column: 0", table="arrow: a hundred million nulls", ends=Reason.OUT_OF_MEMORY
    ),
    "Arrow: types that cannot be read": Weaker(change="arrow_guard.UNREADABLE = ()", table="arrow: a union", ends=Reason.SCRIPT_ERROR),
    "Arrow: so many columns": Weaker(
        change="arrow_guard.COLUMNS = 10**9", table="arrow: more columns than allowed", ends=Reason.OUTPUT_TOO_LARGE
    ),
    "Arrow: nested so deep": Weaker(change="arrow_guard.DEPTH = 10**9", table="arrow: lists too deep", ends=Reason.OK),
    "Arrow: names so long": Weaker(change="arrow_guard.NAME_CHARACTERS = 10**9", table="arrow: a name too long", ends=Reason.OK),
    "Arrow: batches named again and again": Weaker(
        change="arrow_in.checked_batches = lambda reader, *_: (reader.get_batch(n) for n in range(reader.num_record_batches))",
        table="arrow: one batch a thousand times",
        ends=Reason.OUT_OF_MEMORY,
    ),
    "Parquet: what a footer claims, and what comes out": Weaker(
        change="parquet_in.check_claims = lambda *_: None; parquet_in.checked_batches = lambda file, *_: file.iter_batches(65536)",
        table="parquet: gigabytes of zeros",
        ends=Reason.OUT_OF_MEMORY,
    ),
    "CSV: text only": Weaker(change="csv_in.check_text = lambda *_: None", table="csv: bytes that are no UTF-8", ends=Reason.OK),
    "JSON: keys once": Weaker(change="json_in.decode = json_in.json.JSONDecoder().raw_decode", table="json: a key twice", ends=Reason.OK),
    "JSON: so many columns": Weaker(
        change="rows_in.COLUMNS = arrow_guard.COLUMNS = 10**9", table="ndjson: more columns than allowed", ends=Reason.OUTPUT_TOO_LARGE
    ),
    "JSON: what rows claim": Weaker(
        change="rows_in.row_bytes = lambda kind: 0", table="json: ten thousand columns that grow", ends=Reason.OUT_OF_MEMORY
    ),
}
OF_THE_BUNDLE = {
    "a zip's names": Weaker(change="bundle.safe_parts = lambda name, port: name.split('/')", bundle="out of its directory", ends=Reason.OK),
    "a zip's kinds": Weaker(change="bundle.check_kind = lambda info, port: None", bundle="a link", ends=Reason.OK),
    "a zip's overlaps": Weaker(
        change="bundle.check_overlaps = lambda infos, port: [setattr(info, '_end_offset', None) for info in infos]",
        bundle="one body for two",
        ends=Reason.OK,
    ),
    "a zip's size": Weaker(
        change="unpack = bundle.unpack\n"
        "bundle.unpack = lambda path, to, limits: unpack(path, to, limits | {'bundle_unpacked_bytes': 2**60})",
        bundle="a gigabyte of zeros",
        ends=Reason.DISK_FULL,
    ),
    "a zip's entries": Weaker(
        change="unpack = bundle.unpack\nbundle.unpack = lambda path, to, limits: unpack(path, to, limits | {'bundle_entries': 10**9})",
        bundle="more entries than allowed",
        ends=Reason.OK,
    ),
    "a zip's names once": Weaker(
        change="bundle.checked_entries = lambda archive, limits, port: "
        "[bundle.Entry(info, info.filename.split('/'), info.is_dir()) for info in archive.infolist()]",
        bundle="a module twice",
        ends=Reason.OK,
    ),
    "a wheel's compiled code": Weaker(change="bundle.check_wheel = lambda *_: None", bundle="a wheel with compiled code", ends=Reason.OK),
}
WEAKER = OF_THE_CHILD | OF_THE_SUPERVISOR | OF_THE_REPORT | OF_THE_COLLECTOR | OF_THE_READERS | OF_THE_BUNDLE
