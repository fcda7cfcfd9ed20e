"""What the endpoints answer with, and its types for OpenAPI."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from serving.model.prediction import Prediction
from serving.service.limits import ServiceLimits
from serving.service.slots import Slot
from util_lib.pages.page import render

Label = str | int | float | bool


class Predictions(BaseModel):
    """One label, or number, for each row, in their order."""

    predictions: list[Label]
    warnings: list[str] | None = None


class Ranked(BaseModel):
    """A class and its probability."""

    label: Label
    probability: float


class DetailedRow(BaseModel):
    """The prediction for one row; a predicted number has neither probabilities nor ranks."""

    label: Label
    probability: float | None = None
    top: list[Ranked] | None = None
    probabilities: dict[str, float] | None = None


class Detailed(BaseModel):
    """The predictions of one version of a model."""

    model: str
    predictions: list[DetailedRow]
    warnings: list[str] | None = None


class Push(BaseModel):
    """How far one value moved a prediction."""

    feature: str
    value: Label
    push: float


class Explanation(BaseModel):
    """The way from a row of which nothing is known to this one."""

    label: Label
    known_nothing: float
    known_all: float
    features: list[Push]
    method: str


class Card(BaseModel):
    """What is known of the champion; `row` is the JSON Schema of its rows."""

    reference: str
    version: str
    digest: str
    task: str
    target: str
    classes: list[Label] | None
    data: Any
    metrics: Any
    parameters: Any
    commit: str | None
    promoted: Any
    importance: dict[str, float] | None
    calibration: dict[str, list[float]] | None
    since: str
    instead_of: str | None
    refused: dict[str, str]
    columns: list[str]
    row: dict[str, Any]
    examples: list[dict[str, Any]]
    limits: dict[str, float]


class Refusal(BaseModel):
    """Why a request was not answered, in MLflow's form; `problems` lists broken rules."""

    error_code: str
    message: str
    request_id: str
    problems: list[dict[str, Any]] | None = None


def detailed(prediction: Prediction, top: int, warnings: list[str]) -> bytes:
    """Return labels with the probabilities of all classes and the `top` ones, as JSON.

    Classes of equal probability keep their order.
    """
    classes = prediction.loaded.model.classes
    if prediction.probabilities is None or classes is None:
        rows: list[dict[str, Any]] = [{"label": label} for label in prediction.labels]
    else:
        names = classes.tolist()
        order = np.argsort(-prediction.probabilities, axis=1, kind="stable")[:, :top].tolist()
        rows = [
            {
                "label": label,
                "probability": max(values),
                "top": [{"label": names[i], "probability": values[i]} for i in ranked],
                "probabilities": dict(zip(map(str, names), values, strict=True)),
            }
            for label, values, ranked in zip(
                prediction.labels, prediction.probabilities.tolist(), order, strict=True
            )
        ]
    # One row after the other: nothing else happens while `json.dumps` writes something long.
    listed = ", ".join(map(json.dumps, rows))
    version = json.dumps(prediction.loaded.version)
    noted = f', "warnings": {json.dumps(warnings)}' if warnings else ""
    return f'{{"model": {version}, "predictions": [{listed}]{noted}}}'.encode()


def card(slot: Slot, limits: ServiceLimits) -> dict[str, Any]:
    """Return the card of the version that answers now, with what its rows look like."""
    loaded = slot.loaded
    return loaded.card | {
        "since": slot.since,
        "instead_of": slot.instead_of,
        "refused": slot.refused,
        "columns": list(loaded.model.columns),
        "row": loaded.schema.json_schema(),
        "examples": loaded.examples,
        "limits": {"rows": limits.rows, "body_bytes": limits.body_bytes},
    }


def comparison(shown: dict[str, Any]) -> str:
    """Return the comparison of /ab as a page."""
    models = shown["models"]
    facts = ["version", "requests", "rows", "errors", "p50_ms", "p99_ms"]
    facts += [name for name in models[0] if name.startswith("mean_")]
    rows = [(fact, *(_written(model[fact]) for model in models)) for fact in facts]
    for label in sorted({label for model in models for label in model["shares"]}):
        shares = (f"{model['shares'].get(label, 0):.1%}" for model in models)
        rows.append((f"share of {label}", *shares))
    return render(
        Path(__file__).parent,
        "ab.html",
        title="Champion and challenger",
        shown=shown,
        pairs=[(name, _written(value)) for name, value in shown.get("pairs", {}).items()],
        heads=("what", *(model["role"] for model in models)),
        rows=rows,
    )


def _written(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)
