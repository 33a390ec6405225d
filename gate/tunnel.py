"""A connection that has left HTTP: a sandbox's streams, byte by byte in both directions.

An end is an end at once. A worker that dies is seen here as the engine would see it, and the engine closes the sandbox's stdin;
when the gate dies, the kernel ends both sides.
"""

from __future__ import annotations

import asyncio
import select

READ_BYTES = 64 * 1024


async def join(
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter], engine: tuple[asyncio.StreamReader, asyncio.StreamWriter], first: bytes
) -> None:
    """Until both directions have ended, or one side is gone; then both connections are closed. `first` goes to the client."""
    if first:
        client[1].write(first)
    ways = {asyncio.create_task(_carry(client, engine[1])), asyncio.create_task(_carry(engine, client[1]))}
    try:
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        if not any(task.result() for task in done):
            await asyncio.wait(ways)
    finally:
        for task in ways:
            task.cancel()
        for _, writer in (client, engine):
            # What the engine said last may not have reached a client that still reads.
            writer.close()


async def _carry(source: tuple[asyncio.StreamReader, asyncio.StreamWriter], target: asyncio.StreamWriter) -> bool:
    """One direction, to its end. True where a side is gone for good, so that the other direction is over as well."""
    try:
        while data := await source[0].read(READ_BYTES):
            target.write(data)
            await target.drain()
        target.write_eof()
    except OSError:
        return True
    return is_gone(source[1])


def is_gone(writer: asyncio.StreamWriter) -> bool:
    """Whether the other side has closed both halves: it reads nothing any more."""
    connection = writer.get_extra_info("socket")
    if connection.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))
