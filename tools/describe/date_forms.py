"""Tells how the dates of a column are written."""

import re
import warnings
from typing import NamedTuple

import pandas as pd

from tools.describe.number_forms import MOST_ODD

ISO = "ISO8601"
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}.*)?")
CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")
LIKE_DATES = re.compile(
    r"\d{1,4}[-/. ]\d{1,2}[-/. ]\d{1,4}.*|\d{1,2}[-/. ]?[A-Za-z]{3,9}\.?[-/., ]+\d{2,4}.*"
    r"|[A-Za-z]{3,9}\.?[- ]\d{1,2},?[- ]\d{2,4}.*|\d{1,2}:\d{2}(:\d{2})?( ?[AaPp][Mm])?"
)
DAYS = (
    *(f"%d{m}%m{m}%Y" for m in "./- "), *(f"%m{m}%d{m}%Y" for m in "/-. "),
    *(f"%d{m}%m{m}%y" for m in "./-"), *(f"%m{m}%d{m}%y" for m in "/-"),
    *(f"%Y{m}%m{m}%d" for m in "-/. "), *(f"%d{m}%b{m}%Y" for m in "- /"),
    *(f"%d{m}%b{m}%y" for m in "- /"), *(f"%d{m}%B{m}%Y" for m in " -"),
    "%d. %B %Y", "%d. %b %Y", "%b %d %Y", "%b %d, %Y", "%B %d %Y", "%B %d, %Y", "%b-%d-%Y",
    "%d%b%Y",
)  # fmt: skip
TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
CLOCKS = ("%H:%M", "%H:%M:%S", "%I:%M %p", "%I:%M%p")
LOOKED_AT_FIRST = 50  # values, to leave out formats before the whole column is read by one


class Dates(NamedTuple):
    """The format of a column's dates (`ISO` or one of strptime), the texts that are none.

    `other` is a second format that fits as well and gives other days.
    """

    format: str
    odd: list[str]
    other: str | None = None


def read(values: pd.Series) -> Dates | None:
    """Return how the different values of a column are written as dates; None for no dates."""
    if values.empty:
        return None
    like = values.map(lambda value: bool(LIKE_DATES.fullmatch(value)))
    if like.mean() < 1 - MOST_ODD and (~like).sum() > 1:
        return None
    candidates = [ISO] if ISO_DATE.fullmatch(values[like].iloc[0] if like.any() else "") else []
    candidates += CLOCKS if CLOCK.match(values[like].iloc[0] if like.any() else "") else []
    candidates += [day + time for day in DAYS for time in TIMES]
    first = values[like].head(LOOKED_AT_FIRST)
    found: list[tuple[str, pd.Series]] = []
    for written in candidates:
        if parse(first, written).notna().mean() < 0.8:
            continue
        parsed = parse(values, written)
        if not found or parsed.notna().sum() > found[0][1].notna().sum():
            found = [(written, parsed)]
        elif parsed.notna().sum() == found[0][1].notna().sum():
            found.append((written, parsed))
    if not found:
        return None
    written, parsed = found[0]
    odd = values[parsed.isna()].tolist()
    if len(odd) > MOST_ODD * len(values) and not (len(odd) == 1 and len(values) > 10):
        return None
    known = parsed.notna()
    others = [w for w, other in found[1:] if not parsed[known].equals(other[known])]
    return Dates(written, odd, others[0] if others else None)


def parse(values: pd.Series, written: str) -> pd.Series:
    """Return dates, each NaT that is not written so; with offsets, by UTC."""
    if written == ISO:
        strict = values.where(values.map(lambda v: bool(ISO_DATE.fullmatch(v)) if v else False))
        aware = strict.dropna().str.contains(r"(?:Z|[-+]\d{2}:?\d{2})$", regex=True).any()
        return pd.to_datetime(strict, errors="coerce", format=ISO, utc=bool(aware))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pd.to_datetime(values, errors="coerce", format=written)


def mixed(values: pd.Series) -> list[str]:
    """Return one value of each form, where all look like dates but no one format fits."""
    if values.empty or not values.map(lambda value: bool(LIKE_DATES.fullmatch(value))).all():
        return []
    forms = values.map(lambda v: re.sub(r"[A-Za-z]+", "A", re.sub(r"\d+", "9", v)))
    return values[~forms.duplicated()].tolist()[:3]
