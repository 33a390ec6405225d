"""Commands on hosted scripts: publish a version, look at what there is, move aliases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import terminal
from cli.errors import BadInput, ExitCode
from cli.job_commands import AsJson, Out, connect, print_json
from cli.request_options import Bundle, LimitPairs, Script
from fumehood.dataset import TABLE_FORMATS

if TYPE_CHECKING:
    from fumehood.client.calls import Scored
    from fumehood.client.errors import ServiceProblem
    from fumehood.client.surface import Surface
    from fumehood.client.words import Document

scripts_app = typer.Typer(help="Scripts under a name, in versions that a sandbox has checked.", rich_markup_mode=None, no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a script.")]
AliasName = Annotated[str, typer.Argument(metavar="ALIAS", help="Such as prod or canary.")]
Number = Annotated[int, typer.Argument(metavar="VERSION", min=1, help="Number of a version.")]
SOURCE_BYTES_MAX = 16 * 2**20


def publish(
    script: Script,
    name: Annotated[str, typer.Option(help="Name of the script: small letters, digits and -.")],
    sample: Annotated[
        str | None, typer.Option(metavar="TABLE", help="What the check runs on: a file, a dataset's id or a job's output.")
    ] = None,
    bundle: Bundle = None,
    param: Annotated[
        list[str] | None, typer.Option(metavar="NAME=DEFAULT", help="A parameter and its default; the others are as the function has them.")
    ] = None,
    limit: LimitPairs = None,
    description: Annotated[str, typer.Option(help="For people, one line.")] = "",
    concurrency: Annotated[int | None, typer.Option(min=1, help="Calls at once.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait for the check, and say what it found.")] = True,
    as_json: AsJson = False,
) -> None:
    """Publish a new version of a script under a name, and have it checked on the sample.

    The exit code is 1 where the check refuses it.
    """
    from cli import arguments, running
    from fumehood.client.body import Upload

    given = {"sample": arguments.table("--sample", sample), "bundle": arguments.bundle(bundle)}
    inputs: dict[str, Any] = {"script": arguments.script(script), **{part: value for part, value in given.items() if value is not None}}
    said = {"parameters": _parameters(param or ()), "limits": arguments.limits(limit or ()), "description": description}
    document = {key: value for key, value in {**said, "concurrency": concurrency}.items() if value}
    uploads = [value for value in inputs.values() if isinstance(value, Upload)]
    with connect() as client:
        with running.upload_progress(uploads, quiet=as_json) as on_bytes:
            record = client.send_form("version", _path(name), inputs, document, on_bytes, method="PUT")
        if wait:
            client.wait(record["job"])
            record = client.document(_path(name, "versions", record["number"]))
    if as_json:
        print_json(record)
    else:
        print(terminal.one_line(f"{name} version {record['number']} is {record['state']}"))
    if record["state"] == "refused":
        if not as_json:
            terminal.complain(terminal.one_line(record["message"]) or str(record["reason"]))
            for line in str((record["error"] or {}).get("traceback") or "").splitlines():
                terminal.say(terminal.one_line(line))
        raise typer.Exit(ExitCode.FAILED)


def score(
    name: Name,
    dataset1: Annotated[
        Path | None, typer.Option("--dataset1", "--data", metavar="FILE", help="A table (.csv, .parquet, .arrow, .json, .ndjson).")
    ] = None,
    param: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter; the script says of what type it is.")] = None,
    version: Annotated[int | None, typer.Option(min=1, metavar="NUMBER", help="A version; without it and --alias the latest.")] = None,
    alias: Annotated[str | None, typer.Option(metavar="ALIAS", help="Such as prod, instead of --version.")] = None,
    out: Out = None,
) -> None:
    """Call a published script with a table, and show its answer or save it.

    Exit codes are those of `run`. A call is answered within 60 seconds or not at all.
    """
    from cli import arguments, running
    from fumehood.client import calls
    from fumehood.client.errors import ServiceProblem
    from fumehood.dataset import ARROW

    accept = arguments.table_target("--out", out) or ARROW
    table = arguments.dataset_file("--dataset1", dataset1, TABLE_FORMATS) if dataset1 is not None else None
    query = arguments.spoken_parameters(param or ())
    if meant := [one for one in calls.RESERVED if one in query]:
        raise BadInput(f"--param: {meant[0]} is no parameter of a script; --{meant[0]} says which version is meant")
    query |= {key: str(value) for key, value in (("version", version), ("alias", alias)) if value is not None}
    with connect() as client, running.upload_progress([table] if table else [], quiet=False) as on_bytes:
        call = calls.call_of(name, table, query, accept=accept, on_bytes=on_bytes)
        try:
            answer = calls.scored(client.exchange(call, bytes_max=calls.ANSWER_BYTES_MAX))
        except ServiceProblem as problem:
            raise _failed(problem) from None
    _deliver(answer, out)


@scripts_app.command("list")
def list_scripts(as_json: AsJson = False) -> None:
    """List the scripts, newest first."""
    from cli import report

    with connect() as client:
        found = list(client.listing("/v1/scripts"))
    if as_json:
        return print_json(found)
    rows = [(one["name"], one["latest"] or "none", one["versions"], report.when(one["created_at"])) for one in found]
    terminal.columns(("SCRIPT", "LATEST", "VERSIONS", "CREATED"), rows)


@scripts_app.command("show")
def show(
    name: Name,
    number: Annotated[int | None, typer.Argument(metavar="[VERSION]", min=1, help="Else the latest.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a version: what goes in and out, its parameters and limits; and the script's aliases."""
    with connect() as client:
        script = client.document(_path(name))
        wanted = number or script["latest"] or _newest(client, name)
        version = client.document(_path(name, "versions", wanted)) if wanted else None
    if as_json:
        return print_json({"script": script, "version": version})
    for alias in script["aliases"]:
        print(f"{'alias':<12} {terminal.one_line(alias['name'])} = {_shares(alias)}")
    for label, text in _told(version) if version else ():
        print(f"{label:<12} {terminal.one_line(text)}")


