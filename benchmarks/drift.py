"""What the drift checks catch and how often they cry wolf, measured on made tables.

First, the smallest change that is caught in 9 of 10 pairs of tables, by the number of rows:

    mean       a normal column moves by so many standard deviations
    share      of five categories with 20 % each, one gains so many points and another loses them
    null rate  10 % of a column are missing, and so many points more
    length     texts of 50 characters on average (Poisson) get so much longer, as a share

once with the thresholds of `data` and once with none (`min_effect` and `kl_threshold` 0): where
both agree, the number of rows rules; where they do not, the thresholds do. Then the share of
pairs of the same distribution in which any of 13 tests on 11 columns of all kinds raises an alarm.

    python benchmarks/drift.py [--rows 500 5000 50000 500000] [--pairs 500] [--ks_alpha 0.05]
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scipy import stats

from util_lib.checks import drift
from util_lib.dataset.declaration import Data

N_TESTS = 13  # of the table below; one column alone is held to the level that it has there
CAUGHT = 0.9
WORDS = np.array(["x" * length for length in range(400)], dtype=object)
NONE = {"min_effect": 0.0, "kl_threshold": 0.0}

Draw = Callable[[np.random.Generator, int, float], pd.DataFrame]


def declare(columns: dict[str, tuple[str, str]], **keys: float) -> Data:
    """Return a declaration of nullable columns, `{name: (dtype, role)}`, and a target `kind`."""
    declared = {
        name: {"dtype": dtype, "role": role, "nullable": role != "target"}
        for name, (dtype, role) in {**columns, "kind": ("string", "target")}.items()
    }
    return Data(file_url="made.parquet", target="kind", columns=declared, **keys)


def mixed(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Return a table of `n` rows with columns of every kind, as COLUMNS declares them."""
    start = pd.Timestamp("2026-01-01")
    return pd.DataFrame(
        {
            "normal": rng.normal(size=n),
            "skewed": rng.lognormal(size=n),
            "count": rng.poisson(3, n),
            "flag": rng.random(n) < 0.03,
            "colour": rng.choice(list("abcde"), n, p=[0.5, 0.3, 0.15, 0.04, 0.01]),
            "city": np.minimum(rng.zipf(1.3, n), 5000).astype(str),  # up to 5,000, most are rare
            "rank": rng.integers(0, 12, n),
            "gaps": np.where(rng.random(n) < 0.02, np.nan, rng.random(n)),
            "when": start + pd.to_timedelta(rng.integers(0, 10**7, n), unit="s"),
            "note": pd.Series(WORDS[rng.poisson(20, n)]).where(rng.random(n) > 0.3),
            "kind": rng.choice(list("xyz"), n, p=[0.9, 0.07, 0.03]),
        }
    )


COLUMNS = {
    "normal": ("float", "numerical"),
    "skewed": ("float", "numerical"),
    "count": ("int", "numerical"),
    "flag": ("bool", "categorical"),
    "colour": ("string", "categorical"),
    "city": ("string", "categorical"),
    "rank": ("int", "categorical"),
    "gaps": ("float", "numerical"),
    "when": ("datetime", "date"),
    "note": ("string", "text"),
}


def share_of_alarms(n: int, pairs: int, ks_alpha: float, **keys: float) -> tuple[int, int]:
    """Return in how many pairs of mixed tables there was an alarm, and the most tests of one."""
    data, rng = declare(COLUMNS, **keys), np.random.default_rng(n)
    alarms = n_tests = 0
    for _ in range(pairs):
        found = drift.compare(mixed(rng, n), mixed(rng, n), data, ks_alpha)
        alarms += any(comparison.drifted for comparison in found)
        n_tests = max(n_tests, len(found))
    return alarms, n_tests


def means(rng: np.random.Generator, n: int, shift: float) -> pd.Series:
    """Return normal numbers around `shift`."""
    return pd.Series(rng.normal(shift, 1, n))


def shares(rng: np.random.Generator, n: int, shift: float) -> pd.Series:
    """Return five categories; the first has gained `shift`, the second has lost it."""
    return pd.Series(rng.choice(list("abcde"), n, p=[0.2 + shift, 0.2 - shift, 0.2, 0.2, 0.2]))


def nulls(rng: np.random.Generator, n: int, shift: float) -> pd.Series:
    """Return numbers of which a tenth and `shift` are missing."""
    return pd.Series(np.where(rng.random(n) < 0.1 + shift, np.nan, rng.random(n)))


def texts(rng: np.random.Generator, n: int, shift: float) -> pd.Series:
    """Return texts whose mean length has grown by the share `shift`."""
    return pd.Series(WORDS[np.minimum(rng.poisson(50 * (1 + shift), n), len(WORDS) - 1)])


CHANGES = {
    "mean": (means, ("float", "numerical"), 1.0),
    "share": (shares, ("string", "categorical"), 0.2),
    "null rate": (nulls, ("float", "numerical"), 0.5),
    "length": (texts, ("string", "text"), 1.0),
}


def smallest(change: str, n: int, ks_alpha: float, **keys: float) -> float:
    """Return the smallest shift that is caught in CAUGHT of the pairs, to 2 %."""
    draw, declared, high = CHANGES[change]
    data = declare({"column": declared}, **keys)
    n_tests = 2 if change == "null rate" else 1  # its values are tested too
    level = 1 - (1 - drift.sidak(ks_alpha, N_TESTS)) ** n_tests
    pairs = 40 if n < 100_000 else 10

    def caught(shift: float) -> bool:
        rng = np.random.default_rng(0)
        n_caught = 0
        for _ in range(pairs):
            one, other = draw(rng, n, shift), draw(rng, n, 0)
            found = drift.compare(
                pd.DataFrame({"column": one}), pd.DataFrame({"column": other}), data, level
            )
            n_caught += any(comparison.drifted for comparison in found)
        return n_caught >= CAUGHT * pairs

    low = 0.0
    while high - low > 0.02 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if caught(middle) else (middle, high)
    return high


def build_parser() -> argparse.ArgumentParser:
    """Name the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[500, 5_000, 50_000, 500_000])
    parser.add_argument("--pairs", type=int, default=500, help="of tables without drift")
    parser.add_argument("--ks_alpha", type=float, default=0.05)
    return parser


def main() -> None:
    """Print both tables."""
    args = build_parser().parse_args()
    print(f"smallest change caught, thresholds of `data` (in brackets: none)\n{'rows':>9}", end="")
    print("".join(f"{change:>20}" for change in CHANGES))
    for n in args.rows:
        print(f"{n:>9,}", end="", flush=True)
        for change in CHANGES:
            both = [smallest(change, n, args.ks_alpha, **keys) for keys in ({}, NONE)]
            print(f"{both[0]:>11.3f} ({both[1]:.3f})", end="", flush=True)
        print()
    low, high = stats.binom.interval(0.99, args.pairs, args.ks_alpha)
    print(f"\nfalse alarms in {args.pairs} pairs (99 % of the time {low:.0f} to {high:.0f})")
    for n in args.rows:
        pairs = args.pairs if n < 10_000 else args.pairs // 10
        for which, keys in (("thresholds of `data`", {}), ("none", NONE)):
            alarms, n_tests = share_of_alarms(n, pairs, args.ks_alpha, **keys)
            print(f"{n:>9,} rows, {which}: {alarms} of {pairs} pairs ({n_tests} tests)", flush=True)


if __name__ == "__main__":
    main()
