"""The models of both sides on the same rows: each metric's difference, and how sure it is."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.receipts import differences
from pipeline.receipts.reading import Receipt, RecordedVersion
from pipeline.reviewing.side import Side
from util_lib.model import metric_names
from util_lib.tracking.store.database import Store

MODEL, ROWS = "model_export", "test_data"  # inputs of a step that measures a model


class Measured(NamedTuple):
    """What `scores` of tools/compare found for a step that measures a model.

    `metrics` maps names to before, now, low, high and fell; `why_not` says why there are none.
    """

    step: str
    rows: int
    chosen: str
    metrics: dict[str, dict[str, Any]]
    why_not: str = ""

    @property
    def fell(self) -> list[str]:
        """The metrics that are worse by more than chance explains."""
        return [name for name, score in self.metrics.items() if score["fell"]]


def measure(before: Side, now: Side, store: Store, manager: str, folder: Path) -> list[Measured]:
    """Compare the models that both sides have measured; `folder` is temporary."""
    found = []
    for step in now.steps:
        old, new = (_measured(side.receipt, step) for side in (before, now))
        if old is None or new is None:
            continue
        if [version.digest for version in old] == [version.digest for version in new]:
            found.append(_same(step, now))
            continue
        work = folder / f"scores_{step}"
        whole = [
            _lay_out(side.receipt, step, store, work / name)
            for name, side in (("before", before), ("now", now))
        ]
        told: dict[str, Any] = {"why_not": "what was measured is not in the store any more"}
        if all(whole):
            differences.run_tool("scores", {"folder": str(work)}, manager, folder)
            told = json.loads((work / "scores.json").read_text(encoding="utf-8"))
        empty = {"rows": 0, "chosen": "", "metrics": {}}
        found.append(Measured(step, **{**empty, **told}))
    return found


def _measured(receipt: Receipt | None, step: str) -> list[RecordedVersion] | None:
    """Return the versions of model and rows that a step has measured, None of another step."""
    inputs = _inputs(receipt, step)
    return list(inputs.values()) if inputs else None


def _inputs(receipt: Receipt | None, step: str) -> dict[str, RecordedVersion]:
    entry = (receipt.config["steps"].get(step) or {}).get("inputs", {}) if receipt else {}
    recorded = next((s for s in receipt.steps if s.name == step), None) if receipt else None
    if recorded is None or not {MODEL, ROWS} <= {*entry}:
        return {}
    found = {key: recorded.inputs.get(entry[key]) for key in (MODEL, ROWS)}
    return (
        {key: version for key, version in found.items() if version} if all(found.values()) else {}
    )


def _lay_out(receipt: Receipt | None, step: str, store: Store, folder: Path) -> bool:
    assert receipt is not None  # `_inputs` found its versions
    entry = receipt.config["steps"][step]["inputs"]
    return all(
        differences.lay_out(
            receipt.project,
            entry[key].partition(":")[0],
            version.digest or "",
            store,
            folder / place,
        )
        for (key, version), place in zip(
            _inputs(receipt, step).items(), ("model", "test"), strict=True
        )
    )


def _same(step: str, side: Side) -> Measured:
    """Return what is known of one model on one table twice: every difference is 0."""
    assert side.receipt is not None
    recorded = next(each.metrics for each in side.receipt.steps if each.name == step)
    metrics = {}
    for name in metric_names.GREATER_IS_BETTER:
        if isinstance(value := recorded.get(f"test_{name}"), int | float):
            score = {"before": value, "now": value, "low": 0.0, "high": 0.0, "fell": False}
            metrics[name] = score
    chosen = "the same model and the same test rows"
    return Measured(step, int(recorded.get("test_rows", 0)), chosen, metrics)
