"""From an exception of the script to a reason and a description that is safe to keep.

Everything about the exception is the script's: its `__str__` may raise, never end or give a gigabyte, its traceback may
be a million frames deep. What does not end is ended by the wall limit.
"""

import errno
import json
import linecache
import os
import socket
import traceback

from . import places

RUNNER = os.path.dirname(os.path.abspath(__file__))

DEEPEST_TRACEBACK = 1_000
CAUSES = 50
NO_NETWORK = "Sandboxes have no network: put what the script needs into its datasets or its bundle."
NETWORK_ERRNOS = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})

REASON_OF_ERRNO = {
    errno.ENOSPC: ("disk_full", "The sandbox's disk space is used up"),
    errno.EDQUOT: ("disk_full", "The sandbox's disk space is used up"),
    errno.EFBIG: ("output_too_large", "A file grew past the largest size that the job's limits allow"),
}
# Where Python starts processes; EAGAIN from anywhere else is an ordinary error of the script.
FORKING_FUNCTIONS = frozenset({"_execute_child", "_launch", "_fork_exec", "fork", "forkpty", "spawnv_passfds", "_posix_spawn"})


def judge(exception: BaseException, *, script_has_started: bool) -> dict:
    """The ending of a job that raised: reason, message, error and, for `sys.exit`, the exit code."""
    is_limit = isinstance(exception, MemoryError) or getattr(exception, "errno", None) in REASON_OF_ERRNO
    if not script_has_started and not is_limit:
        text = f"{type(exception).__name__} in the runner: {safe_text(exception)}"
        return {"reason": "sandbox_error", "message": text[: places.MESSAGE_CHARACTERS], "error": describe(exception, ours=True)}
    if isinstance(exception, SystemExit):
        return judge_exit(exception)
    error = describe(exception)
    reason, message = "script_error", None
    if isinstance(exception, MemoryError):
        reason, message = "out_of_memory", "The script asked for more memory than there is"
    elif refused_process(exception):
        reason, message = "too_many_processes", "The script started more processes or threads than its limit"
    elif isinstance(exception, OSError) and exception.errno in REASON_OF_ERRNO:
        reason, message = REASON_OF_ERRNO[exception.errno]
    elif isinstance(exception, ModuleNotFoundError):
        message = missing_module(exception)
    elif is_network_error(exception):
        error["message"] = f"{error['message']} ({NO_NETWORK})"
        error["traceback"] = f"{error['traceback'].rstrip()}\n{NO_NETWORK}\n"
    where = f" (line {error['line']} of {error['file']})" if error["line"] else ""
    message = f"{message}{where}." if message else f"{error['type']}: {error['message']}{where}"
    return {"reason": reason, "message": message[: places.MESSAGE_CHARACTERS], "error": error}


def judge_exit(exception: SystemExit) -> dict:
    """`sys.exit(n)`: the script ended before it returned, with whatever code."""
    code = exception.code
    if code is None:
        code = 0
    elif not isinstance(code, int):
        # As the interpreter does: a text goes to stderr and the code is 1.
        try:
            os.write(2, (safe_text(exception) + "\n").encode("utf-8", "replace"))
        except OSError:
            pass
        code = 1
    message = f"The script ended itself with exit code {code & 0xFF} before azureml_main returned."
    return {"reason": "crashed", "message": message, "error": describe(exception), "exit_code": code & 0xFF}


def describe(exception: BaseException, *, ours: bool = False) -> dict:
    """What the report says about an exception; every text is bounded. Frames of the runner are left out unless `ours`."""
    frames = frames_of(exception, ours)
    if isinstance(exception, SyntaxError) and shown(exception.filename or "") == "script.py":
        frames.append({"file": "script.py", "line": exception.lineno or 0, "function": "<module>", "source": source_of(exception)})
    in_script = [frame for frame in frames if frame["file"] == "script.py"] or frames
    last = in_script[-1] if in_script else {"file": "script.py", "line": None, "source": ""}
    return {
        "type": type_name(exception),
        "message": safe_text(exception),
        "traceback": full_traceback(exception, ours),
        "file": last["file"],
        "line": last["line"],
        "source": last["source"],
        "frames": frames[-places.FRAMES :],
    }


def safe_text(value: object, characters: int = places.MESSAGE_CHARACTERS) -> str:
    """`str(value)` that cannot fail."""
    try:
        text = str.__str__(str(value))
    except BaseException:
        return f"<{type_name(value)} without a readable text>"
    return cut(text, characters)


def safe_repr(value: object, characters: int = 100) -> str:
    """`repr(value)` that cannot fail."""
    try:
        text = str.__str__(repr(value))
    except BaseException:
        return f"<{type_name(value)} without a readable text>"
    return cut(text, characters)


def cut(text: str, characters: int) -> str:
    """At most `characters` of a text, with a mark where something was left out."""
    return text if len(text) <= characters else text[: max(0, characters - 1)] + "…"


def type_name(value: object) -> str:
    """The type's name, with its module unless that is the script or built in."""
    kind = type(value)
    module = getattr(kind, "__module__", None)
    name = str(getattr(kind, "__qualname__", "?"))
    return cut(name if module in ("builtins", "script", None) else f"{module}.{name}", places.NAME_CHARACTERS)


