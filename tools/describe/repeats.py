"""Judges rows that repeat: the same thing written twice, or two things that are alike."""

from typing import NamedTuple

import pandas as pd

from tools.describe.columns import Proposal
from tools.describe.target import TargetGuess

LONG_TEXT = 30  # letters on average
DIGITS = 12  # of doubles, all together: so many do not come again by chance
SHARE_OF_DOUBLES = 0.1  # different values of such a double among the different rows
SHARE_OF_IDS = 0.9  # different values among the different rows: then a column names the row


class Repeats(NamedTuple):
    """Whether rows that equal an earlier one are dropped, and why; what share of all they are."""

    drop: bool
    why: str
    share: float = 0.0


def judge(table: pd.DataFrame, proposals: dict[str, Proposal], target: TargetGuess) -> Repeats:
    """Return whether repeated rows are the same thing twice, which only a column can say."""
    kept = table.astype({n: "str" for n in table if table[n].dtype == object})
    first = ~kept.duplicated()
    n_more = int((~first).sum())
    if not n_more:
        return Repeats(False, "no row equals another")
    different = kept[first]
    reasons = (_tells_apart(name, different[name], proposals) for name in map(str, different))
    decides = next(filter(None, reasons), None)
    decides = decides or _many_digits(different, proposals, target.name)
    go = f"{n_more:,} of {len(table):,} rows equal an earlier one in every column"
    if decides is None:
        return Repeats(
            False,
            f"{go}. They are kept: no column says that they are the same thing twice, as an id or "
            "a time would",
        )
    return Repeats(
        True,
        f"{go} and are dropped: {decides}, so a repeat is the same thing twice"
        + _shares(table[target.name], table.loc[first, target.name], target),
        n_more / len(table),
    )


def _tells_apart(name: str, values: pd.Series, proposals: dict[str, Proposal]) -> str | None:
    """Say why two things cannot share a value of a column; None where they can."""
    filled = values.dropna()
    if len(filled) < SHARE_OF_IDS * len(values):
        return None
    n_different = filled.nunique()
    if pd.api.types.is_datetime64_any_dtype(filled):
        seconds = filled.dt.second.nunique() > 1
        return f"{name!r} is a time to the second" if seconds else None
    if n_different < SHARE_OF_IDS * len(filled):
        return None
    if pd.api.types.is_integer_dtype(filled):
        named = proposals[name].role == "ignore" if name in proposals else False
        return f"{name!r} is an id" if named else None
    if pd.api.types.is_string_dtype(filled):
        if filled.str.len().mean() >= LONG_TEXT:
            return f"{name!r} is a long text"
        return f"{name!r} is an id" if proposals[name].role == "ignore" else None
    return None


def _many_digits(
    different: pd.DataFrame, proposals: dict[str, Proposal], target: str
) -> str | None:
    """Say whether the numbers of a row have so many digits that no two things share them all."""
    digits, names = 0, []
    for name, values in different.items():
        if name == target or not pd.api.types.is_float_dtype(values):
            continue
        filled = values.dropna()
        if filled.nunique() >= SHARE_OF_DOUBLES * len(different):
            digits += int(filled.head(1_000).map(_significant_digits).median())
            names.append(str(name))
    if digits < DIGITS or len(names) < 2:
        return None
    listed = ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")
    return f"the numbers {listed} have {digits} digits together"


def _significant_digits(number: float) -> int:
    mantissa = f"{abs(number):.15g}".partition("e")[0]
    return len(mantissa.replace(".", "").strip("0"))


def _shares(before: pd.Series, after: pd.Series, target: TargetGuess) -> str:
    """Say what becomes of the target's values."""
    if target.task == "regression":
        was, now = before.mean(), after.mean()
        return f". The mean of {target.name!r} is {was:.4g} with them and {now:.4g} without"
    shares, left = before.value_counts(normalize=True), after.value_counts(normalize=True)
    most = sorted(shares.index, key=lambda value: -abs(shares[value] - left.get(value, 0)))[:3]
    parts = [f"{value!r} {shares[value]:.1%} to {left.get(value, 0):.1%}" for value in most]
    return f". The shares of {target.name!r} change most for {', '.join(parts)}"
