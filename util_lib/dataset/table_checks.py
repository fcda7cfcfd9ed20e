"""What check_data asks of a table as a whole, as the declaration says it."""

from typing import Annotated

from pydantic import Field, model_validator

from util_lib.dataset.columns import Share
from util_lib.validation import Section


class Checks(Section):
    """What check_data asks of the table as a whole."""

    column_order: Annotated[
        bool, Field(description="`true`: the columns come in the declared order")
    ] = False
    other_columns: Annotated[
        bool, Field(description="`false`: no column may be there that is not declared")
    ] = True
    min_rows: Annotated[int, Field(ge=1, description="fewest rows")] = 1
    max_rows: Annotated[int | None, Field(ge=1, description="most rows")] = None
    min_class_share: Annotated[
        Share | None,
        Field(description="smallest share of rows that each class of the target has, 0 to 1"),
    ] = None

    @model_validator(mode="after")
    def _bounds_are_possible(self) -> "Checks":
        if self.max_rows is not None and self.min_rows > self.max_rows:
            raise ValueError(f"min_rows {self.min_rows} is above max_rows {self.max_rows}")
        return self
