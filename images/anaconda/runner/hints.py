"""What somebody new to sandboxes would like to be told beside an exception: a sentence, or nothing.

The exceptions are the script's, and so is everything about them. A hint that cannot be found is none.
"""

import errno
import os
import re
import socket
import traceback

from . import missing_module, places

CAUSES = 50
NO_NETWORK = "Sandboxes have no network: put what the script needs into its datasets or its bundle."
NETWORK_ERRNOS = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
OWN_FILES = (
    "A sandbox has no files but its own: what a script reads comes in the bundle, below './Script Bundle'; "
    "what it writes goes into the working directory."
)
COLUMNS_SHOWN = 12
WRITABLE = "Only the working directory, the directories in it and /dev/shm can be written."
INSTALLERS = re.compile(r"\b(pip3?|conda|mamba|uv|apt|apt-get)\b.{0,200}\binstall\b", re.DOTALL)


def of(exception: BaseException) -> str:
    """The first hint that fits; empty for none."""
    try:
        return next((text for hint in HINTS if (text := hint(exception))), "")
    except BaseException:
        return ""


def missing_import(exception: BaseException) -> str:
    if not isinstance(exception, ModuleNotFoundError) or not isinstance(exception.name, str) or not exception.name:
        return ""
    return missing_module.hint(exception.name[: places.NAME_CHARACTERS])


def misspelt(exception: BaseException) -> str:
    """What Python itself suggests; it does so below tracebacks only."""
    if not isinstance(exception, (NameError, AttributeError, ImportError)) or isinstance(exception, ModuleNotFoundError):
        return ""
    whole = traceback.TracebackException(type(exception), exception, exception.__traceback__, limit=1, lookup_lines=False)
    said = str(whole).removeprefix(str(exception)).lstrip(". ")
    return said if said.startswith("Did you") else ""


def missing_column(exception: BaseException) -> str:
    """The names of the columns, where a DataFrame was asked for one that it does not have."""
    step = exception.__traceback__ if isinstance(exception, KeyError) else None
    while step is not None:
        code = step.tb_frame.f_code
        if code.co_name == "__getitem__" and code.co_filename.endswith("/pandas/core/frame.py"):
            columns = step.tb_frame.f_locals["self"].columns
            shown = ", ".join(repr(name)[:60] for name in columns[:COLUMNS_SHOWN])
            more = f" and {len(columns) - COLUMNS_SHOWN:,} more" if len(columns) > COLUMNS_SHOWN else ""
            return f"The columns of the table are {shown}{more}." if shown else "The table has no columns."
        step = step.tb_next
    return ""


def network(exception: BaseException) -> str:
    """For an exception that says, or carries or came from one that says, that something outside could not be reached."""
    waiting, seen = [exception], set()
    while waiting and len(seen) < CAUSES:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, socket.gaierror) or (isinstance(one, OSError) and one.errno in NETWORK_ERRNOS):
            return NO_NETWORK
        # urllib and requests keep the first error as `reason` or as an argument.
        carried = (one.__cause__, one.__context__, getattr(one, "reason", None), *getattr(one, "args", ())[:5])
        waiting += [other for other in carried if isinstance(other, BaseException)]
    return ""


def missing_file(exception: BaseException) -> str:
    if not isinstance(exception, FileNotFoundError) or (name := file_name(exception)) is None:
        return ""
    if last_function(exception) == "_execute_child":
        return f"The image has no program {name!r}."
    base = re.split(r"[\\/]", name)[-1].lower()
    for directory, entry in missing_module.bundle_entries():
        if entry.lower() == base:
            return f"The bundle has './{'/'.join(part for part in ('Script Bundle', directory, entry) if part)}'."
    parent = os.path.dirname(name)
    if parent and not os.path.isabs(name) and not os.path.isdir(parent):
        return f"There is no directory {parent!r}: to write there, make it first, `os.makedirs({parent!r}, exist_ok=True)`."
    return OWN_FILES


def read_only(exception: BaseException) -> str:
    if not isinstance(exception, OSError) or exception.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ""
    name = file_name(exception)
    inside = name is None or os.path.realpath(name).startswith((places.JOB + "/", "/dev/shm/"))
    return "" if inside else WRITABLE


def nobody_answers(exception: BaseException) -> str:
    asked = isinstance(exception, EOFError) and str(exception) == "EOF when reading a line"
    return "Nobody is there to answer `input()`; take what the script asks for as a job parameter." if asked else ""


def nothing_installed(exception: BaseException) -> str:
    command = getattr(exception, "cmd", None)
    words = " ".join(map(str, command[:20])) if isinstance(command, (list, tuple)) else command
    return missing_module.NOTHING_NEAR if isinstance(words, str) and INSTALLERS.search(words[:4_000]) else ""


def no_language_data(exception: BaseException) -> str:
    missing = isinstance(exception, LookupError) and "nltk_data" in str(exception)[:10_000]
    return "The image has NLTK without its data: bring them in the bundle, and name their directory in `nltk.data.path`." if missing else ""


HINTS = (missing_import, misspelt, missing_column, network, missing_file, read_only, nobody_answers, nothing_installed, no_language_data)


def file_name(exception: OSError) -> str | None:
    """The name that the failed call was given."""
    name = exception.filename
    return os.fsdecode(name)[:1_000] if isinstance(name, (str, bytes)) and name else None


def last_function(exception: BaseException) -> str:
    """The innermost function of the traceback."""
    step, name = exception.__traceback__, ""
    while step is not None:
        step, name = step.tb_next, step.tb_frame.f_code.co_name
    return name
