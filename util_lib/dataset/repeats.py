"""Which rows count as repeats of others, as the declaration says it."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from util_lib.validation import Section

if TYPE_CHECKING:
    from util_lib.dataset.declaration import Data

SHARE = "duplicates_dropped"  # of rows, in the metadata of the cleaned table
WORTH_A_LINE = 0.05  # of the rows: then the run's end table has it


class Duplicates(Section):
    """The `duplicates` section: which rows are dropped as repeats of others."""

    columns: Annotated[
        list[str] | None,
        Field(
            min_length=1,
            description="rows that are equal in these repeat, by their names here; none = in every "
            "column of the file, also in those that `clean.drop_columns` leaves out",
        ),
    ] = None
    keep: Annotated[
        Literal["first", "last"], Field(description="`first`, `last`: which of equal rows stays")
    ] = "first"
    max_share: Annotated[
        float,
        Field(ge=0, le=1, description="if a larger share of the rows is dropped, check_data fails"),
    ] = 0.2


def declared(data: "Data") -> Duplicates | None:
    """Return how repeats are found, None where all rows stay."""
    return data.duplicates or (Duplicates() if data.drop_duplicates else None)
