#!/usr/bin/env python
"""Split a table into training rows and test rows; log both as artifacts.

Step 4 of 6. Reads a table, parquet or CSV; writes `<root>_train<suffix>` and `<root>_test<suffix>`.
The rows and their order are those of scikit-learn's train_test_split on the whole table; above
`large_rows` those of `util_lib.tables.drawing`, in the order of the table, in batches; by group or
time those of `util_lib.tables.splitting`; with `--test newest_partition` those of one partition.
Only the columns to divide and stratify by are looked into; no value is changed.
"""

import argparse
import csv
import json
import logging
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from util_lib import cli, partitions, tracking, validation
from util_lib.errors import UserError
from util_lib.tables import drawing, large, parquet_files, reading, splitting

logger = logging.getLogger("segregate")

PARTS = ("train", "test")
PIECE_ROWS = 2**17


class Labels(NamedTuple):
    """The classes of a column, in the order of their values, and which of them each row has."""

    column: str
    values: list[Any]
    codes: np.ndarray


def read_labels(path: Path, name: str) -> Labels:
    """Return one column of a table; None stands for a missing value."""
    names, _ = reading.shape(path)
    if name not in names:
        raise UserError(f"stratify: {validation.choose('column', name, names)}")
    values, codes = drawing.codes_of(_values(path, names.index(name)))
    _check_sizes(dict(zip(values, drawing.sizes(codes).tolist(), strict=True)), name)
    return Labels(name, values, codes)


def _values(path: Path, position: int) -> Iterator[pa.Array]:
    """Yield the values of a column, some rows at a time."""
    if not reading.is_parquet(path):
        for rows in _csv_pieces(path):
            yield pa.array([row[position] or None for row in rows], pa.string())
        return
    with pq.ParquetFile(path) as file:
        name = file.schema_arrow.names[position]
        for batch in parquet_files.record_batches(file, PIECE_ROWS, [name]):
            yield batch.column(0)


