#!/usr/bin/env python
"""Drop duplicates, fill missing text, join text columns; log the table as an artifact.

Step 2 of 6. Reads the raw table, parquet or CSV; writes the artifact `--artifact_name`. Only what
training needs and new data do not: all that a request needs too belongs in the inference pipeline.
Which columns are text, and which are joined, says the dataset file, not this code.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd

from util_lib import cli, dataset, tables, tracking, validation
from util_lib.dataset import Data
from util_lib.errors import UserError
from util_lib.project import resolve_path

logger = logging.getLogger("preprocess")


def check_columns(frame: pd.DataFrame, data: Data) -> None:
    """Raise `UserError` for a declared column that the table does not have."""
    columns = list(map(str, frame.columns))
    for name in data.columns:
        if name not in columns:
            near = validation.nearest(name, [c for c in columns if c not in data.columns])
            raise UserError(
                f"column {name!r} is declared and the table does not have it"
                + (f"; the nearest is {near!r}" if near else "")
                + f"; it has {', '.join(columns)}"
            )
    if data.text_feature and data.text_feature.name in columns:
        raise UserError(
            f"text_feature.name {data.text_feature.name!r} is a column of the table already: "
            "choose another name"
        )


def drop_duplicates(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `frame` without repetitions, the first of each kept, counted from 0."""
    try:
        return frame.drop_duplicates(ignore_index=True)
    except TypeError:
        nested = [
            name
            for name, column in frame.items()
            if column.map(
                lambda value: isinstance(value, list | dict) or hasattr(value, "shape")
            ).any()
        ]
        raise UserError(
            f"column {nested[0]!r} holds lists or records: expected one value in each cell"
            if nested
            else "rows cannot be compared: expected one value in each cell"
        ) from None


def fill_missing_text(frame: pd.DataFrame, data: Data) -> pd.DataFrame:
    """Return `frame` with '' for missing values in the columns of role text.

    A column that holds something else than text is left as it is: `check_data` will say so.
    """
    filled = {}
    for name, column in data.columns.items():
        if column.role != "text":
            continue
        if frame[name].isna().all():
            filled[name] = pd.Series("", index=frame.index, dtype="str")
        elif pd.api.types.is_string_dtype(frame[name].dropna()):
            filled[name] = frame[name].fillna("")
    return frame.assign(**filled)


def add_text_feature(frame: pd.DataFrame, data: Data) -> pd.DataFrame:
    """Return `frame` with one more column: the configured ones joined with one space."""
    if data.text_feature is None:
        return frame
    joined = None
    for name in data.text_feature.columns:
        column = frame[name].astype("str").fillna("")
        joined = column if joined is None else joined + " " + column
    return frame.assign(**{data.text_feature.name: joined})


def preprocess(frame: pd.DataFrame, data: Data) -> pd.DataFrame:
    """Return `frame` cleaned as `data` declares; its columns keep their order and types."""
    check_columns(frame, data)
    frame = frame.reset_index(drop=True)
    if data.drop_duplicates:
        n_rows = len(frame)
        frame = drop_duplicates(frame)
        logger.info("dropped %s duplicates of %s rows", f"{n_rows - len(frame):,}", f"{n_rows:,}")
    return add_text_feature(fill_missing_text(frame, data), data)


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
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the step; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    data = dataset.load(resolve_path(args.dataset_config))
    with (
        tracking.init(job_type="preprocess", config=vars(args)) as run,
        tempfile.TemporaryDirectory() as tmp,
    ):
        source = run.use_artifact(args.input_artifact)
        texts = [name for name, column in data.columns.items() if column.dtype == "string"]
        frame = preprocess(tables.read(source.file(tmp), text_columns=texts), data)
        name = args.artifact_name
        path = Path(
            tmp, "out", name if Path(name).suffix in (".csv", ".parquet") else f"{name}.parquet"
        )
        path.parent.mkdir()
        tables.write(frame, path)
        artifact = tracking.Artifact(
            name,
            type=args.artifact_type,
            description=args.artifact_description,
            metadata={"rows": len(frame), "columns": len(frame.columns)},
        )
        artifact.add_file(str(path))
        logged = run.log_artifact(artifact)
        logged.wait()
        logger.info(
            "logged %s: %s rows, %d columns", logged.name, f"{len(frame):,}", len(frame.columns)
        )


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
