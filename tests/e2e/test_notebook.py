"""The example notebook, executed in a kernel against the service as its reader would, shows what the committed one shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.e2e.stand import ROOT, Stand

NOTEBOOK = ROOT / "examples" / "notebooks" / "first_steps.ipynb"
BYTES_MAX = 200_000
CELL_SECONDS = 120
# What differs from run to run: ids, times, and what a plotting library makes of a picture.
CHANGING = (
    (re.compile(r"job_[0-9a-f]{32}"), "job_…"),
    (re.compile(r"base64,[A-Za-z0-9+/=]+"), "base64,…"),
    (re.compile(r"[\d.,]+ (s|bytes|KiB|MiB)\b"), "…"),
    (re.compile(r"container \S+; \d+ files"), "container …; … files"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "…"),
    (re.compile(r"/opt/fumehood/\S+\", line \d+|\.pyx?i?\", line \d+"), "…"),
)


def executed(stand: Stand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("FUMEHOOD_URL", stand.address)
    monkeypatch.setenv("FUMEHOOD_KEY", stand.key_file.read_text().strip())
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    return NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3", resources=resources).execute()


def essence(cell: Any) -> list[tuple[str, str]]:
    """Kind and text of each output; a progress line that was cleared is none."""
    found = []
    for output in cell.outputs:
        data = output.get("data") or {}
        text = "\n".join([output.get("text", ""), output.get("evalue", ""), *(str(data[kind]) for kind in sorted(data))])
        for pattern, instead in CHANGING:
            text = pattern.sub(instead, text)
        if text.strip():
            found.append((f"{output.output_type} {output.get('ename', '')}", text.strip()))
    return found


def test_the_example_notebook_shows_what_is_committed(stand: Stand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    committed = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    now = [cell for cell in executed(stand, monkeypatch, tmp_path).cells if cell.cell_type == "code"]

    shown = "\n".join(text for cell in now for _, text in essence(cell))
    for expected in ("plasma_glucose", "data:image/png", "768 people", "KeyError: 'glucose' (line 3 of Cell In[6])", "erased: container"):
        assert expected in shown
    for one, other in zip(now, committed, strict=True):
        assert essence(one) == essence(other), one.source


def test_the_committed_notebook_is_small_and_names_no_machine() -> None:
    text = NOTEBOOK.read_text()

    assert len(text) < BYTES_MAX
    assert not re.search(r"/(work|home|root|srv|tmp)/", text)
