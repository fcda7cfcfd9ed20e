"""The card of a model: what it is, what it was made of, how good it is, how it came here."""

from pathlib import Path
from typing import Any

from serving.aliases.origin import promotion_of
from serving.model.served_model import ServedModel, find
from util_lib import tracking
from util_lib.checks.shapes import shapes
from util_lib.model import inference_pipeline, metric_names
from util_lib.pages.page import render
from util_lib.pages.pictures import bars, distributions

TENTHS = 10  # of how sure an answer is
FACTS = ("version", "digest", "task", "target", "commit", "logged_at", "since", "instead_of")
SAID = {"since": "served since"}


def of(model: ServedModel) -> dict[str, Any]:
    """Return what is known of `model`; null where nothing is."""
    about = model.metadata
    card = {
        "reference": model.reference,
        "version": model.version,
        "digest": model.digest,
        "task": model.task,
        "target": model.target,
        "classes": None if model.classes is None else model.classes.tolist(),
        "data": about.get("data"),
        "parameters": about.get("parameters"),
        "commit": None,
        "metrics": None,
        "to_mind": None,
        "promoted": None,
        "importance": _importance(model),
        "calibration": _calibration(model),
    }
    return card | _logged(model)


def _logged(model: ServedModel) -> dict[str, Any]:
    """Return what the store knows of a version and its run; of a directory it is not asked."""
    if Path(model.reference).is_dir():
        return {}
    artifact = find(model.version)
    with tracking.lineage():
        run = artifact.logged_by()
    known = artifact.metadata
    metrics = {
        name: value
        for name, value in dict(run.summary if run else {}).items()
        if isinstance(value, int | float) and not name.startswith("_")
    }
    return {
        "data": known.get("data"),
        "commit": known.get("git_commit"),
        "logged_at": artifact.created_at,
        "metrics": metrics,
        "to_mind": [*known.get("to_mind", []), *metric_names.said_of(metrics, "val", {})],
        "promoted": promotion_of(model.version, alias=model.reference.rpartition(":")[2]),
    }


def _importance(model: ServedModel) -> dict[str, float] | None:
    """Return each feature's share, None of a model that was not trained here and has none."""
    try:
        return inference_pipeline.feature_importances(model.pipeline)
    except (AttributeError, LookupError, TypeError, ValueError):
        return None


def _calibration(model: ServedModel) -> dict[str, list[float]] | None:
    """Return by tenths how sure its answers to validation rows were, and how many were right."""
    outputs = model.outputs
    if outputs is None or "confidence" not in outputs:
        return None
    sure = outputs["confidence"].astype(float)
    tenth = (sure * TENTHS).astype(int).clip(0, TENTHS - 1)
    right = (outputs["prediction"] == outputs["target"]).astype(float)
    means = [values.groupby(tenth).mean() for values in (right, sure)]
    told = (mean.reindex(range(TENTHS), fill_value=0.0).tolist() for mean in means)
    return dict(zip(("right", "sure"), told, strict=True))


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if not isinstance(value, dict):
        return str(value)
    shown = {k: f"{v:.4f}" if isinstance(v, float) else v for k, v in value.items()}
    return "; ".join(f"{key} {_words(value)}" for key, value in shown.items()) or "none"


def as_page(model: ServedModel, card: dict[str, Any]) -> str:
    """Return a card as a page."""
    facts = [(name, card[name]) for name in FACTS if card.get(name) is not None]
    facts += [
        (f"{name} {key}", _words(value))
        for name in ("data", "promoted")
        for key, value in (card[name] or {}).items()
        if value is not None
    ]
    drawn = []
    if card["importance"]:
        title = "importance of each feature, all together 100 %"
        drawn.append((title, bars(card["importance"], title)))
    if card["calibration"]:
        title = "how often an answer was right (bars), by how sure it said it was (line)"
        now, before = card["calibration"]["right"], card["calibration"]["sure"]
        edges = [i / TENTHS for i in range(TENTHS + 1)]
        found = {"kind": "numbers", "edges": edges, "now": now, "before": before}
        drawn.append((title, distributions(found, title)))
    if model.outputs is not None:
        title = f"{model.target}: answers (blue), and what was true (amber)"
        found = shapes(model.outputs["prediction"], model.outputs["target"], dates=False)
        drawn.append((title, distributions(found, title)))
    return render(
        Path(__file__).parent,
        "card.html",
        title=f"The card of {model.version}",
        facts=[(SAID.get(name, name).replace("_", " "), str(value)) for name, value in facts],
        metrics=metric_names.lines(card["metrics"] or {}),
        to_mind=card["to_mind"] or [],
        drawn=drawn,
        parameters=[
            (name, _words(value)) for name, value in sorted((card["parameters"] or {}).items())
        ],
    )
