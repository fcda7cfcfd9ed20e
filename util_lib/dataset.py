"""The declaration of a table: where it is, its columns, its target. One YAML file says it once."""

import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from util_lib import validation
from util_lib.validation import Section

Fraction = Annotated[float, Field(gt=0, lt=1)]
Bound = int | float | datetime.date | datetime.datetime


class Column(Section):
    """One column. `min` and `max` belong to the range; `allowed` lists the only values."""

    dtype: Literal["float", "int", "string", "bool", "datetime"]
    role: Literal["numerical", "categorical", "text", "target", "ignore"]
    nullable: bool = False
    min: Bound | None = None
    max: Bound | None = None
    allowed: Annotated[list[Any], Field(min_length=1)] | None = None
    unique: bool = False
    unit: str | None = None
    description: str | None = None

    @field_validator("min", "max", mode="before")
    @classmethod
    def _dates_may_be_text(cls, value: Any) -> Any:
        """Read dates written as text, which is how a configuration hands them over."""
        try:
            return datetime.datetime.fromisoformat(value) if isinstance(value, str) else value
        except ValueError:
            return value

    @model_validator(mode="after")
    def _range_is_possible(self) -> "Column":
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}: no value could pass")
        return self


class TextFeature(Section):
    """Text columns joined, in this order, with one space into the column `name`."""

    name: Annotated[str, Field(min_length=1)]
    columns: Annotated[list[str], Field(min_length=1)]


class Data(Section):
    """The `data` section: one table and how it is split and checked."""

    file_url: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    max_bytes: Annotated[int, Field(gt=0)] = 2_000_000_000
    target: str
    task: Literal["classification"] = "classification"
    stratify: str | None = None
    test_size: Fraction = 0.3
    val_size: Fraction = 0.3
    reference_dataset: str = "preprocessed_data.parquet:reference"
    ks_alpha: Fraction = 0.05
    drop_duplicates: bool = True
    text_feature: TextFeature | None = None
    raw_artifact: str = "raw_data.parquet"
    preprocessed_artifact: str = "preprocessed_data.parquet"
    columns: Annotated[dict[str, Column], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_are_declared(self) -> "Data":
        columns = list(self.columns)
        named = {"target": [self.target], "stratify": [self.stratify] if self.stratify else []}
        if self.text_feature:
            named["text_feature.columns"] = self.text_feature.columns
        for key, names in named.items():
            for name in names:
                if name not in columns:
                    raise ValueError(f"{key}: {validation.choose('column', name, columns)}")
        for name, column in self.columns.items():
            if (column.role == "target") != (name == self.target):
                raise ValueError(
                    f"column {name!r} has role {column.role!r} and data.target is "
                    f"{self.target!r}: exactly the target has role 'target'"
                )
        return self


def load(path: str | Path) -> Data:
    """Read the `data` section of a dataset file, or of what main.py prints of it."""
    return validation.load(Data, path, "data")
