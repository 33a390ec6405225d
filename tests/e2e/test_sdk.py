"""The Python client against the whole service: functions as their author wrote them, types both ways, errors, interrupts."""

from __future__ import annotations

import asyncio
import datetime
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fumehood.client import AsyncClient, BadReturn, Client, OutOfMemory, ScriptError, TimedOut, Unusable
from tests.e2e.stand import ROOT, TABLE, Stand
from tests.services import until

FACTOR = {"times": 3}
ALL_TYPES = pd.DataFrame(
    {
        "gaps": pd.array([2**60 + 1, None], dtype="Int64"),
        "maybe": pd.array([True, None], dtype="boolean"),
        "text": ["a", None],
        "kind": pd.Categorical(["u", "v"], categories=["v", "u"], ordered=True),
        "zone": pd.to_datetime(["2024-01-01", None]).tz_localize("Europe/Berlin"),
        "span": pd.to_timedelta([1, 2], unit="s"),
        "date": [datetime.date(2024, 1, 2), None],
        "bytes": [b"\0", None],
    }
)
WAITS = """
import sys, time
from fumehood.client import Client

def wait(seconds=None):
    import time
    print("waiting", flush=True)
    time.sleep(120)

Client(sys.argv[1], sys.stdin.readline().strip()).run(wait, on_log=lambda line: print(line, flush=True))
"""


def _scaled(frame):  # type: ignore[no-untyped-def]
    return frame * FACTOR["times"]


def scaled(frame, *, column: str):  # type: ignore[no-untyped-def]
    print("scaling", column)
    Path("outputs").mkdir(exist_ok=True)
    Path("outputs/said.txt").write_text("scaled")
    return _scaled(frame[[column]])


def identity(frame):  # type: ignore[no-untyped-def]
    return frame


def total(frame):  # type: ignore[no-untyped-def]
    return frame.sum().reset_index(name="total")


def broken(frame):  # type: ignore[no-untyped-def]
    print("still here")
    return _scaled(None)


def init():  # type: ignore[no-untyped-def]
    return {"loaded": 1}


def served(frame, context, *, column: str = "age", fail: bool = False):  # type: ignore[no-untyped-def]
    if fail:
        raise ValueError(f"no {column}")
    return _scaled(frame[[column]]).assign(loaded=context["loaded"])


@pytest.fixture
def sdk(stand: Stand) -> Iterator[Client]:
    with Client(stand.address, stand.key_file.read_text().strip()) as client:
        yield client


def test_a_function_runs_with_what_it_uses_and_its_result_is_the_next_input(sdk: Client) -> None:
    heard: list[str] = []

    result = sdk.run(scaled, TABLE, column="age", on_log=heard.append)
    summed = sdk.run(total, result)

    assert heard == ["scaling age"]
    assert result.log == "scaling age\n"
    assert result.frame["age"].sum() == 3 * pd.read_csv(TABLE)["age"].sum() == summed.frame["total"][0]
    assert result.artifacts == {"said.txt": b"scaled"}
    assert result.preview()["rows"] == 768
    assert dict(summed.record["inputs"]["dataset1"])["job"] == result.id


def test_every_type_of_a_frame_comes_back(sdk: Client) -> None:
    frame = sdk.run(identity, ALL_TYPES).frame

    assert frame.dtypes.astype(str).to_dict() == ALL_TYPES.dtypes.astype(str).to_dict()
    assert frame.equals(ALL_TYPES)


