"""Figures and artifacts: taken by a clean process after the script and all it started are dead.

Names, sizes, kinds and contents are the script's: only regular files are opened, links are never followed, and everything
is counted. What the collector has finished counts even if it runs out of time on the rest.
"""

import json
import os
import select
import signal
import stat
import time

from . import disk, places

PNG_START = b"\x89PNG\r\n\x1a\n"
COPY_BYTES = 8 * 1024 * 1024
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
DIRECTORY_FLAGS = FILE_FLAGS | os.O_DIRECTORY
NAMES_BYTES = 300_000
FEW = 1_000

FIGURES = {".png": "image/png", ".svg": "image/svg+xml", ".html": "text/html"}
ARTIFACTS = {
    **FIGURES,
    ".csv": "text/csv",
    ".gif": "image/gif",
    ".gz": "application/gzip",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".log": "text/plain",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
    ".pdf": "application/pdf",
    ".txt": "text/plain",
    ".xml": "application/xml",
    ".zip": "application/zip",
}
EXIT_DISK_FULL = 2
INCOMPLETE = {
    "kind": "files_incomplete",
    "text": "Not all figures and files could be kept: no time or room was left, or they cannot be read.",
}
UNKNOWN = "application/octet-stream"


def collect(request: dict, *, seconds: float) -> dict:
    """Fork the collector and take its lines: `{"files": […], "notes": […], "milliseconds": n, "disk_full": False}`.

    `disk_full`: the host's disk had no room for the files.

    Runs in the supervisor, which opens none of the files itself.
    """
    began_at = time.monotonic()
    if nothing_there():
        return {"files": [], "notes": [], "milliseconds": 0, "disk_full": False}
    try:
        readable, writable = os.pipe()
        pid = os.fork()
    except OSError:
        return {"files": [], "notes": [INCOMPLETE], "milliseconds": 0, "disk_full": False}
    if pid == 0:
        code = 1
        try:
            code = run(writable, request["limits"])
        finally:
            os._exit(code)
    os.close(writable)
    text, complete = read_until(readable, began_at + seconds)
    os.close(readable)
    if not complete:
        os.kill(pid, signal.SIGKILL)
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        status = 0
    files, notes = [], []
    for line in text.split(b"\n")[:-1]:
        said = json.loads(line)
        (files if "role" in said else notes).append(said)
    if not complete or status:
        notes.append(INCOMPLETE)
    disk_full = os.waitstatus_to_exitcode(status) == EXIT_DISK_FULL
    return {"files": files, "notes": notes, "milliseconds": round((time.monotonic() - began_at) * 1000), "disk_full": disk_full}


def nothing_there() -> bool:
    """True if no name in the working directory could be a figure or ./outputs/: most jobs need no second process."""
    try:
        with os.scandir(places.JOB) as entries:
            for count, entry in enumerate(entries):
                if count == FEW or entry.name == "outputs" or os.path.splitext(entry.name)[1].lower() in FIGURES:
                    return False
    except OSError:
        # The script may have closed its directory to all; the collector will say what cannot be read.
        return False
    return True


def read_until(descriptor: int, deadline: float) -> tuple[bytes, bool]:
    """All that comes until the end of the pipe (True) or the deadline (False)."""
    parts = []
    while (left := deadline - time.monotonic()) > 0:
        if select.select([descriptor], [], [], left)[0]:
            data = os.read(descriptor, 65536)
            if not data:
                return b"".join(parts), True
            parts.append(data)
    return b"".join(parts), False


def run(pipe: int, limits: dict) -> int:
    """The collector's whole life; the exit code."""
    box = Box(pipe, os.open(places.FILES, os.O_WRONLY | os.O_TRUNC), limits["disk_bytes"])
    try:
        take_figures(box, limits["figures"])
        take_artifacts(box)
    except OSError as error:
        # The only thing written here is the file on the host's disk.
        if disk.means_full(error):
            return EXIT_DISK_FULL
        raise
    return 0


