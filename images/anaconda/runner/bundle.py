"""The script bundle: a zip from a stranger, unpacked by rules of our own.

Every refusal names the entry. Nothing is silently renamed or left out, which is what the standard library would do.
"""

import os
import stat
import struct
import zipfile
import zlib
from typing import NamedTuple

from . import places
from .refused import Refused

NAME_BYTES = 255
PATH_BYTES = 1_000
DEPTH = 32
DIRECTORY_BYTES_PER_ENTRY = 46 + PATH_BYTES + 200
COPY_BYTES = 256 * 1024
METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
PURE_WHEEL = "-none-any.whl"
COMPILED = (".so", ".pyd", ".dll", ".dylib")
UNIX = 3
ENCRYPTED = 0x1 | 0x40
KINDS = {stat.S_IFLNK: "a link", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}

END_RECORD = struct.Struct("<4s4H2LH")
END_MARK = b"PK\x05\x06"
END_SEARCH_BYTES = 65_535 + END_RECORD.size


def unpack(path: str | None, directory: str, limits: dict) -> list[str]:
    """Unpack the zip at `path` (None: no bundle) into `directory`; the paths of the wheels at its root.

    Each file and directory can also be opened by its Windows name: a link in the working directory, called
    `.\\Script Bundle\\a\\b`.
    """
    os.mkdir(directory)
    working_directory = os.path.dirname(directory)
    os.symlink(os.path.basename(directory), os.path.join(working_directory, places.BUNDLE_WINDOWS_NAME))
    if path is None:
        return []
    port = "The script bundle"
    with open_zip(path, limits, port) as archive:
        entries = checked_entries(archive, limits, port)
        left = Budget(limits["bundle_unpacked_bytes"], port)
        for entry in entries:
            target = os.path.join(directory, *entry.parts)
            if entry.is_directory:
                os.makedirs(target, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(target), exist_ok=True)
            inflate(archive, entry.info, target, left)
    for parts in paths_of(entries):
        link_windows_name(working_directory, os.path.basename(directory), parts)
    wheels = sorted(entry.parts[0] for entry in entries if entry.is_wheel())
    for name in wheels:
        check_wheel(os.path.join(directory, name), name, limits)
    return [os.path.join(directory, name) for name in wheels]


def check(path: str, limits: dict, port: str) -> int:
    """Check a zip by all the rules without writing anything; the number of its entries."""
    with open_zip(path, limits, port) as archive:
        entries = checked_entries(archive, limits, port)
        left = Budget(limits["bundle_unpacked_bytes"], port)
        for entry in entries:
            if not entry.is_directory:
                inflate(archive, entry.info, os.devnull, left)
    return len(entries)


class Entry(NamedTuple):
    """One entry that keeps the rules; `parts` is its path below the bundle's directory."""

    info: zipfile.ZipInfo
    parts: list[str]
    is_directory: bool

    def is_wheel(self) -> bool:
        """True for a wheel that is to be importable: only those at the root are."""
        return len(self.parts) == 1 and not self.is_directory and self.parts[0].lower().endswith(".whl")


class Budget:
    """Bytes that may still come out of the zip, by real count: headers lie."""

    def __init__(self, cap_bytes: int, port: str):
        self.cap_bytes = cap_bytes
        self.left_bytes = cap_bytes
        self.port = port

    def take(self, count: int, name: str) -> None:
        self.left_bytes -= count
        if self.left_bytes < 0:
            raise bad(self.port, f"unpacks to more than {self.cap_bytes:,} bytes (at entry {name!r})")


def bad(port: str, what: str) -> Refused:
    return Refused("bad_input", f"{port} {what}.")


