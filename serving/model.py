"""The model that answers, whoever asks: batch, HTTP, promotion.

Fetched through `util_lib.tracking`, and its content compared with its digest before anything of it
is loaded, because loading a model can run code.
"""

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from util_lib import model_export, tracking, validation
from util_lib.columns import Column
from util_lib.errors import UserError
from util_lib.model_config import Features
from util_lib.tracking import names
from util_lib.tracking.artifact import directory_digest


@dataclass(frozen=True)
class ServedModel:
    """One version of a model, whole: nothing of it changes after it is loaded.

    `reference` is as it was asked for, `version` what that stood for: `project/name:v3`. `columns`
    declares the model's input columns, in the order of its features; `classes` is None for a
    model that predicts numbers.
    """

    reference: str
    version: str
    digest: str
    metadata: dict[str, Any]
    features: Features
    columns: dict[str, Column]
    task: str
    target: str
    classes: np.ndarray | None
    pipeline: Any = field(repr=False)

    def predict(self, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray | None]:
        """Return a label for each row, and the probabilities: rows by `classes`.

        A model that predicts numbers has no probabilities: None.
        """
        if self.classes is None:
            return self.pipeline.predict(frame), None
        probabilities = self.pipeline.predict_proba(frame)
        return self.classes.take(probabilities.argmax(axis=1)), probabilities


def find(reference: str, project: str | None = None) -> Any:
    """Return the artifact that `reference` stands for now; nothing is fetched yet.

    `project` is for a reference that names none; without it, `WANDB_PROJECT`, else the demo's.
    """
    overrides = {"project": project or names.default_project()}
    return tracking.Api(overrides=overrides).artifact(reference)


def load(reference: str, project: str | None = None, run: Any = None) -> ServedModel:
    """Return the model that `reference` stands for now.

    `reference` is an artifact, `model_export:prod` or `project/model_export:v3`, or the path of a
    model directory; see `find` for `project`. Where `run` is given the artifact becomes one of its
    inputs.
    """
    directory = Path(reference)
    if directory.is_dir():
        return _in_directory(directory)
    artifact = run.use_artifact(reference) if run else find(reference, project)
    version = f"{artifact.project}/{artifact.source_name}"
    with tempfile.TemporaryDirectory() as tmp:
        path = Path(artifact.download(str(Path(tmp, "model"))))
        return _load(path, reference, version, artifact.digest)


def _in_directory(directory: Path) -> ServedModel:
    """Load a model directory; `<directory>.json` beside it says which version it is, if there."""
    beside = directory.with_name(f"{directory.name}.json")
    known = {"version": str(directory), "digest": None}
    if beside.is_file():
        try:
            known |= json.loads(beside.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{beside} is no JSON ({error}): write it again") from None
    return _load(directory, str(directory), known["version"], known["digest"])


def _load(directory: Path, reference: str, version: str, digest: str | None) -> ServedModel:
    found = directory_digest(directory)
    if digest is not None and found != digest:
        raise UserError(
            f"model {version} is damaged or was changed: its files have the digest {found}, not "
            f"{digest}; nothing of it was loaded: promote or export another version"
        )
    pipeline, metadata = model_export.load(directory)
    try:
        features = validation.check(Features, metadata["features"], "features")
        target, task = metadata["target"], metadata.get("task", "classification")
    except (KeyError, TypeError, UserError):
        raise UserError(
            f"model {version} does not say which columns it uses: expected metadata with target "
            "and features, such as train_random_forest writes"
        ) from None
    return ServedModel(
        reference=reference,
        version=version,
        digest=found,
        metadata=metadata,
        features=features,
        columns=_undeclared(pipeline, features),
        task=task,
        target=target,
        classes=None if task == "regression" else pipeline.classes_,
        pipeline=pipeline,
    )


def _undeclared(pipeline: Any, features: Features) -> dict[str, Column]:
    """Declare the columns of a model that says no more of them than how it uses them."""
    numbers = pipeline["columns"].number_columns_
    roles = {
        "numerical": features.numerical,
        "categorical": [*features.categorical, *features.one_hot],
        "date": features.dates,
        "text": features.nlp,
    }
    columns = {}
    for role, listed in roles.items():
        for name in listed:
            dtype = "float" if name in numbers else "datetime" if role == "date" else "string"
            columns[name] = Column(dtype=dtype, role=role, nullable=True)
    return columns
