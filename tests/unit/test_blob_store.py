"""Blobs: private, immutable, linked and never copied; and what the disk refuses, in our words."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fumehood.blob_store import BlobStore
from fumehood.errors import DiskFull, Misconfigured, NotFound, SandboxError, StoreUnavailable, TooLarge
from fumehood.files import make_private

TENANT = "ten_a"


@pytest.fixture
def blobs(home: Path) -> BlobStore:
    return BlobStore(home)


@pytest.fixture
def scratch(home: Path, blobs: BlobStore) -> Path:
    directory = home / "attempt"
    make_private(directory)
    return directory


def keep(blobs: BlobStore, key: str, content: bytes = b"content", tenant: str = TENANT) -> int:
    with blobs.incoming() as incoming:
        incoming.write(content)
        return blobs.keep(incoming, tenant, key)


def read(blobs: BlobStore, key: str, tenant: str = TENANT) -> bytes:
    with blobs.open(tenant, key) as file:
        return file.read()


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


def in_the_making(home: Path) -> list[Path]:
    return list((home / "incoming").iterdir())


# keep --------------------------------------------------------------------------------------------------------------------
def test_what_comes_in_stops_at_the_floor_while_it_is_written(home: Path, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    mib, free = 2**20, [2**30]
    monkeypatch.setattr(blobs, "free_bytes", lambda: free[0])
    with blobs.incoming(floor_bytes=20 * mib) as incoming:
        for _ in range(17):  # the look at the first chunk is good for it and for 16 MiB more
            incoming.write(bytes(mib))
        free[0] = 21 * mib - 1
        with pytest.raises(DiskFull, match=r"^too few bytes are free for what comes after 17,825,792 of the body$"):
            incoming.write(bytes(mib))
        assert incoming.bytes == 17 * mib
    assert in_the_making(home) == []
    with blobs.incoming(floor_bytes=20 * mib) as incoming, pytest.raises(DiskFull):
        incoming.write(bytes(mib))


def test_what_comes_in_is_counted_hashed_and_kept(home: Path, blobs: BlobStore) -> None:
    with blobs.incoming() as incoming:
        incoming.write(b"a,b\n")
        incoming.write(b"")
        incoming.write(b"1,2\n")
        assert (incoming.bytes, incoming.sha256) == (8, hashlib.sha256(b"a,b\n1,2\n").hexdigest())
        assert blobs.keep(incoming, TENANT, "datasets/ds_1/original") == 8
    assert read(blobs, "datasets/ds_1/original") == b"a,b\n1,2\n"
    assert blobs.size(TENANT, "datasets/ds_1/original") == 8
    assert in_the_making(home) == []


def test_blobs_are_read_only_files_in_private_directories_whatever_the_umask_is(home: Path) -> None:
    before = os.umask(0o277)
    try:
        keep(BlobStore(home), "datasets/ds_1/original")
    finally:
        os.umask(before)
    blob = home / "blobs" / TENANT / "datasets" / "ds_1" / "original"
    assert mode(blob) == "0o444"
    assert blob.stat().st_nlink == 1
    assert {mode(directory) for directory in [home / "incoming", *blob.parents[: len(blob.relative_to(home).parents)]]} == {"0o700"}


def test_directories_that_were_open_are_closed(home: Path) -> None:
    (home / "blobs").mkdir(parents=True, mode=0o755)
    BlobStore(home)
    assert mode(home / "blobs") == "0o700"


def test_what_is_not_kept_is_removed(home: Path, blobs: BlobStore) -> None:
    with blobs.incoming() as incoming:
        incoming.write(b"half")
        assert in_the_making(home) == [incoming.path]
    assert in_the_making(home) == []


def test_more_than_the_limit_is_refused(home: Path, blobs: BlobStore) -> None:
    with blobs.incoming(limit_bytes=10) as incoming:
        incoming.write(b"0123456789")
        with pytest.raises(TooLarge) as caught:
            incoming.write(b"x")
    assert (caught.value.limit, caught.value.value) == (10, 11)


def test_a_key_is_written_once(blobs: BlobStore) -> None:
    keep(blobs, "jobs/job_1/script.py", b"first")
    with pytest.raises(FileExistsError):
        keep(blobs, "jobs/job_1/script.py", b"second")
    assert read(blobs, "jobs/job_1/script.py") == b"first"


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "..", "a/../../b", "a//b", "a/", ".hidden", "a/.", "a\0b", "a b", "ä", "x" * 201, "a\n"]
)
def test_a_key_that_is_none_is_a_mistake_of_ours(blobs: BlobStore, key: str) -> None:
    for use in (blobs.open, blobs.size, blobs.delete, lambda tenant, key: blobs.open(key, "original")):
        with pytest.raises(ValueError, match="is no key"):
            use(TENANT, key)


def test_tenants_have_directories_of_their_own(blobs: BlobStore) -> None:
    keep(blobs, "datasets/ds_1/original", b"a", tenant="ten_a")
    keep(blobs, "datasets/ds_1/original", b"b", tenant="ten_b")
    blobs.delete("ten_a", "datasets/ds_1")
    assert read(blobs, "datasets/ds_1/original", tenant="ten_b") == b"b"


# publish -----------------------------------------------------------------------------------------------------------------
def made(scratch: Path, content: bytes = b"result") -> tuple[int, Path]:
    path = scratch / "result.arrow"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    os.write(descriptor, content)
    return descriptor, path


def test_an_output_is_linked_and_not_copied(home: Path, blobs: BlobStore, scratch: Path) -> None:
    descriptor, path = made(scratch)
    assert blobs.publish(descriptor, path, TENANT, "jobs/job_1/1/result") == 6
    blob = home / "blobs" / TENANT / "jobs" / "job_1" / "1" / "result"
    assert blob.samefile(path)
    assert mode(blob) == "0o444"
    os.close(descriptor)


def _other_file(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"another")


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("exchange", [_other_file, _link, Path.unlink])
def test_only_the_file_that_was_opened_is_published(blobs: BlobStore, scratch: Path, exchange: Callable[[Path], object]) -> None:
    descriptor, path = made(scratch)
    exchange(path)
    with pytest.raises(SandboxError):
        blobs.publish(descriptor, path, TENANT, "jobs/job_1/1/result")
    with pytest.raises(NotFound):
        blobs.open(TENANT, "jobs/job_1/1/result")
    os.close(descriptor)


def test_only_a_regular_file_is_published(blobs: BlobStore, scratch: Path) -> None:
    os.mkfifo(scratch / "fifo")
    descriptor = os.open(scratch / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(SandboxError):
        blobs.publish(descriptor, scratch / "fifo", TENANT, "jobs/job_1/1/result")
    os.close(descriptor)


# link into a scratch -----------------------------------------------------------------------------------------------------
def test_an_input_is_linked_and_outlives_the_blob(blobs: BlobStore, scratch: Path) -> None:
    keep(blobs, "datasets/ds_1/original", b"a,b\n")
    assert blobs.link_into(TENANT, "datasets/ds_1/original", scratch, "dataset1") == 4
    blobs.delete(TENANT, "datasets/ds_1")
    assert (scratch / "dataset1").read_bytes() == b"a,b\n"
    assert mode(scratch / "dataset1") == "0o444"


def test_an_input_that_was_deleted_is_not_found(blobs: BlobStore, scratch: Path) -> None:
    with pytest.raises(NotFound):
        blobs.link_into(TENANT, "datasets/ds_1/original", scratch, "dataset1")


def test_an_input_has_a_plain_name(blobs: BlobStore, scratch: Path) -> None:
    keep(blobs, "a")
    with pytest.raises(ValueError, match="no name"):
        blobs.link_into(TENANT, "a", scratch, "../dataset1")


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="there is no second file system")
def test_two_mounts_are_a_mistake_in_the_settings(blobs: BlobStore, tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm") / f"fumehood-{tmp_path.name}-{os.getpid()}"
    elsewhere.mkdir()
    try:
        keep(blobs, "a")
        with pytest.raises(Misconfigured, match="not on one mount"):
            blobs.link_into(TENANT, "a", elsewhere, "dataset1")
        descriptor, path = made(elsewhere)
        with pytest.raises(Misconfigured, match="not on one mount"):
            blobs.publish(descriptor, path, TENANT, "b")
        os.close(descriptor)
    finally:
        for path in elsewhere.iterdir():
            path.unlink()
        elsewhere.rmdir()


# delete ------------------------------------------------------------------------------------------------------------------
def test_everything_below_a_prefix_goes_and_is_counted(home: Path, blobs: BlobStore) -> None:
    for key, content in {
        "jobs/job_1/script.py": b"12",
        "jobs/job_1/1/result": b"345",
        "jobs/job_1/2/log": b"",
        "jobs/job_2/log": b"6",
    }.items():
        keep(blobs, key, content)
    assert blobs.delete(TENANT, "jobs/job_1") == (3, 5)
    assert blobs.delete(TENANT, "jobs/job_1") == (0, 0)
    assert blobs.delete(TENANT, "jobs/job_3/log") == (0, 0)
    assert blobs.delete(TENANT, "jobs/job_2/log") == (1, 1)
    assert [path.name for path in (home / "blobs" / TENANT / "jobs").iterdir()] == ["job_2"]


def test_deleting_follows_no_link(home: Path, blobs: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("stays")
    keep(blobs, "jobs/job_1/log")
    (home / "blobs" / TENANT / "jobs" / "job_1" / "link").symlink_to(tmp_path / "outside")
    blobs.delete(TENANT, "jobs/job_1")
    assert (tmp_path / "outside" / "file").read_text() == "stays"
    assert not (home / "blobs" / TENANT / "jobs" / "job_1").exists()


# the sweeper -------------------------------------------------------------------------------------------------------------
ABANDON = """
import os, sys
from pathlib import Path
from fumehood.blob_store import BlobStore
incoming = BlobStore(Path(sys.argv[1])).incoming()
incoming.write(b"half")
print("written", flush=True)
sys.stdin.read()
os._exit(9)
"""


def test_the_sweeper_removes_what_a_dead_process_left_and_nothing_else(home: Path, blobs: BlobStore) -> None:
    writer = subprocess.Popen([sys.executable, "-c", ABANDON, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdin is not None
    assert writer.stdout is not None
    with blobs.incoming() as ours, writer.stdin, writer.stdout:
        assert writer.stdout.readline() == b"written\n"
        assert blobs.sweep_incoming() == 0
        assert len(in_the_making(home)) == 2
        writer.kill()
        writer.wait(60)
        assert blobs.sweep_incoming() == 1
        assert in_the_making(home) == [ours.path]
        ours.write(b"whole")
        assert blobs.keep(ours, TENANT, "a") == 5
    assert in_the_making(home) == []


# refusals of the disk ----------------------------------------------------------------------------------------------------
def refuse(code: int) -> Callable[..., Any]:
    def refused(*_: object, **__: object) -> Any:
        raise OSError(code, os.strerror(code), "/secret/path")

    return refused


REFUSALS = {
    errno.ENOSPC: DiskFull,
    errno.EDQUOT: DiskFull,
    errno.EIO: StoreUnavailable,
    errno.EROFS: StoreUnavailable,
    errno.ESTALE: StoreUnavailable,
}


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("call", ["write", "fsync", "link"])
def test_a_refusal_is_named_and_leaves_nothing(home: Path, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch, code: int, call: str) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(f"fumehood.blob_store.os.{call}", refuse(code))
        with pytest.raises(REFUSALS[code]) as caught:
            keep(blobs, "jobs/job_1/script.py")
    assert "/secret/path" not in str(caught.value)
    assert in_the_making(home) == []
    assert not list((home / "blobs").rglob("script.py"))


def test_a_file_is_on_disk_before_it_has_its_name(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def note(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **options: Any) -> Any:
            kind = "directory" if name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode) else "file"
            steps.append(f"{name} {kind}")
            return call(*arguments, **options)

        return noted

    for name in ("fsync", "link"):
        monkeypatch.setattr(os, name, note(name, getattr(os, name)))
    keep(blobs, "a")
    keep(blobs, "b")
    assert steps[-3:] == ["fsync file", "link file", "fsync directory"]
    assert steps.count("fsync directory") == 3  # the tenant's new directory too


def test_free_bytes_are_ours_to_use(home: Path, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = os.statvfs(home)
    assert blobs.free_bytes() == pytest.approx(facts.f_bavail * facts.f_frsize, rel=0.2)
    numbers = list(facts)
    for files, available, expected in [(1_000_000, 9_999, 0), (1_000_000, 10_000, 4096), (0, 0, 4096), (100, 4, 0), (100, 5, 4096)]:
        numbers[1:2], numbers[4:5], numbers[5:6], numbers[7:8] = [4096], [1], [files], [available]
        monkeypatch.setattr(os, "statvfs", lambda _, values=tuple(numbers): os.statvfs_result(values))
        assert blobs.free_bytes() == expected, (files, available)


# unsettled ---------------------------------------------------------------------------------------------------------------
PREFIX = "jobs/job_a"
DIES = """
import os, signal, sys
from pathlib import Path
from fumehood.blob_store import BlobStore

