"""More hostile bundles."""

from __future__ import annotations

import struct
import warnings
import zipfile
from collections.abc import Callable

from tests.contract.samples import bundle, zip_bytes
from tests.hostile.making import BAD_INPUT, ENDS, Made, entries

# Called like modules of the runner, of the libraries that it imports, and what interpreters run when they begin.
SHADOWS = (
    "supervisor",
    "child",
    "report",
    "collector",
    "places",
    "json",
    "zipfile",
    "pyarrow",
    "site",
    "sitecustomize",
    "usercustomize",
    "_fumehood_runner",
)
DIRECTORY, END = b"PK\x01\x02", b"PK\x05\x06"


def patched(content: bytes, mark: bytes, offset: int, new: bytes) -> Made:
    """Other bytes at so many behind the last `mark`."""
    place = content.rindex(mark) + offset
    return "zip", content[:place] + new + content[place + len(new) :]


def two_names() -> Made:
    """Another name in front of the content than in the directory."""
    content = zip_bytes({"module.py": "x = 1\n"})
    return "zip", content.replace(b"module.py", b"../../m.py"[:9], 1)


def with_end64(count: int) -> Made:
    """A 64-bit end that says how many entries there are and how long the directory is."""
    content = zip_bytes({"module.py": "x = 1\n"})
    at = content.rindex(END)
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, count * 46 % 2**64, content.rindex(DIRECTORY))
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    end = struct.pack("<4s4H2LH", END, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return "zip", content[:at] + end64 + locator + end


def commented(comment: bytes) -> Made:
    content = zip_bytes({"module.py": "x = 1\n"})
    return "zip", content[:-2] + struct.pack("<H", len(comment)) + comment


def inside_another() -> Made:
    """An entry whose whole place is the content of another: each is well by itself."""
    inner = zip_bytes({"inner": "x"})
    inner_local, inner_entry = inner[: inner.rindex(DIRECTORY)], inner[inner.rindex(DIRECTORY) : inner.rindex(END)]
    content = bytearray(entries(("outer", inner_local))[1])
    end = content.rindex(END)
    place = content.index(inner_local)
    content[end:end] = inner_entry[:42] + struct.pack("<I", place) + inner_entry[46:]
    end = content.rindex(END)
    content[end + 8 : end + 16] = struct.pack("<HHI", 2, 2, end - content.index(DIRECTORY))
    return "zip", bytes(content)


def twice(name: str) -> Made:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return entries((name, b"x = 1\n"), (name, b"x = 2\n"))


def with_mode(mode: int) -> Made:
    info = zipfile.ZipInfo("program")
    info.create_system, info.external_attr = 3, mode << 16
    return entries((info, b"#!/bin/sh\n"))


def nested(depth: int) -> Made:
    content = b"end"
    for _ in range(depth):
        content = zip_bytes({"next.zip": content})
    return "zip", content


def dated(moment: int) -> Made:
    return patched(zip_bytes({"module.py": "x = 1\n"}), DIRECTORY, 12, struct.pack("<I", moment))


MORE_BUNDLES: dict[str, tuple[Callable[[], Made], set[str]]] = {
    "one body for two": (inside_another, BAD_INPUT),
    "a module twice": (lambda: twice("module.py"), BAD_INPUT),
    "another name in front": (two_names, BAD_INPUT),
    "a trillion entries in 64 bits": (lambda: with_end64(10**12), BAD_INPUT),
    "fewer than no entries": (lambda: with_end64(2**63), BAD_INPUT),
    "a directory of gigabytes": (lambda: patched(zip_bytes({"a": "x"}), END, 12, struct.pack("<I", 2**32 - 2)), BAD_INPUT),
    "a directory beyond the end": (lambda: patched(zip_bytes({"a": "x"}), END, 16, struct.pack("<I", 2**32 - 2)), BAD_INPUT),
    "of several disks": (lambda: patched(zip_bytes({"a": "x"}), END, 4, struct.pack("<H", 3)), BAD_INPUT),
    "ends in its comment": (lambda: commented((END + bytes(18)) * 2900), BAD_INPUT | {"ok"}),
    "a long comment": (lambda: commented(b"x" * 65_535), {"ok"}),
    "something in front": (lambda: ("zip", b"#!/bin/sh\n" * 1000 + zip_bytes({"module.py": "x = 1\n"})), BAD_INPUT | {"ok"}),
    "only an end": (lambda: ("zip", END + bytes(18)), {"ok"}),
    **{
        f"packed by {name}": (lambda method=method: entries(("module.py", b"x = 1\n" * 1000), method=method), BAD_INPUT)
        for name, method in (("bzip2", zipfile.ZIP_BZIP2), ("LZMA", zipfile.ZIP_LZMA))
    },
    "packed by nobody knows what": (lambda: patched(zip_bytes({"a": "x"}), DIRECTORY, 10, struct.pack("<H", 99)), BAD_INPUT),
    "names that differ in their case": (lambda: bundle({"Module.py": "x = 1\n", "module.py": "x = 2\n"}), {"ok"}),
    "names that look the same": (lambda: bundle({"\u00e9.py": "x = 1\n", "e\u0301.py": "x = 2\n"}), {"ok"}),
    "a name that turns around": (lambda: bundle({"\u202eyp.exe": "x = 1\n"}), {"ok"}),
    "a name with a line's end": (lambda: bundle({"a\nb.py": "x = 1\n"}), BAD_INPUT),
    "a name of nothing": (lambda: bundle({"": "x = 1\n"}), BAD_INPUT),
    "a name of dots": (lambda: bundle({".": "x = 1\n"}), BAD_INPUT),
    "a network's share": (lambda: bundle({"\\\\server\\share": "x = 1\n"}), BAD_INPUT),
    "its own Windows name": (lambda: bundle({".\\Script Bundle": "x = 1\n", "a": "x"}), {"ok", "bad_input"}),
    "a program with its owner's rights": (lambda: with_mode(0o104755), {"ok"}),
    "nobody may read it": (lambda: with_mode(0o100000), {"ok"}),
    "a socket": (lambda: with_mode(0o140777), BAD_INPUT),
    "a device with a disk's number": (lambda: with_mode(0o060777), BAD_INPUT),
    "zips in zips": (lambda: nested(200), {"ok"}),
    "a date that there is not": (lambda: dated(0xFFFFFFFF), {"ok", "bad_input"}),
    "modules called like others": (lambda: bundle({f"{name}.py": "import os\nos._exit(9)\n" for name in SHADOWS}), {"ok"}),
    "hooks of an interpreter": (lambda: bundle({"x.pth": "import os; os._exit(9)\n", "pyvenv.cfg": "home = /job\n"}), {"ok"}),
    "a wheel that is none": (lambda: bundle({"x-1-py3-none-any.whl": b"no zip"}), BAD_INPUT),
    "a wheel with compiled code": (lambda: bundle({"x-1-py3-none-any.whl": zip_bytes({"x.so": b"\x7fELF"})}), BAD_INPUT),
    "a wheel for one machine": (lambda: bundle({"x-1-cp313-cp313-linux_x86_64.whl": zip_bytes({"x.py": ""})}), BAD_INPUT),
    "a wheel that leaves its directory": (lambda: bundle({"x-1-py3-none-any.whl": zip_bytes({"../../x.py": ""})}), {"ok", "bad_input"}),
    "a wheel of zeros": (lambda: bundle({"x-1-py3-none-any.whl": zip_bytes({"x.py": bytes(2**28)})}), ENDS | {"ok"}),
}
