"""What the service counts, for Prometheus and for /ab. Nothing here holds a value of a request."""

from collections import Counter as Tally
from typing import Any

import numpy as np
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

from serving.model.loaded import Loaded
from serving.model.prediction import Prediction
from serving.service.slots import Slot

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
ROWS = (1, 2, 4, 8, 16, 32, 64, 256, 1024, 4096)
prometheus_client.disable_created_metrics()

MOST_LABELS = 100  # the classes of a model with more are shown by /ab alone

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
        by_version = ["role", "version"]
        self.answers = self._make(Counter, "serving_answers", "Requests predicted", by_version)
        self.rows = self._make(Counter, "serving_rows", "Rows predicted", by_version)
        self.errors = self._make(
            Counter, "serving_model_errors", "Requests that a model could not answer", by_version
        )
        self.prediction_sum = self._make(
            Gauge,
            "serving_prediction_sum",
            "Sum of predicted numbers, or of the probabilities of predicted classes",
            by_version,
        )
        by_label = ("serving_predictions", "Rows by predicted class", [*by_version, "label"])
        self.labels = self._make(Counter, *by_label)
        self.many_labels = Counter(*by_label, registry=None)  # too many for Prometheus
        versions = ["champion", "challenger"]
        self.compared = self._make(
            Counter,
            "serving_shadow_rows",
            "Rows that champion and challenger both predicted",
            ["agreement", *versions],
        )
        self.difference = self._make(
            Counter,
            "serving_shadow_difference",
            "Sum over these rows of the gap in the number, or in the probability of the class",
            versions,
        )
        self.models = self._make(
            Gauge,
            "serving_model",
            "1 for what answers now",
            ["role", "version", "digest"],
        )
        self.instead = self._make(
            Gauge,
            "serving_model_stands_in",
            "1 where the version that should answer cannot be loaded and an older one does",
            ["role"],
        )
        self.replaced = self._make(
            Counter, "serving_model_replacements", "Newer versions taken up", ["role"]
        )

        self.captured = self._make(
            Counter, "serving_capture_rows", "Rows recorded in the monitoring log", ["role"]
        )
        self.uncaptured = self._make(
            Counter,
            "serving_capture_dropped_rows",
            "Rows that should have been recorded in the monitoring log and were not",
            ["reason"],
        )

    def recorded(self, role: str, n_rows: int) -> None:
        """Count rows that are in the monitoring log."""
        self.captured.labels(role).inc(n_rows)

    def unrecorded(self, reason: str, n_rows: int) -> None:
        """Count rows that should be there and are not."""
        self.uncaptured.labels(reason).inc(n_rows)

    def _make(self, kind, name: str, text: str, labels: tuple | list = (), **options):
        return kind(name, text, labels, registry=self.registry, **options)

    def show(self, slots: list[Slot]) -> bytes:
        """Return all of it in Prometheus' text format."""
        self.models.clear()
        for slot in slots:
            self.instead.labels(slot.role).set(slot.instead_of is not None)
            digest = slot.loaded.model.digest
            self.models.labels(slot.role, slot.loaded.version, digest).set(1)
        return generate_latest(self.registry)

    def count(self, role: str, prediction: Prediction) -> None:
        """Count the rows that one request was answered with."""
        key = role, prediction.loaded.version
        values = prediction.labels
        if prediction.probabilities is not None:
            values = prediction.probabilities.max(axis=1)
            counter = self.labels_of(prediction.loaded)
            for label, n_rows in Tally(map(str, prediction.labels)).items():
                counter.labels(*key, label).inc(n_rows)
        self.answers.labels(*key).inc()
        self.rows.labels(*key).inc(len(prediction.labels))
        self.prediction_sum.labels(*key).inc(float(np.sum(values)))

    def labels_of(self, loaded: Loaded) -> Counter:
        """Return the counter of rows by predicted class, for a model of so many classes."""
        classes = loaded.model.classes
        few = classes is None or len(classes) <= MOST_LABELS
        return self.labels if few else self.many_labels


def read(metric: Any) -> dict[tuple[str, ...], float]:
    """Return what a counter or gauge has counted: its values by their labels, in order."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in metric.collect()
        for sample in family.samples
    }