blobs = BlobStore(Path(sys.argv[1]))
with blobs.unsettled("ten_a", "jobs/job_a"), blobs.incoming() as incoming:
    blobs.keep(incoming, "ten_a", "jobs/job_a/script.py")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def fail_unsettled(blobs: BlobStore, error: Exception) -> None:
    keep(blobs, f"{PREFIX}/script.py")
    with suppress(type(error)), blobs.unsettled(TENANT, PREFIX):
        raise error


def notes(home: Path) -> list[Path]:
    return list((home / "unsettled").iterdir())


@pytest.mark.parametrize("named", [True, False])
def test_what_the_dead_were_making_stays_only_where_a_row_names_it(named: bool, home: Path, blobs: BlobStore) -> None:
    keep(blobs, "jobs/job_b/script.py")
    done = subprocess.run([sys.executable, "-c", DIES, str(home)], cwd=Path(__file__).resolve().parents[2], timeout=60)
    assert (done.returncode, len(notes(home))) == (-9, 1)
    asked = []

    def is_named(tenant: str, prefix: str) -> bool:
        asked.append((tenant, prefix))
        return named

    assert blobs.settle(is_named) == int(not named)
    assert asked == [(TENANT, PREFIX)]
    left = {path.name for path in (home / "blobs" / TENANT / "jobs").iterdir()}
    assert left == ({"job_a", "job_b"} if named else {"job_b"})
    assert notes(home) == []


