"""Which deliveries of a table that grows are taken, as the declaration says it."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from util_lib.validation import Section, null_word


def _text(value: Any) -> Any:
    """A partition may be called 20260401, which YAML reads as a number."""
    return str(value) if type(value) is int else null_word(value)


class Partition(Section):
    """The `partition` section: what a delivery is, and which of them are taken."""

    by: Annotated[
        Literal["file", "column"] | None,
        BeforeValidator(null_word),
        Field(
            description="`file`: each file of the folder is a partition, called by the week, day "
            "or month in its name, else by its name; `column`: rows with the same value of "
            "`column`, of a date those of one ISO week (`2026-W14`)"
        ),
    ] = None
    column: Annotated[
        str | None,
        BeforeValidator(null_word),
        Field(description="which partition a row is of; of any role"),
    ] = None
    window: Annotated[
        int | None,
        Field(ge=1, description="how many of the newest partitions are taken; none = all"),
    ] = None
    until: Annotated[
        str | None,
        BeforeValidator(_text),
        Field(description="the newest partition that is taken; none = the newest there is"),
    ] = None

    @model_validator(mode="after")
    def _keys_belong_together(self) -> "Partition":
        if (self.by == "column") != (self.column is not None):
            raise ValueError(
                f"partition: by {self.by!r} {'takes no' if self.column else 'needs a'} column: "
                "by is file or column, and column says which one"
            )
        if self.by is None and (self.window is not None or self.until is not None):
            raise ValueError("partition: window and until need by: file or column")
        return self
