"""The example of the README, by every door: the same numbers as a plain run of the same script."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from tests.e2e.stand import EXAMPLES, TABLE, Stand, docker, run, submit

SCRIPT = EXAMPLES / "feature_importance.py"
TOLERANCE = 1e-9

# A plain run: the same libraries, and nothing of ours between pandas and the script.
PLAIN = """\
import json, pandas, sys
sys.path.insert(0, ".")
import feature_importance
answer = feature_importance.azureml_main(pandas.read_csv("table.csv"))
frame = answer[0] if isinstance(answer, (tuple, list)) else answer
json.dump({"columns": [str(name) for name in frame.columns], "rows": frame.values.tolist()}, open("answer.json", "w"))
"""


def plain_run(table: str, place: Path, image: str) -> dict[str, float]:
    place.mkdir()
    (place / "feature_importance.py").write_bytes(SCRIPT.read_bytes())
    (place / "table.csv").write_text(table)
    docker(
        "run", "--rm", "--network", "none", "--user", f"{os.getuid()}:{os.getgid()}", "--volume", f"{place}:/work", "--workdir", "/work",
        "--env", "TMPDIR=/work", "--env", "HOME=/work", "--env", "MPLCONFIGDIR=/work", "--entrypoint", "/opt/fumehood/python/bin/python",
        image, "-c", PLAIN,
    )  # fmt: skip
    answer = json.loads((place / "answer.json").read_text())
    return importances([dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]])


def importances(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {str(row["feature"]): float(row["importance"]) for row in rows}


def read_arrow(data: bytes) -> dict[str, float]:
    return importances(pa.ipc.open_file(pa.py_buffer(data)).read_all().to_pylist())


def shuffled_columns(text: str) -> str:
    rows = list(csv.reader(io.StringIO(text)))
    order = list(range(len(rows[0]) - 1))
    random.Random(20).shuffle(order)
    return _written([[row[n] for n in order] + [row[-1]] for row in rows])


def permuted_labels(text: str) -> str:
    rows = list(csv.reader(io.StringIO(text)))
    labels = [row[-1] for row in rows[1:]]
    random.Random(20).shuffle(labels)
    return _written([rows[0]] + [[*row[:-1], label] for row, label in zip(rows[1:], labels, strict=True)])


def _written(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


@pytest.fixture(scope="module")
def image(stand: Stand) -> str:
    lines = (stand.home / "config" / "compose.env").read_text().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith("FUMEHOOD_IMAGE="))


def test_the_command_gives_the_numbers_of_a_plain_run_and_a_figure(stand: Stand, image: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("FUMEHOOD_URL", "FUMEHOOD_KEY")}
    environment["XDG_CONFIG_HOME"] = str(tmp_path)

    def command(*arguments: str | Path) -> str:
        return run([sys.executable, "-m", "cli", *arguments], seconds=120, env=environment)

    command("config", "write", "--url", stand.address, "--key-file", stand.key_file)
    assert [path.stat().st_mode & 0o777 for path in tmp_path.rglob("*.toml")] == [0o600]
    command("run", SCRIPT, "--dataset1", TABLE, "--out", tmp_path / "importance.arrow", "--figures", tmp_path / "figures")

    found = read_arrow((tmp_path / "importance.arrow").read_bytes())
    assert len(found) == 8
    assert sum(found.values()) == pytest.approx(1)
    assert max(found, key=lambda name: found[name]) == next(iter(found)) == "plasma_glucose"
    assert found == pytest.approx(plain_run(TABLE.read_text(), tmp_path / "plain", image), abs=TOLERANCE)
    figures = list((tmp_path / "figures").iterdir())
    assert figures
    assert all(path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") for path in figures)


@pytest.mark.parametrize("change", [str, shuffled_columns, permuted_labels], ids=["as it is", "shuffled columns", "permuted labels"])
def test_plain_http_gives_the_numbers_of_a_plain_run(change: Any, stand: Stand, client: httpx.Client, image: str, tmp_path: Path) -> None:
    table = change(TABLE.read_text())
    record = submit(client, SCRIPT.read_text(), table, wait_seconds=60)
    assert (record["state"], record["reason"], record["attempt"]) == ("succeeded", "ok", 1), record
    result = client.get(f"/v1/jobs/{record['id']}/result", headers={"Accept": "application/vnd.apache.arrow.file"}).raise_for_status()

    found = read_arrow(result.content)
    assert len(found) == 8
    assert sum(found.values()) == pytest.approx(1)
    assert found == pytest.approx(plain_run(table, tmp_path / "plain", image), abs=TOLERANCE)
    # The numbers are the table's, not the example's: labels at random explain nothing, wherever the columns stand.
    assert (next(iter(found)) == "plasma_glucose" and found["plasma_glucose"] > 0.2) == (change is not permuted_labels)


def test_a_final_job_carries_its_receipt_and_its_figures(stand: Stand, client: httpx.Client) -> None:
    record = submit(client, SCRIPT.read_text(), TABLE.read_text(), wait_seconds=60)
    assert record["erasure"]["container"]
    assert record["erasure"]["erased_at"] <= record["finished_at"]
    assert record["erasure"]["files"] >= 5
    assert record["erasure"]["container"] not in docker("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}}")
    items = client.get(f"/v1/jobs/{record['id']}/figures").raise_for_status().json()["items"]
    assert items
    assert client.get(items[0].get("href") or f"/v1/jobs/{record['id']}/figures/0").raise_for_status().content.startswith(b"\x89PNG")
