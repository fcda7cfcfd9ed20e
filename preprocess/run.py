#!/usr/bin/env python
"""Clean the raw table as its dataset file declares; log it as an artifact.

Step 2 of 6. Reads the raw table, parquet or CSV; writes the artifact `--artifact_name`, and with
`reference_half` also `reference_data.parquet`. Only what training needs and new data do not: all
that a request needs too belongs in the inference pipeline. The rules: `util_lib.tables.cleaning`.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

import numpy as np
import pandas as pd

from preprocess import in_batches, partitioned
from util_lib import cli, tracking
from util_lib.dataset import declaration, repeats
from util_lib.dataset.declaration import Data
from util_lib.errors import UserError
from util_lib.processes import tasks
from util_lib.project import resolve_path
from util_lib.tables import cleaning, large, reading

logger = logging.getLogger("preprocess")

REFERENCE = "reference_data.parquet"  # the half that data.reference_half sets aside


def halves(
    frame: pd.DataFrame, seed: int, labels: pd.Series | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return two halves of the rows, drawn at random, each in the order of `frame`.

    `labels`, one for each row, keep their shares in both, within one row each; missing ones are a
    class of their own. The first half has the odd row.
    """
    if len(frame) < 2:
        raise UserError(f"reference_half needs at least 2 rows, found {len(frame)}")
    order = np.random.default_rng(seed).permutation(len(frame))
    if labels is not None:
        codes = pd.factorize(labels)[0]
        order = order[np.argsort(codes[order], kind="stable")]
    return frame.iloc[np.sort(order[::2])], frame.iloc[np.sort(order[1::2])]


def labels_of(frame: pd.DataFrame, data: Data) -> pd.Series | None:
    """Return the raw column that `data.stratify` names, None where there is none to stratify by."""
    if data.stratify is None:
        return None
    in_file = {new: old for old, new in data.clean.rename.items()}
    name = in_file.get(data.stratify, data.stratify)
    if name not in frame.columns:
        logger.warning("%s is no column of the raw table: its halves are not stratified", name)
        return None
    return frame[name]


def file_of(name: str, tmp: str) -> Path:
    """Return where the table of the artifact `name` is written."""
    suffix = "" if Path(name).suffix in (".csv", ".parquet") else ".parquet"
    path = Path(tmp, "out", f"{name}{suffix}")
    path.parent.mkdir(exist_ok=True)
    return path


def log_table(
    run: Any, path: Path, shape: tuple[int, int], name: str, kind: str, text: str, share: float = 0
) -> None:
    """Log a table, of `shape`, as the artifact `name`, of type `kind` and description `text`.

    `share` of its rows were dropped as repeats of others, which check_data judges.
    """
    metadata: dict[str, float] = {"rows": shape[0], "columns": shape[1]}
    if share:
        metadata[repeats.SHARE] = round(share, 6)
    if share > repeats.WORTH_A_LINE:
        run.summary[repeats.SHARE] = round(share, 4)
    logged = tracking.log_file(run, path, name, kind, text, metadata)
    if logged.metadata.get(repeats.SHARE) != metadata.get(repeats.SHARE):
        logged.metadata = metadata  # the same rows came out of another table
        logged.save()
    logger.info("logged %s: %s rows, %d columns", logged.name, f"{shape[0]:,}", shape[1])


def build_parser() -> argparse.ArgumentParser:
    """Name the step's inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--input_artifact",
        type=cli.artifact_reference,
        required=True,
        help="the raw table, e.g. raw_data.parquet:latest",
    )
    parser.add_argument(
        "--artifact_name",
        type=cli.artifact_name,
        required=True,
        help="e.g. preprocessed_data.parquet; a name ending in .csv writes CSV",
    )
    parser.add_argument(
        "--artifact_type",
        type=cli.artifact_type,
        default="preprocessed_data",
        help="groups artifacts",
    )
    parser.add_argument(
        "--artifact_description",
        default="Preprocessed data: duplicates dropped, missing text filled",
        help="one sentence",
    )
    parser.add_argument(
        "--dataset_config",
        default="conf/dataset/songs_demo.yaml",
        help="YAML file that declares the columns; relative to the project root",
    )
    parser.add_argument(
        "--random_state",
        type=cli.seed,
        default="42",
        help="seeds the draw of the rows set aside where the dataset says reference_half",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the step; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    data = declaration.load(resolve_path(args.dataset_config))
    with (
        tracking.init_reader(job_type="preprocess", config=vars(args)) as run,
        tempfile.TemporaryDirectory() as tmp,
    ):
        raw = run.use_artifact(args.input_artifact)
        path = Path(reading.fetch(raw, Path(tmp, "raw"), several="n_files" in raw.metadata))
        name, kind, text = args.artifact_name, args.artifact_type, args.artifact_description
        target = file_of(name, tmp)
        for file in reading.files_of(path):
            reading.check_file(file)
        if large.is_large(in_batches.n_rows_of(path, data), data.large_rows):
            if data.reference_half:
                raise UserError(
                    f"reference_half needs the whole table in memory, and it has more than "
                    f"large_rows ({data.large_rows:,}) rows: raise data.large_rows, or set "
                    "data.reference_half to false"
                )
            partitioned.refuse(data)
            workers = tasks.from_environment() if path.is_dir() else None
            with tasks.team(workers, [Path(tmp)]) as each:
                shape, share = in_batches.clean(path, data, target, Path(tmp), each)
            log_table(run, target, shape, name, kind, text, share)
            return
        frame = partitioned.select(cleaning.read(path, data), data)
        reference = None
        if data.reference_half:
            frame, other = halves(frame, args.random_state, labels_of(frame, data))
            logger.info("reference_half: %s rows are set aside", f"{len(other):,}")
            reference = cleaning.clean(other, data)
        frame, share = cleaning.clean_and_count(frame, data)
        frame = partitioned.at_the_end(frame)
        reading.write(frame, target)
        log_table(run, target, frame.shape, name, kind, text, share)
        if reference is not None:
            target = file_of(REFERENCE, tmp)
            reading.write(reference, target)
            text = "The half of the data set aside"
            log_table(run, target, reference.shape, REFERENCE, kind, text)


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
