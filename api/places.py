"""Places: how many requests are handled at once, and how many of them may be one tenant's."""

from __future__ import annotations

from collections import Counter

from starlette.types import Scope

from fumehood.errors import Unavailable

REQUESTS_MAX = 512  # at once, those that wait for a job included; beyond, 503
FULL_RETRY_SECONDS = 5
SCOPE_KEY = "fumehood.place"


class Places:
    """Of all requests of a process."""

    def __init__(self) -> None:
        self.taken = 0
        self._held: Counter[str] = Counter()

    @property
    def full(self) -> bool:
        return self.taken >= REQUESTS_MAX

    def may_hold_another(self, tenant: str) -> bool:
        """Whether a request that has a place already may keep it. A tenant holds no more places than are free, so whoever fills
        its own leaves as many to the others, and a second one that does leaves half of those. One place it always has."""
        return not self._held[tenant] or self._held[tenant] < REQUESTS_MAX - self.taken

    def hold(self, tenant: str) -> None:
        self._held[tenant] += 1

    def give_back(self, tenant: str) -> None:
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]


class Place:
    """Of one request, from its beginning to its end. Nobody's until its key is known."""

    def __init__(self, places: Places) -> None:
        self._places, self._tenant = places, ""

    def __enter__(self) -> Place:
        self._places.taken += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._places.taken -= 1
        if self._tenant:
            self._places.give_back(self._tenant)

    def belongs_to(self, tenant: str) -> None:
        """Raises Unavailable where the tenant has as many as it may."""
        if not self._places.may_hold_another(tenant):
            raise Unavailable("too many requests with keys of this tenant are being handled", retry_after_seconds=FULL_RETRY_SECONDS)
        self._tenant = tenant
        self._places.hold(tenant)


def place_of(scope: Scope) -> Place:
    place = scope[SCOPE_KEY]
    assert isinstance(place, Place)
    return place
