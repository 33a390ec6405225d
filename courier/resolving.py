"""Resolving: from a name to the addresses that a request may go to. Asked once; all that the answer holds is judged."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from courier.failed import Failed
from fumehood.addresses import Address, Allowed, as_address
from fumehood.callback import Target
from fumehood.delivery import Trouble

Resolve = Callable[[str, int], Awaitable[list[str]]]
ADDRESSES_TRIED = 4


async def resolve(host: str, port: int) -> list[str]:
    """What the system says. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(address[0]) for _, _, _, _, address in found]


async def addresses_of(target: Target, *, ask: Resolve, allowed: Allowed) -> list[Address]:
    """The addresses to connect to, in the resolver's order.

    One that is refused refuses them all: a name that means a server of the internet *and* one of the inside is not a mistake.

    Raises:
        Failed: there are none, or one of them is refused.
    """
    try:
        # A literal is its own answer; the system is not asked, which would read more forms than we do.
        said = [target.host] if as_address(target.host) else await ask(target.host, target.port)
    except OSError as error:
        raise Failed(Trouble.NAME_NOT_FOUND) from error
    # `fe80::1%eth0` is an address of one link, hence none of the internet's.
    found = [as_address(text) if "%" not in text else None for text in dict.fromkeys(said)]
    if not found:
        raise Failed(Trouble.NAME_NOT_FOUND)
    usable = [address for address in found if address is not None and allowed.permits(target.host, address)]
    if len(usable) < len(found):
        raise Failed(Trouble.ADDRESS_REFUSED)
    return usable[:ADDRESSES_TRIED]
