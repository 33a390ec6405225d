"""What is imported before the job is known, and the pack that makes it cheap.

Chosen by measurement: four of ten scripts use pandas, one of ten anything else that is slow to import. Of an import of pandas a
third goes into finding and reading some 600 modules. When the image is built, this file is run as a script and writes the code
of all of them into one file, with the place of each; the supervisor takes them from there. What a module is afterwards does not
tell how it came: same file, same kind of loader. Stands alone, so that a changed runner does not make another pack.
"""

import gc
import importlib
import marshal
import mmap
import os
import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location

# In the second row, what pandas and pyarrow import themselves when they first meet each other's columns.
LIBRARIES = (
    "pandas", "pyarrow", "pyarrow.compute", "pyarrow.csv", "pyarrow.ipc",
    "pyarrow.pandas_compat", "pyarrow.vendored.version", "pandas.core.arrays.arrow._arrow_utils",
)  # fmt: skip
PACK = "/opt/fumehood/imports.marshal"


class Pack:
    """An import hook: finds modules in `entries`: by name the file, whether it is a package, and the code (None for a compiled module).

    As a context manager it is in force, and leaves no trace of itself.
    """

    def __init__(self, entries: dict):
        self._entries = entries
        self._loaders: list[SourceFileLoader] = []

    @classmethod
    def read(cls, path: str) -> "Pack":
        """The pack at `path`; an empty one where there is none: then everything is found as ever."""
        try:
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                return cls(marshal.loads(mapped))
        except FileNotFoundError:
            return cls({})

    def find_spec(self, name: str, _path=None, _target=None) -> ModuleSpec | None:
        if name not in self._entries:
            return None
        place, is_package, code = self._entries[name]
        spec = spec_from_file_location(name, place, submodule_search_locations=[os.path.dirname(place)] if is_package else None)
        if code is not None:
            spec.loader.get_code = lambda _name: code
            self._loaders.append(spec.loader)
        return spec

    def __enter__(self) -> None:
        sys.meta_path.insert(0, self)

    def __exit__(self, *_exception: object) -> None:
        sys.meta_path.remove(self)
        for loader in self._loaders:
            del loader.get_code
        # The ordinary finder has its lists of the directories now, as if it had found all this.
        PathFinder.find_spec("no module of this name")


def import_ahead(path: str = PACK) -> None:
    """Import LIBRARIES, from the pack at `path` if there is one."""
    # Hardly anything of it becomes garbage, and looking for it each time costs a tenth.
    gc.disable()
    with Pack.read(path):
        for name in LIBRARIES:
            importlib.import_module(name)
    # These objects are for life; the child's garbage collector need not look through them, or copy their pages.
    gc.freeze()
    gc.enable()


def write_pack(path: str) -> int:
    """Import LIBRARIES the ordinary way and write down all that came with them; the number of modules."""
    for name in LIBRARIES:
        importlib.import_module(name)
    entries = {}
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        # Some libraries enter a module under a second name, or something that is no module.
        if spec is None or spec.name != name:
            continue
        if type(spec.loader) is SourceFileLoader:
            entries[name] = (spec.origin, spec.submodule_search_locations is not None, spec.loader.get_code(name))
        elif type(spec.loader) is ExtensionFileLoader:
            entries[name] = (spec.origin, False, None)
    with open(path, "wb") as file:
        marshal.dump(entries, file)
    return len(entries)


if __name__ == "__main__":
    print(f"{write_pack(PACK)} modules")