@scripts_app.command("versions")
def versions(name: Name, as_json: AsJson = False) -> None:
    """List the versions of a script, newest first."""
    from cli import report

    with connect() as client:
        found = list(client.listing(_path(name, "versions")))
    if as_json:
        return print_json(found)
    rows = [(one["number"], one["state"], report.when(one["created_at"]), one["description"], one["message"]) for one in found]
    terminal.columns(("VERSION", "STATE", "CREATED", "DESCRIPTION", "MESSAGE"), rows)


@scripts_app.command("compare")
def compare(name: Name, before: Number, after: Number, as_json: AsJson = False) -> None:
    """Show where two versions differ, field by field, and their source line by line."""
    import difflib
    import json

    with connect() as client:
        found = client.document(_path(name, "versions", before, "compare", after))
        if as_json:
            return print_json(found)
        old, new = (
            client.read(_path(name, "versions", number, "source"), bytes_max=SOURCE_BYTES_MAX).decode(errors="replace").splitlines()
            for number in (before, after)
        )
    for one in found["differences"]:
        print(terminal.one_line(f"{one['field']}: {json.dumps(one['before'])} -> {json.dumps(one['after'])}"))
    for line in difflib.unified_diff(old, new, f"{name} {before}", f"{name} {after}", lineterm=""):
        print(terminal.one_line(line))


