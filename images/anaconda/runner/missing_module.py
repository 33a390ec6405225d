"""A module that is not there: the nearest one that is, in the image or in the bundle.

Read from directories and packing lists only; nothing is imported, because a bundle could stand in the way.
"""

import difflib
import os
import re
import sys

from . import places

NEAR = 0.75
BUNDLE_ENTRIES = 10_000
RECORD_BYTES = 4 * 1024 * 1024
NICKNAMES = {
    "np": "numpy", "pd": "pandas", "plt": "matplotlib.pyplot", "sns": "seaborn", "sm": "statsmodels.api", "nx": "networkx", "pl": "polars",
    "pa": "pyarrow", "px": "plotly.express",
}  # fmt: skip
NOTHING_NEAR = "Nothing can be installed in a sandbox; what the image lacks comes in the bundle, as modules or pure-Python wheels."


def hint(name: str) -> str:
    """A sentence about what to import instead of `name`."""
    parent, _, last = name.rpartition(".")
    if parent:
        return about_submodule(parent, last)
    if name in NICKNAMES:
        return f"It is only a nickname: write `import {NICKNAMES[name]} as {name}`."
    return deep_in_bundle(name) or nearest(name) or NOTHING_NEAR


def about_submodule(parent: str, last: str) -> str:
    """The package is there and was imported; a module of it is not. Often the script was written for another version."""
    top = parent.split(".")[0]
    package = package_of(top)
    version = f"The image has {package[0]} {package[1]}" if package else f"There is a module {parent!r}"
    near = difflib.get_close_matches(last, modules_of(getattr(sys.modules.get(parent), "__path__", ())), n=1, cutoff=NEAR)
    return f"{version}; the nearest in it is '{parent}.{near[0]}'." if near else f"{version}, without such a module."


def nearest(name: str) -> str:
    """About the module or package whose name is most like it; empty where none is."""
    modules = {each.lower(): each for each in (*sys.stdlib_module_names, *image_modules(), *modules_of([places.BUNDLE])) if each[0] != "_"}
    packages = {normal(package): package for package, _, _ in packages_of_image()}
    wanted = normal(name)
    found = difflib.get_close_matches(wanted, {*modules, *packages}, n=1, cutoff=NEAR)
    if not found:
        found = [package for package in sorted(packages) if len(wanted) > 3 and package.startswith(wanted + "_")][:1]
    if not found:
        return ""
    if module := modules.get(found[0]):
        package = package_of(module)
        whose = f" of the package {package[0]}" if package and normal(package[0]) != normal(module) else ""
        return f"The nearest that there is: {module!r}{whose}."
    package = packages[found[0]]
    imports = " or ".join(f"`import {module}`" for module in modules_of_package(package)[:3])
    return f"The image has the package {package}; write {imports}." if imports else f"The nearest package of the image is {package}."


def deep_in_bundle(name: str) -> str:
    """Where the bundle has the module, but not at its root: whoever zips a directory gets that directory, too."""
    for directory, entry in bundle_entries():
        if not directory:
            continue
        if entry == f"{name}.py" or (entry == "__init__.py" and os.path.basename(directory) == name):
            place = directory if entry == f"{name}.py" else os.path.dirname(directory)
            parts = place.split("/")
            imported = f"write `from {'.'.join(parts)} import {name}`, or " if place and all(part.isidentifier() for part in parts) else ""
            return f"The bundle has it below {place!r}: {imported}pack the zip without that directory." if place else ""
        if entry.lower().endswith(".whl") and normal(entry.split("-")[0]) == normal(name):
            return f"The bundle has the wheel '{directory}/{entry}'; only wheels at its root can be imported."
    return ""


def bundle_entries():
    """Directory below the bundle and name of each of its files."""
    count = 0
    for directory, _, files in os.walk(places.BUNDLE):
        for file in sorted(files):
            count += 1
            if count > BUNDLE_ENTRIES:
                return
            yield os.path.relpath(directory, places.BUNDLE).removeprefix("."), file


def normal(name: str) -> str:
    """Names of packages and modules in one spelling."""
    return re.sub(r"[-_.]+", "_", name).lower()


def modules_of(directories) -> list[str]:
    """Names that can be imported from the directories, by their looks."""
    names = set()
    for directory in directories:
        try:
            entries = os.listdir(directory)
        except OSError:
            continue
        names |= {entry.split(".")[0] for entry in entries if "." not in entry or entry.endswith((".py", ".so"))}
    return sorted(name for name in names if name.isidentifier() and not name.startswith("__"))


def site_packages() -> list[str]:
    return [path for path in sys.path if path.endswith("/site-packages")]


def image_modules() -> list[str]:
    return modules_of(site_packages())


def packages_of_image():
    """Name, version and packing list of each package of the image."""
    for directory in site_packages():
        for entry in sorted(os.listdir(directory)):
            if entry.endswith(".dist-info"):
                name, _, version = entry.removesuffix(".dist-info").partition("-")
                yield name.replace("_", "-"), version, os.path.join(directory, entry, "RECORD")


def read_record(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return b"\n" + file.read(RECORD_BYTES)
    except OSError:
        return b""


def package_of(module: str) -> tuple[str, str] | None:
    """Name and version of the package that a module of the image belongs to."""
    marks = [f"\n{module}{ending},".encode() for ending in ("/__init__.py", ".py")]
    for name, version, record in packages_of_image():
        text = read_record(record)
        if any(mark in text for mark in marks):
            return name, version
    return None


def modules_of_package(package: str) -> list[str]:
    """The modules that a package of the image brings."""
    for name, _, record in packages_of_image():
        if name == package:
            tops = {line.split(b"/")[0].split(b",")[0].decode(errors="replace") for line in read_record(record).splitlines()}
            modules = {top.split(".")[0] for top in tops if "." not in top or top.endswith((".py", ".so"))}
            return sorted(module for module in modules if module.isidentifier() and module[0] != "_")
    return []
