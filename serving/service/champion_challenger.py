"""Champion and challenger: which of two models answers a request, and how they compare.

With a share, a stable hash of the request's key decides: one key always gets the same model, also
after a restart, and a larger share only adds keys to those that the challenger had. With `shadow`
the champion answers everything and the challenger predicts the same rows afterwards, unseen.
"""

import hashlib
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serving.model.prediction import Prediction
from serving.service.refusals import RequestError
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


@dataclass
class Tally:
    """What one version has done in one role."""

    requests: int = 0
    rows: int = 0
    errors: int = 0
    labels: Counter = field(default_factory=Counter)
    value_sum: float = 0.0  # of predicted numbers, or of the probabilities of predicted classes
    seconds: deque = field(default_factory=lambda: deque(maxlen=LATENCIES))


class Comparison:
    """What champion and challenger have done since their present versions answer."""

    def __init__(self, routing: Routing):
        """Begin with nothing."""
        self.routing = routing
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._pair: tuple[str, str] | None = None
        self._pairs: Counter[str] = Counter()
        self._difference = 0.0

    def add(self, role: str, prediction: Prediction, seconds: float) -> None:
        """Count one answered request."""
        tally = self._tally(role, prediction.loaded.version)
        tally.requests += 1
        tally.rows += len(prediction.labels)
        tally.seconds.append(seconds)
        if prediction.probabilities is None:
            tally.value_sum += float(np.sum(prediction.labels))
        else:
            tally.labels.update(prediction.labels)
            tally.value_sum += float(prediction.probabilities.max(axis=1).sum())

    def fail(self, slot: Slot) -> None:
        """Count a request that this model could not answer."""
        self._tally(slot.role, slot.loaded.version).errors += 1

    def pair(self, champion: Prediction, challenger: Prediction) -> int:
        """Count rows that both predicted; return in how many rows they agree."""
        versions = champion.loaded.version, challenger.loaded.version
        if versions != self._pair:
            self._pair, self._pairs, self._difference = versions, Counter(), 0.0
        both = zip(champion.labels, challenger.labels, strict=True)
        agree = sum(one == other for one, other in both)
        self._pairs.update(rows=len(champion.labels), agree=agree)
        self._difference += _difference(champion, challenger)
        return agree

    def show(self) -> dict[str, Any]:
        """Return the comparison as /ab gives it."""
        routing, slots = self.routing, [self.routing.champion, self.routing.challenger]
        mode = "shadow" if routing.shadows else "share" if routing.challenger else "champion only"
        shown: dict[str, Any] = {"mode": mode, "share": routing.share, "key": routing.key}
        shown["models"] = [self._shown(slot) for slot in slots if slot]
        if routing.shadows:
            rows = self._pairs["rows"]
            shown["pairs"] = {
                "rows": rows,
                "agreement": self._pairs["agree"] / rows if rows else None,
                "mean_absolute_difference": self._difference / rows if rows else None,
            }
        return shown

    def _shown(self, slot: Slot) -> dict[str, Any]:
        tally = self._tally(slot.role, slot.loaded.version)
        p50, p99 = np.quantile(tally.seconds, [0.5, 0.99]) * 1000 if tally.seconds else (None, None)
        numbers = slot.loaded.model.classes is None
        mean = tally.value_sum / tally.rows if tally.rows else None
        return {
            "role": slot.role,
            "version": slot.loaded.version,
            "requests": tally.requests,
            "rows": tally.rows,
            "errors": tally.errors,
            "p50_ms": p50 if p50 is None else round(p50, 3),
            "p99_ms": p99 if p99 is None else round(p99, 3),
            "mean_prediction" if numbers else "mean_probability": mean,
            "shares": {
                str(label): count / tally.rows for label, count in tally.labels.most_common()
            },
        }

    def _tally(self, role: str, version: str) -> Tally:
        """Return the tally of a role; a new version begins a new one."""
        for key in [key for key in self._tallies if key[0] == role and key[1] != version]:
            if key[1] not in (slot.loaded.version for slot in self._slots()):
                del self._tallies[key]
        return self._tallies.setdefault((role, version), Tally())

    def _slots(self) -> list[Slot]:
        return [slot for slot in (self.routing.champion, self.routing.challenger) if slot]


def _difference(one: Prediction, other: Prediction) -> float:
    """Return the sum over rows: of the gap in the number, or in the probability of the class."""
    classes = other.loaded.model.classes
    if one.probabilities is None or other.probabilities is None or classes is None:
        return float(np.abs(np.subtract(one.labels, other.labels)).sum())
    theirs = {name: place for place, name in enumerate(classes.tolist())}
    places = np.array([theirs.get(label, -1) for label in one.labels])
    given = other.probabilities[np.arange(len(places)), places]
    return float(np.abs(one.probabilities.max(axis=1) - np.where(places < 0, 0, given)).sum())
