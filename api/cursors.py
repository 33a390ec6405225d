"""Cursors as callers see them: the store's, which are numbers of rows among those of all tenants, sealed with a secret of the tenant.

Unsealed, two of them would say how much everybody else had stored in between.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from api.auth import CallerDep
from fumehood.pages import bad_cursor

TAG_BYTES = 12
STEP_BYTES = 24  # a text is filled up to a multiple, so that its length does not tell how large a number is


@dataclass(frozen=True, kw_only=True, slots=True)
class Cursors:
    """Of one tenant and one list: those of others are no cursors here."""

    secret: bytes = field(repr=False)
    of: str

    def open(self, sealed: str | None) -> str | None:
        """The store's cursor. Raises BadRequest where `sealed` was not made here."""
        if sealed is None:
            return None
        try:
            data = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            raise bad_cursor() from None
        tag, text = data[:TAG_BYTES], self._mixed(data[:TAG_BYTES], data[TAG_BYTES:])
        if not text or not hmac.compare_digest(tag, self._tag(text)):
            raise bad_cursor()
        return text.decode().rstrip()

    def seal(self, cursor: str | None) -> str | None:
        """The same cursor is the same text each time."""
        if cursor is None:
            return None
        text = cursor.encode().ljust(-(-len(cursor) // STEP_BYTES) * STEP_BYTES)
        tag = self._tag(text)
        return base64.urlsafe_b64encode(tag + self._mixed(tag, text)).decode().rstrip("=")

    def _tag(self, text: bytes) -> bytes:
        return hmac.digest(self.secret, f"{self.of}\n".encode() + text, "sha256")[:TAG_BYTES]

    def _mixed(self, tag: bytes, text: bytes) -> bytes:
        stream = hashlib.shake_256(self.secret + tag).digest(len(text))
        return bytes(one ^ other for one, other in zip(text, stream, strict=True))


async def cursors_of(request: Request, caller: CallerDep) -> Cursors:
    return Cursors(secret=caller.secret, of=request.scope["route"].path)


CursorsDep = Annotated[Cursors, Depends(cursors_of)]
