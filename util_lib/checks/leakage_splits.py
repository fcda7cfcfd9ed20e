"""Whether a random split flatters: rows of one patient, or of one week, on both of its sides.

A cheap model, the nearest rows, is measured twice on the same rows: from any other rows, as by a
random split, and from those that a split by group or by time would leave it. Near are rows that
are alike in what tells the groups, or the times, apart.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from util_lib.checks.findings import Finding
from util_lib.checks.leakage_columns import Feature, LookedAt, Target, auc_of
from util_lib.dataset.declaration import Data

SPLIT = "split"
DECLARE = "; declare "  # begins the way out
SEED = 0
MAX_ROWS = 1_500  # looked at, for each column
MAX_COLUMNS = 5  # tried, in the order of the declaration
MIN_GROUPS = 10
MIN_REPEATS = 0.1  # of the rows have a value that an earlier one has
NEAREST = 10
MAX_VALUES = 20  # categories that are told apart; a column of more says nothing here
MAX_CLASSES = 20  # scored, the most frequent: each of MIN_OF_CLASS rows, and so are the others
MIN_OF_CLASS = 30
MIN_OF_PART = 5  # rows of a class in what is scored together
MIN_ALIKE = 0.05  # of what varies in a feature lies between groups, or times
BLOCKS = 20  # of time
PARTS = (0.4, 0.7)  # where they begin; each is foreseen from the rows before it, and scored alone
BUNDLES = 20  # of groups or times, each left out once to tell how sure a difference is
TAIL = 0.01  # of numbers to predict; those beyond count as the last ones within
MIN_SKILL = 0.2  # of the random split: 0 = none, 1 = no error; one with less flatters nobody
MIN_DIFFERENCE = 0.15  # of skill
MIN_SIGMAS = 2  # besides


Scores = tuple[float, float, float, float]
# What a model says of the rows, and which of them are scored together; parts below 0 are not.
Said = tuple[np.ndarray, np.ndarray]


class Measured(NamedTuple):
    """What the cheap model reaches by a random split and by one of a column; how sure that is."""

    column: str
    by: str
    n_values: int
    apart: float
    at_random: float
    difference: float  # of skill, and its standard error
    error: float

    @property
    def tells(self) -> bool:
        """Say whether the difference is large, and no chance."""
        return self.difference >= max(MIN_DIFFERENCE, MIN_SIGMAS * self.error)


def find(sample: Any, data: Data, features: LookedAt, target: Target) -> Iterator[Finding]:
    """Say by which columns a split would tell another score, the one that tells most first.

    Nothing where a split is declared: it is the answer.
    """
    if data.split.by != "random":
        return
    measure = "R2" if target.classes is None else "AUC"
    told = [found for found in measured(sample, data, features, target) if found.tells]
    most = max((found.difference for found in told), default=0.0)
    # Of two that tell about the same, such as a patient and the hospital, the finer one decides.
    for one in sorted(told, key=lambda found: (found.difference < 0.8 * most, -found.n_values)):
        thing = one.column.lower().removesuffix("id").strip("_ -.") or one.column
        why = (
            "newer rows are not like older ones, between which a random split puts them"
            if one.by == "time"
            else f"rows of one {thing} are in both"
        )
        yield Finding(
            one.column,
            SPLIT,
            f"by {one.column} {one.apart:.2f}, at random {one.at_random:.2f} ({measure} of the "
            f"nearest rows): {why}{DECLARE}data.split (by: {one.by}, column: {one.column})",
            strength={"apart": one.apart, "at random": one.at_random},
        )


def measured(sample: Any, data: Data, features: LookedAt, target: Target) -> Iterator[Measured]:
    """Measure each column that rows may be divided by: ids that repeat, and dates."""
    divided = features.with_roles(_roles(sample, data))
    drawn: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, role in divided.roles.items():
        found = _dates(divided[name]) if role == "date" else _groups(divided[name])
        if found is not None and len(drawn) < MAX_COLUMNS:
            drawn[name] = found
    wanted = np.zeros(len(target.values), dtype=bool)
    for rows, _ in drawn.values():
        wanted[rows] = True
    if not wanted.any():
        return
    truth = target.values[wanted]
    table = _plain(features[name].at(wanted) for name in features if features.roles[name] != "text")
    if target.classes is None:
        truth = np.clip(truth, *np.quantile(truth, [TAIL, 1 - TAIL]))
    place = np.cumsum(wanted) - 1
    for name, (rows, values) in drawn.items():
        judge = _by_time if divided.roles[name] == "date" else _by_group
        y = truth[place[rows]]
        x = table[place[rows]]
        told = _weighted(x, values if judge is _by_group else _blocks(values))
        if not told.shape[1] or (target.classes is not None and not len(_scored(y, True))):
            continue
        scores = judge((told, _scaled(x)), values, y, target.classes is not None)
        if scores is not None:
            by = "time" if judge is _by_time else "group"
            yield Measured(name, by, len(np.unique(values)), *scores)


def _roles(sample: Any, data: Data) -> dict[str, str]:
    """Return the dates, and what may be an id: ignored, and no number that has limits."""
    roles = {}
    for name, column in data.columns.items():
        plain = column.min is None and column.max is None and not column.unique
        if name not in sample.columns or name == data.target:
            continue
        if column.dtype == "datetime":
            roles[name] = "date"
        elif column.role == "ignore" and column.dtype in ("string", "int") and plain:
            roles[name] = "categorical"
    return roles


def _groups(column: Feature) -> tuple[np.ndarray, np.ndarray] | None:
    """Draw whole groups, in all about MAX_ROWS rows; return the rows and their groups."""
    known = np.flatnonzero(~column.missing)
    codes = column.codes()[known]
    sizes = np.bincount(codes, minlength=1)
    groups = np.flatnonzero(sizes)
    if not MIN_GROUPS <= len(groups) <= (1 - MIN_REPEATS) * len(codes):
        return None
    random = np.random.default_rng(SEED)
    order = random.permutation(groups)
    n_taken = max(MIN_GROUPS, int((np.cumsum(sizes[order]) <= MAX_ROWS).sum()))
    rows = np.flatnonzero(np.isin(codes, order[:n_taken]))
    if len(rows) > MAX_ROWS:  # of few groups, and large ones
        rows = np.sort(random.choice(rows, MAX_ROWS, replace=False))
    return known[rows], np.unique(codes[rows], return_inverse=True)[1]


def _dates(column: Feature) -> tuple[np.ndarray, np.ndarray] | None:
    """Draw MAX_ROWS rows; return them and when they were."""
    known = np.flatnonzero(~column.missing)
    if len(known) > MAX_ROWS:
        random = np.random.default_rng(SEED)
        known = np.sort(random.choice(known, MAX_ROWS, replace=False))
    when = column.numbers[known] if column.numbers is not None else np.empty(0)
    return (known, when) if len(np.unique(when)) >= BLOCKS else None


def _blocks(when: np.ndarray) -> np.ndarray:
    return (pd.Series(when).rank(pct=True).to_numpy() * BLOCKS * 0.9999).astype(int)


def _plain(features: Iterable[Feature]) -> np.ndarray:
    """Return features as columns of numbers: ranks, and of categories whether they are there."""
    columns = []
    for feature in features:
        if feature.numbers is not None:
            ranks = pd.Series(np.where(feature.missing, np.nan, feature.numbers)).rank()
            columns.append(ranks.fillna(ranks.mean()).to_numpy())
        else:
            codes = feature.codes()
            values = np.unique(codes)
            if len(values) <= MAX_VALUES:
                columns += [(codes == value).astype(float) for value in values]
    return np.column_stack(columns) if columns else np.empty((0, 0))


def _scaled(table: np.ndarray) -> np.ndarray:
    spread = table.std(axis=0)
    used = spread > 1e-12
    return (table[:, used] - table[:, used].mean(axis=0)) / spread[used]


def _weighted(table: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Scale features by how they vary within groups; leave out those that do between them alike."""
    centred = table - table.mean(axis=0)
    total = (centred**2).sum(axis=0)
    sizes = np.bincount(groups).astype(float)
    sums = np.zeros((len(sizes), table.shape[1]))
    np.add.at(sums, groups, centred)
    between = (sums**2 / np.maximum(sizes, 1)[:, None]).sum(axis=0)
    n, n_groups = len(table), int((sizes > 0).sum())
    total = np.where(total > 0, total, 1.0)
    within = np.clip(1 - between / total, 0.001, 1) * (n - 1) / max(1, n - n_groups)
    chance = 3 * np.sqrt(2 / n_groups) * n_groups / n
    used = (1 - within > max(MIN_ALIKE, chance)) & (total > 1e-12)
    return centred[:, used] / np.sqrt(total * within / n)[used]