def shown(path: str) -> str:
    """A file's name as the author knows it: relative to the working directory."""
    return path.removeprefix(places.JOB + "/")


def source_of(exception: SyntaxError) -> str:
    return cut((exception.text or "").rstrip("\n"), places.SOURCE_CHARACTERS)


def frames_of(exception: BaseException, ours: bool) -> list[dict]:
    """The frames of the exception's traceback, outermost first, at most the last FRAMES."""
    frames = []
    step = exception.__traceback__
    while step is not None:
        path = step.tb_frame.f_code.co_filename
        if ours or not path.startswith(RUNNER):
            frames.append((path, step.tb_lineno, step.tb_frame.f_code.co_qualname))
            del frames[: -4 * places.FRAMES]
        step = step.tb_next
    return [
        {"file": cut(shown(path), places.NAME_CHARACTERS), "line": line, "function": cut(function, places.NAME_CHARACTERS),
         "source": cut(linecache.getline(path, line or 0).rstrip("\n"), places.SOURCE_CHARACTERS)}
        for path, line, function in frames
    ]  # fmt: skip


def full_traceback(exception: BaseException, ours: bool) -> str:
    """The traceback as Python prints it, without frames of the runner and with paths as the author knows them."""
    try:
        depth, step = 0, exception.__traceback__
        while step is not None:
            depth, step = depth + 1, step.tb_next
        limit = -DEEPEST_TRACEBACK if depth > DEEPEST_TRACEBACK else None
        formatted = traceback.TracebackException.from_exception(exception, limit=limit)
        tidy(formatted, ours)
        return middle_cut(formatted.format())
    except BaseException:
        return f"{type_name(exception)}: {safe_text(exception)}\n"


def tidy(formatted: traceback.TracebackException, ours: bool) -> None:
    """Take the runner's frames out of an exception, its causes and its group members."""
    waiting, done = [formatted], 0
    while waiting and done < CAUSES:
        one = waiting.pop()
        done += 1
        if not ours:
            one.stack[:] = [frame for frame in one.stack if not frame.filename.startswith(RUNNER)]
        for frame in one.stack:
            frame.filename = shown(frame.filename)
        if getattr(one, "filename", None):
            one.filename = shown(one.filename)
        waiting += [other for other in (one.__cause__, one.__context__, *(one.exceptions or ())) if other is not None]


def middle_cut(lines) -> str:
    """The joined lines, at most TRACEBACK_CHARACTERS: when too long, the beginning and the end."""
    half = places.TRACEBACK_CHARACTERS // 2 - 20
    head, tail = "", ""
    for line in lines:
        line = line if len(line) <= half else line[: half // 2] + "…\n"
        if not tail and len(head) + len(line) <= half:
            head += line
        else:
            tail = (tail + line)[-half:] if len(tail) + len(line) <= half else "[…]\n" + (tail + line)[-half + 5 :]
    return head + tail


def refused_process(exception: BaseException) -> bool:
    """True if a process or thread could not be started because of the limit."""
    if isinstance(exception, RuntimeError):
        return "can't start new thread" in safe_text(exception, 200)
    if not isinstance(exception, OSError) or exception.errno != errno.EAGAIN:
        return False
    step = exception.__traceback__
    last = None
    while step is not None:
        last, step = step, step.tb_next
    if last is None:
        return False
    code = last.tb_frame.f_code
    return code.co_name in FORKING_FUNCTIONS or "fork" in linecache.getline(code.co_filename, last.tb_lineno)


def is_network_error(exception: BaseException) -> bool:
    """True if the exception, or one it carries or came from, says that something outside could not be reached."""
    waiting, seen = [exception], set()
    while waiting and len(seen) < CAUSES:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, socket.gaierror) or (isinstance(one, OSError) and one.errno in NETWORK_ERRNOS):
            return True
        # urllib and requests keep the first error as `reason` or as an argument.
        carried = (one.__cause__, one.__context__, getattr(one, "reason", None), *getattr(one, "args", ())[:5])
        waiting += [other for other in carried if isinstance(other, BaseException)]
    return False


def missing_module(exception: ModuleNotFoundError) -> str | None:
    """The sentence about a package the image does not have, with the nearest name it does have."""
    import difflib

    wanted = str(exception.name or "")[: places.NAME_CHARACTERS]
    top = wanted.split(".")[0]
    if not top:
        return None
    near = difflib.get_close_matches(top.lower(), installed_names(), n=1, cutoff=0.6)
    hint = f"; the nearest name it has is {near[0]!r}" if near else ""
    return f"There is no module named {wanted!r} in the image or the bundle{hint}"


def installed_names() -> list[str]:
    """Names of the image's packages and of its importable modules; empty where the list is missing."""
    import sys

    names = set(sys.stdlib_module_names)
    try:
        with open(places.PACKAGES, encoding="utf-8") as file:
            listed = json.load(file)
    except (OSError, ValueError):
        return sorted(names)
    packages = listed.get("packages", listed) if isinstance(listed, dict) else listed
    for package in packages:
        name = package.get("name", "") if isinstance(package, dict) else package
        names.add(str(name).lower())
    return sorted(names - {""})


