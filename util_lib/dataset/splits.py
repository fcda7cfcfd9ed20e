"""How rows are divided into those to fit on and those to measure on, as the declaration says it."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from util_lib.validation import Section, null_word

BY = ("random", "group", "time")


class Split(Section):
    """The `split` section: by what rows are divided, in every split alike."""

    by: Annotated[
        Literal["random", "group", "time"],
        Field(
            description="`random`; `group`: rows with the same value of `column` stay together; "
            "`time`: the newest rows by `column` are measured on"
        ),
    ] = "random"
    column: Annotated[
        str | None,
        BeforeValidator(null_word),
        Field(description="whose rows belong together, or when a row was; of any role"),
    ] = None
    gap: Annotated[
        float,
        Field(
            ge=0,
            description="by time: rows so shortly before the newest are in no part; in days, of "
            "a column of numbers in its own unit",
        ),
    ] = 0

    @model_validator(mode="after")
    def _keys_belong_together(self) -> "Split":
        if (self.by == "random") != (self.column is None):
            raise ValueError(
                f"split: by {self.by!r} {'takes no' if self.column else 'needs a'} column: "
                "by is group or time, and column says by which one"
            )
        if self.gap and self.by != "time":
            raise ValueError(f"split: gap belongs to by: time, found by: {self.by}")
        return self
