"""Addresses of Redis, and the rest it is given after a failure."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote, urlsplit

import pytest
import redis as redis_client

from fumehood.errors import Misconfigured
from fumehood.redis_link import REST_SECONDS, RedisLink, redis_address, redis_address_with_password
from fumehood.settings import Settings
from fumehood.testing import RedisServer, free_port


def test_the_password_is_put_into_the_address_for_celery_alone(settings: Callable[..., Settings]) -> None:
    ours = settings(redis_url="redis://user@cache:6380/3", redis_password="p@ss/wörd:%41?#")
    assert redis_address(ours) == "redis://user@cache:6380/3"
    parts = urlsplit(redis_address_with_password(ours))
    assert (parts.username, unquote(parts.password or ""), parts.hostname, parts.port, parts.path) == (
        "user",
        "p@ss/wörd:%41?#",
        "cache",
        6380,
        "/3",
    )


def test_without_a_password_the_address_stays(settings: Callable[..., Settings]) -> None:
    assert redis_address_with_password(settings(redis_url="rediss://cache/0")) == "rediss://cache/0"


@pytest.mark.parametrize("url", ["redis://:hunter2@cache/0", "http://cache", "cache:6379", "redis://", "unix:///run/redis.sock"])
def test_an_address_that_is_not_usable_is_misconfigured(settings: Callable[..., Settings], url: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        redis_address(settings(redis_url=url))
    assert "hunter2" not in str(caught.value)


def test_a_redis_that_failed_is_left_alone_for_a_while(settings: Callable[..., Settings]) -> None:
    now, asked = [0.0], []
    link = RedisLink(settings(), monotonic=lambda: now[0])

    def ask(_: object) -> str:
        asked.append(now[0])
        if now[0] < REST_SECONDS:
            raise redis_client.ConnectionError("gone")
        return "here"

    assert [link.call(ask), link.call(ask)] == [None, None]
    now[0] = REST_SECONDS - 0.1
    assert link.call(ask) is None
    now[0] = REST_SECONDS
    assert [link.call(ask), link.call(ask)] == ["here", "here"]
    assert asked == [0.0, REST_SECONDS, REST_SECONDS]
    link.close()


def test_a_mistake_of_ours_is_not_taken_for_an_absent_redis(settings: Callable[..., Settings]) -> None:
    link = RedisLink(settings())
    with pytest.raises(ZeroDivisionError):
        link.call(lambda _: 1 // 0)
    link.close()


def test_a_wrong_password_counts_as_away(settings: Callable[..., Settings], redis: RedisServer) -> None:
    for password in (None, "wrong"):
        link = RedisLink(settings(redis_url=redis.url, redis_password=password))
        assert link.call(lambda client: client.ping()) is None
        link.close()


def test_nobody_there_counts_as_away(settings: Callable[..., Settings]) -> None:
    link = RedisLink(settings(redis_url=f"redis://127.0.0.1:{free_port()}/0"))
    assert link.call(lambda client: client.ping()) is None
    link.close()
