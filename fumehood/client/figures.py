"""Figure: a picture that a script left. It is a stranger's file: a notebook shows it where nothing in it can run."""

from __future__ import annotations

import html as markup
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fumehood.text import one_line, size

_FRAME_PIXELS = 420
# No scripts, nothing from elsewhere: what the sandbox kept in must not leave through the browser.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:"


@dataclass(frozen=True, slots=True)
class Figure:
    """`name` as the script called it, `media_type` (`image/png`, `image/svg+xml`, `text/html`), and its `bytes`."""

    name: str
    media_type: str
    bytes: bytes = field(repr=False)

    def save(self, path: str | Path) -> Path:
        """Write the bytes to the file `path`. Returns it."""
        path = Path(path)
        path.write_bytes(self.bytes)
        return path

    def __repr__(self) -> str:
        return f"Figure({one_line(self.name)!r}, {one_line(self.media_type)}, {size(len(self.bytes))})"

    def _repr_png_(self) -> Any:
        return self.bytes if self.media_type == "image/png" else None

    def _repr_html_(self) -> str | None:
        return None if self.media_type == "image/png" else self.html()

    def html(self) -> str:
        """SVG as an image and HTML in a closed frame: written into the page itself, both could run scripts in it."""
        title = markup.escape(one_line(self.name))
        if self.media_type in ("image/png", "image/svg+xml"):
            data = b64encode(self.bytes).decode()
            return f'<img alt="{title}" title="{title}" style="max-width:100%" src="data:{self.media_type};base64,{data}">'
        if self.media_type == "text/html":
            page = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">{self.bytes.decode(errors="replace")}'
            style = f"width:100%;height:{_FRAME_PIXELS}px;border:1px solid #ccc"
            return f'<iframe sandbox title="{title}" style="{style}" srcdoc="{markup.escape(page)}"></iframe>'
        return f"<code>{markup.escape(repr(self))}</code>"
