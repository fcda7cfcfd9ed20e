#!/usr/bin/env python
"""Split a table into training rows and test rows; log both as artifacts.

Step 4 of 6. Reads a table, parquet or CSV; writes `<root>_train<suffix>` and `<root>_test<suffix>`.
The rows and their order are those of scikit-learn's train_test_split on the whole table. Only the
column to stratify by is looked into; no value is changed or given another type.
"""

import argparse
import csv
import json
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.model_selection import train_test_split

from util_lib import cli, tracking, validation
from util_lib.errors import UserError
from util_lib.tables import reading

logger = logging.getLogger("segregate")


def read_labels(path: Path, name: str) -> list[Any]:
    """Return one column of a table; None stands for a missing value."""
    names, _ = reading.shape(path)
    if name not in names:
        raise UserError(f"stratify: {validation.choose('column', name, names)}")
    if reading.is_parquet(path):
        labels = pq.read_table(path, columns=[name]).column(0).to_pylist()
        return [None if label != label else label for label in labels]
    position = names.index(name)
    return [row[position] or None for row in _csv_rows(path)]


def split(
    n_rows: int,
    test_size: float,
    seed: int,
    labels: list[Any] | None = None,
    column: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the training rows and of the test rows.

    `labels`, the values of `column`, keep their shares in both parts; None = a plain split.
    """
    rows = np.arange(n_rows)
    if labels is not None:
        _check_labels(labels, column)
        codes = {label: code for code, label in enumerate(sorted(set(labels), key=_sort_key))}
        labels = [codes[label] for label in labels]
    try:
        train, test = train_test_split(
            rows, test_size=test_size, random_state=seed, shuffle=True, stratify=labels
        )
    except ValueError as error:
        raise UserError(_why_not(n_rows, test_size, labels, column)) from error
    return train, test


def take(path: Path, rows: np.ndarray, target: Path) -> None:
    """Write the rows of the table at `path` with these numbers, in this order, to `target`."""
    if not reading.is_parquet(path):
        everything = list(_csv_rows(path))
        with target.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(reading.shape(path)[0])
            writer.writerows(everything[row] for row in rows)
        return
    table = _without_index(pq.read_table(path))
    pq.write_table(table.take(pa.array(rows)), target)


def _csv_rows(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        yield from (row for row in rows if row)


def _without_index(table: pa.Table) -> pa.Table:
    """Drop a row index that pandas wrote: where rows are sorted by target it gives the target away.

    https://pandas.pydata.org/docs/development/developer.html describes the metadata.
    """
    metadata = dict(table.schema.metadata or {})
    if b"pandas" not in metadata:
        return table
    described = json.loads(metadata[b"pandas"])
    nameless = [name for name in table.column_names if name.startswith("__index_level_")]
    described["index_columns"] = [
        name
        for name in described.get("index_columns", [])
        if isinstance(name, str) and name not in nameless
    ]
    described["columns"] = [c for c in described["columns"] if c["field_name"] not in nameless]
    metadata[b"pandas"] = json.dumps(described).encode()
    return table.drop_columns(nameless).replace_schema_metadata(metadata)


def _sort_key(label: Any) -> tuple[str, Any]:
    return (type(label).__name__, label)


def _check_labels(labels: list[Any], column: str | None) -> None:
    if n_missing := sum(label is None for label in labels):
        raise UserError(
            f"stratify column {column!r} must have a value in every row, {n_missing:,} of "
            f"{len(labels):,} rows have none"
        )
    rarest, count = min(Counter(labels).items(), key=lambda item: (item[1], str(item[0])))
    if count < 2:
        raise UserError(
            f"stratify column {column!r}: class {rarest!r} has {count} row and a stratified split "
            "needs at least 2 of each class: remove or merge the class, or set stratify to null"
        )


def _why_not(n_rows: int, test_size: float, labels: list[int] | None, column: str | None) -> str:
    n_test = int(np.ceil(test_size * n_rows))
    found = f"{n_rows:,} rows split into {n_rows - n_test:,} for training and {n_test:,} for test"
    if labels is None or min(n_test, n_rows - n_test) < 1:
        return f"{found} (test_size {test_size}): both need at least one"
    return (
        f"{found} (test_size {test_size}): both need at least one row for each of the "
        f"{len(set(labels))} classes of {column!r}"
    )


def build_parser() -> argparse.ArgumentParser:
    """Name the step's inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--input_artifact",
        type=cli.artifact_reference,
        required=True,
        help="the table, e.g. preprocessed_data.parquet:latest",
    )
    parser.add_argument(
        "--artifact_root",
        type=cli.artifact_name,
        required=True,
        help="data makes data_train.parquet and data_test.parquet; the suffix is the input's",
    )
    parser.add_argument(
        "--artifact_type",
        type=cli.artifact_type,
        default="segregated_data",
        help="groups artifacts",
    )
    parser.add_argument(
        "--test_size",
        type=cli.fraction,
        required=True,
        help="fraction of the rows kept for evaluate, in (0, 1)",
    )
    parser.add_argument("--random_state", type=cli.seed, required=True, help="seeds the split")
    parser.add_argument(
        "--stratify",
        type=cli.optional,
        required=True,
        help="column whose classes keep their shares in both parts, or null",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the step; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    with (
        tracking.init_reader(job_type="segregate", config=vars(args)) as run,
        tempfile.TemporaryDirectory() as tmp,
    ):
        source = run.use_artifact(args.input_artifact)
        path = Path(reading.fetch(source, tmp))
        _, n_rows = reading.shape(path)
        labels = read_labels(path, args.stratify) if args.stratify else None
        train, test = split(n_rows, args.test_size, args.random_state, labels, args.stratify)
        suffix = ".parquet" if reading.is_parquet(path) else ".csv"
        parts = {
            part: (rows, Path(tmp, "out", f"{args.artifact_root}_{part}{suffix}"))
            for part, rows in (("train", train), ("test", test))
        }
        for rows, target in parts.values():
            target.parent.mkdir(exist_ok=True)
            take(path, rows, target)
        for part, (rows, target) in parts.items():
            text = f"{part} split of dataset {args.input_artifact}"
            metadata = {"rows": len(rows), "dataset": source.source_name}
            logged = tracking.log_file(run, target, target.name, args.artifact_type, text, metadata)
            logger.info("logged %s: %s rows", logged.name, f"{len(rows):,}")


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
