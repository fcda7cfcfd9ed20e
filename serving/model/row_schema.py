"""A model's declared columns as a typed row: what OpenAPI shows, and a quick yes to good requests.

`ServedModel.examine` knows all rules and how columns are made of others, and takes milliseconds for
a table of any size. Most requests are good and have the model's own columns: the typed row says yes
to them in microseconds. It says yes to nothing that `examine` refuses (a test compares the two);
what it does not take is examined.
"""

import datetime
import re
from types import GenericAlias
from typing import Annotated, Any, NotRequired

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from serving.model.rows import Problem, as_records
from serving.model.served_model import ServedModel
from util_lib.dataset.columns import Column
from util_lib.dataset.declaration import Csv
from util_lib.tables import typed

TYPES = {"float": float, "int": int, "string": str, "bool": bool, "datetime": str}
# The usual form; Python and pandas differ in which others of ISO 8601 they read.
DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?", re.A)
PIECE = 100  # rows examined at a time; others are answered between two pieces
OTHERS = 100  # columns that the model does not know, among which a mistyped name is looked for
INT_LIMIT = 2**53  # whole numbers beyond lose digits as doubles, which is what a model gets

Row = dict[str, Any]


class RowSchema:
    """The typed row of one model."""

    def __init__(self, model: ServedModel):
        """Compile the declaration of the model's columns."""
        self.model = model
        made_of = model.declaration.recipes()
        self._made = {*made_of} & {*model.columns}
        self._sources = {source for recipe in made_of.values() for source in recipe}
        form = model.declaration.csv
        fields = {name: _optional(column, form) for name, column in model.columns.items()}
        self._rows = _rows_of(fields)
        # Where a row has sources, what is made of them must be there: else it is made of them.
        fields |= {name: _typed(model.columns[name], form) for name in self._made}
        self._rows_with_sources = _rows_of(fields)
        nullable = {name for name, column in model.columns.items() if column.nullable}
        self._nullable = frozenset(nullable - self._made)

    def check(self, rows: list[Row]) -> tuple[list[Row], list[Problem]]:
        """Return the rows as the model takes them, or none and what is wrong with them.

        They are looked at in pieces, up to the first piece that has something wrong.
        """
        alone = not self._made or all(map(self._sources.isdisjoint, rows))
        schema = self._rows if alone else self._rows_with_sources
        right: list[Row] = []
        names: list[str] = []
        for start in range(0, len(rows), PIECE):
            piece = rows[start : start + PIECE]
            try:
                right += schema.validator.validate_python(piece)
                continue
            except ValidationError:
                names = names or self._names(rows)
                table = {name: [row.get(name) for row in piece] for name in names}
                frame, problems = self.model.examine(self.model.read(table))
            if problems:
                return [], [p if p.row is None else p._replace(row=p.row + start) for p in problems]
            right += as_records(frame.reindex(columns=list(self.model.columns)))
        return right, []

    def warnings(self, rows: list[Row]) -> list[str]:
        """Name the columns that may be missing and are in no row: they may be misspelt."""
        absent = self._nullable - rows[0].keys()
        for row in rows:
            if not absent:
                return []
            absent -= row.keys()
        return self.model.absent(self._names(rows))

    def _names(self, rows: list[Row]) -> list[str]:
        """Name the columns of a table of `rows`: the model's, and what the first row calls others.

        Those others are ignored, unless a name that is nearly one of the model's is told so.
        """
        known = {**self.model.columns, **self.model.sources}
        there = dict.fromkeys(name for row in rows for name in known.keys() & row.keys())
        return [*there, *[name for name in rows[0] if name not in known][:OTHERS]]

    def json_schema(self) -> dict[str, Any]:
        """Return the row as JSON Schema: ranges, allowed values, units, descriptions.

        Columns that are made of others need not be there, and those others may be.
        """
        fields = {
            name: NotRequired[_typed(column) | None] if name in self._made else _optional(column)
            for name, column in self.model.columns.items()
        }
        sources = {n: NotRequired[_typed(c) | None] for n, c in self.model.sources.items()}
        return TypeAdapter(_row(fields | sources)).json_schema(mode="validation")


