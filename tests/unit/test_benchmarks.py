"""What the benchmarks make of their figures; the measuring itself is tried end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import chart, results
from benchmarks.jobs import Done, many
from benchmarks.results import Row, quantile, spread


def row(value: float | None, *, target: float | None = 8.0, at_most: bool = False) -> Row:
    return Row(name="n", ours="1 ms", baseline="8 ms", value=value, target=target, at_most=at_most)


def test_quantiles_are_values_that_were_measured() -> None:
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 0.99)] == [1.0, 2.0, 3.0]
    assert spread([0.001] * 9 + [2.0]) == "1 / 2,000 / 2,000 ms"
    with pytest.raises(ValueError, match="at least one"):
        quantile([], 0.5)


@pytest.mark.parametrize(
    ("value", "target", "at_most", "holds"),
    [(8.0, 8.0, False, True), (7.9, 8.0, False, False), (3.0, 3.0, True, True), (3.1, 3.0, True, False), (1.0, None, False, None)],
)
def test_a_row_holds_or_does_not(value: float, target: float | None, at_most: bool, holds: bool | None) -> None:
    assert row(value, target=target, at_most=at_most).holds is holds


def test_what_was_not_measured_does_not_hold() -> None:
    assert row(None).holds is None
    assert row(None).cells()[3] == "–"


def test_results_are_kept_between_the_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{results.BEGIN}\nold\n{results.END}\nafter\n")
    monkeypatch.setattr(results, "README", readme)
    monkeypatch.setattr(results, "LATEST", tmp_path / "results" / "latest.json")
    monkeypatch.setattr(results, "machine", lambda: {"date": "2001-01-01", "processors": "2 × x"})
    results.keep([row(9.0)])
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "\nold\n" not in text
    assert "| n | 1 ms | 8 ms | 9 × | ≥ 8 × | yes |" in text
    assert json.loads(results.LATEST.read_text())["rows"][0]["value"] == 9.0


def done(seconds: float) -> Done:
    milliseconds = {"stage": 2.0, "run": 40.0, "run.go": 8.0, "run.end": 30.0, "collect": 1.0, "publish": 2.0, "erase": 7.0}
    return Done(seconds, {"milliseconds": milliseconds})


def test_the_phases_of_a_job_add_up_to_it(tmp_path: Path) -> None:
    parts = chart.shares([done(0.06), done(0.08), done(3.0), done(4.0)])
    assert sum(parts.values()) == pytest.approx(70.0)
    assert parts[chart.REST] == pytest.approx(20.0)
    chart.draw([done(0.06)], tmp_path / "phases.png")
    assert (tmp_path / "phases.png").read_bytes().startswith(b"\x89PNG")


def test_every_job_is_run_once_and_a_failure_is_told() -> None:
    calls: list[int] = []
    assert many(3, 10, lambda: calls.append(1)) >= 0
    assert len(calls) == 10

    def fails() -> None:
        raise RuntimeError("the job ended as failed")

    with pytest.raises(RuntimeError, match="ended as failed"):
        many(2, 4, fails)
