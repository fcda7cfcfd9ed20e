"""Columns that give the target away: by their numbers, their values, their words, their gaps."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from util_lib.checks.findings import Finding
from util_lib.tables.column_values import as_numbers, at_rows, missing

SEED = 0
N_ROWS = 20_000  # drawn where a look at all rows would take long
N_FOLDS = 5
MAX_BINS = 256
MIN_AUC = 0.99
MIN_R2 = 0.99
MIN_SUM_R2 = 0.9999
MIN_PURITY = 0.99
MIN_GAIN = 0.95  # of what lies between chance and certainty
MIN_SIGMAS = 6
MIN_V = 0.9
NO_VALUE = np.uint64(0x9E3779B97F4A7C15)  # the hash of what is missing; that of 0 is 0
MIN_ROWS = 30  # below, nothing can be told from chance
MIN_SUPPORT = 10  # rows on either side of a yes-or-no question
MAX_CLASSES = 100  # the most frequent; further ones are not scored one by one
WAY_OUT = "leave it out (role: ignore) unless it is known when the model is used"


class Target(NamedTuple):
    """What is to be predicted, without nulls: numbers, or, with `classes`, places in that list."""

    name: str
    values: np.ndarray
    classes: list[str] | None


class Feature(NamedTuple):
    """One column, and its `numbers` where it has them (NaN for none; dates in nanoseconds).

    `missing` marks nulls; of text also the empty, which is what `preprocess` makes of nulls.
    """

    role: str
    values: pd.Series
    missing: np.ndarray
    numbers: np.ndarray | None

    def at(self, chosen: np.ndarray) -> "Feature":
        """Return the column at the chosen rows only, marked or numbered."""
        numbers = None if self.numbers is None else self.numbers[chosen]
        return Feature(self.role, self.values.iloc[_places(chosen)], self.missing[chosen], numbers)

    def hashes(self) -> np.ndarray:
        """Return a number for each row, the same for the same value, whatever rows there are."""
        if self.numbers is not None:
            found = pd.util.hash_array(self.numbers + 0.0)  # -0.0 is 0.0
        else:
            try:
                codes, values = pd.factorize(self.values)
            except TypeError:  # lists and records have no hash
                codes, values = pd.factorize(self.values.astype(str))
            texts = np.array([*map(str, values), ""], dtype=object)
            found = pd.util.hash_array(texts, categorize=False)[codes]
        return np.where(self.missing, NO_VALUE, found)

    def codes(self) -> np.ndarray:
        """Return a number for each distinct value, from 0; missing is a value of its own."""
        values = self.values if self.numbers is None else pd.Series(self.numbers)
        try:
            codes = pd.factorize(values)[0]
        except TypeError:  # lists and records have no hash
            codes = pd.factorize(values.astype(str))[0]
        return np.where(self.missing, codes.max(initial=-1) + 1, codes)


class LookedAt(Mapping[str, Feature]):
    """The columns of a frame at some of its rows; `roles` says how each is used.

    A frame that reads its columns when they are asked for is asked each time: none is kept.
    """

    def __init__(self, frame: Any, roles: dict[str, str], rows: np.ndarray):
        """Look at no column yet."""
        self.roles, self._frame, self._rows = roles, frame, rows
        self._kept: dict[str, Feature] = {}

    def __getitem__(self, name: str) -> Feature:
        """Return a column; its index numbers the rows of the frame from 0."""
        if name in self._kept:
            return self._kept[name]
        found = feature(at_rows(self._frame, name, self._rows), self.roles[name])
        if isinstance(self._frame, pd.DataFrame):
            self._kept[name] = found
        return found

    def __iter__(self) -> Iterator[str]:
        """Return the names."""
        return iter(self.roles)

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self.roles)

    def with_roles(self, roles: dict[str, str]) -> "LookedAt":
        """Return other columns at the same rows."""
        return LookedAt(self._frame, roles, self._rows)

    def at(self, chosen: np.ndarray) -> "LookedAt":
        """Return the columns at the chosen ones of their rows."""
        if chosen.all():
            return self
        return LookedAt(self._frame, self.roles, self._rows[chosen])


def feature(values: pd.Series, role: str) -> Feature:
    """Return a column as its role says that it is used."""
    if role in ("numerical", "date"):
        numbers = as_numbers(values, dates=role == "date").to_numpy()
        return Feature(role, values, ~np.isfinite(numbers), numbers)
    return Feature(role, values, missing(values, text=role == "text").to_numpy(), None)


def sums(features: LookedAt, target: Target) -> Iterator[Finding]:
    """Say whether a number to predict is a weighted sum of numerical features (least squares).

    Columns that are mostly missing are left out, and rows where one of the others is.
    """
    if target.classes is not None:
        return
    names, whole = [], np.ones(len(target.values), dtype=bool)
    for name in (name for name, role in features.roles.items() if role == "numerical"):
        if (gone := features[name].missing).mean() < 0.5:
            names.append(name)
            whole &= ~gone
    if len(names) < 2:
        return
    drawn = np.flatnonzero(whole)[_draw(int(whole.sum()))]
    columns: list[Any] = [features[name].at(drawn).numbers for name in names]
    table = np.column_stack(columns)
    y = target.values[drawn]
    if len(y) < 2 * len(names) + MIN_ROWS:
        return
    scale = table.std(axis=0)
    weights, r2 = _least_squares(table, y)
    needed = np.abs(weights * scale) > 1e-3 * y.std()
    if r2 < MIN_SUM_R2 or needed.sum() < 2:
        return
    weights, r2 = _least_squares(table[:, needed], y)
    if r2 < MIN_SUM_R2:
        return
    names = [name for name, is_needed in zip(names, needed, strict=True) if is_needed]
    plain = bool((np.abs(np.abs(weights) - 1) < 0.01).all())
    terms = " ".join(
        f"{'-' if weight < 0 else '+'} {'' if plain else f'{abs(weight):.4g} * '}{name!r}"
        for name, weight in zip(names, weights, strict=True)
    ).removeprefix("+ ")
    yield Finding(
        None,
        "sum of columns",
        f"target {target.name!r} is {terms} (least squares on {len(y):,} rows: R2 = {r2:.6f}): a "
        "model only does the sum again; leave some of them out (role: ignore) or predict another "
        "column",
        strength={
            "r2": r2,
            **{f"weight of {n}": float(w) for n, w in zip(names, weights, strict=True)},
        },
    )


def alone(name: str, column: Feature, target: Target) -> Iterator[Finding]:
    """Say in which ways one column alone gives the target away."""
    yield from _by_gaps(name, column, target)
    if column.numbers is not None:
        yield from _by_numbers(name, column, target)
    found = list(_by_values(name, column, target))
    yield from found
    if column.role == "text" and not found:
        yield from _by_words(name, column, target)


def _by_gaps(name: str, column: Feature, target: Target) -> Iterator[Finding]:
    n_missing, n = int(column.missing.sum()), len(column.missing)
    if min(n_missing, n - n_missing) < MIN_SUPPORT:
        return
    if target.classes is None:
        auc = auc_of(target.values, column.missing)
        strength = max(auc, 1 - auc)
        if strength < MIN_AUC:
            return
        how, measured = f"AUC {strength:.3f}", {"auc": strength}
    else:
        counts = _table(column.missing.astype(int), target.values, len(target.classes))
        expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / n
        present = expected[0] > 0
        gaps = (counts[:, present] - expected[:, present]) ** 2 / expected[:, present]
        strength = float(np.sqrt(gaps.sum() / n))
        if strength < MIN_V:
            return
        how, measured = f"Cramer's V {strength:.3f}", {"cramers_v": strength}
    yield Finding(
        name,
        "missing values",
        f"whether column {name!r} has a value tells {target.name!r} ({n_missing:,} of {n:,} rows "
        f"have none; {how}, 1 = always): {WAY_OUT}",
        count=n_missing,
        examples=_examples(column, np.flatnonzero(column.missing)),
        strength=measured,
    )


def _by_numbers(name: str, column: Feature, target: Target) -> Iterator[Finding]:
    drawn = _draw(len(column.missing))
    column, target = column.at(drawn), target._replace(values=target.values[drawn])
    if column.numbers is None:
        return
    x = column.numbers[~column.missing]
    if target.classes is None:
        y = target.values[~column.missing]
        # Its ranks too: of a long tail the few largest values would decide alone.
        r2 = max(
            _explained(x, values, smooth=True) for values in (y, pd.Series(y).rank().to_numpy())
        )
        if column.missing.mean() > 0.5 or r2 < MIN_R2:
            return
        how, measured = f"R2 {r2:.4f} from the rows with like values", {"r2": r2}
    else:
        auc = _held_out_auc(_bins(x, column.missing), target)
        if auc < MIN_AUC:
            return
        how, measured = f"AUC {auc:.4f} on rows held out", {"auc": auc}
    yield Finding(
        name,
        "predicts the target",
        f"column {name!r} alone predicts {target.name!r} almost without error ({how}): {WAY_OUT}",
        strength=measured,
    )


def _by_values(name: str, column: Feature, target: Target) -> Iterator[Finding]:
    """Look at values that occur more than once: do their rows agree in the target?"""
    if column.role == "date" or (
        column.numbers is not None and (column.numbers[~column.missing] % 1).any()
    ):
        return
    codes = column.codes()
    repeated = (np.bincount(codes)[codes] > 1) & ~column.missing
    chosen = _draw_groups(codes, repeated)
    codes, chosen_target = codes[chosen], target._replace(values=target.values[chosen])
    n_values = len(np.unique(codes))
    if len(codes) - n_values < MIN_ROWS or n_values < 2:
        return
    coverage = float(repeated.mean())
    if target.classes is None:
        if column.numbers is not None:
            return  # _by_numbers has looked
        r2 = _explained(codes, chosen_target.values, smooth=False)
        if r2 < MIN_R2:
            return
        how, measured = f"R2 {r2:.4f}", {"r2": r2}
    else:
        purity, chance, deviation = _purity(codes, chosen_target)
        gain = (purity - chance) / (1 - chance) if chance < 1 else 0.0
        if purity < MIN_PURITY or gain < MIN_GAIN or purity < chance + MIN_SIGMAS * deviation:
            return
        how = f"{purity:.1%} of their rows, {chance:.1%} by chance"
        measured = {"purity": purity, "by_chance": chance}
    yield Finding(
        name,
        "values",
        f"each value of column {name!r} belongs to one {target.name!r} ({n_values:,} values that "
        f"occur more than once: {how}; they cover {coverage:.1%} of the rows): {WAY_OUT}",
        count=int(repeated.sum()),
        examples=_examples(column, np.flatnonzero(repeated)),
        strength={**measured, "values": float(n_values), "coverage": coverage},
    )


def _by_words(name: str, column: Feature, target: Target) -> Iterator[Finding]:
    """Look for a word that stands in the rows of one class, and in no others."""
    if (classes := target.classes) is None:
        return
    drawn = _draw(len(column.missing))
    column, target = column.at(drawn), target._replace(values=target.values[drawn])
    codes = target.values.astype(int)
    sizes = np.bincount(codes, minlength=len(classes))
    found: dict[str, Counter] = {}
    for text, code in zip(column.values, codes, strict=True):
        if isinstance(text, str):
            for word in set(re.findall(r"\w+", text.lower())):
                found.setdefault(word, Counter())[code] += 1
    best = (0.0, "", 0)
    for word, counts in found.items():
        code, n = counts.most_common(1)[0]
        rest = len(codes) - sizes[code]
        if n < MIN_SUPPORT or rest < MIN_SUPPORT:
            continue
        auc = (1 + n / sizes[code] - (counts.total() - n) / rest) / 2
        best = max(best, (auc, word, code))
    auc, word, code = best
    if auc < MIN_AUC:
        return
    yield Finding(
        name,
        "words",
        f"the word {word!r} in column {name!r} tells {target.name!r} {classes[code]!r} from "
        f"the others (AUC {auc:.4f}): {WAY_OUT}",
        count=found[word].total(),
        strength={"auc": auc},
    )


def _draw(n: int) -> np.ndarray:
    """Return places of at most N_ROWS of `n` rows, drawn with a fixed seed, in order."""
    if n <= N_ROWS:
        return np.arange(n)
    return np.sort(np.random.default_rng(SEED).choice(n, N_ROWS, replace=False))


def _draw_groups(codes: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return places of about N_ROWS rows `among` all, with all rows of the values drawn.

    Of few and frequent values rows are drawn instead.
    """
    places = np.flatnonzero(among)
    if len(places) <= N_ROWS:
        return places
    values = np.flatnonzero(np.bincount(codes[places]))  # as np.unique, in less time
    if len(values) > 2 * MAX_BINS:
        n_drawn = max(MAX_BINS, int(len(values) * N_ROWS / len(places)))
        drawn = np.random.default_rng(SEED).choice(values, n_drawn, replace=False)
        places = places[np.isin(codes[places], drawn)]
    return places[_draw(len(places))]


