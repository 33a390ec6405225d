"""Standing: a stream of events ends where its caller would not be let in any more."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from api.auth import CallerDep, CredentialsDep, require_allowed, scope_of
from api.content import Streamed
from api.desk import Desk, DeskDep
from fumehood.errors import Forbidden, StoreUnavailable, Suspended
from fumehood.tenant import Scope

EVENTS = "text/event-stream"
CHECK_SECONDS = 15.0
"""A piece that comes so long after the last look is sent after another one; streams are never silent for longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    desk: Desk
    key: str
    scope: Scope

    def stream(self, pieces: AsyncGenerator[bytes]) -> Streamed:
        """The answer that tells these events."""
        fields = {"Vary": "Accept", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Accel-Buffering": "no"}
        return Streamed(self.lasting(pieces), headers={**fields, "Content-Type": EVENTS})

    async def lasting(self, pieces: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
        """The pieces, until the key has ended or its tenant is suspended; whoever comes back is told so."""
        looked_at = time.monotonic()
        async with aclosing(pieces):
            async for piece in pieces:
                if time.monotonic() - looked_at >= CHECK_SECONDS:
                    if not await self._lasts():
                        return
                    looked_at = time.monotonic()
                yield piece

    async def _lasts(self) -> bool:
        try:
            caller = await self.desk.look(self.desk.store.caller_of_key, self.key)
            if caller is not None:
                require_allowed(caller, self.scope)
        except (Forbidden, Suspended):
            return False
        except StoreUnavailable:  # Nobody can be asked; the next look will tell.
            return True
        return caller is not None


async def standing_of(request: Request, desk: DeskDep, caller: CallerDep, credentials: CredentialsDep) -> Standing:
    assert credentials is not None, "a caller has a key"
    return Standing(desk=desk, key=credentials.credentials, scope=scope_of(request.method, request.scope["route"].path))


StandingDep = Annotated[Standing, Depends(standing_of)]
