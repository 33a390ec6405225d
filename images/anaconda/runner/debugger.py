"""The debugger: pdb over one run of the script, which sees the script and leaves the runner out."""

import ast
import bdb
import os
import pdb
import sys
from contextlib import contextmanager

from . import entry_point, failure, kinds, places, script_module
from .refused import Refused

OURS = "_fumehood_runner"
HELP = "l shows the source, p EXPRESSION a value, w the stack, u and d move in it, c goes on, q ends; h lists all commands"


class Debugger(pdb.Pdb):
    """Frames of the runner are neither stopped in nor shown; after an exception the frame is the script's own."""

    def __init__(self):
        super().__init__(skip=[OURS, f"{OURS}.*"], readrc=False)

    def get_stack(self, frame, traceback):
        stack, index = super().get_stack(frame, traceback)
        shown = [entry for entry in stack if not is_ours(entry[0])] or stack
        current = stack[index]
        places_of_script = [n for n, entry in enumerate(shown) if entry[0].f_code.co_filename == places.JOB_SCRIPT]
        if frame is None and places_of_script:
            return shown, places_of_script[-1]
        return shown, shown.index(current) if current in shown else len(shown) - 1

    def interaction(self, *arguments):
        with at_the_terminal():
            super().interaction(*arguments)

    def watch(self, run):
        """Call `run`, stopping at breakpoints only."""
        self.reset()
        self.botframe = sys._getframe()
        self.set_continue()
        sys.settrace(self.trace_dispatch)
        try:
            run()
        finally:
            sys.settrace(None)


@contextmanager
def at_the_terminal():
    """For the author stdin is the terminal; for the script it is empty, as in every run."""
    before = sys.stdin
    with open("/dev/tty", encoding="utf-8", errors="replace") as typed:
        saved = os.dup(0)
        os.dup2(typed.fileno(), 0)
        sys.stdin = open(0, encoding="utf-8", errors="replace", closefd=False)
        try:
            yield
        finally:
            os.dup2(saved, 0)
            os.close(saved)
            sys.stdin = before


def debug(request: dict, progress, modules_at_start: frozenset[str], *, step: bool, lines: list) -> int:
    """Run the job, stopping at `lines` of the script, at the first line of azureml_main with `step`, and where it fails.

    Returns the exit code: 0 where the script returned a table.
    """
    with open(places.SCRIPT, "rb") as file:
        source = file.read(places.SCRIPT_BYTES + 1)
    script_module.keep_lines(source)
    debugger = Debugger()
    set_breaks(debugger, source, step, lines)
    say(HELP)
    run = lambda: kinds.KINDS["script"](request, progress, modules_at_start)  # noqa: E731
    try:
        debugger.watch(run) if debugger.get_all_breaks() else run()
    except (bdb.BdbQuit, pdb.Restart):
        return 0
    except Refused as refused:
        say(f"{refused.reason}: {refused.message}")
        return 1
    except BaseException as exception:
        return look_at(debugger, exception, request["limits"], progress)
    shape = progress.results.get("result") or {}
    columns = shape.get("columns") or []
    say(f"azureml_main returned {shape.get('rows', '?')} rows and {len(columns)} columns; nothing failed")
    if not debugger.get_all_breaks():
        say("--step stops at its first line, --break LINE at another")
    return 0


def look_at(debugger: Debugger, exception: BaseException, limits: dict, progress) -> int:
    """Post mortem, in the script's frame."""
    ending = failure.judge(exception, limits, script_has_started=progress.script_has_started)
    os.write(2, (ending["error"]["traceback"].rstrip() + "\n").encode("utf-8", "replace"))
    say(f"{ending['reason']}: {ending['message']}")
    if isinstance(exception, SyntaxError) and not in_script(exception):
        return 1
    debugger.reset()
    debugger.interaction(None, exception)
    return 1


def in_script(exception: BaseException) -> bool:
    step = exception.__traceback__
    while step is not None:
        if not is_ours(step.tb_frame):
            return True
        step = step.tb_next
    return False


def set_breaks(debugger: Debugger, source: bytes, step: bool, lines: list) -> None:
    wanted = [(int(line), False) for line in lines]
    if step:
        wanted.append((first_line(source), True))
    for line, temporary in wanted:
        problem = debugger.set_break(places.JOB_SCRIPT, line, temporary=temporary)
        if problem:
            say(f"no stop at line {line}: {problem}")


def first_line(source: bytes) -> int:
    """Where azureml_main begins to do something; line 1 where reading does not show it."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return 1
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == entry_point.NAME]
    if not found:
        return next((node.lineno for node in tree.body), 1)
    body = found[-1].body
    has_text = len(body) > 1 and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
    return body[1 if has_text else 0].lineno


def is_ours(frame) -> bool:
    return frame.f_code.co_filename.startswith(failure.RUNNER) or frame.f_code.co_filename in (pdb.__file__, bdb.__file__)


def say(text: str) -> None:
    os.write(2, f"-- {text}\n".encode("utf-8", "replace"))
