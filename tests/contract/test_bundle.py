"""Rules 15–16 and the edge case «Bundle»."""

from __future__ import annotations

import io
import stat
import zipfile

from tests.contract.samples import IDENTITY, bundle, csv, zip_bytes


def test_modules_packages_and_files_of_the_bundle_are_found(sandbox):
    files = {
        "hello.py": "def print_hello(name):\n    print('Hello', name)\n",
        "package/__init__.py": "",
        "package/deep/__init__.py": "answer = 42\n",
        "package/deep/words.txt": "ä word",
        "empty directory/": "",
    }
    script = r"""
import os, sys
from hello import print_hello
from package.deep import answer
import pandas as pd
def azureml_main():
    print_hello("world")
    assert os.path.samefile(sys.path[0], "./Script Bundle") and r".\Script Bundle" in sys.path
    assert "/job" in sys.path and os.path.isdir("Script Bundle/empty directory")
    texts = [open("./Script Bundle/package/deep/words.txt").read(), open(r".\Script Bundle\package\deep\words.txt").read()]
    assert "words.txt" in os.listdir(r".\Script Bundle\package\deep")
    os.chdir("/")
    import package.deep
    return pd.DataFrame({"text": texts, "answer": answer})
"""
    run = sandbox.run(script, inputs={"bundle": bundle(files)})
    assert run.reason == "ok", run.report
    assert run.frame().to_dict("list") == {"text": ["ä word"] * 2, "answer": [42, 42]}
    assert run.log == "Hello world\n"


def test_backslashes_of_old_windows_tools_are_separators(sandbox):
    script = "from pack.one import x\nimport pandas as pd\ndef azureml_main(): return pd.DataFrame({'x': [x]})\n"
    run = sandbox.run(script, inputs={"bundle": bundle({"pack\\": "", "pack\\one.py": "x = 1"})})
    assert run.reason == "ok", run.report


def test_pure_wheels_at_the_root_are_importable(sandbox):
    wheel = zip_bytes({"wheeled/__init__.py": "where = __file__\n", "wheeled-1.dist-info/METADATA": "Name: wheeled\n"})
    script = "import wheeled, pandas as pd\ndef azureml_main(): return pd.DataFrame({'where': [wheeled.where]})\n"
    run = sandbox.run(script, inputs={"bundle": bundle({"wheeled-1-py3-none-any.whl": wheel})})
    assert run.frame()["where"].tolist() == ["/job/Script Bundle/wheeled-1-py3-none-any.whl/wheeled/__init__.py"]


def test_a_module_that_shadows_a_library_affects_the_script_only(sandbox):
    shadows = ("json", "pyarrow", "report", "places", "tables_out", "_fumehood_runner", "zipfile", "traceback", "select", "names", "csv")
    files = {f"{name}.py": f"me = 'shadow of {name}'\n" for name in shadows}
    script = f"""
{"; ".join(f"import {name}" for name in shadows)}
import pandas as pd
def azureml_main(df):
    df["s"] = df["s"].str.upper()
    df["me"] = [json.me + pyarrow.me + report.me] * len(df)
    return df,
"""
    run = sandbox.run(script, inputs={"bundle": bundle(files), "dataset1": csv("s\nx\n")})
    assert run.reason == "ok", run.report
    assert run.frame().me.tolist() == ["shadow of jsonshadow of pyarrowshadow of report"]


def crafted(name: str, content: bytes = b"x", **attributes) -> bytes:
    info = zipfile.ZipInfo("placeholder")
    info.filename = info.orig_filename = name
    for key, value in attributes.items():
        setattr(info, key, value)
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(info, content)
    return sink.getvalue()


def test_a_hostile_bundle_is_a_bad_input_that_names_the_entry(sandbox):
    # The other kinds are in tests/unit/test_runner_bundle.py: they need no container.
    link = crafted("link", b"/etc/passwd", create_system=3, external_attr=(stat.S_IFLNK | 0o777) << 16)
    run = sandbox.run(IDENTITY, inputs={"bundle": ("zip", link)})
    assert (run.reason, run.report["message"]) == ("bad_input", "The script bundle has an entry that is a link: 'link'.")


def test_a_bundle_beyond_the_disk_is_disk_full(sandbox):
    run = sandbox.run(IDENTITY, inputs={"bundle": bundle({"big": bytes(9_000_000)})}, disk_bytes=8 * 1024 * 1024)
    assert run.reason == "disk_full"
