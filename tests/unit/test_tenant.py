"""Keys: their form, their public part, and how they are kept."""

from __future__ import annotations

import pytest

from fumehood.tenant import hash_key, key_matches, key_prefix, new_key


def test_a_key_has_a_public_part_and_a_secret_one() -> None:
    key = new_key()
    prefix = key_prefix(key)
    assert prefix is not None
    assert key.startswith(f"fh_{prefix}_")
    assert len(key) == len("fh_") + 12 + 1 + 64
    assert new_key() != key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fh_",
        "fh_" + "0" * 12 + "_" + "0" * 63,
        "fh_" + "0" * 12 + "_" + "0" * 65,
        "fh_" + "A" * 12 + "_" + "0" * 64,
        "fh_" + "0" * 12 + "_" + "0" * 64 + "\n",
    ],
)
def test_what_is_no_key_has_no_prefix(text: str) -> None:
    assert key_prefix(text) is None


def test_a_key_matches_its_own_digest_alone() -> None:
    key, salt = new_key(), b"salt"
    digest = hash_key(key, salt)
    assert key_matches(key, salt, digest)
    assert not key_matches(new_key(), salt, digest)
    assert not key_matches(key, b"another", digest)
    assert key.encode() not in digest