def open_zip(path: str, limits: dict, port: str) -> zipfile.ZipFile:
    """Open a zip after its end record was checked: the library would read any directory into memory."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - END_SEARCH_BYTES))
        tail = file.read(END_SEARCH_BYTES)
    at = tail.rfind(END_MARK)
    if at < 0 or len(tail) - at < END_RECORD.size:
        raise bad(port, "is not a zip file" if size else "is an empty file")
    _, disk, first_disk, _, entries, directory_bytes, _, _ = END_RECORD.unpack_from(tail, at)
    most = limits["bundle_entries"]
    if entries > most and entries != 0xFFFF:
        raise bad(port, f"has {entries:,} entries; the limit is {most:,}")
    oversized = directory_bytes > max(1, most) * DIRECTORY_BYTES_PER_ENTRY and directory_bytes != 0xFFFFFFFF
    if oversized or disk or first_disk:
        raise bad(port, "has a damaged or oversized directory")
    if size > most * DIRECTORY_BYTES_PER_ENTRY and directory_bytes == 0xFFFFFFFF:
        raise bad(port, "is a 64-bit zip; pack it again without that extension")
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, EOFError) as error:
        raise bad(port, f"is not a usable zip file ({error})") from None


def checked_entries(archive: zipfile.ZipFile, limits: dict, port: str) -> list[Entry]:
    """Every entry; raises at the first that breaks a rule."""
    infos = archive.infolist()
    if len(infos) > limits["bundle_entries"]:
        raise bad(port, f"has {len(infos):,} entries; the limit is {limits['bundle_entries']:,}")
    if (total := sum(info.file_size for info in infos)) > limits["bundle_unpacked_bytes"]:
        raise bad(port, f"unpacks to {total:,} bytes; the limit is {limits['bundle_unpacked_bytes']:,}")
    check_overlaps(infos, port)
    entries, files, directories = [], set(), set()
    for info in infos:
        parts = safe_parts(info.orig_filename, port)
        check_kind(info, port)
        key, parents = tuple(parts), {tuple(parts[:count]) for count in range(1, len(parts))}
        is_directory = info.is_dir() or info.orig_filename.endswith("\\")
        if key in files or (not is_directory and key in directories) or parents & files:
            raise bad(port, f"has more than one entry for {info.orig_filename!r}")
        (directories if is_directory else files).add(key)
        directories |= parents
        entries.append(Entry(info, parts, is_directory))
        if entries[-1].is_wheel() and not parts[0].lower().endswith(PURE_WHEEL):
            raise bad(port, f"has a wheel that is not pure Python: {parts[0]!r}; only those named '…{PURE_WHEEL}' can be imported")
    return entries


def check_wheel(path: str, name: str, limits: dict) -> None:
    """Python reads modules straight from a wheel, but no compiled ones."""
    port = f"The wheel {name!r} of the script bundle"
    with open_zip(path, limits, port) as archive:
        compiled = next((each for each in archive.namelist() if each.lower().endswith(COMPILED)), None)
    if compiled is not None:
        raise bad(port, f"has compiled code: {compiled[:200]!r}; only pure Python can be imported from a bundle")


def paths_of(entries: list[Entry]) -> list[tuple[str, ...]]:
    """The paths of all files and directories, also of directories that have no entry of their own."""
    return sorted({tuple(entry.parts[:count]) for entry in entries for count in range(1, len(entry.parts) + 1)})


def safe_parts(name: str, port: str) -> list[str]:
    """The parts of an entry's path below the bundle's directory.

    A backslash separates too: old tools on Windows wrote it.
    """
    shown = repr(name if len(name) <= 200 else name[:199] + "…")
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise bad(port, f"has an entry with a control character in its name: {shown}")
    path = name.replace("\\", "/")
    if path.startswith("/") or path[1:2] == ":":
        raise bad(port, f"has an entry with an absolute path: {shown}")
    parts = path.removesuffix("/").split("/")
    if ".." in parts:
        raise bad(port, f"has an entry that leaves its directory: {shown}")
    parts = [part for part in parts if part != "."]
    if not parts or "" in parts:
        raise bad(port, f"has an entry with an empty name: {shown}")
    sizes = [len(part.encode("utf-8", "surrogateescape")) for part in parts]
    if max(sizes) > NAME_BYTES or sum(sizes) + len(sizes) > PATH_BYTES or len(parts) > DEPTH:
        raise bad(port, f"has an entry whose path is too long or too deep: {shown}")
    return parts


def check_kind(info: zipfile.ZipInfo, port: str) -> None:
    """Only plain files and directories, plainly packed."""
    name = repr(info.filename)
    if info.flag_bits & ENCRYPTED:
        raise bad(port, f"has an encrypted entry: {name}")
    kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == UNIX else 0
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise bad(port, f"has an entry that is {KINDS.get(kind, 'not a file')}: {name}")
    if info.compress_type not in METHODS:
        raise bad(port, f"has an entry with a compression other than stored or deflated: {name}")


def check_overlaps(infos: list[zipfile.ZipInfo], port: str) -> None:
    """No two entries may share bytes: that is how kilobytes claim to be gigabytes."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise bad(port, f"has entries that overlap: {info.filename!r}")
        end = info.header_offset + 30 + len(info.orig_filename.encode("utf-8", "replace")) + info.compress_size


def inflate(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: str, left: Budget) -> None:
    """Write one entry, counting what really comes out."""
    try:
        with archive.open(info) as packed, open(target, "wb") as file:
            while data := packed.read(COPY_BYTES):
                left.take(len(data), info.filename)
                file.write(data)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        raise bad(left.port, f"has a damaged entry {info.filename!r} ({error})") from None


def link_windows_name(working_directory: str, bundle_name: str, parts: tuple[str, ...]) -> None:
    """Let `open(".\\Script Bundle\\a\\b")` find what is there; a name too long for a link goes without."""
    name = "\\".join([places.BUNDLE_WINDOWS_NAME, *parts])
    if len(name.encode("utf-8", "surrogateescape")) <= NAME_BYTES:
        os.symlink("/".join([bundle_name, *parts]), os.path.join(working_directory, name))
