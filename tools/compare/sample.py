#!/usr/bin/env python
"""Draw rows of a table, parquet or CSV, and write them in the format they have.

No step of the pipeline: `review` starts it where it is given a number of rows. The same rows of the
same table, in its order; what is written of a row is what stands in the file.
"""

import argparse
import csv
import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from util_lib import cli
from util_lib.dataset.declaration import Csv
from util_lib.errors import UserError
from util_lib.tables import packed_files, parquet_files, reading

logger = logging.getLogger("sample")

SEED = 42
PIECE_ROWS = 2**17


def draw(source: Path, target: Path, rows: int, format: str, form: Csv) -> tuple[int, int]:
    """Write at most `rows` rows of `source` to `target`; return how many, and of how many."""
    found = reading.format_of(source, format)
    if found == "parquet":
        return _of_parquet(source, target, rows)
    if found == "csv":
        return _of_csv(source, target, rows, form)
    raise UserError(
        f"{source.name} is {found}, and rows are drawn of parquet and CSV files: leave sample out, "
        "or give a smaller table by hydra_options=data.file_url=<path>"
    )


def _marks(n_rows: int, rows: int) -> np.ndarray:
    marks = np.zeros(n_rows, dtype=bool)
    marks[np.random.default_rng(SEED).permutation(n_rows)[:rows]] = True
    return marks


def _of_parquet(source: Path, target: Path, rows: int) -> tuple[int, int]:
    with (
        parquet_files.opened(source) as file,
        pq.ParquetWriter(target, file.schema_arrow) as writer,
    ):
        marks, start = _marks(file.metadata.num_rows, rows), 0
        for batch in parquet_files.record_batches(file, PIECE_ROWS, file.schema_arrow.names):
            chosen = batch.filter(pa.array(marks[start : start + batch.num_rows]))
            start += batch.num_rows
            table = pa.Table.from_batches([chosen])
            writer.write_table(table.cast(file.schema_arrow.remove_metadata()))
    return int(marks.sum()), len(marks)


def _of_csv(source: Path, target: Path, rows: int, form: Csv) -> tuple[int, int]:
    n_around = int(form.header) + form.footer_lines
    with _text(source, form) as file:
        n_rows = sum(1 for _ in _records(file, form, [])) - n_around
    marks = _marks(max(n_rows, 0), rows)
    with (
        _text(source, form) as file,
        target.open("w", encoding=form.encoding, newline="") as new,
    ):
        above: list[str] = []
        for number, text in enumerate(_records(file, form, above), start=-int(form.header)):
            new.writelines(above)
            above.clear()
            if not 0 <= number < n_rows or marks[number]:
                new.write(text)
    return int(marks.sum()), len(marks)


@contextmanager
def _text(path: Path, form: Csv) -> Iterator[IO[str]]:
    with packed_files.opened(path) as file:
        yield io.TextIOWrapper(file, encoding=form.encoding, newline="")


def _records(file: IO[str], form: Csv, above: list[str]) -> Iterator[str]:
    """Give each row as it stands in the file; what stands before the first goes to `above`."""
    for _ in range(form.skip_lines):
        above.append(file.readline())
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in file:
            if not (form.comment and line.startswith(form.comment)):
                taken.append(line)
                yield line

    csv.field_size_limit(2**31 - 1)
    rows = csv.reader(
        lines(),
        delimiter=form.separator,
        quotechar=form.quote,
        escapechar=form.escape,
        doublequote=form.escape is None,
    )
    for fields in rows:
        if fields:
            yield "".join(taken)
        taken.clear()


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument("--source", required=True, help="file to draw from")
    parser.add_argument("--target", required=True, help="file to write")
    parser.add_argument("--rows", type=cli.positive_int, required=True, help="how many at most")
    parser.add_argument("--form", required=True, help="YAML file with format and csv, as in data")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Draw; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    given = yaml.safe_load(Path(args.form).read_text(encoding="utf-8"))
    source, target = Path(args.source), Path(args.target)
    drawn, n_rows = draw(source, target, args.rows, given["format"], Csv(**given["csv"]))
    logger.info("drew %s of %s rows", f"{drawn:,}", f"{n_rows:,}")


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