def _table(codes: np.ndarray, classes: np.ndarray, n_classes: int) -> np.ndarray:
    """Count rows: a row for each code, a column for each class."""
    shape = (int(codes.max()) + 1, n_classes)
    flat = np.ravel_multi_index((codes, classes.astype(int)), shape)
    return np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)


def _purity(codes: np.ndarray, target: Target) -> tuple[float, float, float]:
    """Return the share of rows that are of their value's most frequent class.

    And the same of 20 tables with shuffled targets: mean and standard deviation.
    """
    codes = np.unique(codes, return_inverse=True)[1]
    classes = np.unique(target.values, return_inverse=True)[1]
    rng = np.random.default_rng(SEED)

    def share(values: np.ndarray) -> float:
        pairs = pd.Series(codes * (int(classes.max()) + 1) + values).value_counts()
        owners = pairs.index.to_numpy() // (int(classes.max()) + 1)
        return float(pairs.groupby(owners).max().sum() / len(codes))

    shuffled = [share(rng.permutation(classes)) for _ in range(20)]
    return share(classes), float(np.mean(shuffled)), float(np.std(shuffled))


def _bins(numbers: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Return the bin of each row: bins of about equal size, missing is a bin of its own."""
    n_bins = int(np.clip(len(numbers) // 10, 2, MAX_BINS))
    distinct = np.unique(numbers)
    if len(distinct) > n_bins:
        distinct = np.unique(np.quantile(numbers, np.arange(1, n_bins) / n_bins))
    bins = np.zeros(len(missing), dtype=int)
    bins[~missing] = np.searchsorted(distinct, numbers) + 1
    return bins


def _held_out_auc(bins: np.ndarray, target: Target) -> float:
    """Return the ROC AUC (one class against the rest, mean over classes) on rows held out.

    Each fifth of the rows gets the class shares that its bins have among the other rows: a tree of
    one column.
    """
    classes, codes = np.unique(target.values, return_inverse=True)
    sizes = np.bincount(codes)
    shape = (N_FOLDS, int(bins.max()) + 1, len(classes))
    folds = np.random.default_rng(SEED).permutation(len(bins)) % N_FOLDS
    flat = np.ravel_multi_index((folds, bins, codes), shape)
    counts = np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)
    rest = counts.sum(axis=0) - counts
    prior = rest.sum(axis=1, keepdims=True) / rest.sum(axis=(1, 2), keepdims=True)
    shares = (rest + prior) / (rest.sum(axis=2, keepdims=True) + 1)
    scored = [c for c in np.argsort(-sizes, kind="stable")[:MAX_CLASSES] if sizes[c] >= N_FOLDS]
    if len(scored) < 2:
        return 0.0
    return float(np.mean([auc_of(shares[folds, bins, c], codes == c) for c in scored]))


def auc_of(scores: np.ndarray, positive: np.ndarray) -> float:
    """Return the chance that a positive row scores above another one; ties count half."""
    ranks = pd.Series(scores).rank().to_numpy()
    n = int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n)))


def _explained(x: np.ndarray, y: np.ndarray, *, smooth: bool) -> float:
    """Return the share of the variance of `y` that some function of `x` explains; 0 if unknown.

    The rest is estimated as noise without knowing the function: from rows of equal `x`, and, where
    it is `smooth`, from rows whose `x` is unique, by how far they are from the line between their
    neighbours (Gasser, Sroka and Jennen-Steinmetz 1986).
    """
    if len(x) < MIN_ROWS or y.var() == 0:
        return 0.0
    values, group, sizes = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=y) / sizes
    noise = float(((y - means[group]) ** 2).sum())
    n_free = len(y) - len(values)
    if smooth and len(values) > 2:
        left = (values[2:] - values[1:-1]) / (values[2:] - values[:-2])
        gap = means[1:-1] - left * means[:-2] - (1 - left) * means[2:]
        spread = 1 / sizes[1:-1] + left**2 / sizes[:-2] + (1 - left) ** 2 / sizes[2:]
        alone = sizes[1:-1] == 1
        noise += float((gap**2 / spread)[alone].sum())
        n_free += int(alone.sum())
    if n_free < MIN_ROWS:
        return 0.0
    return max(0.0, 1 - noise / n_free / float(y.var()))


def _least_squares(table: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the weight of each column and R2; columns are centred and scaled to solve."""
    scale = np.where(table.std(axis=0) == 0, 1, table.std(axis=0))
    centred = (table - table.mean(axis=0)) / scale
    weights = np.linalg.lstsq(centred, y - y.mean(), rcond=None)[0]
    rest = y - y.mean() - centred @ weights
    return weights / scale, 1 - float((rest**2).sum() / ((y - y.mean()) ** 2).sum())


def _places(chosen: np.ndarray) -> np.ndarray:
    return np.flatnonzero(chosen) if chosen.dtype == bool else chosen


def _examples(column: Feature, places: np.ndarray) -> list[dict[str, Any]]:
    """Return the first rows that hold the first three different values at these places."""
    values = column.values.iloc[places[:1000]]
    shown = values[~values.astype(str).duplicated()].head(3)
    return [
        {"row": int(row), "value": value} for row, value in zip(shown.index, shown, strict=True)
    ]
