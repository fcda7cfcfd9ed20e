"""The card of a model: what it is, what it was made of, how good it is, how it came here."""

from pathlib import Path
from typing import Any

from serving.aliases.origin import promotion_of
from serving.model.served_model import ServedModel, find
from util_lib import tracking
from util_lib.model import metric_names


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
