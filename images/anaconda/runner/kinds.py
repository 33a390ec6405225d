"""The kinds of request."""

from contextlib import contextmanager

import pyarrow as pa

from . import bundle, described, environment, failure, figures, formats, item, join, places, profile, refusing, studio_in, tables_in, tables_out
from .placed import Placed
from .refused import Refused


def run_script(request: dict, progress, modules_at_start: frozenset[str], description=described.UNASKED) -> None:
    """Run /in/script.py by the script contract. `description` is shown what it takes and gives."""
    write_first = writer_of(request)
    with progress.part("read"):
        wheels = unpack(request)
        tables, texts = read_tables(request, progress, description)
    placed = Placed(wheels, modules_at_start)
    progress.say_script_starts()
    with ending_with_figures(request, progress):
        with progress.part("script"):
            placed.open(description)
        value = call(placed, tables, texts, request, progress)
    write(value, tables, request, progress, write_first, description)


def prepare(request: dict, progress, modules_at_start: frozenset[str]) -> Placed:
    """Bring a script as far as it comes without its call: `run_prepared` does the rest, with another request."""
    environment.for_script(float(request["limits"]["cpus"]))
    placed = Placed(unpack(request), modules_at_start)
    progress.say_script_starts()
    placed.open()
    placed.initialise()
    return placed


def run_prepared(placed: Placed, request: dict, progress) -> None:
    """Call what `prepare` has made, as `run_script` does."""
    write_first = writer_of(request)
    with progress.part("read"):
        tables, texts = read_tables(request, progress)
    with ending_with_figures(request, progress):
        value = call(placed, tables, texts, request, progress)
    write(value, tables, request, progress, write_first)


def unpack(request: dict) -> list[str]:
    """The paths of the bundle's wheels, now that it lies where imports find it."""
    there = "bundle" in request.get("inputs", {})
    return bundle.unpack(f"{places.IN}/bundle.zip" if there else None, places.BUNDLE, request["limits"])


def read_tables(request: dict, progress, description=described.UNASKED) -> tuple[list, dict]:
    """The connected tables, and the parameters that came with them, which are texts."""
    inputs, limits, schema = request.get("inputs", {}), request["limits"], request.get("schema") or {}
    if studio_in.is_envelope(inputs):
        return studio_in.read(places.INPUTS["dataset1"], limits, progress, schema, description)
    ports = [port for port in ("dataset1", "dataset2") if port in inputs]
    return [tables_in.read(port, inputs[port]["format"], limits, progress, schema.get(port), description) for port in ports], {}


def call(placed: Placed, tables: list, texts: dict, request: dict, progress) -> object:
    frames = [table.take_frame() for table in tables]
    with progress.part("script"):
        return placed.call(frames, request.get("parameters") or {}, texts, request.get("parameter_types") or {}, progress)


@contextmanager
def ending_with_figures(request: dict, progress):
    """However the script ends, the figures that it left open are kept."""
    try:
        yield
    finally:
        if progress.is_this_process():
            with progress.part("files"):
                figures.save_open(request["limits"]["figures"], progress)


def write(value: object, tables: list, request: dict, progress, write_first, description=described.UNASKED) -> None:
    if progress.is_this_process():
        with progress.part("write"):
            tables_out.write(value, tables, request["limits"]["output_bytes"], progress, write_first, description)


def writer_of(request: dict):
    """How the first result is written; None as usual."""
    answer = request.get("answer")
    return None if answer is None else answering(answer)


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


def run(request: dict, progress, modules_at_start: frozenset[str]) -> None:
    """Do what is asked for."""
    environment.for_script(float(request["limits"]["cpus"]))
    KINDS[request.get("kind", "script")](request, progress, modules_at_start)
