"""The sections `update` and `promotion`: when the pipeline runs by itself, what its gate asks."""

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from util_lib.validation import Section, null_word

SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Triggers(Section):
    """What makes `update` run the pipeline."""

    new_data: bool = True
    drift: bool = True
    performance: bool = True
    every: Annotated[str | None, BeforeValidator(null_word)] = "7d"
    code: bool = True

    @field_validator("every")
    @classmethod
    def _is_an_age(cls, age: str | None) -> str | None:
        if age is not None and not re.fullmatch(r"[1-9]\d{0,5}[mhdw]", age):
            raise ValueError(f"must be an age such as 30m, 12h, 7d or 4w, or null, found {age!r}")
        return age

    @property
    def seconds(self) -> float:
        """The age in seconds; without one it never comes."""
        return int(self.every[:-1]) * SECONDS[self.every[-1]] if self.every else float("inf")


class Update(Section):
    """The `update` section; docs/updating.md."""

    triggers: Triggers = Triggers()


class Promotion(Section):
    """The `promotion` section: the parameters of promote, as `update` gives them."""

    rule: Literal["gain", "interval"] = "interval"
    metric: Annotated[str | None, BeforeValidator(null_word)] = None
    min_gain: Annotated[float, Field(ge=0)] = 0
    max_class_drop: Annotated[float, Field(ge=0, le=1)] = 0.05