def split(
    n_rows: int, test_size: float, seed: int, labels: Labels | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the training rows and of the test rows, in scikit-learn's order.

    `labels` keep their shares in both parts; None = a plain split.
    """
    from sklearn.model_selection import train_test_split  # a large table does without

    try:
        train, test = train_test_split(
            np.arange(n_rows),
            test_size=test_size,
            random_state=seed,
            shuffle=True,
            stratify=labels.codes if labels else None,
        )
    except ValueError as error:
        raise UserError(_why_not(n_rows, test_size, labels)) from error
    return train, test


def split_by_column(
    path: Path, args: argparse.Namespace, labels: Labels | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the training rows and of the test rows, by group or by time."""
    how = splitting.rule(args)
    names, n_rows = reading.shape(path)
    splitting.check_column(names, how)
    if how.gap and large.is_large(n_rows, args.large_rows):
        raise UserError(
            f"split by time: {n_rows:,} rows are split in batches, without a gap: set 0"
        )
    if reading.is_parquet(path):
        values = pq.read_table(path, columns=[how.column])[how.column]
    else:
        place = names.index(str(how.column))
        values = pa.array([row[place] or None for row in _csv_rows(path)], pa.string())
    codes = None if labels is None else labels.codes
    return splitting.part(values, how, args.test_size, args.random_state, codes)


def split_off_newest(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the rows of all partitions but the newest, and of its own."""
    columns = reading.shape(path)[0]
    if partitions.COLUMN not in columns:
        raise UserError("test newest_partition: the table does not say it: set data.partition.by")
    pieces = _values(path, columns.index(partitions.COLUMN))
    names = np.array([name for piece in pieces for name in piece.to_pylist()])
    known = sorted({*names.tolist()}, key=partitions.order)
    if len(known) < 2:
        raise UserError(
            f"test newest_partition: there is one partition, {known[0]!r}, and nothing to train "
            "on before it: wait for the next, or take a larger data.partition.window"
        )
    logger.info("the test rows are those of the newest partition, %s", known[-1])
    return np.flatnonzero(names != known[-1]), np.flatnonzero(names == known[-1])


def draw_test(n_rows: int, test_size: float, seed: int, labels: Labels | None = None) -> np.ndarray:
    """Mark the test rows of a large table; `labels` keep their shares in both parts."""
    n_test = int(np.ceil(test_size * n_rows))
    if min(n_test, n_rows - n_test) < (len(labels.values) if labels else 1):
        raise UserError(_why_not(n_rows, test_size, labels))
    return drawing.drawn(n_rows, n_test, seed, labels.codes if labels else None)


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


def divide(path: Path, is_test: np.ndarray, train: Path, test: Path) -> None:
    """Write the rows of a large table to two files, in its order and some at a time."""
    if not reading.is_parquet(path):
        with train.open("w", encoding="utf-8", newline="") as one:
            with test.open("w", encoding="utf-8", newline="") as other:
                writers = [csv.writer(file, lineterminator="\n") for file in (one, other)]
                for writer in writers:
                    writer.writerow(reading.shape(path)[0])
                for part, row in zip(is_test.tolist(), _csv_rows(path), strict=True):
                    writers[part].writerow(row)
        return
    with pq.ParquetFile(path) as file:
        schema = _without_index(file.schema_arrow.empty_table()).schema
        new = parquet_files.writer
        with new(train, schema) as one, new(test, schema) as other:
            start = 0
            for batch in parquet_files.record_batches(file, PIECE_ROWS, schema.names):
                marks = is_test[start : start + batch.num_rows]
                start += batch.num_rows
                for writer, mask in ((one, ~marks), (other, marks)):
                    part = pa.Table.from_batches([batch.filter(pa.array(mask))])
                    writer.write_table(part.cast(schema))


def _csv_rows(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        yield from (row for row in rows if row)


def _csv_pieces(path: Path) -> Iterator[list[list[str]]]:
    rows = _csv_rows(path)
    while piece := list(islice(rows, PIECE_ROWS)):
        yield piece


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


def _check_sizes(sizes: dict[Any, int], column: str) -> None:
    if n_missing := sizes.get(None, 0):
        raise UserError(
            f"stratify column {column!r} must have a value in every row, {n_missing:,} of "
            f"{sum(sizes.values()):,} rows have none"
        )
    rarest, count = min(sizes.items(), key=lambda item: (item[1], str(item[0])))
    if count < 2:
        raise UserError(
            f"stratify column {column!r}: class {rarest!r} has {count} row and a stratified split "
            "needs at least 2 of each class: remove or merge the class, or set stratify to null"
        )


def _why_not(n_rows: int, test_size: float, labels: Labels | None) -> str:
    n_test = int(np.ceil(test_size * n_rows))
    found = f"{n_rows:,} rows split into {n_rows - n_test:,} for training and {n_test:,} for test"
    if labels is None or min(n_test, n_rows - n_test) < 1:
        return f"{found} (test_size {test_size}): both need at least one"
    return (
        f"{found} (test_size {test_size}): both need at least one row for each of the "
        f"{len(labels.values)} classes of {labels.column!r}"
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
    splitting.add_arguments(parser)
    parser.add_argument(
        "--test",
        choices=(partitions.SHARE, partitions.NEWEST),
        default=partitions.SHARE,
        help="share: of test_size; newest_partition: all rows of the newest partition",
    )
    parser.add_argument(
        "--large_rows",
        type=cli.positive_int,
        default="5000000",
        help="a table with more rows is split in batches, its rows drawn by a hash",
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
        by_partition = args.test == partitions.NEWEST
        labels = read_labels(path, args.stratify) if args.stratify and not by_partition else None
        suffix = ".parquet" if reading.is_parquet(path) else ".csv"
        targets = [Path(tmp, "out", f"{args.artifact_root}_{part}{suffix}") for part in PARTS]
        targets[0].parent.mkdir()
        divided = None
        if by_partition:
            divided = split_off_newest(path)
        elif args.split_column:
            divided = split_by_column(path, args, labels)
        if large.is_large(n_rows, args.large_rows):
            large.check_room(tmp, path.stat().st_size)
            is_test = (
                draw_test(n_rows, args.test_size, args.random_state, labels)
                if divided is None
                else np.isin(np.arange(n_rows), divided[1])
            )
            divide(path, is_test, *targets)
            n_test = int(is_test.sum())
            sizes = [n_rows - n_test, n_test]
        else:
            parts = divided or split(n_rows, args.test_size, args.random_state, labels)
            for rows, target in zip(parts, targets, strict=True):
                take(path, rows, target)
            sizes = [*map(len, parts)]
        for part, size, target in zip(PARTS, sizes, targets, strict=True):
            text = f"{part} split of dataset {args.input_artifact}"
            metadata = {"rows": size, "dataset": source.source_name}
            logged = tracking.log_file(run, target, target.name, args.artifact_type, text, metadata)
            logger.info("logged %s: %s rows", logged.name, f"{size:,}")


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
