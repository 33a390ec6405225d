"""The zip rules (rule 16). No container."""

from __future__ import annotations

import contextlib
import io
import stat
import struct
import warnings
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.loading import runner
from tests.contract.samples import zip_bytes

bundle = runner("bundle")
Refused = runner("refused").Refused
LIMITS = {"bundle_entries": 100, "bundle_unpacked_bytes": 1_000_000}


def check(data: bytes, tmp_path, **limits) -> int:
    path = tmp_path / "bundle.zip"
    path.write_bytes(data)
    return bundle.check(str(path), LIMITS | limits, port="The script bundle")


def raw(*entries: tuple[str, bytes], **attributes) -> bytes:
    """A zip with names exactly as given, not as the library would tidy them."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in entries:
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = name
            info.compress_type = zipfile.ZIP_DEFLATED
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.writestr(info, content)
    return sink.getvalue()


def with_bytes(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) >= 1
    assert len(old) == len(new)
    return data.replace(old, new)


def overlapping() -> bytes:
    """Many central entries over one local header: kilobytes that claim gigabytes."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(9_000))
    data = sink.getvalue()
    end = data.rfind(b"PK\x05\x06")
    start = data.find(b"PK\x01\x02")
    central = data[start:end]
    other = central[:46] + b"b" + central[47:]
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(central) * 2, start, 0)
    return data[:start] + central + other + tail


def encrypted() -> bytes:
    data = bytearray(raw(("secret.py", b"x")))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(mark) + offset] |= 1
    return bytes(data)


def lying() -> bytes:
    """The headers say 10 bytes; much more comes out."""
    data = raw(("liar", b"0" * 5_000))
    return data.replace(struct.pack("<L", 5_000), struct.pack("<L", 10))


def kind(mode: int) -> bytes:
    return raw(("odd", b"/etc/passwd"), create_system=3, external_attr=(mode | 0o644) << 16)


