"""The kinds of request."""

from contextlib import contextmanager

import pyarrow as pa

from . import (
    bundle, context, described, entry_point, failure, figures, formats, item, join, parameter_texts, places, profile, refusing, script_module,
    studio_in, tables_in, tables_out,
)  # fmt: skip
from .refused import Refused

INIT_LEFT_OUT = (
    f"The script defines {context.INIT}(), which is only called where {entry_point.NAME} has a parameter called {context.NAME!r} for what it returns."
)


def run_script(request: dict, progress, modules_at_start: frozenset[str], description=described.UNASKED) -> None:
    """Run /in/script.py by the script contract. `description` is shown what it takes and gives."""
    limits, inputs, schema = request["limits"], request.get("inputs", {}), request.get("schema") or {}
    answer = request.get("answer")
    write_first = None if answer is None else answering(answer)
    with progress.part("read"):
        wheels = bundle.unpack(f"{places.IN}/bundle.zip" if "bundle" in inputs else None, places.BUNDLE, limits)
        # Of the parameters, what is still text.
        tables, texts = read_tables(inputs, limits, progress, schema, description)
    frames = [table.take_frame() for table in tables]
    script = script_module.Script.place(wheels)
    shadows = script_module.Shadows(places.BUNDLE, modules_at_start)
    figures.watch_matplotlib()

    progress.say_script_starts()
    try:
        with progress.part("script"), shadows:
            module = script.execute()
            function, init = entry_point.find(module), context.Init.of(module)
            description.entry(function, init)
            values = parameter_texts.read(function, texts, request.get("parameters") or {})
            arguments, keywords = entry_point.bind(function, frames, values, init)
            if init.is_left_out():
                progress.note("warning", INIT_LEFT_OUT)
            value = function(*arguments, **keywords)
    finally:
        if progress.is_this_process():
            with progress.part("files"):
                figures.save_open(limits["figures"], progress)
    if progress.is_this_process():
        with progress.part("write"):
            tables_out.write(value, tables, limits["output_bytes"], progress, write_first, description)


def read_tables(inputs: dict, limits: dict, progress, schema: dict, description) -> tuple[list, dict]:
    """The connected tables, and the parameters that came with them."""
    if studio_in.is_envelope(inputs):
        return studio_in.read(places.INPUTS["dataset1"], limits, progress, schema, description)
    ports = [port for port in ("dataset1", "dataset2") if port in inputs]
    return [tables_in.read(port, inputs[port]["format"], limits, progress, schema.get(port), description) for port in ports], {}


def check(request: dict, progress, modules_at_start: frozenset[str]) -> None:
    """Run the script as `run_script` does, and describe what it takes and gives."""
    description = described.Description()
    run_script(request, progress, modules_at_start, description)
    if progress.is_this_process():
        progress.described = description.words(progress)


def run_item(request: dict, progress, modules_at_start: frozenset[str]) -> None:
    """Run one item of a chunk as `run_script` does a job."""
    item.lay_out(request)
    run_script(request, progress, modules_at_start)
    if progress.is_this_process():
        with progress.part("write"):
            item.append_results(request, places.RESULT, progress)


def describe(request: dict, progress, _modules_at_start: frozenset[str]) -> None:
    """Check dataset1 fully and write its canonical Arrow form; a zip is only checked."""
    limits, form = request["limits"], request["inputs"]["dataset1"]["format"]
    path = f"{places.IN}/dataset1"
    if form == "zip":
        with progress.part("read"):
            entries = bundle.check(path, limits, port="dataset1")
        progress.results["result"] = {"rows": entries, "columns": []}
        return
    with progress.part("read"):
        table = formats.read("dataset1", path, form, limits, progress)
    with progress.part("write"), refused_as("arrow"):
        tables_out.write_table(table, "result", limits["output_bytes"], progress)


def convert(request: dict, progress, _modules_at_start: frozenset[str]) -> None:
    """Write dataset1 as `target_format`, whatever that is, to the result file."""
    limits, target = request["limits"], request.get("target_format")
    with progress.part("read"):
        form = request["inputs"]["dataset1"]["format"]
        table = formats.read("dataset1", f"{places.IN}/dataset1", form, limits, progress)
    with progress.part("write"):
        write = formats.writer(target)
        with refused_as(target), tables_out.output_limit(limits["output_bytes"], "result"):
            write(table, places.RESULT, progress)
    progress.results["result"] = tables_out.describe(table)


def describe_columns(request: dict, progress, _modules_at_start: frozenset[str]) -> None:
    """Write what each column of dataset1 holds, and the first rows, as JSON (profile.py) to the result file."""
    limits, form = request["limits"], request["inputs"]["dataset1"]["format"]
    with progress.part("read"):
        table = formats.read("dataset1", f"{places.IN}/dataset1", form, limits, progress)
    with progress.part("write"), refused_as("a profile"), tables_out.output_limit(limits["output_bytes"], "result"):
        profile.write(table, places.RESULT, progress)
    progress.results["result"] = tables_out.describe(table)


def join_results(request: dict, progress, _modules_at_start: frozenset[str]) -> None:
    """Write the results of many items as one table (join.py) to the result file."""
    with refused_as("one table"):
        join.write(request, places.RESULT, progress)


@contextmanager
def refused_as(target: str):
    """A checked table that cannot be written is the table's doing: to be told, not to be tried again."""
    try:
        yield
    except (*formats.READING, OSError) as error:
        if refusing.is_limit(error):
            raise
        raise Refused("bad_input", f"dataset1 cannot be written as {target}: {failure.safe_text(error, 200)}.") from None


def answering(form: object):
    """The function that writes a script's result in a format that somebody asked for; a table that it cannot hold is the script's."""
    write = formats.writer(form, formats.ANSWERS)

    def write_answer(table, path: str, progress) -> None:
        try:
            write(table, path, progress)
        except Refused as refused:
            raise Refused("bad_return" if refused.reason == "bad_input" else refused.reason, refused.message) from None
        except (*formats.READING, OSError) as error:
            if refusing.is_limit(error):
                raise
            raise Refused("bad_return", f"The result cannot be written as {form}: {failure.safe_text(error, 200)}.") from None

    return write_answer


# A check and a score are runs of a script; who asks for them, and what for, is the service's affair.
KINDS = {
    "script": run_script, "item": run_item, "check": check, "score": run_script,
    "describe": describe, "convert": convert, "profile": describe_columns, "join": join_results,
}  # fmt: skip
