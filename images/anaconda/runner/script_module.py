"""The script as a real module, and what its imports find."""

import importlib.util
import linecache
import os
import sys
from types import ModuleType

from . import places
from .refused import Refused

NAME = "script"
MODULE_ENDINGS = (".py", ".pyc", ".so")


class Script:
    """The script's text, ready to be executed as the module `script`."""

    def __init__(self, source: bytes):
        self._source = source

    @classmethod
    def place(cls, wheels: list[str]) -> "Script":
        """Copy the script into the working directory and set up `sys.path`.

        Worker processes (multiprocessing, joblib) import `script` anew, so its file must be found on `sys.path`.
        `wheels`: paths of the bundle's wheels.
        """
        with open(places.SCRIPT, "rb") as file:
            source = file.read(places.SCRIPT_BYTES + 1)
        if len(source) > places.SCRIPT_BYTES:
            raise Refused("bad_input", f"The script is larger than {places.SCRIPT_BYTES:,} bytes.")
        with open(places.JOB_SCRIPT, "wb") as file:
            file.write(source)
        # Absolute, so that it holds after `os.chdir`; the second is a literal that old scripts look for.
        sys.path[:0] = [places.BUNDLE, places.BUNDLE_WINDOWS_NAME, *wheels, places.JOB]
        sys.argv = [places.JOB_SCRIPT]
        # The runner's own start must not be what pickle and multiprocessing take for the script.
        sys.modules["__main__"] = ModuleType("__main__")
        return cls(source)

    def execute(self) -> ModuleType:
        """Run the top level of the script once and return the module."""
        module = ModuleType(NAME)
        module.__file__ = places.JOB_SCRIPT
        module.__spec__ = importlib.util.spec_from_file_location(NAME, places.JOB_SCRIPT)
        module.__loader__ = module.__spec__.loader
        sys.modules[NAME] = module
        keep_lines(self._source)
        code = compile(self._source, places.JOB_SCRIPT, "exec", dont_inherit=True)
        exec(code, vars(module))
        # The script may have put another module in its place.
        return sys.modules.get(NAME) or module


def keep_lines(source: bytes) -> None:
    """Let tracebacks and `inspect` show the text that ran, even if the script overwrites its own file."""
    try:
        lines = importlib.util.decode_source(source).splitlines(keepends=True)
    except (SyntaxError, UnicodeDecodeError):
        return
    linecache.cache[places.JOB_SCRIPT] = (len(source), None, lines, places.JOB_SCRIPT)


class Shadows:
    """While the script runs, modules of its bundle come before libraries that the runner has already imported. It may run in pieces.

    The runner imported pandas, json and hundreds more before the bundle was there. As a context manager: hides those of
    the bundle's names on the way in, and puts the runner's own modules back on the way out. Modules that every
    interpreter has when it begins (`modules_at_start`) stay, as they do for any script.
    """

    def __init__(self, bundle: str, modules_at_start: frozenset[str]):
        tops = {entry.split(".")[0] for entry in os.listdir(bundle) if is_importable(bundle, entry)}
        # Most jobs have no bundle, and looking through all names is a millisecond.
        loaded = sys.modules.items() if tops else ()
        self._hidden = {
            name: module for name, module in loaded if (top := name.split(".")[0]) in tops and top not in modules_at_start and top != "__main__"
        }
        self._scripts: dict[str, ModuleType] = {}

    def __enter__(self) -> None:
        for name in self._hidden:
            sys.modules.pop(name, None)
        sys.modules.update(self._scripts)

    def __exit__(self, *_exception: object) -> None:
        self._scripts = {name: sys.modules[name] for name in self._hidden if name in sys.modules}
        sys.modules.update(self._hidden)


def is_importable(directory: str, entry: str) -> bool:
    """True for a module's file or a package. A directory of data must not hide a library of the same name."""
    if entry.endswith(MODULE_ENDINGS):
        return True
    return any(os.path.exists(os.path.join(directory, entry, "__init__" + ending)) for ending in MODULE_ENDINGS)