HOSTILE = {
    "parent": (raw(("a/../../evil.py", b"")), "leaves its directory: 'a/../../evil.py'"),
    "parent with backslashes": (raw(("..\\evil.py", b"")), "leaves its directory"),
    "absolute": (raw(("/etc/x", b"")), "absolute path: '/etc/x'"),
    "drive": (raw(("C:\\x", b"")), "absolute path"),
    "network drive": (raw(("\\\\host\\x", b"")), "absolute path"),
    "empty part": (raw(("a//b", b"")), "empty name"),
    "control character": (raw(("a\nb.py", b"")), "control character in its name: 'a\\nb.py'"),
    "zero byte": (with_bytes(raw(("good.py\x01.txt", b"")), b"good.py\x01", b"good.py\x00"), "control character"),
    "link": (kind(stat.S_IFLNK), "that is a link: 'odd'"),
    "device": (kind(stat.S_IFCHR), "that is a device: 'odd'"),
    "pipe": (kind(stat.S_IFIFO), "that is a named pipe: 'odd'"),
    "encrypted": (encrypted(), "an encrypted entry: 'secret.py'"),
    "twice": (raw(("a.py", b"1"), ("a.py", b"2")), "more than one entry for 'a.py'"),
    "twice in other words": (raw(("d/a.py", b"1"), ("d\\.\\a.py", b"2")), "more than one entry"),
    "file and directory": (raw(("a", b"1"), ("a/b", b"2")), "more than one entry for 'a/b'"),
    "directory and file": (raw(("a/b", b"1"), ("a", b"2")), "more than one entry for 'a'"),
    "too deep": (raw(("d/" * 40 + "x", b"")), "too long or too deep"),
    "too long": (raw(("n" * 300, b"")), "too long or too deep"),
    "many": (raw(*((f"{number}", b"") for number in range(101))), "has 101 entries; the limit is 100"),
    "large": (raw(("zeros", bytes(2_000_000))), "unpacks to 2,000,000 bytes; the limit is 1,000,000"),
    "overlapping": (overlapping(), "entries that overlap"),
    "lying": (lying(), "a damaged entry 'liar'"),
    "method": (raw(("a", b"x"), compress_type=zipfile.ZIP_BZIP2), "a compression other than stored or deflated: 'a'"),
    "truncated": (raw(("a.py", b"x" * 1000))[:60], "is not a zip file"),
    "native wheel": (raw(("n-1-cp313-cp313-linux_x86_64.whl", b"")), "a wheel that is not pure Python: 'n-1-cp313-cp313-linux_x86_64.whl'"),
    "not a zip": (b"PAR1" * 100, "is not a zip file"),
    "nothing": (b"", "is an empty file"),
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_a_hostile_zip_is_refused_by_name(name, tmp_path):
    data, sentence = HOSTILE[name]
    with pytest.raises(Refused) as refused:
        check(data, tmp_path)
    assert refused.value.reason == "bad_input"
    assert sentence in refused.value.message
    assert refused.value.message.startswith("The script bundle ")


def test_what_comes_out_is_counted_not_believed(tmp_path):
    budget = bundle.Budget(100, "The script bundle")
    budget.take(100, "a")
    with pytest.raises(Refused, match="unpacks to more than 100 bytes"):
        budget.take(1, "b")


def test_files_directories_and_windows_names_are_laid_out(tmp_path):
    path, directory = tmp_path / "bundle.zip", tmp_path / "Script Bundle"
    wheel = zip_bytes({"pure/__init__.py": ""})
    files = (("a.py", b"1"), ("deep\\b.txt", b"2"), ("empty/", b""), ("pure-1-py3-none-any.whl", wheel), ("deep/x.whl", b"not one"))
    path.write_bytes(raw(*files))
    wheels = bundle.unpack(str(path), str(directory), LIMITS)
    assert wheels == [str(directory / "pure-1-py3-none-any.whl")]
    assert (directory / "deep" / "b.txt").read_bytes() == b"2"
    assert (directory / "empty").is_dir()
    assert (tmp_path / ".\\Script Bundle\\deep\\b.txt").read_bytes() == b"2"
    assert {path.name for path in (tmp_path / ".\\Script Bundle\\deep").iterdir()} == {"b.txt", "x.whl"}
    assert (tmp_path / ".\\Script Bundle\\empty").is_dir()
    assert sorted(path.name for path in (tmp_path / ".\\Script Bundle").iterdir()) == ["a.py", "deep", "empty", "pure-1-py3-none-any.whl"]


@pytest.mark.parametrize(
    ("wheel", "sentence"),
    [
        (b"rubbish", "The wheel 'x-1-py3-none-any.whl' of the script bundle is not a zip file."),
        (zip_bytes({"x/_c.cpython-313-x86_64-linux-gnu.so": b"ELF"}), "has compiled code: 'x/_c.cpython-313-x86_64-linux-gnu.so'"),
        (zip_bytes({f"x/{number}": b"" for number in range(101)}), "has 101 entries; the limit is 100"),
    ],
)
def test_a_wheel_that_cannot_be_imported_is_refused_by_name(tmp_path, wheel, sentence):
    (tmp_path / "bundle.zip").write_bytes(raw(("x-1-py3-none-any.whl", wheel)))
    with pytest.raises(Refused) as refused:
        bundle.unpack(str(tmp_path / "bundle.zip"), str(tmp_path / "Script Bundle"), LIMITS)
    assert refused.value.reason == "bad_input"
    assert sentence in refused.value.message


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=4))
def test_any_damage_is_refused_or_harmless(tmp_path_factory, position, patch):
    data = bytearray(zip_bytes({"a.py": "print(1)\n" * 5, "b/c.txt": b"\0" * 100}))
    data[position : position + len(patch)] = patch
    with contextlib.suppress(Refused):
        assert check(bytes(data), tmp_path_factory.mktemp("zip")) >= 0
