"""Cursors as callers see them: they come back as they went out, to the same tenant and list alone, and say nothing."""

from __future__ import annotations

import pytest

from api.cursors import Cursors
from fumehood.errors import BadRequest
from fumehood.pages import SEQ_MAX, write_cursor
from fumehood.tenant import secret_from

OURS = Cursors(secret=secret_from(b"a" * 16), of="/v1/jobs")
OTHERS = (Cursors(secret=secret_from(b"b" * 16), of="/v1/jobs"), Cursors(secret=secret_from(b"a" * 16), of="/v1/datasets"))


@pytest.mark.parametrize("cursor", [write_cursor(1), write_cursor(SEQ_MAX), "x" * 1000])
def test_a_cursor_comes_back_as_it_went_out(cursor: str) -> None:
    sealed = OURS.seal(cursor)
    assert sealed is not None
    assert cursor not in sealed
    assert OURS.seal(cursor) == sealed
    assert OURS.open(sealed) == cursor


def test_no_cursor_is_no_cursor() -> None:
    assert (OURS.seal(None), OURS.open(None)) == (None, None)


def test_cursors_of_another_tenant_or_list_and_what_is_none_are_refused() -> None:
    sealed = OURS.seal(write_cursor(7))
    assert sealed is not None
    bad = [sealed[:-1], sealed[:3], "", "=", "ä", write_cursor(7), sealed + "AAAA", *(other.seal(write_cursor(7)) for other in OTHERS)]
    bad.append(("B" if sealed[-6] != "B" else "C").join((sealed[:-6], sealed[-5:])))
    for each in bad:
        with pytest.raises(BadRequest, match="cursor"):
            OURS.open(each)


def test_a_cursor_does_not_tell_how_large_its_number_is() -> None:
    sealed = [OURS.seal(write_cursor(number)) or "" for number in (1, 2, 10**6)]
    assert len({len(each) for each in sealed}) == 1
    assert len({each[:4] for each in sealed}) == 3