def test_what_the_living_are_making_is_left_alone(home: Path, blobs: BlobStore) -> None:
    with blobs.unsettled(TENANT, PREFIX):
        keep(blobs, f"{PREFIX}/script.py")
        assert blobs.settle(lambda tenant, prefix: False) == 0
        assert len(notes(home)) == 1
    assert notes(home) == []
    assert read(blobs, f"{PREFIX}/script.py") == b"content"


@pytest.mark.parametrize(("error", "left"), [(StoreUnavailable("away"), 1), (ValueError("no"), 0)])
def test_the_note_stays_where_nobody_knows_whether_the_row_is_there(error: Exception, left: int, home: Path, blobs: BlobStore) -> None:
    fail_unsettled(blobs, error)
    assert len(notes(home)) == left
    assert blobs.settle(lambda tenant, prefix: False) == left


def test_a_note_without_a_word_is_thrown_away(home: Path, blobs: BlobStore) -> None:
    (home / "unsettled" / "a").touch()
    assert blobs.settle(lambda tenant, prefix: pytest.fail("asked for nothing")) == 0
    assert notes(home) == []


def test_a_row_that_cannot_be_asked_for_leaves_everything(home: Path, blobs: BlobStore) -> None:
    fail_unsettled(blobs, StoreUnavailable("away"))

    def away(tenant: str, prefix: str) -> bool:
        raise StoreUnavailable("still away")

    with pytest.raises(StoreUnavailable):
        blobs.settle(away)
    assert len(notes(home)) == 1
    assert read(blobs, f"{PREFIX}/script.py") == b"content"