@pytest.mark.parametrize(
    ("script", "limits", "kind", "says"),
    [
        (broken, {}, ScriptError, "TypeError"),
        ("def azureml_main():\n    return 3\n", {}, BadReturn, "int"),
        ("def azureml_main():\n    while True: pass\n", {"wall_seconds": 2}, TimedOut, "2"),
        ("def azureml_main():\n    return bytearray(2**30)\n", {"memory_bytes": 2**28, "disk_bytes": 2**20}, OutOfMemory, "memory"),
    ],
    ids=["error", "return", "time", "memory"],
)
def test_each_end_has_its_error(sdk: Client, script: Any, limits: dict[str, float], kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says) as caught:
        sdk.run(script, None if isinstance(script, str) else ALL_TYPES, limits=limits)

    if kind is ScriptError:
        line = broken.__code__.co_firstlineno + 2
        assert f'File "test_sdk.py", line {line}, in broken' in str(caught.value)
        assert "return _scaled(None)" in str(caught.value)
        assert caught.value.result.log.startswith("still here\n")  # type: ignore[attr-defined]


def test_ctrl_c_cancels_the_job(stand: Stand, sdk: Client, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(WAITS)
    # As from a terminal, whatever the one who started the tests in the background hands down.
    command = ["env", "--default-signal=INT", sys.executable, program, stand.address]
    with subprocess.Popen(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(stand.key_file.read_text().strip() + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0

    newest = sdk.jobs(limit=1)[0]
    assert until(lambda: newest.status() == "cancelled", seconds=30, what="the job is cancelled")


def test_many_wait_at_once_on_one_loop(stand: Stand) -> None:
    async def main() -> list[int]:
        async with AsyncClient(stand.address, stand.key_file.read_text().strip()) as client:
            stored = await client.upload(pd.DataFrame({"a": [1, 2]}))
            results = await asyncio.gather(*(client.run(scaled, stored, column="a") for _ in range(3)))
            await client.delete(results[0])
            return [int((await result.frame)["a"].sum()) for result in results[1:]]

    assert asyncio.run(main()) == [9, 9]


def test_a_function_is_published_and_called_as_a_function(sdk: Client, stand: Stand) -> None:
    table = pd.read_csv(TABLE)
    score = sdk.publish(served, sample=table, limits={"wall_seconds": 20})
    assert (score.name, score.version) == ("served", 1)
    assert {one["name"]: one["type"] for one in score.record["parameters"]} == {"column": "str", "fail": "bool"}

    answer = score(table, column="diabetes_pedigree")
    assert answer["diabetes_pedigree"].equals(3 * table["diabetes_pedigree"])
    assert set(answer["loaded"]) == {1}
    assert sdk.job(answer.attrs["job"]).record["erasure"]["job"] == answer.attrs["job"]

    with pytest.raises(ScriptError, match="no age") as failed:
        score(table, fail=True)
    line = served.__code__.co_firstlineno + 2
    assert f'File "test_sdk.py", line {line}, in served' in failed.value.traceback
    with pytest.raises(Unusable) as refused:
        score(table[["age"]].rename(columns={"age": "years"}))
    assert {"/body/age", "/body/years"} <= {field.pointer for field in refused.value.errors}
    assert refused.value.job is not None

    frames = sdk.script("served").map([table.head(rows) for rows in (1, 2, 3)])
    assert [len(frame) for frame in frames] == [1, 2, 3]
    assert [len(frame) for frame in score.map([table.head(1), table.head(2)], isolation="batch")] == [1, 2]
    assert len(score.submit(sdk.upload(table)).result().frame) == len(table)

    async def both() -> list[int]:
        async with AsyncClient(stand.address, stand.key_file.read_text().strip()) as client:
            later = await client.script("served", version=1)
            return [len(frame) for frame in await asyncio.gather(*(later(table.head(rows)) for rows in (4, 5)))]

    assert asyncio.run(both()) == [4, 5]
    with stand.client() as http:
        assert http.delete("/v1/scripts/served").status_code == 204


def test_a_function_whose_check_fails_is_refused_with_its_traceback(sdk: Client, stand: Stand) -> None:
    with pytest.raises(ScriptError, match="TypeError") as caught:
        sdk.publish(broken, sample=ALL_TYPES)
    assert f'File "test_sdk.py", line {broken.__code__.co_firstlineno + 2}, in broken' in caught.value.traceback
    with stand.client() as http:
        assert http.delete("/v1/scripts/broken").status_code == 204