class Box:
    """The file that holds everything back to back, and the lines that say what is where."""

    def __init__(self, pipe: int, descriptor: int, cap_bytes: int):
        self._pipe = pipe
        self._descriptor = descriptor
        self._cap_bytes = cap_bytes
        self._offset = 0
        self._names_bytes = NAMES_BYTES

    def note(self, kind: str, text: str) -> None:
        os.write(self._pipe, json.dumps({"kind": kind, "text": text}).encode() + b"\n")

    def put(self, source: int, role: str, name: str, media_type: str) -> bool:
        """Append a file; False when there is no room for it."""
        size = os.fstat(source).st_size
        self._names_bytes -= len(name) + 150
        if size > self._cap_bytes - self._offset or self._names_bytes < 0:
            return False
        done = 0
        while done < size:
            # By reading and writing: the wall's system call filter refuses sendfile.
            piece = os.pread(source, min(COPY_BYTES, size - done), done)
            if not piece:
                break
            done += write_all(self._descriptor, piece)
        line = {"role": role, "name": name, "media_type": media_type, "offset": self._offset, "bytes": done}
        self._offset += done
        os.write(self._pipe, json.dumps(line).encode() + b"\n")
        return True


def write_all(descriptor: int, data: bytes) -> int:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
    return len(data)


def take_figures(box: Box, most: int) -> None:
    """PNG, SVG and HTML files directly in the working directory, in the order of their last write, then by name."""
    found = []
    with os.scandir(places.JOB) as entries:
        for count, entry in enumerate(entries):
            if count >= places.DIRECTORY_ENTRIES:
                box.note("figures_capped", f"Only {places.DIRECTORY_ENTRIES:,} entries of the working directory were looked at.")
                break
            media_type = FIGURES.get(os.path.splitext(entry.name)[1].lower())
            if media_type and entry.is_file(follow_symlinks=False):
                found.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name, media_type))
    kept = 0
    for _, name, media_type in sorted(found, key=lambda figure: (figure[0], os.fsencode(figure[1]))):
        if kept == most:
            box.note("figures_capped", f"The script left more than {most} figures; only the first {most} were kept.")
            break
        source = open_regular(os.path.join(places.JOB, name))
        if source is None:
            continue
        if media_type == "image/png" and os.pread(source, len(PNG_START), 0) != PNG_START:
            box.note("figure_ignored", f"{readable(name)} is called PNG but is not one.")
        elif box.put(source, "figure", readable(name), media_type):
            kept += 1
        else:
            box.note("files_incomplete", f"There was no room for the figure {readable(name)}.")
        os.close(source)


def take_artifacts(box: Box) -> None:
    """Every regular file below ./outputs/, by path."""
    try:
        top = os.open(places.OUTPUTS, DIRECTORY_FLAGS)
    except OSError:
        return
    kept = 0
    seen = 0
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        directory = open_below(top, prefix)
        if directory is None:
            continue
        names = sorted(os.listdir(directory), key=os.fsencode)
        deeper = []
        for name in names:
            seen += 1
            path = prefix + name
            if seen > places.DIRECTORY_ENTRIES or kept >= places.ARTIFACTS:
                box.note("files_incomplete", f"The script left more files below outputs/ than the {places.ARTIFACTS:,} that are kept.")
                return
            if len(os.fsencode(path)) > places.ARTIFACT_PATH_BYTES:
                box.note("files_incomplete", f"The path of a file below outputs/ is too long: {readable(path)[:100]}…")
                continue
            kept += take_entry(box, directory, name, path, deeper)
        os.close(directory)
        if deeper and prefix.count("/") >= places.ARTIFACT_DEPTH:
            box.note("files_incomplete", f"Directories below outputs/ are deeper than {places.ARTIFACT_DEPTH}.")
        else:
            waiting += reversed(deeper)


def take_entry(box: Box, directory: int, name: str, path: str, deeper: list) -> bool:
    """Keep one entry if it is a regular file (True), remember it if it is a directory, pass over anything else."""
    try:
        kind = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        if stat.S_ISDIR(kind):
            deeper.append(path + "/")
            return False
    except OSError:
        return False
    source = open_regular(name, directory)
    if source is None:
        return False
    media_type = ARTIFACTS.get(os.path.splitext(name)[1].lower(), UNKNOWN)
    fits = box.put(source, "artifact", readable(path), media_type)
    os.close(source)
    if not fits:
        box.note("files_incomplete", f"There was no room for outputs/{readable(path)}.")
    return fits


def open_below(top: int, prefix: str) -> int | None:
    """A descriptor of the directory `prefix` below `top`; nothing is renamed any more, so a path is safe here."""
    try:
        return os.open(prefix or ".", DIRECTORY_FLAGS, dir_fd=top)
    except OSError:
        return None


def open_regular(path: str, directory: int | None = None) -> int | None:
    """A descriptor of a regular file; None for anything else."""
    try:
        descriptor = os.open(path, FILE_FLAGS, dir_fd=directory)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def readable(name: str) -> str:
    """A file's name as text; bytes that are no UTF-8 become a question mark."""
    return os.fsencode(name).decode("utf-8", "replace")
