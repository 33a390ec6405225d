"""Wheels for an image: fetched by the host's own pip, handed to the build over the loopback interface.

So a build needs no network, and no proxy, certificate authority or credential of the host ever enters an image.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# The newest glibc that a wheel may ask for is the one of the base, 2.41. pip takes each name literally, so all of the
# older ones are spelt out; and linux_* is what some projects of pure C still publish.
GLIBC_MINOR_NEWEST = 41


def cache() -> Path:
    """Where wheels and tools are kept between builds; may be deleted at any time."""
    path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fumehood"
    path.mkdir(parents=True, exist_ok=True)
    return path


def fingerprint(*paths: Path) -> str:
    """12 hex digits over the contents of `paths`; a missing file counts as empty."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes() if path.exists() else b"").digest())
    return digest.hexdigest()[:12]


def download(locks: list[Path], python: str) -> Path:
    """Fetch every wheel that `locks` pin for Linux on this machine's processor; returns their directory.

    Checked against the hashes here and again inside the build. One directory serves all locks; a stamp per set of
    locks remembers that all of its wheels are there, so an unchanged lock asks the index nothing.
    """
    directory = cache() / "wheels"
    directory.mkdir(exist_ok=True)
    stamp = directory / f".complete-{python}-{fingerprint(*locks)}"
    if stamp.exists():
        return directory
    for lock in locks:
        print(f"fetching the wheels of {lock.parent.name}/{lock.name}, may take a minute", flush=True)
        # pip evaluates markers for the Python it runs on, not for the one asked for. Without markers it fetches a few
        # wheels too many, and the pip inside the build, which has the right Python, picks.
        plain = cache() / f"download-{os.getpid()}.txt"
        plain.write_text(re.sub(r" ;[^\\\n]*", " ", lock.read_text()))
        command = [
            *find_pip(),
            "download",
            "--quiet",
            "--require-hashes",
            "--no-deps",
            "--only-binary=:all:",
            "--python-version",
            python,
            "--implementation",
            "cp",
            "--dest",
            str(directory),
            "-r",
            str(plain),
        ]
        for abi in (f"cp{python.replace('.', '')}", "abi3", "none"):
            command += ["--abi", abi]
        for tag in platforms():
            command += ["--platform", tag]
        try:
            subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"pip could not fetch {lock}:\n{error.stderr[-4000:]}") from error
        finally:
            plain.unlink()
    stamp.touch()
    return directory


def platforms() -> list[str]:
    machine = platform.machine()
    names = [f"manylinux_2_{minor}" for minor in range(5, GLIBC_MINOR_NEWEST + 1)]
    return [f"{name}_{machine}" for name in (*names, "manylinux1", "manylinux2010", "manylinux2014", "linux")]


def find_pip() -> list[str]:
    """A pip of the host, with the host's configuration; a bare Debian has none, so make one in a venv."""
    home = cache() / "pip"
    for command in ([sys.executable, "-m", "pip"], [str(home / "bin" / "python"), "-m", "pip"]):
        if shutil.which(command[0]) and not subprocess.run([*command, "--version"], capture_output=True).returncode:
            return command
    if subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)]).returncode:
        raise SystemExit("no pip on this machine and no way to make one; on Debian: apt install python3-venv")
    return [str(home / "bin" / "python"), "-m", "pip"]


@contextmanager
def serve(directory: Path) -> Iterator[str]:
    """Serve `directory` on a free port of the loopback interface while the block runs; gives the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(directory))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
