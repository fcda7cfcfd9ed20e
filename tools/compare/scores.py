#!/usr/bin/env python
"""Measure two versions of a model on the same rows, and say how sure each difference is.

No step of the pipeline: `review` starts it. Reads `<folder>/before` and `<folder>/now`, each with
the folders `model` and `test`; writes `<folder>/scores.json`.
"""

import argparse
import json
import logging
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

import numpy as np
import pandas as pd

from util_lib import cli
from util_lib.errors import UserError
from util_lib.model import held_out, metric_names, metrics
from util_lib.model.config import Described, described
from util_lib.model.uncertainty import bootstrap
from util_lib.tables import reading, splitting

logger = logging.getLogger("scores")

ANSWERS = Path(__file__).with_name("answers.py")
SIDES = ("before", "now")


class Candidate(NamedTuple):
    """A model, what it says of itself, and the rows that were split off for it."""

    directory: Path
    about: Described
    split: splitting.Rule
    table: Path
    frame: pd.DataFrame

    @property
    def columns(self) -> list[str]:
        """The columns by which a row is known: features and target."""
        return [*self.about.features.names(), self.about.target]


def read(folder: Path) -> Candidate:
    """Read what lies in `model` and `test` of a folder."""
    from mlflow.models import Model

    directory = folder / "model"
    if not (directory / "MLmodel").is_file():
        raise UserError("the models are no MLflow models, as the steps here export them")
    metadata = Model.load(str(directory)).metadata or {}
    about = described(metadata, f"the model in {folder.name}")
    [table] = [path for path in (folder / "test").rglob("*") if path.is_file()]
    frame = reading.read_own(table, about.declaration.of_table(about.features, about.target))
    held_out.check_columns(frame, about.features.names(), about.target, about.task)
    split = splitting.Rule(**metadata.get("data", {}).get("split", {}))
    return Candidate(directory, about, split, table, frame.reset_index(drop=True))


def same_rows(before: Candidate, now: Candidate) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Return rows that neither model was trained on, as each of them takes them, and which.

    All test rows where both have the same ones, by their targets one after the other: features may
    be made in another way. Else those of both tables that neither model has seen.
    """
    if before.table.read_bytes() == now.table.read_bytes():
        return before.frame, now.frame, "all test rows"
    old, new = (side.frame[side.about.target] for side in (before, now))
    if len(old) == len(new) and np.array_equal(old.to_numpy(), new.to_numpy()):
        return before.frame, now.frame, "all test rows, paired by their place and target"
    columns = [*dict.fromkeys([*now.columns, *before.columns])]
    lacking = [name for name in columns for side in (before, now) if name not in side.frame.columns]
    if lacking:
        raise UserError(
            f"the test rows are not the same, and not both tables have the column {lacking[0]!r}"
        )
    left = [_unseen(side.frame, other) for side, other in ((now, before), (before, now))]
    known = held_out.hashes(left[0], columns)
    more = left[1][~np.isin(held_out.hashes(left[1], columns), known)]
    frame = pd.concat([left[0][columns], more[columns]], ignore_index=True)
    n_all = len(before.frame) + len(now.frame)
    if len(frame) < held_out.MIN_ROWS:
        raise UserError(
            f"the test rows are not the same, and of all {n_all:,} only {len(frame):,} were "
            f"trained on by neither model, where {held_out.MIN_ROWS} are needed"
        )
    return frame, frame, "the test rows of both that neither model was trained on"


def _unseen(frame: pd.DataFrame, other: Candidate) -> pd.DataFrame:
    digests = held_out.read_digests(other.directory)
    if digests is None:
        raise UserError(
            "the test rows are not the same, and a model keeps no digests of its training rows"
        )
    return frame[~held_out.seen(frame, digests, other.columns)]


def answers(
    side: Candidate, frame: pd.DataFrame, folder: Path
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the classes that a model knows, None of a regressor, and its answers."""
    rows, said = folder / "rows.pkl", folder / "answers.pkl"
    rows.write_bytes(pickle.dumps(frame[side.about.features.names()]))
    command = [sys.executable, "-I", str(ANSWERS), str(side.directory), str(rows), str(said)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise UserError(f"the model in {folder.name} gives no answers: {''.join(last)}")
    found: tuple[np.ndarray | None, np.ndarray] = pickle.loads(said.read_bytes())
    return found


def compare(folder: Path) -> dict[str, Any]:
    """Return rows and metrics: before, now, their difference and its interval, and what fell."""
    before, now = (read(folder / name) for name in SIDES)
    for what in ("task", "target"):
        old, new = getattr(before.about, what), getattr(now.about, what)
        if old != new:
            raise UserError(f"the {what} is another one: {old!r} -> {new!r}")
    *frames, chosen = same_rows(before, now)
    sides = zip(SIDES, (before, now), frames, strict=True)
    given = [answers(side, frame, folder / name) for name, side, frame in sides]
    truth = frames[1][now.about.target].to_numpy()
    groups = splitting.groups_of(frames[1], now.split)
    (old_classes, _), (new_classes, _) = given
    if old_classes is None or new_classes is None:
        said = [np.asarray(each, dtype=float) for _, each in given]
        scores = [metrics.regression_scores(truth, each, "test") for each in said]
        codes, by_class = truth.astype(float), False
    else:
        classes = np.union1d(old_classes, new_classes)
        said = [
            _spread(each, known, classes)
            for known, (_, each) in zip((old_classes, new_classes), given, strict=True)
        ]
        scores = [metrics.scores(truth, each, classes, "test") for each in said]
        codes, by_class = pd.Index(classes).get_indexer(truth), True
    found = {}
    for name in metric_names.of_task(now.about.task):
        old, new = (each[f"test_{name}"] for each in scores)
        low, high = bootstrap.interval(
            bootstrap.METRICS[name], codes, said[1], said[0], by_class, groups
        )
        fell = high < 0 if metric_names.GREATER_IS_BETTER[name] else low > 0
        found[name] = {"before": old, "now": new, "low": low, "high": high, "fell": fell}
    return {"rows": len(truth), "chosen": chosen, "metrics": found}


def _spread(said: np.ndarray, known: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return probabilities with a column for each of `classes`; of one not known it is 0."""
    spread = np.zeros((len(said), len(classes)))
    spread[:, np.searchsorted(classes, known)] = said
    return spread


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--folder", required=True, help="holds before and now, each with model and test"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Compare and write down what was found, or why not; `argv` defaults to the command line."""
    folder = Path(build_parser().parse_args(argv).folder)
    try:
        found = compare(folder)
    except UserError as error:
        found = {"why_not": str(error)}
    (folder / "scores.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for name, score in found.get("metrics", {}).items():
        logger.info("%s %.4f -> %.4f", name, score["before"], score["now"])


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
