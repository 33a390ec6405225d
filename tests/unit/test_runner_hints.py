"""What is said beside an exception to somebody new to sandboxes. No container; the missing modules are in the contract rung."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
import urllib.error

import pandas
import pytest

from tests.contract.loading import runner

hints = runner("hints")
missing_module = runner("missing_module")
places = runner("places")


def raised(code: str, **names: object) -> BaseException:
    try:
        exec(compile(code, "script.py", "exec"), names)
    except BaseException as caught:
        return caught
    raise AssertionError("nothing was raised")


@pytest.fixture(autouse=True)
def bundle(tmp_path, monkeypatch):
    """A bundle with a few files, and an image with two packages."""
    bundle, site = tmp_path / "Script Bundle", tmp_path / "site-packages"
    for path in (
        "models/Forest.pkl",
        "my zip/inner.py",
        "zipped/deep/helper.py",
        "zipped/pack/__init__.py",
        "wheels/extra-1-py3-none-any.whl",
    ):
        (bundle / path).parent.mkdir(parents=True, exist_ok=True)
        (bundle / path).touch()
    records = {
        "scikit_learn-1.9.1": "sklearn/__init__.py,sha256=x,1\nscikit_learn.libs/lib.so,,\n",
        "opencv_python_headless-5": "cv2/__init__.py,,\n",
        "six-2": "six.py,,\n",
    }
    for name, record in records.items():
        (site / f"{name}.dist-info").mkdir(parents=True)
        (site / f"{name}.dist-info" / "RECORD").write_text(record)
    for module in ("sklearn", "cv2"):
        (site / module).mkdir()
    (site / "six.py").touch()
    monkeypatch.setattr(places, "BUNDLE", str(bundle))
    monkeypatch.setattr(sys, "path", [str(site)])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("sklern", "The nearest that there is: 'sklearn' of the package scikit-learn."),
        ("Six", "The nearest that there is: 'six'."),
        ("jsn", "The nearest that there is: 'json'."),
        ("scikit_lern", "The image has the package scikit-learn; write `import sklearn`."),
        ("opencv", "The image has the package opencv-python-headless; write `import cv2`."),
        ("np", "It is only a nickname: write `import numpy as np`."),
        (
            "helper",
            "The bundle has it below 'zipped/deep': write `from zipped.deep import helper`, or pack the zip without that directory.",
        ),
        ("pack", "The bundle has it below 'zipped': write `from zipped import pack`, or pack the zip without that directory."),
        ("inner", "The bundle has it below 'my zip': pack the zip without that directory."),
        ("extra", "The bundle has the wheel 'wheels/extra-1-py3-none-any.whl'; only wheels at its root can be imported."),
        ("torch", missing_module.NOTHING_NEAR),
    ],
)
def test_a_module_that_is_not_there_is_told_with_the_nearest_that_is(name, sentence):
    assert hints.of(ModuleNotFoundError(f"No module named {name!r}", name=name)) == sentence


def test_a_part_that_a_package_lacks_is_told_with_the_packages_version(monkeypatch, tmp_path):
    (tmp_path / "site-packages" / "sklearn" / "linear_model").mkdir()
    module = type(sys)("sklearn")
    module.__path__ = [str(tmp_path / "site-packages" / "sklearn")]
    monkeypatch.setitem(sys.modules, "sklearn", module)
    assert missing_module.hint("sklearn.linear_mode") == "The image has scikit-learn 1.9.1; the nearest in it is 'sklearn.linear_model'."
    assert missing_module.hint("sklearn.cross_validation") == "The image has scikit-learn 1.9.1, without such a module."


def test_a_network_error_is_found_wherever_it_hides():
    loop = ValueError()
    loop.__cause__ = KeyError()
    loop.__cause__.__cause__ = loop
    assert hints.of(urllib.error.URLError(socket.gaierror(-3, "Temporary failure"))) == hints.NO_NETWORK
    assert hints.of(OSError(errno.ENETUNREACH, "Network is unreachable")) == hints.NO_NETWORK
    assert hints.of(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")) == ""
    assert hints.of(loop) == ""


def test_a_missing_file_is_told_with_the_place_where_the_bundle_has_it():
    assert hints.of(raised("open('C:/data/forest.PKL')")) == "The bundle has './Script Bundle/models/Forest.pkl'."
    assert hints.of(raised("open(b'/data/nothing.csv')")) == hints.OWN_FILES
    assert "`os.makedirs('outputs', exist_ok=True)`" in hints.of(raised("open('outputs/x', 'w')"))
    assert hints.of(raised("import subprocess; subprocess.run(['no-such-java'])")) == "The image has no program 'no-such-java'."


def test_a_missing_column_is_told_with_those_that_there_are():
    frame = pandas.DataFrame({"a": [1], "b": [2]})
    assert hints.of(raised("frame['c']", frame=frame)) == "The columns of the table are 'a', 'b'."
    assert hints.of(raised("frame['c']", frame=pandas.DataFrame())) == "The table has no columns."
    assert hints.of(raised("frame['c']", frame=pandas.DataFrame([range(20)]))).endswith(", 11 and 8 more.")
    assert hints.of(raised("{}['c']")) == ""


@pytest.mark.parametrize(
    ("exception", "sentence"),
    [
        (OSError(errno.EROFS, "Read-only file system", "/opt/x"), hints.WRITABLE),
        (PermissionError(errno.EACCES, "Permission denied", "/job/closed"), ""),
        (PermissionError(errno.EPERM, "Operation not permitted"), ""),
        (EOFError("EOF when reading a line"), "Nobody is there to answer `input()`; take what the script asks for as a job parameter."),
        (EOFError("Ran out of input"), ""),
        (subprocess.CalledProcessError(1, ["python", "-m", "pip", "install", "torch"]), missing_module.NOTHING_NEAR),
        (subprocess.CalledProcessError(1, "sh ./run.sh"), ""),
        (ValueError("anything"), ""),
    ],
)
def test_what_a_sandbox_does_not_do_is_told_with_what_to_do(exception, sentence):
    assert hints.of(exception) == sentence


def test_a_hostile_exception_has_no_hint():
    class Evil(KeyError, ValueError):
        def __getattribute__(self, name):
            raise SystemExit

    assert hints.of(Evil()) == ""
