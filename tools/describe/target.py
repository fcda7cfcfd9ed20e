"""Guesses which column is to be predicted, and what kind of prediction that is."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tools.describe.columns import FEWEST_VALUES, Proposal, dtype_of, looks_like_id
from util_lib import validation
from util_lib.errors import UserError

# Names of columns that are to be predicted, the plainest first.
PLAIN_NAMES = ("target", "label", "labels", "class", "y", "outcome", "response")
USUAL_NAMES = (
    "price", "species", "genre", "diagnosis", "survived", "churn", "churned", "quality", "salary",
    "income", "default", "rating", "score", "category", "sales", "revenue", "sold", "left",
)  # fmt: skip
MOST_CLASSES = 20  # whole numbers with more different values are predicted as numbers
MOST_NAMED_CLASSES = 100
FEWEST_ROWS = 4  # of a class, so that each of the three parts can have one


class TargetGuess(NamedTuple):
    """The column to predict.

    `rare` are classes with too few rows, `classes` the others; both are empty for regression.
    """

    name: str
    why: str
    task: str
    about_task: str
    classes: list[Any] = []
    rare: list[Any] = []
    stratify: bool = False


def choose(frame: pd.DataFrame, proposals: dict[str, Proposal], asked: str | None) -> TargetGuess:
    """Return the target asked for, else one guessed; `UserError` where neither is possible.

    Guessed is a column called as targets are, else the last one if it has few different values:
    many tables keep their classes there.
    """
    names = list(frame.columns)
    if asked is not None:
        if asked not in names:
            raise UserError(f"target: {validation.choose('column', asked, names)}")
        if reason := unfit(frame[asked]):
            raise UserError(
                f"target {asked!r} cannot be predicted: {reason}; {_choose_from(frame, proposals)}"
            )
        return _of_task(frame, asked, "as asked for")
    fit = candidates(frame, proposals)
    for words, kind in ((PLAIN_NAMES, "plainly"), (USUAL_NAMES, "often")):
        named = [name for name in fit if name.strip().lower() in words]
        if len(named) == 1:
            return _of_task(frame, named[0], f"guessed: targets are {kind} called so")
        if named:
            raise UserError(
                f"several columns may be the target ({', '.join(map(repr, named))}): choose one "
                "with -P target=..."
            )
    last = names[-1]
    if last in fit and frame[last].nunique() <= MOST_CLASSES:
        return _of_task(frame, last, "guessed: the last column, with few different values")
    way = (
        f"{_choose_from(frame, proposals)} with -P target=..."
        if fit
        else "no column is fit for one"
    )
    raise UserError(f"the target cannot be guessed: {way}")


def candidates(frame: pd.DataFrame, proposals: dict[str, Proposal]) -> list[str]:
    """Name the columns that could be predicted: numbers and few classes, but no ids."""
    return [
        name
        for name in frame.columns
        if proposals[name].role not in ("", "text", "date")
        and not looks_like_id(name)
        and not unfit(frame[name])
    ]


def _choose_from(frame: pd.DataFrame, proposals: dict[str, Proposal]) -> str:
    found = candidates(frame, proposals)
    return f"choose one of {', '.join(map(repr, found))}" if found else "no column is fit for one"


def unfit(values: pd.Series) -> str | None:
    """Say why a column cannot be predicted, or return None."""
    filled = values.dropna()
    kind = None if filled.empty else dtype_of(values, filled)
    if kind is None:
        return "it has no value" if filled.empty else "its cells hold no single values"
    if kind == "float" and not np.isfinite(filled.astype("float64")).all():
        return "it holds infinite values"
    n_different = filled.nunique()
    if len(filled) < FEWEST_VALUES:
        return f"it has only {len(filled)} values"
    if kind == "string" and any("${" in value for value in filled.unique()):
        return "its texts hold ${, which the configuration reads as its own"
    if n_different < 2:
        return f"it has the same value in every row ({filled.iloc[0]!r})"
    if kind == "datetime":
        return "it holds dates"
    if kind == "string" and (n_different > MOST_NAMED_CLASSES or n_different > len(filled) / 2):
        return (
            f"it has {n_different:,} different texts in {len(filled):,} rows, too many for classes"
        )
    return None


def _of_task(frame: pd.DataFrame, name: str, why: str) -> TargetGuess:
    values = frame[name].dropna()
    kind = dtype_of(frame[name], values)
    n_different = values.nunique()
    whole = kind in ("int", "float") and bool((values.astype("float64") % 1 == 0).all())
    few = n_different <= MOST_CLASSES and len(values) >= FEWEST_ROWS * n_different
    if kind in ("int", "float") and not (whole and few):
        words = "whole numbers" if whole else "numbers"
        return TargetGuess(name, why, "regression", f"{n_different:,} different {words}")
    counts = values.value_counts()
    classes = sorted(counts.index[counts >= FEWEST_ROWS].tolist())
    rare = sorted(counts.index[counts < FEWEST_ROWS].tolist())
    if len(classes) < 2:
        raise UserError(
            f"target {name!r} has {n_different:,} classes, and fewer than two of them have "
            f"{FEWEST_ROWS} rows: too few to train, validate and test"
        )
    n_rows = int(counts[classes].sum())
    smallest = 0.7 * 0.3 * n_rows  # the validation split of the default sizes
    return TargetGuess(
        name,
        why,
        "classification",
        f"{len(classes):,} classes",
        classes,
        rare,
        stratify=smallest >= 2 * len(classes),
    )