def _by_group(
    tables: Iterable[np.ndarray], groups: np.ndarray, y: np.ndarray, classes: bool
) -> Scores | None:
    one = np.zeros(len(y), dtype=int)
    apart, at_random = [], []
    for x in tables:
        distances = _distances(x)
        at_random.append((_foretold(distances, y, classes), one))
        distances[groups[:, None] == groups[None, :]] = np.inf
        apart.append((_foretold(distances, y, classes), one))
    return _compared(apart, at_random, y, classes, groups % BUNDLES)


def _by_time(
    tables: Iterable[np.ndarray], when: np.ndarray, y: np.ndarray, classes: bool
) -> Scores | None:
    """Foresee newer rows from all older ones, and any rows from as many of any time."""
    starts = np.unique(np.sort(when)[[int(part * len(when)) for part in PARTS]])
    part = np.searchsorted(starts, when, side="right") - 1
    if (part < 0).sum() < 2 * NEAREST:
        return None
    some = np.random.default_rng(SEED).random(len(when)) < np.mean(PARTS)
    apart, at_random = [], []
    for x in tables:
        distances = _distances(x)
        older = np.where(part[:, None] > part[None, :], distances, np.inf)
        apart.append((_foretold(older, y, classes), part))
        distances[:, ~some] = np.inf
        at_random.append((_foretold(distances, y, classes), 0 * part))
    return _compared(apart, at_random, y, classes, _blocks(when))


