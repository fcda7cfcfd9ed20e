"""The `random_forest_pipeline` section: what the model is fitted with, and on which columns."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from util_lib import validation
from util_lib.validation import Section


class Features(Section):
    """The model's input columns by treatment."""

    numerical: list[str]
    categorical: list[str]
    nlp: list[str]

    @model_validator(mode="after")
    def _each_column_once(self) -> "Features":
        names = self.numerical + self.categorical + self.nlp
        if not names:
            raise ValueError("no feature is named: a model needs at least one column")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"column {twice[0]!r} is named twice; a column is used once")
        return self


class Tfidf(Section):
    """How text becomes numbers; `max_features` None keeps every word."""

    max_features: Annotated[int, Field(gt=0)] | None


class RandomForestPipeline(Section):
    """The `random_forest_pipeline` section; `random_forest` goes to scikit-learn as it is."""

    target: str
    task: str = "classification"
    export_artifact: str | None = None
    features: Features
    numerical_imputer: Literal["median", "mean"] = "median"
    tfidf: Tfidf = Tfidf(max_features=10)
    random_forest: dict[str, Any]

    @field_validator("task")
    @classmethod
    def _is_classification(cls, task: str) -> str:
        if task != "classification":
            raise ValueError(
                f"must be 'classification', found {task!r}: train_random_forest fits classifiers "
                "only"
            )
        return task

    @model_validator(mode="after")
    def _target_is_no_feature(self) -> "RandomForestPipeline":
        features = self.features
        if self.target in features.numerical + features.categorical + features.nlp:
            raise ValueError(
                f"features holds the target {self.target!r}: a model that sees its answer learns "
                "nothing; remove it there"
            )
        return self


def load(path: str | Path) -> RandomForestPipeline:
    """Read the `random_forest_pipeline` section from a YAML file."""
    return validation.load(RandomForestPipeline, path, "random_forest_pipeline")
