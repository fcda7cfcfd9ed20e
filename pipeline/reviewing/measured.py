"""The models of both sides on the same rows: each metric's difference, and how sure it is."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.receipts import differences
from pipeline.receipts.reading import Receipt, RecordedVersion
from pipeline.reviewing.side import Side
from util_lib.model import metric_names
from util_lib.tracking.names import parse_reference
from util_lib.tracking.store.database import Store

MODEL, ROWS = "model_export", "test_data"  # inputs of a step that measures a model


class Scores(NamedTuple):
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


def measure(before: Side, now: Side, store: Store, manager: str, folder: Path) -> list[Scores]:
    """Compare the models that both sides have measured; `folder` is temporary."""
    found = []
    for step in now.steps:
        old, new = (_measured(side.receipt, step) for side in (before, now))
        if not old or not new:
            continue
        if [version.digest for _, version in old] == [version.digest for _, version in new]:
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
        found.append(Scores(step, **{**empty, **told}))
    return found


def _measured(receipt: Receipt | None, step: str) -> list[tuple[str, RecordedVersion]]:
    """Return name and version of the model and of the rows that a step measured; else nothing."""
    recorded = next((s for s in receipt.steps if s.name == step), None) if receipt else None
    found = []
    for key in (MODEL, ROWS):
        reference = recorded.parameters.get(key, "") if recorded else ""
        version = recorded.inputs.get(reference) if recorded else None
        if version is None:
            return []
        found.append((parse_reference(reference).name, version))
    return found


def _lay_out(receipt: Receipt | None, step: str, store: Store, folder: Path) -> bool:
    places = zip(_measured(receipt, step), (folder / "model", folder / "test"), strict=True)
    project = receipt.project if receipt else ""
    return all(
        differences.lay_out(project, name, version.digest or "", store, place)
        for (name, version), place in places
    )


def _same(step: str, side: Side) -> Scores:
    """Return what is known of one model on one table twice: every difference is 0."""
    assert side.receipt is not None
    recorded = next(each.metrics for each in side.receipt.steps if each.name == step)
    metrics = {}
    for name in metric_names.GREATER_IS_BETTER:
        if isinstance(value := recorded.get(f"test_{name}"), int | float):
            score = {"before": value, "now": value, "low": 0.0, "high": 0.0, "fell": False}
            metrics[name] = score
    chosen = "the same model and the same test rows"
    return Scores(step, int(recorded.get("test_rows", 0)), chosen, metrics)
