"""A wrong setting ends the start with one line that names it, and never with its value."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["api", "worker"])
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("FUMEHOOD_IMAGE", "fumehood-anaconda:latest", "setting image:"),
        ("FUMEHOOD_SLOTS", "-74123", "setting slots:"),
        ("FUMEHOOD_LIMITS", '{"wall_seconds": -74123}', "setting limits or ceiling:"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(package: str, name: str, value: str, expected: str) -> None:
    done = subprocess.run([sys.executable, "-m", package], env=os.environ | {name: value}, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert done.stderr.startswith(expected)
    assert "Traceback" not in done.stderr
