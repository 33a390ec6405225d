"""Receipts: the bytes that are signed stand here as they are, and nothing of them can be changed unseen."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fumehood.errors import Misconfigured
from fumehood.outcome import Erasure
from fumehood.receipt import VERSION, ReceiptRefused, SigningKey, canonical, document, key_id, verify
from fumehood.testing import erasure

# The first test vector of RFC 8032: a private key and its public one.
PRIVATE = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
KEY_ID = "21fe31dfa154a261626bf854046fd2271b7bed4b6abe45aa58877ef47f9721b9"
SIGNED = (
    '{"attempt":1,"began_at":"2023-11-14T22:13:10.000Z","bytes":1024,"container":"fumehood-test",'
    f'"container_id":"{"c0" * 32}","erased_at":"2023-11-14T22:13:20.000Z","fence":1,"files":7,"job":"job_test",'
    f'"key":"{KEY_ID}","version":"fumehood.erasure/1","worker":"wrk_test"}}'
).encode()
SIGNATURE = (
    "565b481f5b8734a8db3ad1c2d7d99c61c0b4cccb7254df0409d47b9f0be3ae3db3f958fc3f42c4ac7002209bb0e3f415e44bca7d5b294b201b4803d5fad73d0b"
)

KEY = SigningKey(PRIVATE)


def signed(**overrides: Any) -> dict[str, Any]:
    return document(KEY.sign(erasure(**overrides)))


def test_what_is_signed_is_written_in_one_way() -> None:
    assert canonical(signed()) == SIGNED


def test_a_signature_never_changes() -> None:
    """Ed25519 draws nothing: this is the one of these bytes with this key, also by other programs (`openssl pkeyutl -verify`)."""
    assert KEY.public == PUBLIC
    assert key_id(PUBLIC) == KEY.id == KEY_ID
    assert signed()["signature"] == SIGNATURE


def test_a_receipt_is_good_with_its_key_among_others_and_in_any_order() -> None:
    other = SigningKey("11" * 32)
    receipt = dict(reversed(signed().items()))
    verify(json.loads(json.dumps(receipt, indent=2)), [other.public, KEY.public])


CHANGED: dict[str, Any] = {
    "version": "fumehood.erasure/2",
    "job": "job_other",
    "attempt": 2,
    "fence": 3,
    "worker": "wrk_other",
    "container": "fumehood-other",
    "container_id": "c1" * 32,
    "began_at": "2023-11-14T22:13:10.001Z",
    "files": 6,
    "bytes": 1023,
    "erased_at": "2023-11-14T22:13:20.001Z",
    "key": "0" * 64,
    "signature": "0" * 128,
}


def test_every_field_is_among_those_that_are_changed_below() -> None:
    assert CHANGED.keys() == signed().keys()


@pytest.mark.parametrize("name", CHANGED)
@pytest.mark.parametrize("change", ["another", "nothing", "taken away", "true"])
def test_a_field_that_was_changed_is_found(name: str, change: str) -> None:
    receipt = signed()
    assert receipt[name] != CHANGED[name]
    receipt |= {name: {"another": CHANGED[name], "nothing": None, "taken away": None, "true": True}[change]}
    if change == "taken away":
        del receipt[name]
    with pytest.raises(ReceiptRefused):
        verify(receipt, [KEY.public])


@pytest.mark.parametrize("value", ["", None, 0, 0.0, False, [], {}])
def test_a_field_that_was_added_is_found(value: object) -> None:
    with pytest.raises(ReceiptRefused):
        verify(signed() | {"note": value}, [KEY.public])


@pytest.mark.parametrize("value", [7.0, "7", "٧", True])
def test_a_number_is_not_what_looks_like_it(value: object) -> None:
    with pytest.raises(ReceiptRefused):
        verify(signed() | {"files": value}, [KEY.public])


def test_the_key_in_a_receipt_is_not_believed() -> None:
    """Whoever can sign with a key of his own can name it, too."""
    forged = document(SigningKey("22" * 32).sign(erasure()))
    with pytest.raises(ReceiptRefused, match=r"names the key [0-9a-f]{64}; expected one of the 1 that are trusted"):
        verify(forged, [KEY.public])
    with pytest.raises(ReceiptRefused, match="is not what was signed"):
        verify(forged | {"key": KEY.id}, [KEY.public])
    with pytest.raises(ReceiptRefused, match="one of the 0"):
        verify(signed(), [])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": "fumehood.erasure/9"}, "version is 'fumehood.erasure/9'; expected 'fumehood.erasure/1'"),
        ({"version": {}}, "version is '{}'"),
        ({"key": None, "signature": None}, "is not signed"),
        ({"signature": "A" * 128}, "expected 128 hexadecimal digits"),
        ({"signature": 7}, "expected 128 hexadecimal digits"),
        ({"files": 7.5}, "files is float"),
        ({"job": "\ud800"}, "half a surrogate pair"),
    ],
)
def test_what_is_refused_says_why(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ReceiptRefused, match=says):
        verify(signed() | change, [KEY.public])


@pytest.mark.parametrize("public", ["", "0" * 63, "G" * 64, PUBLIC.upper()])
def test_a_public_key_that_is_none_is_refused(public: str) -> None:
    with pytest.raises(ReceiptRefused, match="expected 64 hexadecimal digits"):
        verify(signed(), [public])


moments = st.floats(min_value=0, max_value=4e9)
names = st.text(st.characters(codec="utf-8"), max_size=40)
counts = st.integers(min_value=0, max_value=2**62)
containers = st.none() | st.tuples(names, st.binary(min_size=32, max_size=32).map(bytes.hex), moments)


@st.composite
def erasures(draw: st.DrawFn) -> Erasure:
    name, container_id, began_at = draw(containers) or (None, None, None)
    return Erasure(
        job=draw(names),
        attempt=draw(counts),
        fence=draw(counts),
        worker=draw(names),
        container=name,
        container_id=container_id,
        began_at=began_at,
        files=draw(counts),
        bytes=draw(counts),
        erased_at=draw(moments),
    )


@given(erasures())
def test_any_erasure_goes_through_json_and_stays_what_was_signed(made: Erasure) -> None:
    shown = document(KEY.sign(made))
    verify(json.loads(json.dumps(shown)), [KEY.public])
    assert (shown["job"], shown["files"], shown["bytes"], shown["container_id"]) == (made.job, made.files, made.bytes, made.container_id)


@given(erasures(), st.sampled_from(["files", "bytes", "attempt", "fence"]), st.integers(min_value=1, max_value=10**6))
def test_no_count_can_be_raised(made: Erasure, name: str, by: int) -> None:
    shown = document(KEY.sign(made))
    with pytest.raises(ReceiptRefused):
        verify(shown | {name: shown[name] + by}, [KEY.public])


# the key -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("private", ["", "12", "g" * 64, PRIVATE + "\n", PRIVATE.upper()])
def test_a_key_that_is_none_is_refused_without_being_shown(private: str) -> None:
    with pytest.raises(Misconfigured, match="expected 64 hexadecimal digits") as caught:
        SigningKey(private)
    assert len(private) < 3 or private not in str(caught.value)


def test_the_private_half_shows_nowhere() -> None:
    assert PRIVATE not in f"{KEY} {KEY!r} {vars(KEY)} {signed()}"


# what no erasure can be --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "wrong",
    [
        {"files": -1},
        {"bytes": -1},
        {"fence": -1},
        {"container": None},
        {"container_id": None},
        {"began_at": None},
        {"container_id": "c0" * 31},
        {"container_id": "C0" * 32},
        {"key": KEY_ID},
        {"signature": "0" * 128},
        {"key": KEY_ID, "signature": "0" * 128, "worker": None},
        {"key": KEY_ID, "signature": "0" * 128, "container_id": None, "began_at": None},
    ],
)
def test_what_no_erasure_can_be_is_not_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        erasure(**wrong)


def test_a_signed_erasure_stays_one_only_as_it_is() -> None:
    """Rows hold the value, records the document: what is changed in a row is found in the record."""
    changed = replace(KEY.sign(erasure()), files=8)
    with pytest.raises(ReceiptRefused, match="is not what was signed"):
        verify(document(changed), [KEY.public])
    assert document(changed)["version"] == VERSION
