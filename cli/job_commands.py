"""Commands on jobs. What they do is imported when they are called, so that `--help` and `ps` come at once."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import terminal
from cli.errors import BadInput, ExitCode
from cli.request_options import Request, with_request

if TYPE_CHECKING:
    from fumehood.client.surface import Surface
    from fumehood.client.words import Document

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job, job_….")]
Out = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Save the result table; the ending (.arrow, .parquet, .csv, .json, .ndjson) says the format."),
]
Out2 = Annotated[Path | None, typer.Option(metavar="FILE", help="The same for the second table.")]
Figures = Annotated[Path | None, typer.Option(metavar="DIR", help="Save the figures there.")]
Artifacts = Annotated[Path | None, typer.Option(metavar="DIR", help="Save the files from ./outputs/ there.")]
Local = Annotated[bool, typer.Option("--local", help="On this machine: needs Docker, and no service. Keeps nothing.")]
Cache = Annotated[bool, typer.Option("--cache", help="Take the result of an earlier job that is the same and asked for this, too.")]
Priority = Annotated[int, typer.Option(min=-10, max=10, help="Among your own jobs that wait: the highest goes first.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the record as one JSON document on stdout.")]


@with_request(leave_out=["callback_url"])
def run(
    request: Request,
    out: Out = None,
    out2: Out2 = None,
    figures: Figures = None,
    artifacts: Artifacts = None,
    as_json: AsJson = False,
    follow: Annotated[bool, typer.Option(help="Show the log while the job runs.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only save what was asked for, and say what went wrong.")] = False,
    local: Local = False,
    cache: Cache = False,
) -> None:
    """Run a script, follow its log, show and save what it returns.

    Exit codes: 0 done, 1 the script failed, 2 bad input, 3 the service is away or at fault, 130 interrupted (the job is
    cancelled first).
    """
    from cli import arguments, running

    tables = {port: path for port, path in (("result", out), ("result2", out2)) if path is not None}
    options = {"result": "--out", "result2": "--out2"}
    accepts = {port: arguments.table_target(options[port], path) or "" for port, path in tables.items()}
    arguments.directory_target("--figures", figures)
    arguments.directory_target("--artifacts", artifacts)
    wishes = running.Wishes(
        tables=tables, accepts=accepts, figures=figures, artifacts=artifacts, as_json=as_json, follow=follow, quiet=quiet, local=local
    )
    if cache and local:
        raise BadInput("--cache finds what a service has kept; a local run keeps nothing")
    request = _cached(request, cache)
    with local_service(request) if local else connect() as client:
        raise typer.Exit(running.run(client, request, wishes))


@with_request()
def submit(request: Request, as_json: AsJson = False, cache: Cache = False, priority: Priority = 0) -> None:
    """Queue a script and print the job's id."""
    from cli import running

    request = _cached(request, cache)
    if priority:
        request = replace(request, document={**request.document, "priority": priority})
    with connect() as client:
        record = running.submit(client, request, quiet=False)
    print_json(record) if as_json else print(terminal.one_line(record["id"]))


def _cached(request: Request, cache: bool) -> Request:
    return replace(request, document={**request.document, "cache": True}) if cache else request


def status(job: JobId, as_json: AsJson = False) -> None:
    """Show a job's record."""
    from cli import report

    with connect() as client:
        record = client.job(job)
    if as_json:
        return print_json(record)
    for name, text in report.details(record):
        print(report.labelled(name, text))


def log(job: JobId, follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False) -> None:
    """Print a job's log."""
    import codecs

    from cli import running

    with connect() as client:
        if follow:
            return running.follow(client, client.job(job), sys.stdout)
        writer = terminal.LogWriter(sys.stdout)
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        with client.content(f"/v1/jobs/{_plain_id(job)}/log", accept="text/plain") as response:
            for chunk in response.iter_bytes():
                writer.write(decoder.decode(chunk))


def result(
    job: JobId,
    out: Out = None,
    out2: Out2 = None,
    preview: Annotated[bool, typer.Option("--preview", help="Show what each column holds, with little histograms.")] = False,
) -> None:
    """Show the result table of a job that has ended, and save it."""
    from cli import arguments, report, running
    from fumehood.client.words import is_final

    accepts = {"result": arguments.table_target("--out", out), "result2": arguments.table_target("--out2", out2)}
    with connect() as client:
        record = client.job(job)
        if not is_final(record):
            raise BadInput(f"{job} has not ended, it is {report.state(record)}; wait for it with: fumehood log -f {job}")
        code = report.exit_code(record)
        for port, target in (("result", out), ("result2", out2)):
            if record.get(port):
                running.deliver_table(client, record, port, target, accepts[port], talk=not preview)
                if preview:
                    _show_profile(client, record, port)
            elif target is not None or port == "result":
                terminal.complain(f"{job} ended as {report.state(record)} and left no {port}")
                code = code or ExitCode.BAD_INPUT
    raise typer.Exit(code)


