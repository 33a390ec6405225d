"""The label of the image is what `fumehood images` tells and exports: it must be what a script finds."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from cli.environment_files import Environment, requirements_txt
from fumehood.image import LABEL_PACKAGES, Image, labelled
from tests.contract.bench import Bench

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "images/anaconda/requirements.lock"


@pytest.fixture(scope="module")
def told(image: str) -> Image:
    template = '{{.Id}} {{index .Config.Labels "' + LABEL_PACKAGES + '"}}'
    inspect = ["docker", "image", "inspect", "--format", template, image]
    answer = subprocess.run(inspect, check=True, capture_output=True, text=True, timeout=60).stdout
    digest, _, label = answer.strip().partition(" ")
    return labelled(digest, label)


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_label_is_what_a_script_finds(told: Image, sandbox: Bench) -> None:
    script = """
import platform
from importlib import metadata

import pandas as pd


def azureml_main():
    rows = [("", platform.python_version()), *((one.name, one.version) for one in metadata.distributions())]
    return pd.DataFrame(rows, columns=["name", "version"])
"""
    frame = sandbox.run(script).frame()
    found = {normalised(name): version for name, version in zip(frame["name"], frame["version"], strict=True)}

    assert told.python == found.pop("")
    assert told.packages == found


def test_the_label_is_what_the_lock_pins(told: Image) -> None:
    assert told.packages == dict(re.findall(r"^([\w.-]+)==(\S+)", LOCK.read_text(), re.M))


def test_the_export_of_the_label_pins_each_package(told: Image) -> None:
    assert told.python
    assert told.packages
    text = requirements_txt(Environment(digest=told.digest, python=told.python, packages=told.packages))

    assert dict(re.findall(r"^([\w.-]+)==(\S+)$", text, re.M)) == told.packages
