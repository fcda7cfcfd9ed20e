"""Which rows of a database are the table: the `data.sql` section."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from util_lib.validation import Section, null_word

Words = Annotated[str | None, BeforeValidator(null_word)]


class SqlSource(Section):
    """Which rows of a database are the table, where `file_url` is the address of one."""

    table: Annotated[
        Words, Field(description="name of the table or view, or `schema.table`; or else a query")
    ] = None
    query: Annotated[Words, Field(description="SQL that gives the rows; nothing is changed")] = None
    version_query: Annotated[
        Words,
        Field(
            description="SQL that gives another answer when the rows are others, such as `SELECT "
            "max(updated_at), count(*) FROM songs`; none = get_data runs every time"
        ),
    ] = None
    order_by: Annotated[
        Words,
        Field(
            description="columns, separated by commas, by which the rows are ordered: the same "
            "rows are then the same version"
        ),
    ] = None
