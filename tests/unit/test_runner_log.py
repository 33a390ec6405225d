"""The ring rule of the stored log. No container."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.loading import runner

log = runner("log")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "log"
    path.touch()
    return path


def write(path, cap_bytes: int, parts: list[bytes]) -> tuple[bytes, dict]:
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        one = log.Log(descriptor, cap_bytes)
        for part in parts:
            one.feed(part)
        return path.read_bytes(), one.finish()
    finally:
        os.close(descriptor)


def test_a_log_within_its_cap_is_stored_whole(file):
    _, said = write(file, 1000, [b"x" * 400, b"y" * 600])
    assert said == {"bytes": 1000, "truncated": False}
    assert file.read_bytes() == b"x" * 400 + b"y" * 600


def test_the_first_three_quarters_are_there_at_once(file):
    live, _ = write(file, 1000, [b"x" * 900])
    assert live == b"x" * 750


def test_past_the_cap_the_middle_is_left_out(file):
    _, said = write(file, 1000, [b"a" * 750, *[b"%09d\n" % number for number in range(1000)]])
    stored = file.read_bytes()
    assert said == {"bytes": len(stored), "truncated": True}
    assert len(stored) <= 1000
    assert stored.startswith(b"a" * 750 + b"\n[fumehood: ")
    assert stored.endswith(b"000000998\n000000999\n")


@given(st.integers(0, 2000), st.lists(st.binary(max_size=700), max_size=12))
def test_the_cap_holds_and_both_ends_are_kept(tmp_path_factory, cap_bytes, parts):
    path = tmp_path_factory.mktemp("log") / "log"
    path.touch()
    _, said = write(path, cap_bytes, parts)
    stored, whole = path.read_bytes(), b"".join(parts)
    assert len(stored) == said["bytes"] <= cap_bytes
    assert said["truncated"] == (len(whole) > cap_bytes)
    assert stored[: cap_bytes * 3 // 4] == whole[: cap_bytes * 3 // 4]
    if not said["truncated"]:
        assert stored == whole
    elif cap_bytes >= 1000:
        assert stored[-100:] == whole[-100:]


def test_what_the_script_writes_into_the_file_is_cut_off(file):
    descriptor = os.open(file, os.O_WRONLY)
    one = log.Log(descriptor, 1000)
    one.feed(b"true")
    file.write_bytes(b"forged" * 100)
    one.feed_paragraph("end\n")
    one.finish()
    os.close(descriptor)
    assert file.read_bytes()[4:] == b"\nend\n"
