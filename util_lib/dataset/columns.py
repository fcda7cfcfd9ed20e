"""The declaration of one column: its type, its limits, what it is used for."""

import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from util_lib.validation import Section

Share = Annotated[float, Field(ge=0, le=1)]
Bound = int | float | datetime.date | datetime.datetime
Mark = Annotated[str, Field(min_length=1, max_length=1)]
Monitored = Literal["keep", "length", "hash", "drop"]  # from all of a value to nothing


def _as_date(value: Any) -> Any:
    """Read a date written as text, which is how a configuration hands it over."""
    try:
        return datetime.datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return value


def check_date_format(written: str | None) -> str | None:
    """Return a format of dates that `strptime` knows; `ValueError` for another."""
    try:
        datetime.datetime.strptime("", written or "")
    except ValueError as error:
        if "directive" in str(error) or "stray" in str(error):
            raise ValueError(f"{written!r} is no format of dates: {error}") from None
    return written


# What YAML makes of words that are not quoted: its version 1.1 has many for true and false.
YAML_WORDS: dict[Any, str] = {
    None: "null, ~ and nothing at all so",
    True: "YES, yes, on and true as true",
    False: "NO, no, off and false as false",
}


def not_of_type(value: Any, dtype: str) -> str:
    """Say what YAML made of an allowed value that is none of the declared type; empty if it is."""
    fits = {
        "string": isinstance(value, str),
        "bool": isinstance(value, bool),
        "int": isinstance(value, int | float) and value == value // 1,
        "float": isinstance(value, int | float),
        "datetime": isinstance(_as_date(value), datetime.date),
    }
    if fits[dtype] and (dtype == "bool" or not isinstance(value, bool)):
        return ""
    made = YAML_WORDS.get(value) if isinstance(value, bool | None) else None
    made = made or ("" if isinstance(value, str) else "it so")
    reads = f"YAML reads {made}" + (": quote it" if dtype == "string" else "")
    return (
        f"{value!r} ({reads}), expected dtype {dtype}" if made else f"{value!r}, expected {dtype}"
    )


class Limits(Section):
    """Bounds, both included, and listed values."""

    min: Annotated[Bound | None, Field(description="smallest value, included")] = None
    max: Annotated[Bound | None, Field(description="largest value, included")] = None
    allowed: Annotated[
        list[Any] | None, Field(min_length=1, description="the only values allowed")
    ] = None

    @field_validator("min", "max", mode="before")
    @classmethod
    def _dates_may_be_text(cls, value: Any) -> Any:
        return _as_date(value)

    @model_validator(mode="after")
    def _range_is_possible(self) -> "Limits":
        low, high = self.min, self.max
        try:
            impossible = low is not None and high is not None and low > high  # type: ignore[operator]
        except TypeError:
            raise ValueError(f"min {self.min} and max {self.max} are of two kinds") from None
        if impossible:
            raise ValueError(f"min {self.min} is above max {self.max}: no value could pass")
        return self


