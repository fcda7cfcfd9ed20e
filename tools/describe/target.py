"""Guesses which column is to be predicted, and what kind of prediction that is."""

import re
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tools.describe.columns import (
    FEWEST_VALUES,
    MOST_INFINITE,
    Proposal,
    asks,
    counts_rows,
    dtype_of,
    looks_like_id,
)
from util_lib import validation
from util_lib.errors import UserError

# Names of columns that are to be predicted, the plainest first. `y` is one only where no other is.
PLAIN_NAMES = (
    "target", "label", "labels", "outcome", "response", "survived", "churn", "churned", "exited",
    "attrition", "diagnosis", "sale_price", "selling_price", "is_fraud", "medv",
)  # fmt: skip
USUAL_NAMES = (
    "class", "price", "species", "genre", "quality", "salary", "default", "status", "result",
    "sales", "revenue", "sold", "left", "fraud", "approved", "mpg", "purchase", "purchased",
    "death", "died", "denied", "admitted", "arrest", "arrested", "wage",
)  # fmt: skip
# As often something that others are predicted from: a target only where they stand last.
USUAL_WHERE_LAST = ("income", "rating", "score", "category")
LAST_NAMES = ("y",)
ENDS = tuple(
    "_price _status _outcome _result _default _churn _label _class _target _diagnosis".split()
)
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
        if asks(proposals[asked]):
            raise UserError(
                f"target {asked!r} can be read in two ways: {proposals[asked].notes[-1]}; write it "
                "with another mark, or draft with another target and change that by hand"
            )
        return _of_task(frame, asked, "as asked for")
    fit = candidates(frame, proposals)
    last = names[-1]
    called = {name: _spelled(name) for name in fit}
    called = {n: w for n, w in called.items() if n == last or w not in USUAL_WHERE_LAST}
    tiers = (
        (lambda word: word in PLAIN_NAMES, "plainly called so"),
        (lambda word: word in USUAL_NAMES + USUAL_WHERE_LAST, "often called so"),
        (lambda word: word.endswith(ENDS), "often called so"),
        (lambda word: word in LAST_NAMES, "called so where no other name speaks"),
    )
    for fits, kind in tiers:
        named = [name for name, word in called.items() if fits(word)]
        near = [last] if last in fit and called.get(last) in LAST_NAMES and named != [last] else []
        if len(named) == 1 and (not near or kind.startswith("plainly")):
            return _of_task(frame, named[0], f"guessed by its name: targets are {kind}")
        if named:
            listed = ", ".join(map(repr, named + near))
            raise UserError(
                f"several columns may be the target ({listed}): choose one with -P target=..."
            )
    few = [name for name in fit if frame[name].nunique() <= MOST_CLASSES]
    if last in few and few[0] == fit[0] != last:
        raise UserError(
            f"the first and the last column may be the target ({fit[0]!r}, {last!r}): both have "
            "few different values; choose one with -P target=..."
        )
    if last in few:
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
        and not counts_rows(name)
        and not asks(proposals[name])
        and not unfit(frame[name])
    ]


def _spelled(name: str) -> str:
    """Return a name in small letters with _ between its words: SalePrice is sale_price."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\s_.-]+", "_", words).lower()


def _choose_from(frame: pd.DataFrame, proposals: dict[str, Proposal]) -> str:
    found = candidates(frame, proposals)
    return f"choose one of {', '.join(map(repr, found))}" if found else "no column is fit for one"


def unfit(values: pd.Series) -> str | None:
    """Say why a column cannot be predicted, or return None."""
    filled = values.dropna()
    kind = None if filled.empty else dtype_of(values, filled)
    if kind is None:
        return "it has no value" if filled.empty else "its cells hold no single values"
    if kind == "float" and not np.isfinite(filled.astype("float64")).mean() > 1 - MOST_INFINITE:
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
    if kind == "float":
        values = values[np.isfinite(values.astype("float64"))]
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
