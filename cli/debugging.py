"""Debugging: one job, or a script with its files, under pdb in a sandbox of this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cli import keyboard
from cli.errors import BadInput, ExitCode, NoLocalRun
from cli.local_engine import find_image, open_engine
from cli.local_home import local_home, sandbox_uids, signals_lead_out
from cli.request_options import Request
from cli.terminal import one_line, say
from fumehood import log
from fumehood.client.body import Upload
from fumehood.client.errors import NotThere
from fumehood.client.surface import Surface
from fumehood.dataset import format_of
from fumehood.job import Input, Job
from fumehood.limits import GIB, MIB, Limits, requested
from fumehood.settings import read
from worker.debugging import Wishes, prepare
from worker.docker_sandbox import DockerHost
from worker.journey import FILE_OF_PORT, write_request
from worker.sandbox import StopSignal
from worker.scratch import Scratch

SESSION_SECONDS = 3600.0
"""A person thinks longer than a script runs, but not for ever."""
OUTPUT_BYTES = 64 * MIB
SIGKILLED, SUPERVISOR_LEFT = 137, 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What is debugged. `formats` and `files` are by port; a file is a path here, or the address of one of the service's."""

    files: Mapping[str, Path | str]
    formats: Mapping[str, str]
    parameters: dict[str, Any]
    limits: Limits
    image: str | None
    bytes: int


def case_of_job(client: Surface, job_id: str) -> Case:
    """What a job of the service was given. Raises BadInput where that is not there any more."""
    record = client.job(job_id)
    try:
        items = list(client.listing(f"/v1/jobs/{record['id']}/inputs"))
    except NotThere as error:
        raise BadInput(f"{job_id}: its inputs cannot be had from this service: {error.detail}") from None
    items = [item for item in items if item["port"] in FILE_OF_PORT]
    return Case(
        files={item["port"]: f"/v1/jobs/{record['id']}/inputs/{item['port']}" for item in items},
        formats={item["port"]: str(item["format"]) for item in items},
        parameters=record.get("parameters") or {},
        limits=Limits.from_dict(record["limits"]),
        image=record.get("image"),
        bytes=sum(int(item["bytes"]) for item in items),
    )


def case_of_files(request: Request) -> Case:
    """What the arguments name. Raises BadRequest for limits that cannot be, BadInput for what is no file."""
    uploads: dict[str, Upload] = {"script": request.script}
    for port, value in request.inputs.items():
        if not isinstance(value, Upload):
            raise BadInput(f"--{port} names what a service stores; with --local give it a file")
        uploads[port] = value
    settings = read(home="/")
    return Case(
        files={port: upload.path for port, upload in uploads.items()},
        formats={port: format_of(upload.media_type, None) or "python" for port, upload in uploads.items()},
        parameters=request.document.get("parameters") or {},
        limits=requested(request.document.get("limits") or {}, default=settings.limits, ceiling=settings.ceiling),
        image=None,
        bytes=sum(upload.path.stat().st_size for upload in uploads.values()),
    )


def debug(client: Surface | None, case: Case, *, step: bool, breaks: list[int]) -> ExitCode:
    """Hold the session. The sandbox is that of a run, but for its wall limit; what the script returns is not kept."""
    log.configure("error")
    # Nothing of it is kept, so it need not reserve what a run reserves.
    limits = replace(case.limits, wall_seconds=SESSION_SECONDS, output_bytes=min(case.limits.output_bytes, OUTPUT_BYTES))
    with ExitStack() as leaving:
        leaving.enter_context(signals_lead_out())
        address, engine = open_engine()
        leaving.callback(engine.close)
        image = find_image(engine, case.image)
        home, registration = leaving.enter_context(local_home(engine, needed_bytes=limits.reserved_bytes + 2 * case.bytes))
        scratch = Scratch.create(home, worker=registration.worker)
        leaving.callback(scratch.erase)
        _stage(client, case, limits, scratch)
        settings = read(home=home, image=image, docker_host=address, slots=1, errand_slots=1, **sandbox_uids())
        host = leaving.enter_context(closing(DockerHost(settings, worker_id=registration.worker)))
        with prepare(host, scratch, limits) as sandbox:
            say(f"{one_line(image[:19])}…, the sandbox of a run; the session may last {SESSION_SECONDS / 60:.0f} minutes")
            stop = StopSignal()
            with keyboard.Terminal(sandbox) as terminal:
                wishes = Wishes(step=step, breaks=tuple(breaks), size=terminal.size(), term=terminal.kind())
                sandbox.open_terminal(limits, wishes, on_output=terminal.show, stop=stop)
                terminal.until_the_end()
            code, out_of_memory = sandbox.how_it_ended()
    if out_of_memory or code == SIGKILLED:
        say(f"the script was killed: it used more than its {limits.memory_bytes / GIB:.3g} GiB of memory")
    elif code == SUPERVISOR_LEFT:
        say(f"the session was ended; it lasts {SESSION_SECONDS / 60:.0f} minutes, or until nobody looks")
    elif code not in (0, 1):
        say(f"the debugger ended with exit code {code}")
    say("the sandbox is gone, and so are its files")
    return ExitCode.OK if code in (0, 1) else ExitCode.FAILED


def _stage(client: Surface | None, case: Case, limits: Limits, scratch: Scratch) -> None:
    """Lay out the inputs and the request, as the journey does, but as copies."""
    inputs = {}
    for port, source in case.files.items():
        target = scratch.inside / FILE_OF_PORT[port]
        with target.open("xb") as file:
            if isinstance(source, Path):
                with source.open("rb") as given:
                    shutil.copyfileobj(given, file)
            else:
                if client is None:
                    raise NoLocalRun(f"{source} can only be had from a service")
                with client.content(source) as response:
                    for chunk in response.iter_bytes():
                        file.write(chunk)
            os.fchmod(file.fileno(), 0o444)
        inputs[port] = Input(blob="debug", format=case.formats[port], bytes=target.stat().st_size)
    write_request(
        scratch.inside / "request.json", Job(id="job_debug", tenant="local", inputs=inputs, parameters=case.parameters, limits=limits)
    )
