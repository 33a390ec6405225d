"""Downloads: bytes of the service into files of the user's, whole or not at all, under names that stay where they belong."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from cli.terminal import one_line, say, size
from fumehood.client.surface import Surface

NAME_BYTES_MAX = 180
# What a shell, a file manager or another system could take for something else.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def safe_name(name: str) -> str:
    """One file name without surprises; spaces and letters of every script stay."""
    plain = _UNSAFE.sub("_", name).strip(" ")
    # Hidden files, `..`, and what would be an option on a command line.
    plain = re.sub(r"^[.-]+", "_", plain).rstrip(" .") or "_"
    plain = f"_{plain}" if _RESERVED.fullmatch(plain) else plain
    stem, dot, ending = plain.rpartition(".")
    if not stem or len(ending) > 16:
        stem, dot, ending = plain, "", ""
    room = NAME_BYTES_MAX - len((dot + ending).encode())
    return stem.encode()[:room].decode(errors="ignore") + dot + ending


def safe_path(name: str) -> PurePosixPath:
    """The name of an artifact, which may lie in directories."""
    return PurePosixPath(*(safe_name(part) for part in name.split("/") if part)) if name.strip("/") else PurePosixPath("_")


def save(client: Surface, address: str, target: Path, *, accept: str = "*/*", **query: str | None) -> int:
    """Download to `target`, which appears when it is complete; what stood there is replaced. Returns its size in bytes."""
    with client.content(address, accept=accept, **query) as response, whole(target) as file:
        for chunk in response.iter_bytes():
            file.write(chunk)
        return file.tell()


@contextmanager
def whole(target: Path) -> Iterator[BinaryIO]:
    """A file that is `target` once the block has ended well; what stood there is replaced."""
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with unfinished.open("xb") as file:
            yield file
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def save_all(client: Surface, job_id: str, what: str, directory: Path) -> Iterator[str]:
    """Save the job's `figures` or `artifacts` below `directory`; yields a line on each file. Names that meet get a number."""
    directory.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for item in client.listing(f"/v1/jobs/{job_id}/{what}"):
        address = str(item["href"])
        if not _is_inside(address, job_id):
            say(f"{one_line(item['name'])} is left out: its address is {one_line(address)}, which is not inside the job")
            continue
        target = directory / _free(safe_path(item["name"]) if what == "artifacts" else PurePosixPath(safe_name(item["name"])), taken)
        target.parent.mkdir(parents=True, exist_ok=True)
        count = save(client, address, target)
        yield f"{one_line(target)}  ({size(count)})"


def _is_inside(address: str, job_id: str) -> bool:
    """The key is sent along with every request, so an address from an answer is followed only into this very job."""
    return address.startswith(f"/v1/jobs/{job_id}/") and not {".", ".."} & set(address.split("/"))


def _free(path: PurePosixPath, taken: set[str]) -> PurePosixPath:
    candidate, number = path, 1
    # Compared without case, as file systems of other systems do.
    while str(candidate).casefold() in taken:
        number += 1
        candidate = path.with_name(f"{path.stem} ({number}){path.suffix}")
    taken.add(str(candidate).casefold())
    return candidate