@scripts_app.command("alias")
def alias(
    name: Name,
    alias: AliasName,
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="[VERSION[=SHARE]...]", help="One version, or several with their shares in percent.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the alias; the versions stay.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set an alias to a version, or to several that share the calls, such as `3=90 4=10`; without any, show it."""
    path = _path(name, "aliases", alias)
    if delete and targets:
        raise BadInput("--delete takes no versions")
    with connect() as client:
        if delete:
            client.send("DELETE", path)
            return
        record = client.send("PUT", path, {"versions": _targets(targets)}) if targets else client.document(path)
    print_json(record) if as_json else print(terminal.one_line(f"{record['name']} = {_shares(record)}"))


@scripts_app.command("rollback")
def rollback(name: Name, alias: AliasName, as_json: AsJson = False) -> None:
    """Have an alias stand for what it stood for before; once more, for what it stands for now."""
    with connect() as client:
        record = client.send("POST", _path(name, "aliases", alias, "rollback"))
    print_json(record) if as_json else print(terminal.one_line(f"{record['name']} = {_shares(record)}"))


@scripts_app.command("delete")
def delete(
    name: Name, number: Annotated[int | None, typer.Argument(metavar="[VERSION]", min=1, help="Else all versions, and the name.")] = None
) -> None:
    """Delete a script, or one version of it."""
    with connect() as client:
        client.send("DELETE", _path(name) if number is None else _path(name, "versions", number))


def _failed(problem: ServiceProblem) -> Exception:
    """Of a call that the script did not answer, or not in time, all that is known of it; another problem is told as any."""
    import sys

    from cli import report
    from fumehood.client.calls import ENDED
    from fumehood.client.errors import NotInTime

    if problem.job is None or not (problem.slug in ENDED or isinstance(problem, NotInTime)):
        return problem
    reason = problem.problem.get("reason")
    terminal.complain(terminal.one_line(f"{problem.job} failed{f' ({reason})' if reason else ''}"))
    for line in report.failure({**problem.problem, "message": problem.detail}):
        print(f"  {line}", file=sys.stderr)
    return typer.Exit(ExitCode.FAILED)


def _deliver(answer: Scored, target: Path | None) -> None:
    import tempfile

    from cli import downloads, report, running

    if target is not None:
        with downloads.whole(target) as file:
            file.write(answer.data)
        print(report.labelled("saved", f"{terminal.one_line(target)}  ({terminal.size(len(answer.data))})"))
    elif answer.data:
        with tempfile.TemporaryDirectory(prefix="fumehood-") as directory:
            table = Path(directory, "table")
            table.write_bytes(answer.data)
            running.preview(table)
    else:
        print(report.labelled("result", "no columns"))
    print(report.labelled("version", terminal.one_line(answer.version)))
    print(report.labelled("job", terminal.one_line(answer.job)))


def _told(version: Document) -> Iterator[tuple[str, str]]:
    yield "version", f"{version['number']}, {version['state']}"
    for name in ("description", "message"):
        if version[name]:
            yield name, version[name]
    schemas = version["schemas"] or {"inputs": {}, "outputs": {}}
    for port, columns in {**schemas["inputs"], **schemas["outputs"]}.items():
        yield port, ", ".join(f"{column['name']} {column['type']}" for column in columns)
    for parameter in version["parameters"] or ():
        kind = f" {parameter['type']}" if parameter["type"] else ""
        yield "parameter", f"{parameter['name']}{kind}{'' if parameter['required'] else ' = ' + repr(parameter['default'])}"
    yield "at once", str(version["concurrency"])
    yield "check", version["job"]
    yield "created", version["created_at"]


def _newest(client: Surface, name: str) -> int | None:
    newest = next(iter(client.listing(_path(name, "versions"), limit="1")), None)
    return int(newest["number"]) if newest else None


def _shares(alias: Document) -> str:
    targets = alias["versions"]
    return str(targets[0]["number"]) if len(targets) == 1 else ", ".join(f"{one['number']} ({one['share']}%)" for one in targets)


def _targets(said: Sequence[str]) -> list[dict[str, int]]:
    found = []
    for one in said:
        number, equals, share = one.partition("=")
        if not number.isdecimal() or (equals and not share.removesuffix("%").isdecimal()):
            raise BadInput(f"found {one!r}; expected the number of a version, or one with its share such as 3=90")
        found.append({"number": int(number)} | ({"share": int(share.removesuffix("%"))} if equals else {}))
    return found


def _parameters(pairs: Sequence[str]) -> dict[str, Any]:
    from cli import arguments
    from fumehood.script import TYPE_OF

    found = {}
    for name, value in arguments.parameters(pairs).items():
        if type(value) not in TYPE_OF:
            raise BadInput(f"--param: {name} is {value!r}; expected a number, true, false or text")
        found[name] = {"type": TYPE_OF[type(value)], "default": value}
    return found


def _path(name: str, *rest: object) -> str:
    from fumehood.client.words import script_path

    return script_path(name, *rest)
