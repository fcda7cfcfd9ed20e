"""What the service counts, for Prometheus. Nothing here holds a value of a request."""

import prometheus_client
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from serving.model.prediction import Prediction
from serving.service.slots import Slot

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
ROWS = (1, 2, 4, 8, 16, 32, 64, 256, 1024, 4096)
prometheus_client.disable_created_metrics()

MOST_LABELS = 100  # a model with more classes is not counted by class

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The counters of one service."""

    def __init__(self):
        """Begin at zero, in a registry of its own: an app made twice counts twice."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = self._make(
            Counter, "serving_requests", "Requests answered", ["endpoint", "status"]
        )
        self.seconds = self._make(
            Histogram,
            "serving_request_seconds",
            "From the first byte of a request to its answer",
            ["endpoint"],
            buckets=SECONDS,
        )
        self.in_flight = self._make(Gauge, "serving_requests_in_flight", "Requests being answered")
        self.problems = self._make(
            Counter,
            "serving_broken_rules",
            "Values refused",
            ["column", "rule"],
        )
        self.batch_rows = self._make(
            Histogram,
            "serving_batch_rows",
            "Rows that were predicted together",
            ["role"],
            buckets=ROWS,
        )
        self.batch_seconds = self._make(
            Histogram,
            "serving_batch_seconds",
            "Time in the model alone",
            ["role"],
            buckets=SECONDS,
        )
        self.rows = self._make(Counter, "serving_rows", "Rows predicted", ["role", "version"])
        self.labels = self._make(
            Counter, "serving_predictions", "Rows by predicted class", ["role", "version", "label"]
        )
        self.compared = self._make(
            Counter,
            "serving_shadow_rows",
            "Rows that champion and challenger both predicted",
            ["agreement"],
        )
        self.models = self._make(
            Gauge,
            "serving_model",
            "1 for what answers now",
            ["role", "version", "digest"],
        )
        self.replaced = self._make(
            Counter, "serving_model_replacements", "Newer versions taken up", ["role"]
        )

    def _make(self, kind, name: str, text: str, labels: tuple | list = (), **options):
        return kind(name, text, labels, registry=self.registry, **options)

    def show(self, slots: list[Slot]) -> bytes:
        """Return all of it in Prometheus' text format."""
        self.models.clear()
        for slot in slots:
            digest = slot.loaded.model.digest
            self.models.labels(slot.role, slot.loaded.version, digest).set(1)
        return generate_latest(self.registry)

    def count(self, role: str, prediction: Prediction) -> None:
        """Count the rows that one request was answered with."""
        version = prediction.loaded.version
        self.rows.labels(role, version).inc(len(prediction.labels))
        classes = prediction.loaded.model.classes
        if classes is None or len(classes) > MOST_LABELS:
            return
        for label in prediction.labels:
            self.labels.labels(role, version, str(label)).inc()
