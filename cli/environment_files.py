"""The environment of an image, as files that other tools read: pinned requirements for pip, environment.yml for conda."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# What a sandbox sets and what changes results: hash order, time zone, text, the backend of figures, and how many threads
# share a sum, which is the job's CPU limit (1 by default). A test compares them with the runner.
VARIABLES = {
    "LANG": "C.UTF-8",
    "MPLBACKEND": "Agg",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "TZ": "UTC",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """What an image has: `python` is its full version, `packages` are name → version, names as pip normalises them."""

    digest: str
    python: str
    packages: dict[str, str]

    @property
    def pins(self) -> list[str]:
        return [f"{name}=={version}" for name, version in sorted(self.packages.items())]

    @property
    def python_minor(self) -> str:
        return ".".join(self.python.split(".")[:2])


def requirements_txt(environment: Environment) -> str:
    """For `pip install -r` in a virtual environment of the same Python; the variables stand in a comment, pip has none."""
    settings = " ".join(f"{name}={value}" for name, value in VARIABLES.items())
    head = [
        f"# What scripts run in: Fumehood's image {environment.digest}",
        f"# Python {environment.python}, {len(environment.packages)} packages. With Python {environment.python_minor}:",
        f"#   python{environment.python_minor} -m venv environment && environment/bin/pip install -r requirements.txt",
        f"# A sandbox also sets: {settings}",
    ]
    return "\n".join([*head, *environment.pins]) + "\n"


def environment_yml(environment: Environment) -> str:
    """For `conda env create -f`: Python from conda, every package from pip, exactly as in the image."""
    return "\n".join(
        [
            f"# What scripts run in: Fumehood's image {environment.digest}, Python {environment.python}",
            "name: fumehood",
            "channels:",
            "  - conda-forge",
            "dependencies:",
            f"  - python={environment.python_minor}.*",
            "  - pip",
            "  - pip:",
            *(f"      - {pin}" for pin in environment.pins),
            "variables:",
            *(f'  {name}: "{value}"' for name, value in VARIABLES.items()),
            "",
        ]
    )


# By the name that --format takes.
FORMATS: dict[str, Callable[[Environment], str]] = {"requirements": requirements_txt, "conda": environment_yml}
