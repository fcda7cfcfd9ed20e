"""What a check found in a table: one record, whoever checks and whoever shows it."""

from typing import Any, NamedTuple


class Finding(NamedTuple):
    """One fault of one column, or of the table as a whole.

    `message` is one sentence that stands on its own. `examples` are rows, each `{"row": number
    counted from 0, "value": ...}`. `strength` holds what was measured, by name. A finding that
    is not `fatal` is shown and stops nothing.
    """

    column: str | None
    rule: str
    message: str
    count: int | None = None  # type: ignore[assignment] # in the place of tuple's method
    examples: list[dict[str, Any]] = []
    strength: dict[str, float] = {}
    fatal: bool = True
