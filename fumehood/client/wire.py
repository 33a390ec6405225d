"""Wire: one logic, two ways to wait.

Everything above this module is written once, as coroutines over a `Wire`. Beneath an `AsyncClient` lies `OnLoop`, whose
requests and pauses are awaited by asyncio. Beneath a `Client` lies `AtOnce`, which does everything where it stands: a coroutine
over it never suspends, so `now` runs it to its end in one step, inside a running event loop (a notebook's) as well as without one.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import httpx

from fumehood.client.body import Body

CONNECT_SECONDS, WRITE_SECONDS, READ_SECONDS = 5.0, 60.0, 90.0
"""Reading waits long: an upload is described, and a result converted, before the first byte of the answer."""

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")
V = TypeVar("V")


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    read_seconds: float = READ_SECONDS


@dataclass(frozen=True, slots=True)
class Answer:
    response: httpx.Response
    chunks: AsyncIterator[bytes]


class Wire(Protocol):
    def open(self, request: Request) -> AbstractAsyncContextManager[Answer]:
        """The answer, its body not read yet. Raises httpx.TransportError, inside the block too."""

    async def sleep(self, seconds: float) -> None: ...

    async def aside(self, work: Callable[[], T]) -> T:
        """Work that takes its time (files, tables), kept off the event loop where there is one."""

    async def close(self) -> None: ...


class AtOnce:
    def __init__(self, *, transport: httpx.BaseTransport | None, sleep: Callable[[float], None] | None, **options: Any) -> None:
        self._http = httpx.Client(transport=transport, **options)
        self._sleep = sleep or time.sleep

    @asynccontextmanager
    async def open(self, request: Request) -> AsyncIterator[Answer]:
        response = self._http.send(_built(self._http, request, request.body), stream=True)
        try:
            yield Answer(response, _in_steps(response.iter_bytes()))
        finally:
            response.close()

    async def sleep(self, seconds: float) -> None:
        self._sleep(seconds)

    async def aside(self, work: Callable[[], T]) -> T:
        return work()

    async def close(self) -> None:
        self._http.close()


class OnLoop:
    def __init__(
        self, *, transport: httpx.AsyncBaseTransport | None, sleep: Callable[[float], Awaitable[None]] | None, **options: Any
    ) -> None:
        self._http = httpx.AsyncClient(transport=transport, **options)
        self._sleep = sleep or asyncio.sleep

    @asynccontextmanager
    async def open(self, request: Request) -> AsyncIterator[Answer]:
        response = await self._http.send(_built(self._http, request, request.body and request.body.later()), stream=True)
        try:
            yield Answer(response, response.aiter_bytes())
        finally:
            await response.aclose()

    async def sleep(self, seconds: float) -> None:
        await self._sleep(seconds)

    async def aside(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work)

    async def close(self) -> None:
        await self._http.aclose()


def _built(
    http: httpx.Client | httpx.AsyncClient, request: Request, content: Iterable[bytes] | AsyncIterable[bytes] | None
) -> httpx.Request:
    headers = {**request.headers, "Content-Length": str(request.body.size)} if request.body else dict(request.headers)
    timeout = httpx.Timeout(request.read_seconds, connect=CONNECT_SECONDS, write=WRITE_SECONDS)
    query = dict(request.query)
    return http.build_request(request.method, request.path, params=query, headers=headers, content=content, timeout=timeout)


async def _in_steps(source: Iterator[T]) -> AsyncIterator[T]:
    for item in source:
        yield item


# from the coroutines over `AtOnce` to plain calls ------------------------------------------------------------------------


def now(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends."""
    try:
        work.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    work.close()
    raise RuntimeError("this was to be done at once, and waits for an event loop")


async def _coroutine(step: Awaitable[T]) -> T:
    return await step


def each_now(source: AsyncIterator[T]) -> Iterator[T]:
    """The items of an asynchronous iterator that never suspends; closed when nobody takes more of them."""
    try:
        while True:
            try:
                item = now(_coroutine(source.__anext__()))
            except StopAsyncIteration:
                return
            yield item
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            now(close())


@contextmanager
def within(block: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """A block that never suspends, for `with`."""
    value = now(block.__aenter__())
    try:
        yield value
    except BaseException:
        if not now(block.__aexit__(*sys.exc_info())):
            raise
    else:
        now(block.__aexit__(None, None, None))


def at_once(method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]], view: Callable[[T], V]) -> Callable[Concatenate[Any, P], V]:
    """The plain method of a class that keeps its coroutines' object as `later`. `view` makes of the answer what its user gets."""

    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> V:
        return view(now(method(self.later, *args, **kwargs)))

    functools.update_wrapper(call, method)
    return call


def same(value: T) -> T:
    return value
