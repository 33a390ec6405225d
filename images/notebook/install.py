"""Runs inside the build of the image: what `python3 -m venv` and `pip install -r requirements.txt` do on anybody's machine.

Only what the export says is installed, and then checked: one that lacks a package, or whose pins do not fit together, fails here.
"""

import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

HOME = Path("/opt/notebook")
PYTHON = HOME / "python"


def main(wheels: str) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", PYTHON], check=True)
    version = re.search(r"^pip==(\S+)", (HOME / "tools.lock").read_text(), re.M).group(1)
    with tempfile.TemporaryDirectory() as scratch:
        # Run from its zip: the base has none, and the environment shall hold what the export says and nothing more.
        pip = Path(scratch) / f"pip-{version}-py3-none-any.whl"
        with urllib.request.urlopen(wheels + pip.name, timeout=60) as answer:
            pip.write_bytes(answer.read())
        command = [PYTHON / "bin" / "python", "-I", pip / "pip", "--quiet", "--disable-pip-version-check"]
        install = ["install", "--no-cache-dir", "--no-compile", "--no-index", "--no-deps", "--find-links", wheels]
        environment = {"PATH": os.defpath, "TMPDIR": scratch, "PIP_CONFIG_FILE": os.devnull}
        subprocess.run([*command, *install, "--requirement", HOME / "requirements.txt"], check=True, env=environment)
        subprocess.run([*command, "check"], check=True, env=environment)


if __name__ == "__main__":
    main(sys.argv[1])
