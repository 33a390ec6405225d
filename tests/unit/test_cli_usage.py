"""`fumehood usage`, `--cache`, and the same from Python, against a front desk that listens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow
import pytest

from cli.errors import ExitCode
from cli.quota_commands import SHOWN
from fumehood.client import AsyncClient, Client
from tests.unit.cli_desk import SCRIPT, Listening, fumehood, script

__all__ = ["fumehood", "script"]

IMAGE = "sha256:" + "0" * 64


@pytest.fixture
def client(fumehood: Listening) -> Iterator[Client]:
    fumehood.stand.store.worker_beat("wrk_test", {"ready": True, "image": IMAGE})
    fumehood.works()
    with Client(fumehood.url, fumehood.stand.key) as client:
        yield client


def test_usage_is_a_line_for_each_day_with_a_bar(fumehood: Listening, client: Client, script: Path) -> None:
    for team in ("red", "red", "blue"):
        assert fumehood("run", script, "--label", f"team={team}", "--quiet").exit_code == 0
    today = datetime.now(UTC).date().isoformat()
    header, line = fumehood("usage").stdout.splitlines()
    assert header.split() == ["DAY", "WORK", "JOBS", "FAILED", "CACHED", "CPU", "GB", "SECONDS", "IN", "OUT"]
    assert line.split()[:7] == [today, "jobs", "3", "0", "0", "0.75", "s"]
    assert line.endswith(20 * "█")
    lines = [line.split() for line in fumehood("usage", "--label", "team", "--by", "period").stdout.splitlines()[1:]]
    assert [line[:4] for line in lines] == [["all", "blue", "jobs", "1"], ["all", "red", "jobs", "2"]]
    assert [line[-1] for line in lines] == ["█" * 10, "█" * 20]


def test_usage_of_nothing_is_no_line(fumehood: Listening) -> None:
    done = fumehood("usage", "--from", "2020-01-01", "--to", "2020-01-31")
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 1)
    assert json.loads(fumehood("usage", "--to", "2020-01-31", "--json").stdout) == []


def test_usage_is_written_as_json_and_as_arrow(fumehood: Listening, client: Client, script: Path, tmp_path: Path) -> None:
    fumehood("run", script, "--label", "team=red", "--quiet")
    told = json.loads(fumehood("usage", "--label", "team", "--json").stdout)
    assert [(row["label"], row["succeeded"], row["cpu_seconds"]) for row in told] == [("red", 1, 0.25)]
    for name, read in (("usage.arrow", pyarrow.ipc.open_file), ("usage.arrows", pyarrow.ipc.open_stream)):
        done = fumehood("usage", "--label", "team", "--arrow", tmp_path / name)
        assert done.exit_code == 0, done.output
        assert f"{name} (" in done.stderr
        with pyarrow.OSFile(str(tmp_path / name)) as file:
            (row,) = read(file).read_all().to_pylist()
        assert row | {"day": row["day"].isoformat()} == told[0]


@pytest.mark.parametrize("arguments", [("--arrow", "usage.csv"), ("--from", "yesterday"), ("--by", "month"), ("--label", "a b")])
def test_usage_that_cannot_be_told_is_refused(fumehood: Listening, arguments: tuple[str, ...]) -> None:
    assert fumehood("usage", *arguments).exit_code == ExitCode.BAD_INPUT


def test_a_cached_run_says_whose_result_it_has(fumehood: Listening, client: Client, script: Path) -> None:
    first = json.loads(fumehood("run", script, "--cache", "--json", "--quiet").stdout)
    done = fumehood("run", script, "--cache")
    assert done.exit_code == 0, done.output
    assert f"result of {first['id']}, which ended at " in done.stdout
    assert "glucose" in done.stdout
    assert "no container was ever made; 0 files" in done.stdout
    again = json.loads(fumehood("submit", script, "--cache", "--json").stdout)
    assert again["cached_from"]["job"] == first["id"]
    assert f"result of {first['id']}" in fumehood("status", again["id"]).stdout
    assert "result of" not in fumehood("status", first["id"]).stdout
    assert json.loads(fumehood("submit", script, "--json").stdout)["cached_from"] is None


def test_a_local_run_has_no_cache(fumehood: Listening, script: Path) -> None:
    done = fumehood("run", script, "--local", "--cache")
    assert (done.exit_code, "a local run keeps nothing" in done.stderr) == (ExitCode.BAD_INPUT, True)


def test_the_client_takes_an_earlier_result_where_it_is_told_to(client: Client) -> None:
    first, again, without = (client.run(SCRIPT, cache=cache, progress=False) for cache in (True, True, False))
    assert (first.cached_from, again.cached_from, without.cached_from) == (None, first.id, None)
    assert again.frame.equals(first.frame)
    assert again.id != first.id
    assert repr(again).endswith(f"as {first.id} left it")
    assert client.submit(SCRIPT, cache=True, progress=False).record["cached_from"]["job"] == first.id


def test_the_client_tells_what_was_used(client: Client) -> None:
    client.run(SCRIPT, labels={"team": "red"}, progress=False)
    today = datetime.now(UTC).date()
    (row,) = client.usage(today, today.isoformat(), label="team")
    assert (row["day"], row["label"], row["jobs"], row["cpu_seconds"]) == (today.isoformat(), "red", 1, 0.25)
    (row,) = client.usage(by="period")
    assert (row["day"], row["label"], row["jobs"]) == (None, None, 1)
    assert client.usage(last=today - timedelta(days=1)) == []


def test_the_client_of_an_event_loop_does_the_same(client: Client, fumehood: Listening) -> None:
    async def both() -> tuple[str, str | None, list[int]]:
        async with AsyncClient(fumehood.url, fumehood.stand.key) as later:
            first, again = [await later.run(SCRIPT, cache=True, progress=False) for _ in range(2)]
            return first.id, again.cached_from, [row["cached"] for row in await later.usage()]

    first, origin, cached = asyncio.run(both())
    assert (origin, cached) == (first, [1])


def test_quotas_are_shown_with_what_is_used(fumehood: Listening) -> None:
    fumehood.stand.us.job()
    lines = fumehood("quota").stdout.splitlines()
    assert lines[0].split() == ["QUOTA", "USED", "LIMIT"]
    assert lines[2].split() == ["queued", "jobs", "1", "100,000"]
    told = json.loads(fumehood("quota", "--json").stdout)
    assert set(SHOWN) | {"ceiling"} == set(told["quota"])
