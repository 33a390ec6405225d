"""From an exception of the script to a reason and a description that is safe to keep.

Everything about the exception is the script's: its `__str__` may raise, never end or give a gigabyte, its traceback may
be a million frames deep. What does not end is ended by the wall limit.
"""

import errno
import linecache
import os
import re
import traceback

from . import hints, places

RUNNER = os.path.dirname(os.path.abspath(__file__))

DEEPEST_TRACEBACK = 1_000
CAUSES = 50
ONE_LINE_CHARACTERS = 500
RULERS = re.compile(r"[*=_~-]{10,}")
SHARED_MEMORY = "/dev/shm"
UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))

# Where Python starts processes; EAGAIN from anywhere else is an ordinary error of the script.
FORKING_FUNCTIONS = frozenset({"_execute_child", "_launch", "_fork_exec", "fork", "forkpty", "spawnv_passfds", "_posix_spawn"})


def judge(exception: BaseException, limits: dict, *, script_has_started: bool) -> dict:
    """The ending of a job that raised: reason, message, error and, for `sys.exit`, the exit code."""
    limit = of_limit(exception, limits, who="The script" if script_has_started else "Reading the inputs")
    if not script_has_started and limit is None:
        text = f"{type(exception).__name__} in the runner: {safe_text(exception)}"
        return {"reason": "sandbox_error", "message": text[: places.MESSAGE_CHARACTERS], "error": describe(exception, ours=True)}
    error = describe(exception)
    where = f" ({place(error)})" if error["line"] else ""
    if isinstance(exception, SystemExit):
        return judge_exit(exception, where) | {"error": error}
    if limit is not None:
        reason, sentence = limit
        return {"reason": reason, "message": f"{sentence}{where}.", "error": error}
    text = one_line(error["message"])
    message = f"{error['type']}: {text}{where}" if text else f"{error['type']}{where}"
    if hint := hints.of(exception):
        message = f"{message.rstrip('.')}. {hint}"
        error["message"] = f"{error['message']} ({hint})"
        if hint not in error["traceback"]:
            error["traceback"] = f"{error['traceback'].rstrip()}\n{hint}\n"
    return {"reason": "script_error", "message": cut(message, places.MESSAGE_CHARACTERS), "error": error}


def of_limit(exception: BaseException, limits: dict, who: str) -> tuple[str, str] | None:
    """Reason and sentence for an exception that says that a limit was reached."""
    if isinstance(exception, MemoryError):
        asked = one_line(safe_text(exception, 200))
        sentence = f"{who} took more memory than the limit of {size(limits, 'memory_bytes')}"
        return "out_of_memory", f"{sentence}: {asked.rstrip('.')}" if asked else sentence
    if refused_process(exception):
        return "too_many_processes", f"{who} started more processes or threads than the limit of {limits['processes']} (processes)"
    if not isinstance(exception, OSError):
        return None
    if exception.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk_full", full_disk(limits)
    if exception.errno == errno.EFBIG:
        largest = max("output_bytes", "disk_bytes", key=lambda name: limits[name])
        return "output_too_large", f"A file grew past the largest size that the job's limits allow, {size(limits, largest)}"
    return None


def full_disk(limits: dict) -> str:
    """What of the sandbox's disk is used up, as far as it can still be seen."""
    try:
        job, shared = os.statvfs(places.JOB), os.statvfs(SHARED_MEMORY)
    except OSError:
        job = shared = None
    if job and not job.f_favail:
        return f"The sandbox has no room for more files: it holds at most {job.f_files:,} files and directories"
    if job and shared and job.f_bavail and not shared.f_bavail:
        return f"{SHARED_MEMORY} is full: it holds {bytes_text(shared.f_blocks * shared.f_frsize)}, a part of the job's disk_bytes"
    return f"The sandbox's disk space of {size(limits, 'disk_bytes')} is used up"


def size(limits: dict, name: str) -> str:
    """A limit as its author would write it, and its name: what to ask for more of."""
    return f"{bytes_text(limits[name])} ({name})"


def bytes_text(count: int) -> str:
    """A size as people write it: in the largest unit that leaves nothing over."""
    unit, name = next(((unit, name) for unit, name in UNITS if count and not count % unit), (1, "bytes"))
    return f"{count // unit:,} {name}"


def judge_exit(exception: SystemExit, where: str) -> dict:
    """`sys.exit(n)`: the script ended before it returned, with whatever code."""
    code, text = exception.code, ""
    if code is None:
        code = 0
    elif not isinstance(code, int):
        # As the interpreter does: a text goes to stderr and the code is 1.
        code, text = 1, safe_text(exception)
        try:
            os.write(2, (text + "\n").encode("utf-8", "replace"))
        except OSError:
            pass
    message = f"The script ended itself with exit code {code & 0xFF}{where} before azureml_main returned{text and ': '}{one_line(text)}."
    return {"reason": "crashed", "message": message, "exit_code": code & 0xFF}


def describe(exception: BaseException, *, ours: bool = False) -> dict:
    """What the report says about an exception; every text is bounded. Frames of the runner are left out unless `ours`."""
    frames = frames_of(exception, ours)
    if isinstance(exception, SyntaxError):
        frames += syntax_frame(exception)
    in_script = [frame for frame in frames if frame["file"] == "script.py"] or frames
    last = in_script[-1] if in_script else {"file": "script.py", "line": None, "source": ""}
    return {
        "type": type_name(exception),
        "message": safe_text(exception.msg if isinstance(exception, SyntaxError) else exception),
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


def in_a_sentence(value: object, characters: int) -> str:
    """`safe_text` for the middle of a sentence: libraries put line ends, and bytes of what they read, into theirs."""
    text = " ".join(safe_text(value, characters).split()).rstrip(".")
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


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


def is_own(file: str) -> bool:
    """True for the script and for what is in the bundle."""
    return file.startswith(("script.py", "Script Bundle/"))


def place(error: dict) -> str:
    """Where it happened: the line of the script, and the one behind it where that is in a module of the bundle."""
    line = f"line {error['line']} of {error['file']}"
    last = next((frame for frame in reversed(error["frames"]) if is_own(frame["file"])), None)
    if last is None or last["file"] == error["file"]:
        return line
    return f"line {last['line']} of {last['file']}, reached from {line}"


def syntax_frame(exception: SyntaxError) -> list[dict]:
    """Where the text is that cannot be read: the script, a module of the bundle, or what was given to `exec`."""
    file = shown(str(exception.filename or ""))
    if not file or file.startswith("/"):
        return []
    source = cut(str(exception.text or "").rstrip("\n"), places.SOURCE_CHARACTERS)
    return [{"file": cut(file, places.NAME_CHARACTERS), "line": exception.lineno, "function": "<module>", "source": source}]


def one_line(text: str) -> str:
    """A text as part of a sentence; the whole of it stands in the error."""
    return cut(" ".join(RULERS.sub(" ", text).split()), ONE_LINE_CHARACTERS)


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
