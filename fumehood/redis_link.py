"""RedisLink: short, guarded calls to a Redis that may be away at any moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry

from fumehood.errors import Misconfigured
from fumehood.settings import Settings, with_password

CALL_SECONDS = 0.5
"""Longest wait for a connection, and for an answer."""
REST_SECONDS = 3.0
"""After a failure Redis is left alone for so long: its absence must not slow the work down."""

_SCHEMES = ("redis", "rediss")

log = structlog.get_logger()
T = TypeVar("T")


def redis_address(settings: Settings) -> str:
    """The address without a password. Raises Misconfigured."""
    address = settings.redis_url
    parts = urlsplit(address)
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise Misconfigured(f"redis_url begins with {parts.scheme!r}; expected redis://host:port/number or rediss://…")
    if parts.password:
        raise Misconfigured("redis_url holds a password; expected it in redis_password or redis_password_file, which are never logged")
    return address


def redis_address_with_password(settings: Settings) -> str:
    """For Celery, which takes the password in the address only. Never log it."""
    return with_password(redis_address(settings), settings.secret("redis_password"))


class RedisLink:
    """One pool of connections with short timeouts, and a circuit breaker. Safe to share between threads."""

    def __init__(self, settings: Settings, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client = redis.Redis.from_url(
            redis_address(settings),
            password=settings.secret("redis_password"),
            socket_connect_timeout=CALL_SECONDS,
            socket_timeout=CALL_SECONDS,
            socket_keepalive=True,
            health_check_interval=30,
            # Once more at once, for a connection that a restarted Redis has closed; a timeout is not tried again.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        )
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._rests_until = float("-inf")

    def call(self, ask: Callable[[Any], T]) -> T | None:
        """What `ask(client)` returns; None where Redis is away, at once while it rests after a failure. Never raises
        for anything that Redis or the network does."""
        with self._lock:
            if self._monotonic() < self._rests_until:
                return None
        try:
            return ask(self._client)
        except (RedisError, OSError) as error:
            self.rest()
            log.warning("redis is away", error=type(error).__name__, rest_seconds=REST_SECONDS)
            return None

    def rest(self) -> None:
        """Leave Redis alone for a while: somebody saw it fail."""
        with self._lock:
            self._rests_until = self._monotonic() + REST_SECONDS

    def close(self) -> None:
        self._client.close()