class Column(Limits):
    """One column of the table after cleaning."""

    dtype: Annotated[
        Literal["float", "int", "string", "bool", "datetime"],
        Field(description="type of its values"),
    ]
    role: Annotated[
        Literal["numerical", "categorical", "text", "date", "target", "ignore"],
        Field(description="what it is used for, see below"),
    ]
    nullable: Annotated[bool, Field(description="`true`: values may be missing")] = False
    max_null_rate: Annotated[
        Share | None,
        Field(description="largest share of missing values, 0 to 1; only where `nullable`"),
    ] = None
    unique: Annotated[bool, Field(description="`true`: no value may occur twice")] = False
    encoding: Annotated[
        Literal["ordinal", "one_hot"],
        Field(
            description="how a categorical feature becomes numbers: one number for each category, "
            "in the order of `allowed` if `ordered`, else sorted; or a column for each category"
        ),
    ] = "ordinal"
    ordered: Annotated[
        bool, Field(description="`true`: `allowed` lists the categories from low to high")
    ] = False
    missing: Annotated[
        list[str | int | float],
        Field(
            description="words or numbers that stand for a missing value in this column, whatever "
            "the format of the file; `csv.missing` counts besides"
        ),
    ] = []
    decimal: Annotated[
        Mark | None, Field(description="decimal mark, where it is not that of `csv`")
    ] = None
    thousands: Annotated[
        Mark | None, Field(description="mark between thousands, where it is not that of `csv`")
    ] = None
    strip: Annotated[
        list[str],
        Field(description="texts around a number that are no part of it, such as `$`, `%` or `kg`"),
    ] = []
    date_format: Annotated[
        str | None,
        Field(description="how dates are written, where not as `csv.date_format` says"),
    ] = None
    monitor: Annotated[
        Monitored | None,
        Field(
            description="what the monitoring log keeps of a value that a model is asked about: "
            "`keep` all of it, `length` its number of characters, `hash` a keyed hash, `drop` "
            "nothing; without it `length` for texts that are no categories, else `keep`"
        ),
    ] = None
    unit: Annotated[str | None, Field(description="unit of the values, for readers")] = None
    description: Annotated[str | None, Field(description="one sentence, for readers")] = None

    @property
    def monitored(self) -> Monitored:
        """What the monitoring log keeps of its values."""
        is_text = self.dtype == "string" and self.role != "categorical"
        return self.monitor or ("length" if is_text else "keep")

    @field_validator("date_format")
    @classmethod
    def _date_format_can_be_read(cls, written: str | None) -> str | None:
        return check_date_format(written)

    @model_validator(mode="after")
    def _reading_fits_the_type(self) -> "Column":
        numbers = {key: getattr(self, key) for key in ("decimal", "thousands", "strip")}
        for key, value in numbers.items():
            if value and self.dtype not in ("int", "float"):
                raise ValueError(f"{key} belongs to numbers, found dtype {self.dtype}")
        if self.decimal is not None and self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}: they must differ")
        if self.date_format and self.dtype != "datetime":
            raise ValueError(f"date_format belongs to dates, found dtype {self.dtype}")
        if self.monitor == "length" and self.dtype != "string":
            raise ValueError(f"monitor length belongs to texts, found dtype {self.dtype}: use hash")
        return self

    @model_validator(mode="after")
    def _allowed_fits_the_type(self) -> "Column":
        for value in self.allowed or []:
            if reason := not_of_type(value, self.dtype):
                raise ValueError(f"allowed holds {reason}")
        return self

    @model_validator(mode="after")
    def _keys_fit_together(self) -> "Column":
        if self.max_null_rate is not None and not self.nullable:
            raise ValueError("max_null_rate needs nullable: true; without it no value may be null")
        bounds = [bound for bound in (self.min, self.max) if bound is not None]
        if bounds and self.dtype in ("string", "bool"):
            raise ValueError(f"min and max belong to numbers and dates, found dtype {self.dtype}")
        for bound in bounds:
            if isinstance(bound, datetime.date) != (self.dtype == "datetime"):
                raise ValueError(f"dtype {self.dtype} cannot be compared with the bound {bound}")
        if self.role == "date" and self.dtype != "datetime":
            raise ValueError(f"role date needs dtype datetime, found {self.dtype}")
        if self.role == "numerical" and self.dtype in ("string", "datetime"):
            other = "text or categorical" if self.dtype == "string" else "date"
            raise ValueError(f"role numerical needs numbers, found dtype {self.dtype}: use {other}")
        if self.role != "categorical" and (self.encoding != "ordinal" or self.ordered):
            raise ValueError(f"encoding and ordered belong to role categorical, found {self.role}")
        if self.ordered and (not self.allowed or self.encoding != "ordinal"):
            raise ValueError("ordered needs `allowed`, from low to high, and encoding ordinal")
        return self
