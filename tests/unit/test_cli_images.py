"""`fumehood images` against a front desk that listens, and the files that it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cli.environment_files import FORMATS, VARIABLES, Environment, environment_yml, requirements_txt
from cli.image_commands import Format
from fumehood.image import Image
from tests.contract.loading import runner
from tests.unit.cli_desk import Listening, fumehood

__all__ = ["fumehood"]

DIGEST, OLDER, SILENT = ("sha256:" + letter * 64 for letter in "abc")
PACKAGES = {"numpy": "2.5.5", "pandas": "3.1.1"}


@pytest.fixture
def images(fumehood: Listening) -> Listening:
    store = fumehood.stand.store
    for image in (
        Image(digest=SILENT),
        Image(digest=OLDER, python="3.12.9", packages={"numpy": "1.26.4"}),
        Image(digest=DIGEST, python="3.13.5", packages=PACKAGES),
    ):
        store.keep_image(image)
    return fumehood


def test_images_are_listed_with_python_and_number_of_packages(images: Listening) -> None:
    lines = images("images").stdout.splitlines()

    assert [line.split()[:3] for line in lines] == [
        ["IMAGE", "PYTHON", "PACKAGES"],
        [DIGEST[:19], "3.13.5", "2"],
        [OLDER[:19], "3.12.9", "1"],
        [SILENT[:19], "?", "?"],
    ]
    assert [one["digest"] for one in json.loads(images("images", "list", "--json").stdout)] == [DIGEST, OLDER, SILENT]


def test_packages_of_an_image_that_its_beginning_names(images: Listening) -> None:
    assert json.loads(images("images", "packages", "--json", "bbbb").stdout) == [{"name": "numpy", "version": "1.26.4"}]
    assert json.loads(images("images", "packages", "--json", OLDER).stdout) == [{"name": "numpy", "version": "1.26.4"}]
    assert "pandas   3.1.1" in images("images", "packages").stdout


def test_export_writes_pins_to_stdout_or_a_file(images: Listening, tmp_path: Path) -> None:
    told = images("images", "export")
    assert told.exit_code == 0, told.output
    assert told.stdout == requirements_txt(Environment(digest=DIGEST, python="3.13.5", packages=PACKAGES))

    done = images("images", "export", "--format", "conda", "--out", tmp_path / "environment.yml", OLDER)
    assert done.exit_code == 0, done.output
    assert "Python 3.12.9, 1 packages" in done.stderr
    assert "python=3.12.*" in (tmp_path / "environment.yml").read_text()


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("sha256:f", "no images of the service begin with 'sha256:f'"),
        ("sha256:", "3 images of the service begin with"),
        (SILENT, "does not say what is in it"),
    ],
)
def test_an_image_that_is_not_one_is_told_with_those_that_are(images: Listening, wanted: str, says: str) -> None:
    done = images("images", "export", wanted)

    assert done.exit_code == 2
    assert says in done.stderr


def test_a_service_without_an_image_says_so(fumehood: Listening) -> None:
    done = fumehood("images", "export")

    assert done.exit_code == 2
    assert "the service has no image yet; is a worker running?" in done.stderr


def test_requirements_are_pins_and_comments() -> None:
    lines = requirements_txt(Environment(digest=DIGEST, python="3.13.5", packages=PACKAGES)).splitlines()

    assert [line for line in lines if not line.startswith("#")] == ["numpy==2.5.5", "pandas==3.1.1"]
    assert DIGEST in lines[0]
    assert any("3.13.5" in line for line in lines[:4])


def test_the_environment_of_conda_has_the_same_pins_the_python_and_the_variables() -> None:
    document = yaml.safe_load(environment_yml(Environment(digest=DIGEST, python="3.13.5", packages=PACKAGES)))

    assert document["dependencies"] == ["python=3.13.*", "pip", {"pip": ["numpy==2.5.5", "pandas==3.1.1"]}]
    assert document["variables"] == VARIABLES


def test_the_exported_variables_are_those_of_a_sandbox() -> None:
    environment = runner("environment")
    in_a_sandbox = environment.FIXED | dict.fromkeys(environment.THREADS, "1")

    assert {name: in_a_sandbox.get(name) for name in VARIABLES} == VARIABLES
    # Those that are about the places and the log of a sandbox change no result.
    left_out = set(environment.FIXED) - set(VARIABLES)
    assert left_out == {"HOME", "TMPDIR", "MPLCONFIGDIR", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}


def test_every_format_of_the_command_has_a_writer() -> None:
    assert {each.value for each in Format} == set(FORMATS)
