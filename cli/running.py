"""Running: a job from its submission to what it left behind, as the user sees it."""

from __future__ import annotations

import codecs
import hashlib
import json
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from cli import downloads, report
from cli.errors import ExitCode
from cli.request_options import Request
from cli.terminal import LogWriter, complain, console, one_line, say, size
from fumehood.client.body import OnBytes, Upload
from fumehood.client.errors import ClientError, InTheWay, NotThere
from fumehood.client.surface import Surface
from fumehood.client.watching import Shown
from fumehood.client.words import Document, is_final
from fumehood.dataset import ARROW

PROGRESS_BYTES = 4 * 2**20
"""Smaller uploads are over before a bar could be read."""
PREVIEW_BYTES_MAX = 64 * 2**20
LOG_TAIL_BYTES = 8 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What is to be shown and saved. `accepts` holds the media type of each table to save."""

    tables: Mapping[str, Path]
    accepts: Mapping[str, str]
    figures: Path | None
    artifacts: Path | None
    as_json: bool
    follow: bool
    quiet: bool
    local: bool = False
    """Nothing is kept, so nothing can be had afterwards."""


def submit(client: Surface, request: Request, *, quiet: bool) -> Document:
    files = [request.script, *(value for value in request.inputs.values() if isinstance(value, Upload))]
    with upload_progress(files, quiet=quiet) as on_bytes:
        return client.submit(request.script, request.inputs, request.document, on_bytes=on_bytes)


def run(client: Surface, request: Request, wishes: Wishes) -> ExitCode:
    try:
        record = submit(client, request, quiet=wishes.quiet)
    except KeyboardInterrupt:
        say("interrupted before the service answered; if it took the job all the same, `fumehood ps` shows it")
        return ExitCode.INTERRUPTED
    try:
        if not wishes.quiet:
            say(f"{record['id']} {report.state(record)}")
        if wishes.follow and not wishes.quiet:
            follow(client, record, sys.stderr if wishes.as_json else sys.stdout, local=wishes.local)
        record = client.wait(record["id"])
    except KeyboardInterrupt:
        return _cancel_first(client, record["id"], local=wishes.local)
    return _finish(client, record, wishes)


def follow(client: Surface, record: Document, stream: TextIO, *, local: bool = False) -> None:
    """State changes on stderr and the log on `stream` as they come; then what the live log left out."""
    writer = LogWriter(stream)
    shown = Shown()
    said = report.state(record)
    attempt = 1
    for event in client.follow(record["id"]):
        if event.kind == "log":
            data = event.data
            if data.get("attempt", attempt) != attempt:
                attempt = data["attempt"]
                shown = Shown()
                writer.end_line()
                say(f"attempt {attempt}: the log begins anew")
            writer.write(shown.fresh(int(data.get("offset", 0)), str(data.get("text", ""))))
        elif event.kind in ("state", "attempt") or (event.kind == "tick" and said.startswith("queued")):
            # The event says that something changed; the record says what, and how many are ahead.
            now = client.job(record["id"])
            if report.state(now) != said and not is_final(now):
                said = report.state(now)
                writer.end_line()
                say(said)
    _complete(client, client.wait(record["id"]), shown, writer, local=local)
    writer.end_line()


def _complete(client: Surface, record: Document, shown: Shown, writer: LogWriter, *, local: bool) -> None:
    """Print what the stored log has beyond what was shown live, or its end where the live log had gaps."""
    tail: deque[bytes] = deque()
    seen, digest, fits = 0, hashlib.sha256(), None
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for chunk in stored_log(client, record["id"]):
        head = chunk[: max(0, shown.bytes - seen)]
        digest.update(head)
        seen += len(chunk)
        if fits is None and seen >= shown.bytes:
            fits = digest.digest() == shown.digest.digest()
        if fits:
            writer.write(decoder.decode(chunk[len(head) :]))
        else:
            tail.append(chunk)
            while sum(map(len, tail)) - len(tail[0]) > LOG_TAIL_BYTES:
                tail.popleft()
    if seen and not fits:
        writer.end_line()
        rest = f"of {size(seen)}" if local else f"`fumehood log {record['id']}` prints all {size(seen)}"
        say(f"the log came faster than it can be followed; its end follows, {rest}")
        writer.write(b"".join(tail)[-LOG_TAIL_BYTES:].decode(errors="replace"))


def stored_log(client: Surface, job_id: str) -> Iterator[bytes]:
    """The log as UTF-8; nothing where the job never had one."""
    try:
        with client.content(f"/v1/jobs/{job_id}/log", accept="text/plain") as response:
            yield from response.iter_bytes()
    except NotThere:
        return


def _cancel_first(client: Surface, job_id: str, *, local: bool) -> ExitCode:
    """Ctrl-C: the job must not run on unseen. A second Ctrl-C leaves at once."""
    if sys.stderr.isatty():
        print(file=sys.stderr)  # the terminal has shown ^C
    if local:  # Leaving ends it, and erases it.
        say(f"{job_id} is cancelled; everything of it is being erased")
        return ExitCode.INTERRUPTED
    try:
        client.cancel(job_id)
        say(f"{job_id} is being cancelled")
    except InTheWay:
        say(f"{job_id} had ended already; `fumehood status {job_id}` shows how")
    except ClientError as error:
        complain(f"{job_id} could not be cancelled: {error.detail}; `fumehood cancel {job_id}` tries again")
    return ExitCode.INTERRUPTED


def _finish(client: Surface, record: Document, wishes: Wishes) -> ExitCode:
    code = report.exit_code(record)
    talk = not wishes.quiet and not wishes.as_json
    if code is not ExitCode.OK and not wishes.as_json:
        complain(f"{record['id']} {report.state(record)}")
        for line in report.failure(record):
            print(f"  {line}", file=sys.stderr)
    tables = [port for port in ("result", "result2") if record.get(port)]
    for port in tables:
        deliver_table(client, record, port, wishes.tables.get(port), wishes.accepts.get(port), talk=talk)
    for port in wishes.tables:
        if port not in tables and code is ExitCode.OK:
            complain(f"the script returned no {port}; {wishes.tables[port]} was not written")
    # A failed job keeps its figures and artifacts: they often show why.
    for what, directory in (("figures", wishes.figures), ("artifacts", wishes.artifacts)):
        deliver_files(client, record, what, directory, talk=talk, local=wishes.local)
    if talk:
        for note in report.notes(record):
            print(report.labelled("note", note))
        if told := report.taken_from(record):
            print(report.labelled("cached", told))
        print(report.labelled("erased", report.receipt(record)))
        print(report.labelled("times", report.times(record)))
    if wishes.as_json:
        print(json.dumps(record, indent=2, ensure_ascii=True))
    return code


def deliver_table(client: Surface, record: Document, port: str, target: Path | None, accept: str | None, *, talk: bool) -> None:
    """Save one result table where it is wanted, and show its first rows."""
    address = f"/v1/jobs/{record['id']}/{port}"
    if target is not None:
        downloads.save(client, address, target, accept=accept or ARROW)
    if talk:
        if port == "result2":
            print(f"\n{port}")
        if record[port]["bytes"] > PREVIEW_BYTES_MAX:
            print(report.labelled(port, f"{report.table_shape(record[port])}: too large for a preview"))
        elif target is not None and accept == ARROW:
            preview(target)
        else:
            with tempfile.TemporaryDirectory(prefix="fumehood-") as directory:
                downloads.save(client, address, Path(directory, "table"), accept=ARROW)
                preview(Path(directory, "table"))
        if target is not None:
            print(report.labelled("saved", f"{one_line(target)}  ({size(target.stat().st_size)})"))


def preview(path: Path) -> None:
    """Show the first rows of an Arrow file, or say why there are none to show."""
    from cli.preview import show_table

    try:
        show_table(path)
    except ValueError as error:
        say(f"no preview: {one_line(error)}")


def deliver_files(client: Surface, record: Document, what: str, directory: Path | None, *, talk: bool, local: bool) -> None:
    """Save figures or artifacts where they are wanted; else say that there are some, and how to get them."""
    count = record.get(what) or 0
    if not count:
        return
    if directory is None:
        if talk:
            saves = f"--{what} DIRECTORY saves them" if local else f"to be had with: fumehood {what} {record['id']} --dir DIRECTORY"
            print(report.labelled(what, f"{count}, {saves}"))
        return
    for line in downloads.save_all(client, record["id"], what, directory):
        if talk:
            print(report.labelled(what.removesuffix("s"), line))


@contextmanager
def upload_progress(uploads: list[Upload], *, quiet: bool) -> Iterator[OnBytes]:
    """A bar on a terminal, a line elsewhere, nothing for small files."""
    total = sum(upload.path.stat().st_size for upload in uploads)
    if quiet or total < PROGRESS_BYTES:
        yield lambda _: None
        return
    screen = console(sys.stderr)
    if not screen.is_terminal or screen.is_dumb_terminal:
        say(f"uploading {size(total)}")
        yield lambda _: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    with Progress(
        "uploading", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(), console=screen, transient=True
    ) as progress:
        bar = progress.add_task("", total=total)
        yield lambda count: progress.advance(bar, count)
    say(f"uploaded {size(total)}")
