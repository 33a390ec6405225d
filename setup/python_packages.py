"""The virtual environment `.venv`: what the locks pin, checked by hash, and the project itself."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from progress import ROOT, SetupError, logged, step

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCKS = {
    "service": ROOT / "images" / "service" / "requirements.lock",
    "tests": ROOT / "images" / "service" / "requirements-dev.lock",
    "notebook": ROOT / "images" / "service" / "requirements-notebook.lock",
}
OLDEST = (3, 11)
INSTALL_SECONDS = 1800.0

COMMAND = """\
#!{python}
from cli.app import main

raise SystemExit(main())
"""


def ensure(*names: str) -> None:
    """Make `.venv` hold the locks called `names`. A stamp per lock says that it is installed, so a second time costs nothing.

    Raises:
        SetupError: this Python is too old, `.venv` is a link, or pip could not install.
    """
    if sys.version_info < OLDEST:
        found, oldest = sys.version.split()[0], ".".join(map(str, OLDEST))
        raise SetupError(f"python3 is {found}; expected {oldest} or newer (Debian 12, Ubuntu 24.04 and later have it)")
    if VENV.is_symlink():  # To make it anew would empty what is behind the link.
        raise SetupError(f"{VENV} is a link to {VENV.resolve()}; expected a directory of this checkout's own: remove the link")
    wanted = {name: VENV / f".{name}-{_fingerprint(LOCKS[name])}" for name in names}
    if not PYTHON.exists() or any(not stamp.exists() and list(VENV.glob(f".{name}-*")) for name, stamp in wanted.items()):
        with step("venv: making .venv"):
            logged([sys.executable, "-m", "venv", "--clear", VENV], deadline_seconds=120)
    for name, stamp in wanted.items():
        if not stamp.exists():
            with step(f"venv: installing {LOCKS[name].relative_to(ROOT)}"):
                logged([PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "--require-hashes", "-r", LOCKS[name]],
                       deadline_seconds=INSTALL_SECONDS)
            stamp.touch()
    _link_project()


def _link_project() -> None:
    """The checkout on the path and the command beside it: what an editable install does, without a build or a network."""
    site = next((VENV / "lib").glob("python3.*/site-packages"))
    _write(site / "fumehood.pth", f"{ROOT}\n")
    _write(VENV / "bin" / "fumehood", COMMAND.format(python=PYTHON))
    (VENV / "bin" / "fumehood").chmod(0o755)


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _fingerprint(lock: Path) -> str:
    interpreter = f"{sys.version} {os.path.realpath(sys.executable)} {ROOT}"
    return hashlib.sha256(interpreter.encode() + lock.read_bytes()).hexdigest()[:16]
