"""Multipart: a job, a batch or a version with its files, straight to disk. Never more than the document and the script in memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.names import showable
from api.problems import UnknownMediaType
from fumehood.batch import ITEM_BYTES, ITEMS_MAX, PACK_ALIGNMENT_BYTES
from fumehood.blob_files import Incoming
from fumehood.blob_store import BlobStore
from fumehood.dataset import FORMATS, TABLE_FORMATS, format_of
from fumehood.errors import BadField, BadRequest, Malformed, TooLarge
from fumehood.job import PORTS
from fumehood.quota import Quota
from fumehood.script import SAMPLE_BYTES
from fumehood.settings import Settings

HEADERS_MAX = 8
HEADER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Parts:
    """What a form may consist of; `document` is the name of the part that is JSON."""

    document: str
    names: tuple[str, ...]
    repeated: str | None = None


OF_JOB = Parts("job", ("job", *PORTS))
OF_VERSION = Parts("version", ("version", "script", "bundle", "sample"))
OF_SCRIPT_JOB = Parts("job", ("job", "dataset1", "dataset2"))
OF_SCRIPT_BATCH = Parts("batch", ("batch", "dataset2", "item"), repeated="item")
OF_BATCH = Parts("batch", ("batch", "script", "dataset2", "bundle", "item"), repeated="item")


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file part on disk, not yet in the store."""

    incoming: Incoming
    format: str


@dataclass(frozen=True, slots=True)
class ArrivedItem:
    """One of many tables, back to back in one file (`Form.pack`)."""

    name: str
    format: str | None
    """None where neither media type nor file name says one that can be read."""
    offset: int
    bytes: int


@dataclass(slots=True)
class Form:
    """What a submission brought: the small parts as bytes, the tables and the bundle as files."""

    document: bytes | None = None
    script: bytes | None = None
    files: dict[str, Arrived] = field(default_factory=dict)
    pack: Incoming | None = None
    items: list[ArrivedItem] = field(default_factory=list)


def part_limits(settings: Settings, quota: Quota | None = None) -> dict[str, int]:
    """`quota` is the tenant's own, where it has one."""
    dataset_bytes = min(settings.dataset_bytes, quota.dataset_bytes) if quota is not None else settings.dataset_bytes
    return {
        "job": settings.document_bytes,
        "batch": settings.document_bytes,
        "version": settings.document_bytes,
        "script": settings.script_bytes,
        "dataset1": dataset_bytes,
        "dataset2": dataset_bytes,
        "bundle": min(settings.bundle_bytes, dataset_bytes),
        "item": min(ITEM_BYTES, dataset_bytes),
        "sample": min(SAMPLE_BYTES, dataset_bytes),
    }


def body_limit(settings: Settings, parts: Parts) -> int:
    """All parts at their largest, and room for their headers; what stands before and after them is bounded by it too. Repeated
    ones are together as large as one dataset at most."""
    limits = part_limits(settings) | {"item": settings.dataset_bytes}
    count = len(parts.names) + (ITEMS_MAX if parts.repeated else 0)
    return sum(limits[name] for name in parts.names) + count * (HEADERS_MAX + 1) * HEADER_BYTES


def boundary_of(content_type: str) -> bytes:
    """Raises Malformed where the header names none, or one that RFC 2046 does not allow."""
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:
        raise Malformed(f"the multipart boundary has {len(boundary)} characters; expected 1 to 70")
    return boundary


class FormReader:
    """Feeds a parser; its callbacks write each part where it belongs. `feed` blocks on the disk: call it in a thread."""

    def __init__(
        self,
        boundary: bytes,
        *,
        parts: Parts = OF_JOB,
        blobs: BlobStore,
        settings: Settings,
        stack: ExitStack,
        quota: Quota | None = None,
    ) -> None:
        """`stack` owns the files: what was not kept when it is closed is removed."""
        self.form = Form()
        self._parts, self._blobs, self._stack = parts, blobs, stack
        self._limits, self._floor_bytes = part_limits(settings, quota), settings.disk_floor_bytes
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
        if disposition != b"form-data" or name not in self._parts.names:
            raise BadRequest(
                "a part of the form cannot be used",
                errors=(BadField(f"/{name[:80]}", f"there is no part {name[:80]!r}; the parts are {', '.join(self._parts.names)}"),),
            )
        if name in self._seen and name != self._parts.repeated:
            raise BadRequest("a part of the form cannot be used", errors=(BadField(f"/{name}", f"the part {name} stands more than once"),))
        self._seen.add(name)
        self._name, self._left = name, self._limits[name]
        if name in (self._parts.document, "script"):
            self._small = bytearray()
            self._sink = self._small.extend
            return
        if name == self._parts.repeated:
            self._sink = self._begin_item(options)
            return
        incoming = self._stack.enter_context(self._blobs.incoming(floor_bytes=self._floor_bytes))
        self.form.files[name] = Arrived(incoming, self._format(name, options))
        self._sink = incoming.write

    def _begin_item(self, options: dict[bytes, bytes]) -> Callable[[bytes], object]:
        """What cannot be read of an item is told with the faults of all items."""
        if len(self.form.items) == ITEMS_MAX:
            fault = BadField("/items", f"there are more than {ITEMS_MAX:,}, which is the limit")
            raise BadRequest("the batch cannot be taken", errors=(fault,))
        if self.form.pack is None:
            self.form.pack = self._stack.enter_context(self._blobs.incoming(floor_bytes=self._floor_bytes))
        pack = self.form.pack
        pack.write(bytes(-pack.bytes % PACK_ALIGNMENT_BYTES))
        media_type, file_name = self._told(options)
        found = format_of(media_type, file_name)
        self.form.items.append(ArrivedItem(file_name, found if found in TABLE_FORMATS else None, pack.bytes, 0))
        return pack.write

    def _told(self, options: dict[bytes, bytes]) -> tuple[str, str]:
        """Media type and file name of a part."""
        return self._headers.get("content-type", b"").decode("latin-1"), options.get(b"filename", b"").decode("utf-8", "replace")

    def _format(self, name: str, options: dict[bytes, bytes]) -> str:
        media_type, file_name = self._told(options)
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
        if self._name == self._parts.document:
            self.form.document = bytes(self._small)
        elif self._name == "script":
            self.form.script = bytes(self._small)
        elif self._name == self._parts.repeated and self.form.pack is not None:
            begun = self.form.items.pop()
            self.form.items.append(replace(begun, bytes=self.form.pack.bytes - begun.offset))

    def _on_end(self) -> None:
        self._ended = True
