"""The two-sample Kolmogorov-Smirnov (KS) test of columns of any length, exact and in little memory.

The values of a side are kept as sorted runs, those beyond IN_MEMORY in a file. Both sides are then
gone through together, from the smallest value to the largest, as the last pass of a merge sort.
"""

import tempfile
import warnings
from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np

MOST_EXACT = 10_000  # rows up to which scipy's p-value is exact
RUN_VALUES = 2**21  # sorted at a time
IN_MEMORY = 2**23  # values of a side
BLOCK_VALUES = 2**15  # of a run, in memory while the sides are gone through


class Compared(NamedTuple):
    """The statistic and p-value of the two-sided test, and the medians of both sides."""

    statistic: float
    p: float
    medians: list[float]


class Sorted:
    """Numbers of one side, none of them NaN, added in any order and gone through in theirs."""

    def __init__(self, values: np.ndarray | None = None):
        """Begin with `values`, or with none."""
        self.n = 0
        self.runs: list[_Run] = []
        self._waiting: list[np.ndarray] = []
        self._file: IO[bytes] | None = None
        if values is not None:
            self.add(values)
            self.end()

    def add(self, values: np.ndarray) -> None:
        """Add some numbers; the last of them are known after `end`."""
        self._waiting.append(values)
        if sum(map(len, self._waiting)) >= RUN_VALUES:
            self.end()

    def end(self) -> None:
        """Make a run of what is waiting."""
        values = np.concatenate([*self._waiting, np.zeros(0)])
        self._waiting = []
        if not len(values):
            return
        values.sort()
        self.n += len(values)
        if self.n <= IN_MEMORY:
            self.runs.append(_Run(len(values), values))
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 # closed with the object
        start = self._file.seek(0, 2)
        self._file.write(values.tobytes())
        self.runs.append(_Run(len(values), self._file, start))

    def values(self) -> np.ndarray:
        """Return all of the numbers."""
        return np.concatenate([run.block(0, run.n) for run in self.runs])


class _Run(NamedTuple):
    n: int
    held: "np.ndarray | IO[bytes]"
    start: int = 0  # in a file

    def block(self, start: int, stop: int) -> np.ndarray:
        if isinstance(self.held, np.ndarray):
            return self.held[start:stop]
        self.held.seek(self.start + 8 * start)
        return np.frombuffer(self.held.read(8 * (stop - start)))


class _Cursor:
    """What is left of a run: a block of it, and where the next begins."""

    def __init__(self, run: _Run):
        self._run, self._next = run, 0
        self.block = np.zeros(0)

    def fill(self) -> bool:
        """Have a value; False at the end of the run."""
        if not len(self.block):
            start, self._next = self._next, min(self._next + BLOCK_VALUES, self._run.n)
            self.block = self._run.block(start, self._next)
        return len(self.block) > 0

    def take_below(self, edge: float) -> np.ndarray:
        """Return the values of the block below `edge`."""
        n = int(np.searchsorted(self.block, edge))
        taken, self.block = self.block[:n], self.block[n:]
        return taken

    def skip(self, edge: float) -> int:
        """Leave out the values that equal `edge`, which is the smallest; return their number."""
        n_equal = 0
        while self.fill():
            n = int(np.searchsorted(self.block, edge, "right"))
            self.block = self.block[n:]
            n_equal += n
            if len(self.block):
                break
        return n_equal


def compare(sample: Sorted, reference: Sorted) -> Compared:
    """Compare two sides as scipy's `ks_2samp` does, to the last digits; both have values."""
    from scipy import stats

    sides = (sample, reference)
    n, m = sample.n, reference.n
    if max(n, m) <= MOST_EXACT:
        with warnings.catch_warnings():
            # Where the exact p-value overflows, scipy says so and takes the asymptotic one.
            warnings.filterwarnings("ignore", "ks_2samp: Exact calculation", RuntimeWarning)
            ks = stats.ks_2samp(sample.values(), reference.values())
        medians = [float(np.median(side.values())) for side in sides]
        return Compared(float(ks.statistic), float(ks.pvalue), medians)
    statistic, medians = _gone_through(sides)
    p = stats.kstwo.sf(statistic, np.round(n * m / (n + m)))
    return Compared(statistic, float(np.clip(p, 0, 1)), medians)


def _gone_through(sides: tuple[Sorted, Sorted]) -> tuple[float, list[float]]:
    n, m = (side.n for side in sides)
    low = high = 0.0
    before = [0, 0]
    middles: list[list[float]] = [[], []]
    for below, edge, at_edge in _merged(sides):
        ours, theirs = below
        # The gap grows at the sample's values alone and falls at the reference's; of equal ones the
        # last has it whole.
        if len(ours):
            gaps = (before[0] + np.arange(1, len(ours) + 1)) / n
            gaps -= (before[1] + np.searchsorted(theirs, ours, "right")) / m
            high = max(high, gaps.max())
        if len(theirs):
            gaps = (before[0] + np.searchsorted(ours, theirs, "right")) / n
            gaps -= (before[1] + np.arange(1, len(theirs) + 1)) / m
            low = min(low, gaps.min())
        for which, side in enumerate(sides):
            values, first = below[which], before[which]
            before[which] += len(values) + at_edge[which]
            for place in ((side.n - 1) // 2, side.n // 2):
                if first <= place < before[which]:
                    inside = place - first < len(values)
                    middles[which].append(values[place - first] if inside else edge)
        gap = before[0] / n - before[1] / m
        low, high = min(low, gap), max(high, gap)
    with np.errstate(invalid="ignore"):  # infinities
        medians = [float(np.mean(middle)) for middle in middles]
    return float(min(max(-low, high), 1.0)), medians


def _merged(
    sides: tuple[Sorted, Sorted],
) -> Iterator[tuple[list[np.ndarray], float, list[int]]]:
    """Yield values in their order: of each side those below an edge, and how many are at it."""
    cursors = [[_Cursor(run) for run in side.runs] for side in sides]
    while live := [cursor for side in cursors for cursor in side if cursor.fill()]:
        edge = min(cursor.block[-1] for cursor in live)
        below = [np.concatenate([c.take_below(edge) for c in side]) for side in cursors]
        for values in below:
            values.sort()
        yield below, edge, [sum(cursor.skip(edge) for cursor in side) for side in cursors]