def _show_profile(client: Surface, record: Document, port: str) -> None:
    from cli.profile_view import show_profile

    if port == "result2":
        print(f"\n{port}")
    show_profile(client.document(f"/v1/jobs/{_plain_id(record['id'])}/{port}/preview"))


def figures(job: JobId, directory: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where to save them.")] = Path()) -> None:
    """Save the figures of a job that has ended."""
    _save_files(job, "figures", directory)


def artifacts(job: JobId, directory: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where to save them.")] = Path()) -> None:
    """Save the files that a job left below ./outputs/."""
    _save_files(job, "artifacts", directory)


def cancel(job: JobId) -> None:
    """Cancel a job."""
    from cli import report

    with connect() as client:
        print(report.state(client.cancel(job)))


def ps(
    state: Annotated[str | None, typer.Option(help="queued, running, succeeded, failed or cancelled.")] = None,
    label: Annotated[str | None, typer.Option(metavar="NAME=VALUE", help="Only jobs with this label.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    from itertools import islice

    from cli import arguments, report

    pair = next(iter(arguments.labels([label]).items())) if label else None
    with connect() as client:
        query = client.jobs(state=state, label=":".join(pair) if pair else None, limit=str(min(limit, 200)))
        found = list(islice(query, limit))
    if as_json:
        return print_json(found)
    rows = [
        (job["id"], report.state(job), report.when(job["created_at"]), ",".join(f"{k}={v}" for k, v in (job.get("labels") or {}).items()))
        for job in found
    ]
    terminal.columns(("JOB", "STATE", "CREATED", "LABELS"), rows)


def _save_files(job: str, what: str, directory: Path) -> None:
    from cli import arguments, downloads

    arguments.directory_target("--dir", directory)
    with connect() as client:
        for line in downloads.save_all(client, _plain_id(job), what, directory):
            print(line)


@with_request(
    script=Annotated[Path | None, typer.Option("--local", metavar="SCRIPT", help="Debug this script with these files, no job.")],
    leave_out=["label", "callback_url"],
)
def debug(
    request: Request | None,
    job: Annotated[str | None, typer.Argument(metavar="[JOB]", help="Id of a job, job_….")] = None,
    step: Annotated[bool, typer.Option("--step", help="Stop at the first line of azureml_main.")] = False,
    breaks: Annotated[list[int] | None, typer.Option("--break", metavar="LINE", help="Stop at this line of the script.")] = None,
) -> None:
    """Run a job once more, here, under pdb: in the image it ran in, with its inputs, stopping where it fails.

    Or a script with files: fumehood debug --local SCRIPT --dataset1 TABLE. Needs Docker. The sandbox is that of any run, but for
    a wall limit of an hour; the result is not kept.
    """
    from cli import debugging

    if (job is None) == (request is None):
        raise BadInput("debug takes a job's id, or --local and a script")
    if request is not None:
        code = debugging.debug(None, debugging.case_of_files(request), step=step, breaks=breaks or [])
    else:
        with connect() as client:
            code = debugging.debug(client, debugging.case_of_job(client, str(job)), step=step, breaks=breaks or [])
    raise typer.Exit(code)


@with_request(leave_out=["label", "callback_url"])
def check(
    request: Request,
    static: Annotated[bool, typer.Option("--static", help="Only read the script; start no sandbox.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as one JSON document.")] = False,
) -> None:
    """Say what would be refused or go wrong, without running the script.

    With Docker the tables, the bundle and the imports are looked at in a sandbox, by the image's own Python. Exit codes: 0 nothing
    certainly wrong, 1 something is, 2 bad arguments.
    """
    from cli import checking

    raise typer.Exit(checking.check(request, static=static, as_json=as_json, sandbox=local_service))


def local_service(request: Request) -> AbstractContextManager[Surface]:
    """A service in this process for the one job. Raises BadInput where an input is not a file."""
    from cli import local
    from fumehood.client.body import Upload

    for port, value in request.inputs.items():
        if not isinstance(value, Upload):
            raise BadInput(f"--{port} names what a service stores; a local run has no stored datasets and jobs: give it a file")
    uploads = [request.script, *(value for value in request.inputs.values() if isinstance(value, Upload))]
    inputs_bytes = sum(upload.path.stat().st_size for upload in uploads)
    return local.local_service(request.document.get("limits") or {}, inputs_bytes=inputs_bytes)


def connect() -> Surface:
    from cli import config

    return config.connect()


def _plain_id(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def print_json(document: Any) -> None:
    print(json.dumps(document, indent=2))
