"""Exposition: numbers as Prometheus reads them. Only what stands in the table of `fumehood.metrics` can be told."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from fumehood.metrics import METRICS, Document, Source, Type, own_labels

MEDIA_TYPES = ("text/plain", "application/openmetrics-text")
_FAMILIES = {Type.COUNTER: CounterMetricFamily, Type.GAUGE: GaugeMetricFamily, Type.HISTOGRAM: HistogramMetricFamily}


class Page(Collector):
    """One answer: filled, then written."""

    def __init__(self) -> None:
        self._families: dict[str, Any] = {
            name: _FAMILIES[metric.type](name, metric.help, labels=list(metric.labels)) for name, metric in METRICS.items()
        }

    def put(self, name: str, number: float, *values: str) -> None:
        """A gauge. Raises KeyError for one that is not in the table."""
        self._families[name].add_metric(list(values), number)

    def put_tally(self, document: Document, source: Source, *first: str) -> None:
        """All of a tally; `first` are the values of the labels that come before its own. What another version counted, and this
        one does not know, is left out: the rows of workers stay while the service is brought up to date."""
        for name, rows in document.items():
            metric = METRICS.get(name)
            if metric is None or metric.source is not source:
                continue
            for values, told in rows:
                labels = [*first, *values]
                if len(values) != len(own_labels(metric)):
                    continue
                if metric.type is Type.COUNTER:
                    self._families[name].add_metric(labels, told)
                elif len(told) == len(metric.buckets) + 2:
                    bounds = [*(str(bound) for bound in metric.buckets), "+Inf"]
                    cumulative = list(zip(bounds, accumulate(told[:-1]), strict=True))
                    self._families[name].add_metric(labels, buckets=cumulative, sum_value=told[-1])

    def collect(self) -> Iterator[Metric]:
        yield from self._families.values()

    def written(self, accept: str) -> tuple[bytes, str]:
        """The text and its media type: OpenMetrics where the reader asks for it, else Prometheus' own."""
        encode, media_type = choose_encoder(accept)
        return encode(self), media_type
