"""The page of examples, read as the list of examples: each command is a run, the block below it is the table that it shows.

So the page cannot name a file, a parameter or a number that is not so: the tests run what stands there.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
PAGE = EXAMPLES / "README.md"

_SECTION = re.compile(r"^## (?P<title>.+?)\n(?P<text>.*?)(?=^## |\Z)", re.M | re.S)
_COMMANDS = re.compile(r"```sh\n(.*?)```", re.S)
_TABLE = re.compile(r"```text\n(.*?)```", re.S)
_PICTURE = re.compile(r"!\[[^\]]*\]\(pictures/([^)]+)\)")


@dataclass(frozen=True, kw_only=True)
class Example:
    """One example of the page. `bundle`: what its zip is made of, by the page's own command; `tables`: what it shows of result and
    result2."""

    title: str
    script: Path
    inputs: dict[str, Path]
    bundle: tuple[Path, ...]
    parameters: dict[str, Any]
    tables: tuple[str, ...]
    pictures: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.script.relative_to(EXAMPLES).with_suffix("").as_posix().removesuffix("/script")

    def zip_bytes(self) -> bytes:
        """The bundle, as `python3 -m zipfile -c` makes it."""
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w") as archive:
            for top in self.bundle:
                for path in [top, *sorted(top.rglob("*"))]:
                    if path.is_file() and "__pycache__" not in path.parts:
                        archive.writestr(zipfile.ZipInfo(path.relative_to(top.parent).as_posix()), path.read_bytes())
        return sink.getvalue()


def examples() -> list[Example]:
    """Every section of the page that has a command, in order."""
    return [_example(found["title"], found["text"]) for found in _SECTION.finditer(PAGE.read_text()) if _COMMANDS.search(found["text"])]


def _example(title: str, text: str) -> Example:
    zips: dict[str, tuple[Path, ...]] = {}
    options: dict[str, list[str]] = {}
    script = ""
    commands = _COMMANDS.search(text)
    assert commands, title
    for line in commands[1].replace("\\\n", " ").splitlines():
        match shlex.split(line):
            case ["python3", "-m", "zipfile", "-c", archive, *parts]:
                zips[archive] = tuple(path for part in parts for path in sorted(ROOT.glob(part)) if path.name != "__pycache__")
            case [".venv/bin/fumehood", "run", script, *rest]:
                for option, value in zip(rest[::2], rest[1::2], strict=True):
                    options.setdefault(option, []).append(value)
            case []:
                pass
            case words:
                raise AssertionError(f"«{title}» has a command that is none of those expected: {words}")
    unknown = set(options) - {"--dataset1", "--dataset2", "--bundle", "--param", "--figures", "--artifacts", "--out"}
    assert not unknown, f"«{title}» uses {unknown}"
    return Example(
        title=title,
        script=ROOT / script,
        inputs={port: ROOT / options[f"--{port}"][0] for port in ("dataset1", "dataset2") if f"--{port}" in options},
        bundle=zips[options["--bundle"][0]] if "--bundle" in options else (),
        parameters=dict(_parameter(pair) for pair in options.get("--param", ())),
        tables=tuple(_TABLE.findall(text)),
        pictures=tuple(unquote(name) for name in _PICTURE.findall(text)),
    )


def _parameter(pair: str) -> tuple[str, Any]:
    name, _, value = pair.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
