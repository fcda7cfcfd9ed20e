#!/usr/bin/env python
"""Clean a raw table, add a map of its numbers by t-SNE and log both: a component of one's own.

Reads the raw table as its dataset file says; writes the artifact `--artifact_name` with two more
columns, tsne_1 and tsne_2, and the figure `kde`: where the classes of the target lie on that map.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

from util_lib import cli, tracking
from util_lib.dataset import declaration
from util_lib.errors import UserError
from util_lib.project import resolve_path
from util_lib.tables import cleaning, reading

logger = logging.getLogger("tsne")

PERPLEXITY = 30  # neighbours that each point minds, scikit-learn's default
CLASSES = 10  # more would have colours twice
GRID = 100  # points along each side of the map, for the densities


def add_map(frame: pd.DataFrame, names: list[str], seed: int) -> pd.DataFrame:
    """Return `frame` with tsne_1 and tsne_2, made of the columns `names`, scaled."""
    if not names:
        raise UserError("the dataset declares no numerical column: t-SNE needs one")
    for name in names:
        if frame[name].isna().any() or not pd.api.types.is_numeric_dtype(frame[name]):
            raise UserError(f"column {name!r} must hold a number in every row: t-SNE takes no gaps")
    if len(frame) <= PERPLEXITY:
        raise UserError(f"t-SNE needs more than {PERPLEXITY} rows, found {len(frame)}")
    scaled = StandardScaler().fit_transform(frame[names].astype("float64"))
    points = TSNE(n_components=2, perplexity=PERPLEXITY, random_state=seed).fit_transform(scaled)
    return frame.assign(tsne_1=points[:, 0], tsne_2=points[:, 1])


def kde(frame: pd.DataFrame, target: str) -> Figure:
    """Draw the map: a dot for each row, and lines of equal density for each class."""
    classes = sorted(frame[target].dropna().unique(), key=str)
    if len(classes) > CLASSES:
        raise UserError(
            f"target {target!r} has {len(classes)} classes: at most {CLASSES} are drawn"
        )
    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.add_subplot()
    sides = [
        np.linspace(frame[name].min() - 3, frame[name].max() + 3, GRID)
        for name in ("tsne_1", "tsne_2")
    ]
    grid = np.meshgrid(*sides)
    for number, label in enumerate(classes):
        points = frame.loc[frame[target] == label, ["tsne_1", "tsne_2"]].to_numpy().T
        colour = f"C{number}"
        axes.scatter(*points, s=10, color=colour, label=f"{target} {label}")
        if points.shape[1] > 2:  # fewer points have no area
            density = gaussian_kde(points)(np.vstack([side.ravel() for side in grid]))
            axes.contour(*grid, density.reshape(GRID, GRID), levels=5, colors=colour, alpha=0.6)
    axes.set_xlabel("tsne_1")
    axes.set_ylabel("tsne_2")
    axes.legend()
    return figure


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--input_artifact",
        type=cli.artifact_reference,
        required=True,
        help="the raw table, e.g. iris:latest",
    )
    parser.add_argument(
        "--artifact_name", type=cli.artifact_name, default="clean_data.csv", help="what to log"
    )
    parser.add_argument(
        "--artifact_type", type=cli.artifact_type, default="processed_data", help="groups artifacts"
    )
    parser.add_argument("--artifact_description", default="Cleaned data", help="one sentence")
    parser.add_argument(
        "--dataset_config",
        default="conf/dataset/iris.yaml",
        help="YAML file that declares the columns; relative to the project root",
    )
    parser.add_argument("--random_state", type=cli.seed, default="42", help="seeds t-SNE")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the component; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    data = declaration.load(resolve_path(args.dataset_config))
    with (
        tracking.init(job_type="process_data", config=vars(args)) as run,
        tempfile.TemporaryDirectory() as tmp,
    ):
        source = run.use_artifact(args.input_artifact)
        raw = cleaning.read(reading.fetch(source, tmp), data)
        numbers = [name for name, column in data.columns.items() if column.role == "numerical"]
        frame = add_map(cleaning.clean(raw, data), numbers, args.random_state)
        run.log({"kde": tracking.Image(kde(frame, data.target))})
        path = Path(tmp, "out", args.artifact_name)
        path.parent.mkdir()
        reading.write(frame, path)
        name, kind, text = args.artifact_name, args.artifact_type, args.artifact_description
        logged = tracking.log_file(run, path, name, kind, text)
        logger.info(
            "logged %s: %s rows, %d columns", logged.name, f"{len(frame):,}", frame.shape[1]
        )


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
