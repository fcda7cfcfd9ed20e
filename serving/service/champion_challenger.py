"""Champion and challenger: which of two models answers a request, and how they compare.

With a share, a stable hash of the request's key decides: one key always gets the same model, also
after a restart, and a larger share only adds keys to those that the challenger had. With `shadow`
the champion answers everything and the challenger predicts the same rows afterwards, unseen.
"""

import hashlib
from collections import deque
from typing import Any

import numpy as np

from serving.model.prediction import Prediction
from serving.request_body.refusals import RequestError
from serving.service.counters import Metrics, read
from serving.service.slots import Slot

KEY_HEADER = "X-Routing-Key"
COLUMN = "column:"
LATENCIES = 10_000  # the newest ones, of which the quantiles are


class Routing:
    """Who answers: `share` of the keys get the challenger, None = none (shadow)."""

    def __init__(self, slots: list[Slot], share: float | None, key: str = KEY_HEADER):
        """`key` is a header's name, or `column:` and the name of a column of the request."""
        self.champion = slots[0]
        self.challenger = slots[1] if len(slots) > 1 else None
        self.share = share
        self.key = key

    def slot(self, headers: Any, rows: list[dict[str, Any]], body: bytes) -> Slot:
        """Return the slot that answers; a request without a key is its own key: its body."""
        if self.challenger is None or self.share is None:
            return self.champion
        hashed = hashlib.sha256(self._key(headers, rows, body)).digest()
        place = int.from_bytes(hashed[:8], "big") / 2**64
        return self.challenger if place < self.share else self.champion

    @property
    def shadows(self) -> bool:
        """Say whether the challenger predicts unseen."""
        return self.challenger is not None and self.share is None

    def columns(self) -> frozenset[str]:
        """Name the columns that are looked at here, whether the model knows them or not."""
        named = self.key.startswith(COLUMN)
        return frozenset([self.key.removeprefix(COLUMN)] if named else [])

    def _key(self, headers: Any, rows: list[dict[str, Any]], body: bytes) -> bytes:
        if not self.key.startswith(COLUMN):
            value = headers.get(self.key)
            return body if value is None else value.encode("utf-8", "surrogatepass")
        name = self.key.removeprefix(COLUMN)
        values = {str(row[name]) for row in rows if row.get(name) is not None}
        if len(values) > 1:
            raise RequestError(
                422,
                f"column {name!r} says which model answers, and the rows of a request must agree "
                f"in it: found {len(values)} values; send one request for each",
            )
        return values.pop().encode("utf-8", "surrogatepass") if values else body


class Comparison:
    """What each version of champion and challenger has done, read from the service's counters."""

    def __init__(self, routing: Routing, metrics: Metrics):
        """Count into `metrics`; only how long answers took is kept here."""
        self.routing = routing
        self.metrics = metrics
        self._seconds: dict[tuple[str, str], deque[float]] = {}

    def add(self, role: str, prediction: Prediction, seconds: float) -> None:
        """Count one answered request."""
        self.metrics.count(role, prediction)
        key = role, prediction.loaded.version
        if key not in self._seconds:  # those of versions that were replaced are let go
            kept = {(slot.role, slot.loaded.version) for slot in self._slots()}
            self._seconds = {key: self._seconds[key] for key in kept & set(self._seconds)}
            self._seconds[key] = deque(maxlen=LATENCIES)
        self._seconds[key].append(seconds)

    def fail(self, slot: Slot) -> None:
        """Count a request that this model could not answer."""
        self.metrics.errors.labels(slot.role, slot.loaded.version).inc()

    def miss(self, n_rows: int) -> None:
        """Count rows that the challenger should have predicted unseen and had no time for."""
        versions = [slot.loaded.version for slot in self._slots()]
        self.metrics.compared.labels("missed", *versions).inc(n_rows)

    def pair(self, champion: Prediction, challenger: Prediction) -> None:
        """Count rows that both predicted, and in how many they agree."""
        versions = champion.loaded.version, challenger.loaded.version
        both = zip(champion.labels, challenger.labels, strict=True)
        agree = sum(label == other for label, other in both)
        self.metrics.compared.labels("same", *versions).inc(agree)
        self.metrics.compared.labels("different", *versions).inc(len(champion.labels) - agree)
        self.metrics.difference.labels(*versions).inc(_difference(champion, challenger))

    def show(self) -> dict[str, Any]:
        """Return the comparison as /ab gives it."""
        routing = self.routing
        mode = "shadow" if routing.shadows else "share" if routing.challenger else "champion only"
        shown: dict[str, Any] = {"mode": mode, "share": routing.share, "key": routing.key}
        shown["models"] = [self._shown(slot) for slot in self._slots()]
        if routing.shadows:
            versions = tuple(slot.loaded.version for slot in self._slots())
            compared = read(self.metrics.compared)
            same = int(compared.get(("same", *versions), 0))
            rows = same + int(compared.get(("different", *versions), 0))
            difference = read(self.metrics.difference).get(versions, 0)
            shown["pairs"] = {
                "rows": rows,
                "agreement": same / rows if rows else None,
                "mean_absolute_difference": difference / rows if rows else None,
            }
        return shown

    def _shown(self, slot: Slot) -> dict[str, Any]:
        key, metrics = (slot.role, slot.loaded.version), self.metrics
        seconds = self._seconds.get(key)
        p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1000 if seconds else (None, None)
        rows = int(read(metrics.rows).get(key, 0))
        numbers = slot.loaded.model.classes is None
        labels = {} if numbers else read(metrics.labels_of(slot.loaded))
        counts = {label: count for (*of, label), count in labels.items() if tuple(of) == key}
        return {
            "role": slot.role,
            "version": slot.loaded.version,
            "requests": int(read(metrics.answers).get(key, 0)),
            "rows": rows,
            "errors": int(read(metrics.errors).get(key, 0)),
            "p50_ms": p50 if p50 is None else round(p50, 3),
            "p99_ms": p99 if p99 is None else round(p99, 3),
            "mean_prediction" if numbers else "mean_probability": (
                read(metrics.prediction_sum)[key] / rows if rows else None
            ),
            "shares": {
                label: counts[label] / rows
                for label in sorted(counts, key=counts.__getitem__, reverse=True)
            },
        }

    def _slots(self) -> list[Slot]:
        return [slot for slot in (self.routing.champion, self.routing.challenger) if slot]


def _difference(champion: Prediction, challenger: Prediction) -> float:
    """Return the sum over rows: of the gap in the number, or in the probability of the class."""
    classes = challenger.loaded.model.classes
    if champion.probabilities is None or challenger.probabilities is None or classes is None:
        return float(np.abs(np.subtract(champion.labels, challenger.labels)).sum())
    theirs = {name: place for place, name in enumerate(classes.tolist())}
    places = np.array([theirs.get(label, -1) for label in champion.labels])
    given = challenger.probabilities[np.arange(len(places)), places]
    return float(np.abs(champion.probabilities.max(axis=1) - np.where(places < 0, 0, given)).sum())
