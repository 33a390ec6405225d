"""The attempt's directory: private, complete at once, read by descriptor only, and gone when it says so."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fumehood.errors import SandboxError
from fumehood.limits import KIB, MIB
from tests.unit.reserved import reserve
from worker import scratch as scratch_module
from worker.scratch import OUTPUTS, Removed, Scratch, erase_directory, owners


@pytest.fixture
def scratch(home: Path) -> Scratch:
    return Scratch.create(home, worker="w.1")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_worker_gets_in_and_the_sandbox_may_write_its_five_files(scratch: Scratch, home: Path) -> None:
    assert (mode(home / "scratch"), mode(scratch.directory), mode(scratch.directory / "out")) == (0o700, 0o700, 0o700)
    assert mode(scratch.inside) == 0o755
    assert {path.name: (mode(path), path.stat().st_size) for path in scratch.outside.values()} == dict.fromkeys(OUTPUTS, (0o666, 0))
    scratch.erase()


def test_modes_do_not_depend_on_the_umask(home: Path) -> None:
    before = os.umask(0o077)
    try:
        scratch = Scratch.create(home, worker="w1")
    finally:
        os.umask(before)
    assert mode(scratch.inside) == 0o755
    assert {mode(path) for path in scratch.outside.values()} == {0o666}
    assert mode(scratch.hosts) == 0o444
    scratch.erase()


def test_names_say_nothing_and_never_repeat(home: Path) -> None:
    made = [Scratch.create(home, worker="w1") for _ in range(20)]
    assert len({each.name for each in made}) == 20
    assert all(len(each.name) == 32 and "w1" not in each.name for each in made)
    for each in made:
        each.erase()


def test_outputs_are_read_through_the_descriptor_whatever_stands_in_their_place(scratch: Scratch, tmp_path: Path) -> None:
    scratch.outside["log"].write_bytes(b"0123456789")
    scratch.outside["log"].unlink()
    scratch.outside["log"].symlink_to("/etc/passwd")
    assert scratch.size("log") == 10
    assert scratch.read("log", limit_bytes=100) == b"0123456789"
    assert scratch.read("log", offset=8, limit_bytes=100) == b"89"
    assert scratch.read("log", limit_bytes=3) == b"012"
    scratch.erase()


def test_descriptors_are_not_inherited(scratch: Scratch) -> None:
    assert not any(os.get_inheritable(descriptor) for descriptor in scratch.descriptors.values())
    scratch.erase()


def test_a_descriptor_that_is_no_regular_file_is_refused(scratch: Scratch) -> None:
    reading, writing = os.pipe()
    os.dup2(reading, scratch.descriptors["log"])
    with pytest.raises(SandboxError, match="expected a regular file"):
        scratch.size("log")
    os.close(reading)
    os.close(writing)
    scratch.erase()


def test_erasing_counts_what_it_removes_and_twice_is_fine(scratch: Scratch) -> None:
    (scratch.inside / "script.py").write_bytes(b"x" * 100_000)
    scratch.outside["result.arrow"].write_bytes(b"y" * 50_000)
    removed = scratch.erase()
    assert removed.files == len(OUTPUTS) + len(("script.py", "worker", "hosts"))
    # Whole blocks of a file system, one more for each small file.
    assert 150_000 <= removed.bytes <= 150_000 + 4 * 64 * KIB
    assert not scratch.directory.exists()
    assert scratch.erase() == removed


def test_erasing_counts_blocks_that_no_size_shows_and_a_size_without_blocks(scratch: Scratch) -> None:
    reserve(scratch.descriptors["files.bin"], MIB)
    assert scratch.size("files.bin") == 0
    os.ftruncate(scratch.descriptors["log"], 10 * MIB)
    assert 11 * MIB <= scratch.erase().bytes < 12 * MIB


def test_erasing_an_input_leaves_the_blob_it_is_a_link_of(scratch: Scratch, home: Path) -> None:
    blob = home / "blob"
    blob.write_text("kept")
    os.link(blob, scratch.inside / "dataset1")
    scratch.erase()
    assert blob.read_text() == "kept"


def test_a_directory_that_stays_is_an_error_without_a_path(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(scratch_module, "_remove", lambda *_: None)
        with pytest.raises(SandboxError, match="still there") as caught:
            scratch.erase()
    assert str(scratch.directory) not in str(caught.value)
    erase_directory(scratch.directory, Removed())


def test_every_directory_has_an_owner_even_one_that_was_never_finished(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished = Scratch.create(home, worker="w.1")
    (home / "scratch" / ".0123.w.2").mkdir()
    (home / "scratch" / "half-erased").mkdir()
    assert {path.name: owner for path, owner in owners(home)} == {finished.name: "w.1", ".0123.w.2": "w.2", "half-erased": ""}
    for path, _ in list(owners(home)):
        erase_directory(path, Removed())
    finished.erase()
    assert list(owners(home)) == []


def test_a_home_without_any_scratch_has_no_owners(home: Path) -> None:
    assert list(owners(home)) == []


def test_a_failed_creation_leaves_nothing_and_names_no_path(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, mode: int) -> None:
        raise OSError(28, "No space left on device", str(home))

    monkeypatch.setattr(os, "fchmod", refuse)
    with pytest.raises(SandboxError, match="No space left on device") as caught:
        Scratch.create(home, worker="w1")
    assert str(home) not in str(caught.value)
    assert list((home / "scratch").iterdir()) == []
