"""The dashboard, the alerts and the scrape configuration: they name metrics and labels that exist, and leave none out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.metrics import router
from fumehood.metrics import METRICS, Type

HERE = Path(__file__).resolve().parents[2] / "observability"
# What Prometheus itself adds.
ADDED = {"up": {"job", "instance"}}
OF_PROMETHEUS = {"instance", "job", "le"}
WORDS = {
    *("sum", "min", "max", "count", "by", "without", "unless", "or", "and", "offset"),
    *("rate", "increase", "histogram_quantile", "topk"),
}


def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((HERE / "grafana-dashboard.json").read_text())
    return document


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((HERE / "alerts.yml").read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def expressions() -> Iterator[tuple[str, str]]:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for rule in alerts():
        yield rule["alert"], rule["expr"]


ALL = list(expressions())


def metric_of(series: str) -> str | None:
    """A histogram is told as three series, and only by those."""
    base = re.sub(r"_(bucket|count|sum)$", "", series)
    if base in METRICS and METRICS[base].type is Type.HISTOGRAM:
        return base if series != base else None
    return series if series in METRICS else None


def without_strings(expression: str) -> str:
    return re.sub(r'"[^"]*"', '""', expression)


@pytest.mark.parametrize(("place", "expression"), ALL, ids=[f"{place} {number}" for number, (place, _) in enumerate(ALL)])
def test_every_expression_names_what_is_exported(place: str, expression: str) -> None:
    plain = without_strings(expression)
    named = set(re.findall(r"\bfumehood_\w+", plain))
    assert named or "up{" in plain
    assert {name for name in named if metric_of(name) is None} == set()
    labels = {label for name in named for label in METRICS[metric_of(name) or ""].labels} | OF_PROMETHEUS
    grouped = {label for names in re.findall(r"\b(?:by|without) \(([^)]*)\)", plain) for label in re.split(r",\s*", names)}
    assert grouped <= labels
    for series, selector in re.findall(r"\b(\w+)\{([^}]*)\}", plain):
        known = ADDED[series] if series in ADDED else set(METRICS[metric_of(series) or ""].labels) | OF_PROMETHEUS
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) <= known
    words = set(re.findall(r"\b[a-z_]+\b", re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(?:by|without) \([^)]*\)|offset \w+", "", plain)))
    assert words - WORDS - set(ADDED) - named == set()


@pytest.mark.parametrize(("place", "expression"), ALL, ids=[f"{place} {number}" for number, (place, _) in enumerate(ALL)])
def test_every_expression_is_well_formed(place: str, expression: str) -> None:
    closing, open_ones = {")": "(", "]": "[", "}": "{"}, []
    for letter in without_strings(expression):
        if letter in closing.values():
            open_ones.append(letter)
        elif letter in closing:
            assert open_ones, expression
            assert open_ones.pop() == closing[letter], expression
    assert open_ones == []
    # A counter is looked at by how it changes; a bucket needs its bound.
    for series in re.findall(r"\bfumehood_\w+", without_strings(expression)):
        metric = METRICS[metric_of(series) or ""]
        if metric.type is not Type.GAUGE and place != "FumehoodLeftovers":
            assert re.search(rf"(rate|increase)\({series}(\{{[^}}]*\}})?\[\w+\]\)", expression), expression
        if series.endswith("_bucket"):
            assert re.search(r"by \(le\b", expression), expression


@pytest.mark.parametrize(("place", "expression"), ALL, ids=[f"{place} {number}" for number, (place, _) in enumerate(ALL)])
def test_what_all_apis_tell_of_one_worker_is_counted_once(place: str, expression: str) -> None:
    for series in re.findall(r"\bfumehood_\w+", without_strings(expression)):
        metric = METRICS[metric_of(series) or ""]
        if "worker" in metric.labels:
            assert re.search(rf"max without \(instance\) \(((rate|increase)\()?{series}\b", expression), (place, series)
        elif metric.source == "store":
            assert re.search(rf"\b(min|max)( by \([^)]*\) )?\({{0,1}} ?\(?{series}\b", expression), (place, series)


def test_every_metric_has_a_panel() -> None:
    shown = {metric_of(name) for panel in dashboard()["panels"] for target in panel.get("targets", ()) for name in
             re.findall(r"\bfumehood_\w+", without_strings(target["expr"]))}  # fmt: skip
    assert shown == set(METRICS)


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    document = dashboard()
    assert document["schemaVersion"] == 39
    assert (document["title"], document["uid"]) == ("Fumehood", "fumehood")
    assert [variable["type"] for variable in document["templating"]["list"]] == ["datasource"]
    panels = document["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not taken & cells, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["fieldConfig"]["defaults"]["unit"]
            references = [target["refId"] for target in panel["targets"]]
            assert references == sorted(set(references))
            assert all(target["legendFormat"] for target in panel["targets"])


def test_every_alert_says_what_and_where_to_look() -> None:
    rules = alerts()
    assert {"FumehoodLeftovers", "FumehoodNoReadyWorker", "FumehoodQueueWaits"} <= {rule["alert"] for rule in rules}
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "look"}
        assert re.fullmatch(r"\d+m", rule.get("for", "0m"))


def test_prometheus_is_told_where_the_numbers_are() -> None:
    document = yaml.safe_load((HERE / "prometheus.yml").read_text())
    (scrape,) = document["scrape_configs"]
    assert scrape["metrics_path"] in {route.path for route in router().routes}  # type: ignore[attr-defined]
    assert scrape["authorization"]["type"] == "Bearer"
    assert {name for rule in alerts() for name in re.findall(r'job="(\w+)"', rule["expr"])} == {scrape["job_name"]}
    assert [name for name in document["rule_files"] if not (HERE / name).exists()] == []
