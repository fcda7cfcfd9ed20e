"""A model that is ready to answer."""

from dataclasses import dataclass
from typing import Any

from serving.model import served_model
from serving.model.row_schema import RowSchema


@dataclass(frozen=True)
class Loaded:
    """One version, ready to answer, with all that is made of it once."""

    model: served_model.ServedModel
    schema: RowSchema
    card: dict[str, Any]
    examples: list[dict[str, Any]]  # rows that it takes

    @property
    def version(self) -> str:
        """Return `project/name:v3`, or the path of a directory."""
        return self.model.version
