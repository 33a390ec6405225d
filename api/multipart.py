"""Multipart: a job with its files, straight to disk. Never more than the document and the script in memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.names import showable
from api.problems import UnknownMediaType
from fumehood.blob_store import BlobStore, Incoming
from fumehood.dataset import FORMATS, TABLE_FORMATS, format_of
from fumehood.errors import BadField, BadRequest, Malformed, TooLarge
from fumehood.job import PORTS
from fumehood.settings import Settings

HEADERS_MAX = 8
HEADER_BYTES = 4096
PARTS = ("job", *PORTS)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file part on disk, not yet in the store."""

    incoming: Incoming
    format: str


@dataclass(slots=True)
class Form:
    """What a submission brought: the small parts as bytes, the tables and the bundle as files."""

    job: bytes | None = None
    script: bytes | None = None
    files: dict[str, Arrived] = field(default_factory=dict)


def part_limits(settings: Settings) -> dict[str, int]:
    return {
        "job": settings.document_bytes,
        "script": settings.script_bytes,
        "dataset1": settings.dataset_bytes,
        "dataset2": settings.dataset_bytes,
        "bundle": settings.bundle_bytes,
    }


def body_limit(settings: Settings) -> int:
    """All parts at their largest, and room for their headers; what stands before and after them is bounded by it too."""
    return sum(part_limits(settings).values()) + len(PARTS) * (HEADERS_MAX + 1) * HEADER_BYTES


def boundary_of(content_type: str) -> bytes:
    """Raises Malformed where the header names none, or one that RFC 2046 does not allow."""
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:
        raise Malformed(f"the multipart boundary has {len(boundary)} characters; expected 1 to 70")
    return boundary


class FormReader:
    """Feeds a parser; its callbacks write each part where it belongs. `feed` blocks on the disk: call it in a thread."""

    def __init__(self, boundary: bytes, *, blobs: BlobStore, settings: Settings, stack: ExitStack) -> None:
        """`stack` owns the files: what was not kept when it is closed is removed."""
        self.form = Form()
        self._blobs, self._stack = blobs, stack
        self._limits, self._floor_bytes = part_limits(settings), settings.disk_floor_bytes
        self._name, self._left, self._ended = "", 0, False
        self._header, self._value = bytearray(), bytearray()
        self._headers: dict[str, bytes] = {}
        self._seen: set[str] = set()
        self._small = bytearray()
        self._sink: Callable[[bytes], object] = self._small.extend
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._on_header,
                "on_headers_finished": self._on_part,
                "on_part_data": self._on_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
            max_header_count=HEADERS_MAX,
            max_header_size=HEADER_BYTES,
        )

    def feed(self, piece: bytes) -> None:
        """Raises Malformed, BadRequest (an unknown or repeated part), UnsupportedFormat, TooLarge, DiskFull."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise Malformed(f"the multipart body is malformed: {str(error)[:200]}") from None

    def finish(self) -> Form:
        if not self._ended:
            raise Malformed("the multipart body ends before its closing boundary")
        return self.form

    def _on_header(self) -> None:
        self._headers[self._header.decode("latin-1").lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _on_part(self) -> None:
        disposition, options = parse_options_header(self._headers.get("content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if disposition != b"form-data" or name not in PARTS:
            raise BadRequest(
                "a part of the form cannot be used",
                errors=(BadField(f"/{name[:80]}", f"there is no part {name[:80]!r}; the parts are {', '.join(PARTS)}"),),
            )
        if name in self._seen:
            raise BadRequest("a part of the form cannot be used", errors=(BadField(f"/{name}", f"the part {name} stands more than once"),))
        self._seen.add(name)
        self._name, self._left = name, self._limits[name]
        if name in ("job", "script"):
            self._small = bytearray()
            self._sink = self._small.extend
            return
        incoming = self._stack.enter_context(self._blobs.incoming(floor_bytes=self._floor_bytes))
        self.form.files[name] = Arrived(incoming, self._format(name, options))
        self._sink = incoming.write

    def _format(self, name: str, options: dict[bytes, bytes]) -> str:
        media_type = self._headers.get("content-type", b"").decode("latin-1")
        file_name = options.get(b"filename", b"").decode("utf-8", "replace")
        if not showable(file_name):
            fault = BadField(f"/{name}", "has a file name with a control character, or one that is not UTF-8")
            raise BadRequest("a part of the form cannot be used", errors=(fault,))
        found = format_of(media_type, file_name)
        usable = ("zip",) if name == "bundle" else TABLE_FORMATS
        if found not in usable:
            available = [media for known in usable for media in FORMATS[known][0]]
            raise UnknownMediaType(
                f"{name} is {media_type[:80] or 'of no media type'!r} and its file name does not tell; expected {', '.join(available)}",
                available=available,
            )
        return found

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._left -= end - start
        if self._left < 0:
            limit = self._limits[self._name]
            detail = f"{self._name} is longer than {limit:,} bytes, which is the limit"
            raise TooLarge(detail, limit=limit, errors=(BadField(f"/{self._name}", detail),))
        self._sink(data[start:end])

    def _on_part_end(self) -> None:
        if self._name == "job":
            self.form.job = bytes(self._small)
        elif self._name == "script":
            self.form.script = bytes(self._small)

    def _on_end(self) -> None:
        self._ended = True
