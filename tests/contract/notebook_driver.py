"""Runs in the exported environment, where nothing of Fumehood is but `local.py`: each script as a notebook user would run it.

A case is a directory: `case.json` (inputs, parameters), the script, its inputs, `Script Bundle`. Every script is run twice, in `load`
with the tables that `fumehood.local.load` shows and in `plain` with those of `pandas.read_…`. Left there: result.arrow, result2.arrow,
figures, `error.txt` where there was one.
"""

import json
import os
import shutil
import signal
import sys
import traceback
from pathlib import Path

import local
import pandas as pd
import pyarrow as pa

PLAIN = {
    ".csv": pd.read_csv,
    ".parquet": pd.read_parquet,
    ".arrow": pd.read_feather,
    ".json": pd.read_json,
    ".ndjson": lambda path: pd.read_json(path, lines=True),
}

SCRIPT_SECONDS = 60


def run(case, reader):
    """In a process of its own, with a private copy of the case as its working directory."""
    told = json.loads((case / "case.json").read_text())
    here = case / reader
    shutil.copytree(case, here, ignore=shutil.ignore_patterns("load", "plain"))
    os.chdir(here)
    sys.path[:0] = [str(here / "Script Bundle"), str(here)]
    paths = [here / name for name in told["inputs"]]
    frames = [local.load(path) if reader == "load" else PLAIN[path.suffix](path) for path in paths]
    came = [{name: (str(frame[name].dtype), came_as(path, name)) for name in frame} for path, frame in zip(paths, frames, strict=True)]
    import script

    remember_saved_figures()
    returned = local.call(script, *frames, **told["parameters"])
    save_open_figures()
    results = list(returned) if isinstance(returned, (tuple, list)) else [returned]
    for name, result in zip(("result", "result2"), results, strict=False):
        table = to_arrow(result, came)
        with pa.OSFile(f"{name}.arrow", "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)


def came_as(path, name):
    schema = local.READERS[path.suffix](path).schema
    return schema.field(name).type if schema.names.count(name) == 1 else None


def to_arrow(result, came):
    """By the contract: names are unique strings, no index, a column of plain scalars of several types is text. A column that has the name
    and dtype it came with has its type again."""
    if not isinstance(result, pd.DataFrame):
        return pa.table(result)
    names = ["_".join(filter(None, map(str, name))) if isinstance(name, tuple) else str(name) for name in result.columns]
    names = local.unique(names)
    columns = []
    for number, name in enumerate(names):
        series = result.iloc[:, number]
        kind = next((table[name][1] for table in came if name in table and table[name][0] == str(series.dtype)), None)
        columns.append(column(series, kind))
    return pa.table(columns, names=names)


def column(series, kind):
    for attempt in [kind, None] if kind is not None and series.dtype == object else [None]:
        try:
            return pa.array(series, attempt, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError):
            continue
    texts = [value.decode() if isinstance(value, bytes) else str(value) for value in series]
    return pa.array([None if missing else text for text, missing in zip(texts, series.isna(), strict=True)], pa.string())


def remember_saved_figures():
    if "matplotlib.figure" not in sys.modules:
        return
    Figure = sys.modules["matplotlib.figure"].Figure
    savefig = Figure.savefig

    def marking(self, *arguments, **keywords):
        self.was_saved = True
        return savefig(self, *arguments, **keywords)

    Figure.savefig = marking


def save_open_figures():
    """What a notebook shows below the cell."""
    plt = sys.modules.get("matplotlib.pyplot")
    for number in plt.get_fignums() if plt else ():
        if not hasattr(plt.figure(number), "was_saved"):
            plt.figure(number).savefig(f"Figure {number}.png", bbox_inches="tight")


for case in sorted(Path(sys.argv[1]).resolve().iterdir()):
    # Without a table there is nothing to load in two ways.
    for reader in ("load", "plain") if json.loads((case / "case.json").read_text())["inputs"] else ("load",):
        child = os.fork()
        if child == 0:
            signal.alarm(SCRIPT_SECONDS)
            try:
                run(case, reader)
            except BaseException:
                (case / reader).mkdir(exist_ok=True)
                (case / reader / "error.txt").write_text(traceback.format_exc())
            os._exit(0)
        os.waitpid(child, 0)
