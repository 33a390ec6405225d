"""A reader who does what a page says, block by block, in a checkout and an account of their own."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.docs.blocks import PYTHON, ROOT, SHELL, Block
from tests.docs.outputs import difference
from tests.e2e.stand import Stand

BLOCK_SECONDS = 180
CELLS = Path(__file__).with_name("cells.py")
# What a checkout holds after `make run`, as far as pages name it.
CHECKOUT = ("examples", "images", "docs", "Makefile", "pyproject.toml", "docker-compose.yml")

# Set the variables, run the block, and keep what it set and where it went for the next one.
SHELL_FRAME = """\
set -eua
. ./.state/variables
cd "$(cat "{top}/.state/directory")"
trap 'code=$?; export -p > "{top}/.state/variables"; pwd > "{top}/.state/directory"; exit $code' EXIT
{block}
"""

# `make` for pages on operating: the stand's own, without what installs packages on this machine (tests/unit/test_setup.py tries that).
MAKE = """\
#!/bin/sh
set -eu
export FUMEHOOD_HOME="{home}" FUMEHOOD_API_PORT={port} FUMEHOOD_PROJECT={project}
cd "{root}"
case "$1" in
run) "{python}" -B setup start > /dev/null
     cd "{top}" && mkdir -p out
     unset FUMEHOOD_HOME FUMEHOOD_API_PORT FUMEHOOD_PROJECT
     exec fumehood run examples/feature_importance.py --dataset1 examples/pima-indians-diabetes.csv \\
         --out out/importance.arrow --figures out/ ;;
stop) exec "{python}" -B setup stop ;;
*) echo "make $1 is not for pages" >&2; exit 2 ;;
esac
"""


class Reader:
    def __init__(self, stand: Stand, top: Path) -> None:
        self._top = top
        self._cells: subprocess.Popen[str] | None = None
        # A page's word → what it is here.
        self._here = {"127.0.0.1:8765": f"127.0.0.1:{stand.port}", "/var/lib/fumehood": str(stand.home), "/backup": str(top / "backup")}
        self._environment = self._set_up(stand)

    def do(self, block: Block) -> None:
        """Fails the test where the block does not end as the page says, or prints something else."""
        if block.file is not None:
            path = self._top / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.runs:
            code, printed = {SHELL: self._shell, PYTHON: self._cell}[block.language](block)
            for word, here in self._here.items():
                printed = printed.replace(here, word)
            if code != block.exit_code:
                pytest.fail(f"{block.place}: ended with {code}, expected {block.exit_code}\n{block.text}\n{printed}", pytrace=False)
            if said := difference(block.expected, printed):
                pytest.fail(f"{block.place}: {said}", pytrace=False)

    def close(self) -> None:
        if self._cells is not None:
            self._cells.communicate(timeout=30)

    def _shell(self, block: Block) -> tuple[int, str]:
        script = SHELL_FRAME.format(top=self._top, block=self._translated(block.text))
        done = subprocess.run(
            ["sh", "-c", script],
            cwd=self._top,
            env=dict(self._environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BLOCK_SECONDS,
        )
        return done.returncode, done.stdout

    def _cell(self, block: Block) -> tuple[int, str]:
        if self._cells is None:
            with (self._top / ".state" / "cells.err").open("w") as errors:
                self._cells = subprocess.Popen(
                    [sys.executable, CELLS],
                    cwd=self._top,
                    env=dict(self._environment),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                )
        cells = self._cells
        assert cells.stdin is not None
        assert cells.stdout is not None
        cells.stdin.write(json.dumps({"code": self._translated(block.text), "name": f"<{block.place}>"}) + "\n")
        cells.stdin.flush()
        if not select.select([cells.stdout], [], [], BLOCK_SECONDS)[0]:
            cells.kill()
            pytest.fail(f"{block.place}: not done within {BLOCK_SECONDS} s", pytrace=False)
        line = cells.stdout.readline()
        if not line:
            pytest.fail(f"{block.place}: Python ended\n{(self._top / '.state' / 'cells.err').read_text()}", pytrace=False)
        answer = json.loads(line)
        return (1, answer["output"] + answer["error"]) if answer["error"] else (0, answer["output"])

    def _translated(self, text: str) -> str:
        for word, here in self._here.items():
            text = text.replace(word, here)
        return text

    def _set_up(self, stand: Stand) -> Mapping[str, str]:
        for name in CHECKOUT:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, self._top / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / name, self._top / name)
        for name in (".venv/bin", ".state", "backup", "account"):
            (self._top / name).mkdir(parents=True)
        programs = self._top / ".venv" / "bin"
        _program(programs / "python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        _program(programs / "fumehood", f'#!/bin/sh\nexec "{sys.executable}" -m cli "$@"\n')
        here = {"root": ROOT, "top": self._top, "python": sys.executable, "home": stand.home, "port": stand.port, "project": stand.project}
        _program(programs / "make", MAKE.format(**here))
        (programs / "activate").write_text(f'PATH="{programs}:$PATH"\n')
        (self._top / ".state" / "variables").write_text("")
        (self._top / ".state" / "directory").write_text(f"{self._top}\n")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FUMEHOOD_")} | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(self._top / "account"),
            "XDG_CONFIG_HOME": str(self._top / "account" / "configuration"),
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "TERM": "dumb",
        }
        write = [programs / "fumehood", "config", "write", "--url", stand.address, "--key-file", stand.key_file]
        subprocess.run(write, env=environment, check=True, capture_output=True, timeout=60)
        return environment


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