def _rows_of(fields: dict[str, Any]) -> TypeAdapter[list[Row]]:
    listed: Any = GenericAlias(list, _row(fields))  # list[...] of a type that is made here
    return TypeAdapter(listed)


def _row(fields: dict[str, Any]) -> Any:
    typed_dict: Any = TypedDict
    row = typed_dict("Row", fields)
    row.__pydantic_config__ = ConfigDict(strict=True, extra="ignore")
    return row


def _optional(column: Column, form: Csv | None = None) -> Any:
    kind = _typed(column, form)
    return NotRequired[kind | None] if column.nullable else kind


def _typed(column: Column, form: Csv | None = None) -> Any:
    """Return the annotation of a column: its type with the limits that it declares.

    With `form` it says no to what stands for a missing value, and to what would be trimmed.
    """
    kind = TYPES[column.dtype]
    about = [part for part in (column.description, column.unit and f"in {column.unit}") if part]
    shown: dict[str, Any] = {"unit": column.unit} if column.unit else {}
    limits: dict[str, Any] = {}
    before = []
    if column.dtype == "datetime":
        before.append(BeforeValidator(_date_between(column.min, column.max)))
        about.append("a date such as 2019-05-26")
    elif kind is float:
        limits = {"ge": column.min, "le": column.max, "allow_inf_nan": False}
    elif kind is int:
        before.append(BeforeValidator(_whole))
        limits = {
            "ge": -INT_LIMIT if column.min is None else column.min,
            "le": INT_LIMIT if column.max is None else column.max,
        }
    if form is not None and (kind is str or column.missing):
        before.append(BeforeValidator(_present(column, form)))
    if column.allowed is not None:
        before.append(BeforeValidator(_among(column.allowed, kind)))
        shown["enum"] = column.allowed
    field = Field(description="; ".join(about) or None, json_schema_extra=shown or None, **limits)
    # The validator named last runs first.
    return Annotated[(kind, field, *reversed(before))] if before else Annotated[kind, field]


def _whole(value: Any) -> Any:
    """Take 5.0 for 5: a column of whole numbers with a null arrives as floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _present(column: Column, form: Csv) -> Any:
    """Return a check that a value is none that stands for a missing one."""
    words = frozenset(typed.missing_words(column, form)) | frozenset(column.missing)
    trim = form.trim or column.dtype != "string"

    def check(value: Any) -> Any:
        is_text = isinstance(value, str)
        is_missing = isinstance(value, str | int | float) and value in words
        if is_missing or (is_text and trim and value != value.strip()):
            raise PydanticCustomError("missing", "stands for a missing value, or is to be trimmed")
        return value

    return check


def _among(allowed: list[Any], kind: type) -> Any:
    """Return a check that a value of the right type is in the list."""
    listed = frozenset(allowed)

    def check(value: Any) -> Any:
        right = isinstance(value, int | float) if kind is float else isinstance(value, kind)
        if right and value not in listed:
            raise PydanticCustomError("allowed", "not listed")
        return value

    return check


def _date_between(low: Any, high: Any) -> Any:
    """Return a check that a text is a date (ISO 8601) between the bounds, both included."""
    first, last = (bound and _utc(_as_moment(bound)) for bound in (low, high))

    def check(value: Any) -> Any:
        if not isinstance(value, str):
            return value  # the type is refused next
        if not DATE.fullmatch(value):
            raise PydanticCustomError("date", "another form of a date, or none")
        try:
            moment = _utc(datetime.datetime.fromisoformat(value))
        except (ValueError, OverflowError):
            raise PydanticCustomError("date", "no date") from None
        if (first and moment < first) or (last and moment > last):
            raise PydanticCustomError("date", "out of range")
        return value

    return check


def _as_moment(bound: datetime.date) -> datetime.datetime:
    if isinstance(bound, datetime.datetime):
        return bound
    return datetime.datetime(bound.year, bound.month, bound.day)


def _utc(moment: datetime.datetime) -> datetime.datetime:
    if moment.tzinfo is None:
        return moment.replace(tzinfo=datetime.UTC)
    return moment.astimezone(datetime.UTC)
