"""Importing the runner's modules without a container, for tests of its pure parts."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

CHECKOUT = Path(__file__).resolve().parents[2] / "images" / "anaconda" / "runner"
DIRECTORY = Path(os.environ.get("FUMEHOOD_MOUNT_RUNNER", CHECKOUT)).resolve()
PACKAGE = "_fumehood_runner"


def runner(module: str) -> ModuleType:
    """A module of the runner, under the package name it has in a sandbox."""
    if PACKAGE not in sys.modules:
        spec = importlib.util.spec_from_file_location(PACKAGE, DIRECTORY / "__init__.py", submodule_search_locations=[str(DIRECTORY)])
        assert spec
        assert spec.loader
        package = importlib.util.module_from_spec(spec)
        sys.modules[PACKAGE] = package
        spec.loader.exec_module(package)
    return importlib.import_module(f"{PACKAGE}.{module}")
