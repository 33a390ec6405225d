"""The runner with a control taken away: an entry point that starts it as the image does, after a change."""

from __future__ import annotations

from tests.sandboxes import PYTHON

# As `__main__.py` of the runner begins; what is changed is changed before any child is forked.
START = """
import importlib.util, os, sys, time
at_start, started_at, here = frozenset(sys.modules), time.monotonic(), "/opt/fumehood/runner"
spec = importlib.util.spec_from_file_location("_fumehood_runner", here + "/__init__.py", submodule_search_locations=[here])
package = sys.modules["_fumehood_runner"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from _fumehood_runner import ahead, environment
wait_seconds = float(os.environ["FUMEHOOD_WAIT_SECONDS"])
CHANGE_FIRST
environment.replace(environment.for_supervisor(os.environ))
ahead.import_ahead()
import types
from _fumehood_runner import (
    arrow_guard, arrow_in, attempt, bundle, child, collector, csv_in, environment, figures, formats, json_in, kinds, log, names,
    parquet_in, places, processes, report, report_file, rows_in, script_module, supervisor, tables_in, tables_out, text_in,
)

def without(module, name, *functions):
    # The module `name` as `module` sees it, and nobody else, but with these functions doing nothing.
    own = types.SimpleNamespace(**vars(getattr(module, name)))
    for each in functions:
        setattr(own, each, lambda *_, **__: None)
    setattr(module, name, own)

CHANGE
supervisor.main(started_at=started_at, wait_seconds=wait_seconds, modules_at_start=at_start)
"""


def runner_with(change: str, *, first: str = "") -> list[str]:
    """`first` is run before the environment is replaced and anything is imported, `change` after."""
    return [PYTHON, "-P", "-s", "-c", START.replace("CHANGE_FIRST", first).replace("CHANGE", change)]
