"""How often `describe` proposes the right split: by group, by time, or none (docs/datasets.md).

Made tables of eight kinds, in all of which an id repeats or rows have dates: rows that belong
together, or a target that walks, and tables in which the id and the date say nothing. Prints a line
for each kind: what is right, how often it was proposed, and how often another split was.

    python benchmarks/split_proposals.py [--tables 200] [--seed 0]
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd

from tools.describe import draft, table_files
from tools.describe.draft import Source

Random = np.random.Generator


def people(random: Random) -> tuple[np.ndarray, np.ndarray]:
    """Return whose rows there are: 12 to 400 people with 2 to 40 rows each; and a level of each."""
    n_people = int(random.integers(12, 400))
    mean = float(random.uniform(2, min(40, 3_000 / n_people) + 2))
    who = np.repeat(np.arange(n_people), random.poisson(mean, n_people) + 1)
    return random.permutation(who), random.normal(size=n_people)


def features(random: Random, n: int, n_columns: int | None = None) -> dict[str, np.ndarray]:
    """Return columns that are another in every row."""
    n_columns = int(random.integers(1, 7)) if n_columns is None else n_columns
    return {f"x{i}": random.normal(size=n).round(3) for i in range(n_columns)}


def target(random: Random, score: np.ndarray) -> np.ndarray:
    """Return a number to predict, or classes: two, rare ones, or several."""
    kind = random.integers(4)
    if kind == 0:
        return score.round(3)
    cuts = np.quantile(score, [[0.5], [0.85], [0.3, 0.7]][kind - 1])
    return np.array(["low", "mid", "high"])[np.searchsorted(cuts, score)]


def ids(random: Random, who: np.ndarray) -> dict[str, np.ndarray]:
    """Return an id as text or as a number, under one of the usual names."""
    name = random.choice(["patient_id", "customer_id", "userId", "house_id", "id"])
    numbers = random.permutation(10 * (who.max() + 1))[who] + 1_000
    return {name: numbers if random.random() < 0.5 else np.array([f"K{v:05}" for v in numbers])}


def dates(random: Random, n: int) -> np.ndarray:
    """Return days of one to four years, in no order."""
    days = random.integers(0, int(random.integers(365, 1_500)), n)
    return pd.Timestamp("2021-01-01") + pd.to_timedelta(days, unit="D")


def size(random: Random) -> int:
    """Return a number of rows."""
    return int(random.integers(200, 3_000))


def alike(random: Random) -> dict[str, np.ndarray]:
    """Rows of one person measure about the same; what is predicted is the person's."""
    who, level = people(random)
    n_alike = int(random.integers(2, 6))
    of_person = random.normal(size=(len(level), n_alike))[who]
    measured = of_person + random.uniform(0.05, 0.3) * random.normal(size=of_person.shape)
    return (
        ids(random, who)
        | {f"m{i}": measured[:, i].round(3) for i in range(n_alike)}
        | features(random, len(who), int(random.integers(0, 3)))
        | {"y": target(random, level[who] + random.uniform(0, 0.3) * random.normal(size=len(who)))}
    )


def constant(random: Random) -> dict[str, np.ndarray]:
    """What is known of a person, such as sex and age, is the same in each row; so is what comes."""
    who, level = people(random)
    n = len(level)
    of_person = {
        "age": random.integers(18, 90, n),
        "height": random.normal(170, 9, n).round(1),
        "sex": random.choice(["f", "m"], n),
    }
    score = 0.3 * (of_person["age"] - 54) / 20 + level
    return (
        ids(random, who)
        | {name: values[who] for name, values in of_person.items()}
        | features(random, len(who))
        | {"y": target(random, score[who] + random.uniform(0, 0.5) * random.normal(size=len(who)))}
    )


def walks(random: Random) -> dict[str, np.ndarray]:
    """A target that walks from day to day or from week to week."""
    n_steps = int(random.integers(40, 400))
    n = max(n_steps * 2, size(random))
    step = np.sort(random.integers(0, n_steps, n))
    level = np.cumsum(random.normal(size=n_steps))
    level = (level / level.std())[step]
    known = features(random, n)
    score = level + random.uniform(0, 0.5) * sum(known.values()) / np.sqrt(len(known))
    noise = random.uniform(0.1, 0.4) * random.normal(size=n)
    days = int(random.choice([1, 7])) * step
    when = pd.Timestamp("2019-01-01") + pd.to_timedelta(days, unit="D")
    return {"date": when, **known, "y": target(random, score + noise)}


