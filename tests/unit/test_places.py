"""Places: whoever fills its own leaves some to the others."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from api import places
from api.places import Place, Places
from fumehood.errors import Unavailable


def taken(stack: ExitStack, all_places: Places, tenant: str) -> int:
    """How many one gets who takes all that it can."""
    for count in range(1000):
        with ExitStack() as kept:
            try:
                kept.enter_context(Place(all_places)).belongs_to(tenant)
            except Unavailable:
                return count
            stack.enter_context(kept.pop_all())
    raise AssertionError("there is no end")


def test_a_tenant_holds_no_more_than_are_free_and_a_second_one_half_of_those(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "REQUESTS_MAX", 64)
    all_places = Places()
    with ExitStack() as stack:
        assert [taken(stack, all_places, tenant) for tenant in ("ten_a", "ten_b", "ten_c")] == [32, 16, 8]
        assert not all_places.full
        assert taken(stack, all_places, "ten_a") == 0
    assert all_places.taken == 0
    with ExitStack() as stack:
        assert taken(stack, all_places, "ten_a") == 32


def test_one_place_it_always_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "REQUESTS_MAX", 1)
    with Place(Places()) as place:
        place.belongs_to("ten_a")
