"""Checking: what the service would refuse, and what would surprise, said before anything runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace

from cli import check_parameters, check_probe, check_traps, terminal
from cli.errors import ExitCode, NoLocalRun
from cli.request_options import Request
from fumehood import script_reader
from fumehood.client.body import Upload
from fumehood.client.surface import Surface
from fumehood.errors import BadRequest
from fumehood.limits import check_parameters_size, requested
from fumehood.settings import Settings, read


@dataclass(frozen=True, slots=True)
class Finding:
    """`level`: an `error` would end the job, a `warning` may surprise, `fine` was looked at, `unchecked` was not."""

    level: str
    pointer: str
    detail: str
    line: int | None = None
    column: int | None = None
    caret: str | None = None


MARKS = {"error": "✗", "warning": "!", "fine": "✓", "unchecked": "?"}
WORDS = {"error": "ERROR", "warning": "warn ", "fine": "ok   ", "unchecked": "?    "}


def check(request: Request, *, static: bool, as_json: bool, sandbox: Callable[[Request], AbstractContextManager[Surface]]) -> ExitCode:
    """Print what was found. FAILED where something certainly goes wrong."""
    findings = list(statically(request))
    if not any(finding.level == "error" and finding.pointer.startswith(("/limits", "/dataset", "/bundle")) for finding in findings):
        findings += list(_rest(request, findings, static=static, sandbox=sandbox))
    else:
        findings.append(Finding("unchecked", "/", "the rest: no sandbox is started with these limits or files"))
    findings = list(dict.fromkeys(findings))
    bad = any(finding.level == "error" for finding in findings)
    if as_json:
        print(json.dumps({"ok": not bad, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        for finding in findings:
            _show(finding)
    return ExitCode.FAILED if bad else ExitCode.OK


def statically(request: Request) -> Iterator[Finding]:
    """What reading alone says."""
    settings = read(home="/")
    yield from _sizes(request, settings)
    try:
        requested(request.document.get("limits") or {}, default=settings.limits, ceiling=settings.ceiling)
    except BadRequest as error:
        yield from (Finding("error", field.pointer, field.detail) for field in error.errors)
    parameters = request.document.get("parameters") or {}
    if (too_many := check_parameters_size(parameters)) is not None:
        yield Finding("error", too_many.pointer, too_many.detail)
    source = _source(request, settings)
    if source is None:
        return
    for name, detail in check_parameters.faults(source, parameters):
        yield Finding("error", f"/parameters/{name}", detail)
    for trap in check_traps.traps(source, bundle="bundle" in request.inputs):
        yield Finding("warning", "/script", trap.text, trap.line)


def _rest(
    request: Request, findings: list[Finding], *, static: bool, sandbox: Callable[[Request], AbstractContextManager[Surface]]
) -> Iterator[Finding]:
    """What the image's own Python and packages say; without Docker what this Python can."""
    source = _source(request, read(home="/"))
    if source is None:
        return
    if static:
        yield from _without_a_sandbox(request, source, "asked for with --static")
        return
    try:
        files = {port: value for port, value in request.inputs.items() if isinstance(value, Upload)}
        with sandbox(replace(request, inputs=files)) as client:
            record, answer = check_probe.ask(client, request, source, check_traps.imported_modules(source))
    except NoLocalRun as error:
        yield from _without_a_sandbox(request, source, error.detail)
        return
    if not answer:
        yield Finding("error", "/inputs", str(record.get("message") or record.get("reason")))
        yield Finding("unchecked", "/script", "the script: its inputs cannot be read")
        return
    yield from _answered(request, answer)


def _answered(request: Request, answer: dict[str, object]) -> Iterator[Finding]:
    finding, missing, tables = answer.get("finding"), answer.get("missing"), answer.get("tables")
    if isinstance(finding, dict):
        yield _finding(finding)
    else:
        yield Finding("fine", "/script", f"Python {answer.get('python')} of the image reads it")
    for name, near in missing.items() if isinstance(missing, dict) else ():
        hint = f"; the nearest name it has is {near!r}" if near else ""
        yield Finding("error", "/script", f"imports {name}, which neither the image nor the bundle has{hint}")
    ports = [port for port in ("dataset1", "dataset2") if isinstance(request.inputs.get(port), Upload)]
    for port, shape in zip(ports, tables if isinstance(tables, list) else (), strict=False):
        yield Finding("fine", f"/{port}", f"{shape[0]:,} rows, {shape[1]:,} columns")
    if isinstance(request.inputs.get("bundle"), Upload):
        yield Finding("fine", "/bundle", "can be unpacked")
    for port, value in request.inputs.items():
        if not isinstance(value, Upload):
            yield Finding("unchecked", f"/{port}", "only the service can look whether it is there")


def _without_a_sandbox(request: Request, source: str, why: str) -> Iterator[Finding]:
    datasets = sum(port != "bundle" for port in request.inputs)
    finding = script_reader.examine(source, datasets, "bundle" in request.inputs)
    image = tuple(int(part) for part in read(home="/").image_python.split(".")[:2])
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if finding is not None and "caret" in finding and sys.version_info[:2] < image:
        yield replace(_finding(finding), level="warning", detail=f"{finding['detail']} (says Python {here}; the image has a newer one)")
    elif finding is not None:
        yield _finding(finding)
    else:
        yield Finding("fine", "/script", f"Python {here} reads it")
    files = [port for port, value in request.inputs.items() if isinstance(value, Upload)]
    what = ", ".join(["imported packages", *(f"what is in {port}" for port in files)])
    yield Finding("unchecked", "/", f"{what}: {why}")


def _finding(found: dict[str, object]) -> Finding:
    line, column, caret = found.get("line"), found.get("column"), found.get("caret")
    return Finding(
        "error",
        "/script",
        str(found.get("detail")),
        line if isinstance(line, int) else None,
        column if isinstance(column, int) else None,
        str(caret) if caret else None,
    )


def _sizes(request: Request, settings: Settings) -> Iterator[Finding]:
    bounds = {"dataset1": settings.dataset_bytes, "dataset2": settings.dataset_bytes, "bundle": settings.bundle_bytes}
    for port, value in request.inputs.items():
        if isinstance(value, Upload) and (size := value.path.stat().st_size) > bounds[port]:
            yield Finding("error", f"/{port}", f"has {size:,} bytes; the limit is {bounds[port]:,}")
    if (size := request.script.path.stat().st_size) > settings.script_bytes:
        yield Finding("error", "/script", f"has {size:,} bytes; the limit is {settings.script_bytes:,}")
    elif _source(request, settings) is None:
        yield Finding("error", "/script", "is not UTF-8")


def _source(request: Request, settings: Settings) -> str | None:
    with request.script.path.open("rb") as file:
        content = file.read(settings.script_bytes + 1)
    try:
        return content.decode() if len(content) <= settings.script_bytes else None
    except UnicodeDecodeError:
        return None


def _show(finding: Finding) -> None:
    places = "".join(f", {name} {value}" for name, value in (("line", finding.line), ("column", finding.column)) if value)
    detail = finding.detail.removeprefix(f"line {finding.line}, column {finding.column}: ")
    about = finding.pointer.removeprefix("/").replace("/", " ") or "not checked"
    mark = terminal.mark(MARKS[finding.level], WORDS[finding.level])
    print(f"{mark} {terminal.one_line(about)}{places}: {terminal.one_line(detail)}")
    for line in (finding.caret or "").splitlines():
        print(f"    {terminal.harmless(line)}")