def _distances(x: np.ndarray) -> np.ndarray:
    """Return how far rows are from each other, from themselves infinitely."""
    squares = (x**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * x @ x.T, 0.0)
    np.fill_diagonal(distances, np.inf)
    return distances


def _scored(y: np.ndarray, classes: bool) -> np.ndarray:
    """Return the classes that are scored, none for numbers."""
    if not classes:
        return np.empty(0)
    values, sizes = np.unique(y, return_counts=True)
    fit = (sizes >= MIN_OF_CLASS) & (len(y) - sizes >= MIN_OF_CLASS)
    order = np.argsort(-sizes, kind="stable")
    return values[order[fit[order]]][:MAX_CLASSES]


def _foretold(distances: np.ndarray, y: np.ndarray, classes: bool) -> np.ndarray:
    """Return what the nearest rows say, the nearer the louder: a number, or shares of classes."""
    near = distances.argpartition(NEAREST, axis=1)[:, :NEAREST]
    far = np.take_along_axis(distances, near, axis=1)
    scale = np.where(np.isfinite(far), far, 0).max(axis=1, keepdims=True)
    weights = np.where(np.isfinite(far), 1 / (far / np.where(scale > 0, scale, 1) + 0.1), 0)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    said = y[near]
    if not classes:
        return (weights * said).sum(axis=1)[:, None]
    return np.column_stack([(weights * (said == value)).sum(axis=1) for value in _scored(y, True)])


def _compared(
    apart: list[Said],
    at_random: list[Said],
    y: np.ndarray,
    classes: bool,
    bundles: np.ndarray,
) -> Scores | None:
    """Return both scores, the difference of skill, and its error (jackknife over bundles).

    Of several models the best counts on either side.
    """
    values = _scored(y, classes)

    def of_part(said: np.ndarray, rows: np.ndarray) -> float:
        if not classes:
            spread = float(y[rows].var()) if rows.any() else 0.0
            return 1 - float(((said[rows, 0] - y[rows]) ** 2).mean()) / spread if spread else 0.0
        each = []
        for place, value in enumerate(values):
            positive = y[rows] == value
            if MIN_OF_PART <= positive.sum() <= len(positive) - MIN_OF_PART:
                each.append(auc_of(said[rows, place], positive))
        return float(np.mean(each)) if each else 0.5

    def score(model: Said, rows: np.ndarray) -> float:
        said, parts = model
        each = [of_part(said, rows & (parts == part)) for part in range(parts.max() + 1)]
        return float(np.mean(each))

    def skill(scored: float) -> float:
        return max(0.0, 2 * scored - 1 if classes else scored)  # worse than none is none

    rows = np.ones(len(y), dtype=bool)
    one, other = (
        max(models, key=lambda model: score(model, rows)) for models in (apart, at_random)
    )

    def difference(rows: np.ndarray) -> float:
        return skill(score(other, rows)) - skill(score(one, rows))

    if skill(score(other, rows)) < MIN_SKILL:
        return None
    without = np.array([difference(bundles != bundle) for bundle in np.unique(bundles)])
    error = np.sqrt((len(without) - 1) * without.var()) if len(without) > 1 else np.inf
    return score(one, rows), score(other, rows), difference(rows), float(error)