def trends(random: Random) -> dict[str, np.ndarray]:
    """A target that rises or falls with time, a level that no older row has."""
    n = size(random)
    when = dates(random, n)
    share = ((when - when.min()) / (when.max() - when.min())).to_numpy()
    known = features(random, n)
    score = random.choice([-1, 1]) * random.uniform(3, 6) * share
    score = score + random.uniform(0, 0.5) * sum(known.values()) / np.sqrt(len(known))
    return {"sold": when, **known, "y": target(random, score + 0.5 * random.normal(size=n))}


def till(random: Random) -> dict[str, np.ndarray]:
    """An id that says nothing: which of the tills a purchase was paid at."""
    who, _ = people(random)
    known = features(random, len(who))
    score = sum(known.values()) + random.uniform(0.2, 1) * random.normal(size=len(who))
    return ids(random, who) | known | {"y": target(random, score)}


def visits(random: Random) -> dict[str, np.ndarray]:
    """Rows of one person are alike, and what is predicted is of the visit."""
    who, _ = people(random)
    n_people = who.max() + 1
    of_person = {
        "age": random.integers(18, 90, n_people),
        "sex": random.choice(["f", "m"], n_people),
    }
    known = features(random, len(who))
    score = sum(known.values()) + random.uniform(0.2, 1) * random.normal(size=len(who))
    alike = {name: values[who] for name, values in of_person.items()}
    return ids(random, who) | alike | known | {"y": target(random, score)}


def dated(random: Random) -> dict[str, np.ndarray]:
    """A date that says nothing: what is predicted depends on the other columns alone."""
    n = size(random)
    known = features(random, n)
    score = sum(known.values()) + random.uniform(0.2, 1) * random.normal(size=n)
    return {"when": dates(random, n), **known, "y": target(random, score)}


def both(random: Random) -> dict[str, np.ndarray]:
    """An id and a date, neither of which says anything, in rows that tell nothing or something."""
    who, _ = people(random)
    known = features(random, len(who))
    score = random.choice([0, 1]) * sum(known.values()) + random.normal(size=len(who))
    return (
        ids(random, who)
        | {"day": dates(random, len(who))}
        | known
        | {"shop": random.choice(["north", "south", "west"], len(who)), "y": target(random, score)}
    )


KINDS: dict[str, tuple[Callable[[Random], dict[str, np.ndarray]], str]] = {
    "rows of one person are alike": (alike, "group"),
    "a person's age and sex, and outcome": (constant, "group"),
    "a target that walks": (walks, "time"),
    "a target that rises": (trends, "time"),
    "an id that says nothing": (till, "random"),
    "alike people, outcome of the visit": (visits, "random"),
    "a date that says nothing": (dated, "random"),
    "id and date that say nothing": (both, "random"),
}


def made(number: int, seed: int) -> tuple[str, pd.DataFrame, str]:
    """Return the kind of a table, the table, and the split that is right.

    Half of the tables have one more column that says nothing: an id that repeats, or a date.
    """
    kind = list(KINDS)[number % len(KINDS)]
    make, right = KINDS[kind]
    random = np.random.default_rng([seed, number])
    table = pd.DataFrame(make(random))
    if random.random() < 0.5:
        clerk = np.array([f"c{v}" for v in random.integers(100, 100 + len(table) // 8, len(table))])
        more = {"clerk_id": clerk, "entered": dates(random, len(table))}
        name = "entered" if right == "group" else "clerk_id"
        table.insert(0, name, more[name])
    return kind, table, right


def proposed(table: pd.DataFrame, folder: Path) -> str:
    """Return the split that the draft of a table says."""
    path = folder / "table.csv"
    table.to_csv(path, index=False)
    source = Source(str(path), path.name, "0" * 64)
    return draft.make(table_files.read(path), source, "table", "y").data.split.by


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    counts: dict[str, Counter] = {kind: Counter() for kind in KINDS}
    began = time.process_time()
    with tempfile.TemporaryDirectory() as tmp:
        for number in range(args.tables):
            kind, table, right = made(number, args.seed)
            found = proposed(table, Path(tmp))
            counts[kind]["right" if found == right else f"wrong: {found}"] += 1
    seconds = (time.process_time() - began) / args.tables
    print("| made so | right is | tables | proposed | another split |\n|---|---|---|---|---|")
    for kind, count in counts.items():
        other = sum(count[f"wrong: {by}"] for by in ("group", "time"))
        print(f"| {kind} | {KINDS[kind][1]} | {count.total()} | {count['right']} | {other} |")
    right = sum(count["right"] for count in counts.values())
    false = sum(count["wrong: group"] + count["wrong: time"] for count in counts.values())
    of = args.tables
    print(f"\nright: {right} of {of} ({right / of:.1%}), false: {false} ({false / of:.1%})")
    print(f"{seconds:.2f} CPU s for the draft of a table")


if __name__ == "__main__":
    main()
