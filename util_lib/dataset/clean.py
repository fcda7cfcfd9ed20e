"""How a table is cleaned before anything else: the `data.clean` section."""

from typing import Annotated

from pydantic import Field

from util_lib.dataset.columns import Limits
from util_lib.validation import Section

Text = Annotated[str, Field(min_length=1)]


class Keep(Limits):
    """Which rows are kept, by one column."""

    nullable: Annotated[
        bool, Field(description="`true`: rows without a value in this column are kept too")
    ] = False


class Clean(Section):
    """How a table is cleaned, in the order of these keys."""

    rename: Annotated[
        dict[str, Text],
        Field(description="`{name in the file: name here}`; others keep theirs"),
    ] = {}
    keep_rows: Annotated[
        dict[str, Keep],
        Field(
            description="`{column: {min, max, allowed, nullable}}`: rows outside are dropped, "
            "and so are those without a value, unless `nullable`"
        ),
    ] = {}
    drop_nulls: Annotated[
        bool | list[str],
        Field(
            description="drop rows without a value in these columns; `true` = in any column of "
            "the file"
        ),
    ] = False
    drop_columns: Annotated[
        list[str], Field(description="columns to leave out, by their names here")
    ] = []
