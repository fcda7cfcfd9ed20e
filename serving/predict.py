#!/usr/bin/env python
"""Predict the rows of a file, or of a table in a database, with a model, any number of them.

Reads a table, or a folder of tables; writes a label and the probability of each class for every
row, and the rows that are not as the model's declaration says, with the reason, to a file beside.
Memory does not grow with the rows, and a file is there whole or not at all.
"""

import argparse
import functools
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

import numpy as np
import pandas as pd

from serving.batch import databases, reading, writing
from serving.batch.reading import Chunk
from serving.batch.summing_up import summary
from serving.batch.writing import TableWriter
from serving.capture.files import FileRecorder
from serving.model import served_model
from serving.model.served_model import ServedModel
from util_lib import cli, tracking, validation
from util_lib.errors import UserError
from util_lib.processes import tasks
from util_lib.tables import column_values, packed_files
from util_lib.tables import reading as tables
from util_lib.tracking import names
from util_lib.tracking.store.places import user_directory
from util_lib.urls import without_secrets

logger = logging.getLogger("serving")

MODEL = "model_export:prod"
# what a format that is not written itself is written as
WRITTEN_AS = {"parquet": ".parquet", "csv": ".csv", "json": ".jsonl"}
WRITTEN_AS |= {"excel": ".csv", "arrow": ".parquet"}
PROGRESS_S = 5  # between two lines on how far it is
N_REASONS = 5  # that a rejected row is given


class Done(NamedTuple):
    """What became of a file."""

    output: Path
    rows: int
    predicted: int
    rejected: int
    seconds: float


class _Answered(NamedTuple):
    """The rows of a chunk: what the model took and said, and why others have no answer.

    All count from 0; `kinds` are the rules that are broken, without the words of `reasons`.
    """

    rows: pd.DataFrame
    table: pd.DataFrame
    reasons: dict[int, str]
    kinds: dict[int, str]


def answers(served: ServedModel, frame: pd.DataFrame) -> pd.DataFrame:
    """Return `prediction` for each row, and `probability_<class>` for each class."""
    labels, probabilities = served.predict(frame)
    columns = {"prediction": labels}
    if probabilities is not None and served.classes is not None:
        for place, name in enumerate(served.classes):
            columns[f"probability_{name}"] = probabilities[:, place]
    return pd.DataFrame(columns)


def predict_file(
    served: ServedModel,
    source: Path,
    output: Path,
    keep: list[str],
    chunk_rows: int,
    spreadsheet: bool = False,
    record: Callable[..., None] | None = None,
) -> Done:
    """Predict all rows of `source` into `output`; those that are wrong go to `rejected_path`.

    `record` hears of each chunk: numbers, rows, answers and kinds of refusal, see `FileRecorder`.

    Both files appear when all rows are done, the rejected rows first. Where no row can be
    predicted only theirs is written, and `UserError` says so.
    """
    begun = logged = time.perf_counter()
    rejected, n_rows = rejected_path(output), 0
    kinds: dict[str, Any] = {}
    names: dict[str, None] = {}
    _refuse_kept(served, keep)
    pieces = reading.chunks(source, served, keep, chunk_rows)
    with (
        TableWriter(output, spreadsheet) as predicted,
        TableWriter(rejected, spreadsheet) as wrong,
    ):
        for chunk in pieces:
            names |= dict.fromkeys(chunk.names)
            if not chunk.numbers and not chunk.unread:
                _refuse_columns(served, chunk.frame, keep, source)
                kinds = {str(name): _kind(values) for name, values in chunk.kept.items()}
                continue
            answered = _predicted(served, chunk.frame)
            table, reasons = answered.table, answered.reasons
            if record is not None:
                kinds_of = {chunk.numbers[row]: kind for row, kind in answered.kinds.items()}
                kinds_of |= dict.fromkeys([number for number, _ in chunk.unread], "unreadable")
                record(chunk.numbers, answered.rows, table, kinds_of)
            if len(table):
                kept = chunk.kept.loc[table.index]
                table.insert(0, "row", np.array(chunk.numbers)[table.index])
                for name in keep:
                    table[name] = kept[name].astype(kinds.get(name, "str"))
                predicted.write(table)
            if reasons or chunk.unread:
                wrong.write(_rejected(chunk, reasons))
            n_rows += len(chunk.numbers) + len(chunk.unread)
            if (now := time.perf_counter()) - logged > PROGRESS_S:
                logged = now
                rate = n_rows / (now - begun)
                logger.info("%s: %s rows, %s rows/s", source.name, f"{n_rows:,}", f"{rate:,.0f}")
        wrong.finish()
        predicted.finish()
        if wrong.n_rows:
            wrong.commit()
        else:
            rejected.unlink(missing_ok=True)  # of an earlier run
        if not predicted.n_rows:
            raise UserError(
                f"{source.name} has no row that can be predicted: none of {n_rows:,} is as the "
                f"model declares its columns; {rejected} says why"
                if n_rows
                else f"{source.name} has columns but no rows: expected at least one"
            )
        predicted.commit()
    for warning in served.absent([*names]):
        logger.warning("%s: %s", source.name, warning)
    seconds = time.perf_counter() - begun
    return Done(output, n_rows, predicted.n_rows, wrong.n_rows, seconds)


def rejected_path(output: Path) -> Path:
    """Return where the rows go that are not predicted into `output`."""
    return output.with_name(f"{output.stem}.rejected{output.suffix}")


def _predicted(served: ServedModel, frame: pd.DataFrame) -> _Answered:
    """Return the answers, and a reason for each row without one."""
    _, lacking = served.examine(frame.iloc[:0])
    # Each row of a JSON file has its own columns: what all of these lack is null.
    absent = [problem.column for problem in lacking if problem.row is None]
    right, problems = served.examine(frame.assign(**dict.fromkeys(absent)))
    found: dict[int, list[str]] = {}
    kinds: dict[int, str] = {}
    for problem in problems:
        if problem.row is not None:  # no column is absent now
            found.setdefault(problem.row, []).append(problem.message)
            kinds.setdefault(problem.row, problem.rule)
    reasons = {row: "; ".join(messages[:N_REASONS]) for row, messages in found.items()}
    tables, refused = _halved(served, right) if len(right) else ([], {})
    table = pd.concat(tables) if tables else pd.DataFrame()
    return _Answered(right, table, reasons | refused, dict.fromkeys(refused, "refused") | kinds)


def _halved(served: ServedModel, frame: pd.DataFrame) -> tuple[list[pd.DataFrame], dict[int, str]]:
    """Return the answers; rows that the model refuses are found by halving, the others stay."""
    try:
        return [answers(served, frame).set_axis(frame.index)], {}
    except ValueError as error:
        if len(frame) == 1:
            return [], {int(frame.index[0]): " ".join(str(error).split())}
    middle = len(frame) // 2
    first, second = _halved(served, frame.iloc[:middle]), _halved(served, frame.iloc[middle:])
    return first[0] + second[0], first[1] | second[1]


def _answer_names(served: ServedModel) -> list[str]:
    classes = [] if served.classes is None else served.classes.tolist()
    return ["row", "prediction", *(f"probability_{name}" for name in classes)]


def _refuse_kept(served: ServedModel, keep: list[str]) -> None:
    """Raise `UserError` for a column to keep that is called as an answer is."""
    for name in keep:
        if name in _answer_names(served):
            raise UserError(
                f"keep: {name!r} is what the output calls its answers: rename it in the input"
            )


def _refuse_columns(
    served: ServedModel, frame: pd.DataFrame, keep: list[str], source: Path
) -> None:
    """Raise `UserError` where a file, by its columns alone, has no row that could be right."""
    there = list(map(str, frame.columns))
    if not there:  # JSON
        return
    for name in keep:
        if name not in there:
            raise UserError(f"keep: {source.name}: {validation.choose('column', name, there)}")
    wanted = ", ".join(served.columns)
    for problem in served.examine(frame.iloc[:0])[1]:
        raise UserError(f"{source.name}: {problem.message}; {served.version} takes {wanted}")
    if not {*served.columns, *served.sources} & {*there}:
        raise UserError(
            f"{source.name} has no column of {served.version}: expected {wanted}, found "
            f"{', '.join(there)}"
        )


def _kind(values: pd.Series) -> str:
    """Return the type that a kept column has in every chunk, also where it has nulls."""
    kinds = {"b": "boolean", "i": "Int64", "u": "UInt64", "f": "float64"}
    known = kinds.get(getattr(values.dtype, "kind", "O"))
    dates = pd.api.types.is_datetime64_any_dtype(values.dtype)
    return known or (str(values.dtype) if dates else "str")


def _rejected(chunk: Chunk, reasons: dict[int, str]) -> pd.DataFrame:
    """Return the rows that are not predicted: number, reason and what was given, as JSON."""
    rows: list[tuple[int, str, str | None]] = [(*unread, None) for unread in chunk.unread]
    for place in sorted(reasons):
        given = {name: values.iloc[place] for name, values in chunk.frame.items()}
        text = json.dumps(column_values.plain(given), ensure_ascii=False)
        rows.append((chunk.numbers[place], reasons[place], text))
    rows.sort(key=lambda row: row[0])
    return pd.DataFrame(rows, columns=["row", "reason", "given"]).astype({"given": "str"})


def find_input(text: str, run: Any, tmp: str) -> list[Path]:
    """Return the files to predict, for a path or an artifact; those of a folder by name."""
    path = user_directory() / Path(text).expanduser()
    if not path.exists():
        try:
            names.parse_reference(text)
        except UserError:
            raise UserError(
                f"input {text!r} is no file or folder at {path}, and no artifact, whose name ends "
                "in :latest, :v3 or the like"
            ) from None
        path = Path(run.use_artifact(text).download(str(Path(tmp, "input"))))
    if path.is_file():
        return [path]
    paths = sorted(p for p in path.iterdir() if reading.is_table(p))
    if not paths:
        raise UserError(f"{text} holds no file in {', '.join(reading.SUFFIXES)}")
    return paths


def outputs(sources: list[Path], text: str) -> list[Path]:
    """Return the file to write for each source: `text` itself, or in the folder of that name."""
    path = user_directory() / Path(text).expanduser()
    if path.suffix.lower() in writing.SUFFIXES and not path.is_dir():
        if len(sources) > 1:
            raise UserError(
                f"output {text!r} is one file and the input holds {len(sources)}: name a folder"
            )
        paths = [path]
    elif path.suffix and not path.is_dir():
        raise UserError(
            f"output {text!r} must end in {', '.join(writing.SUFFIXES)}, or be a folder"
        )
    else:
        paths = [path / _output_name(source) for source in sources]
    written = [*paths, *map(rejected_path, paths)]
    for output in written:
        if written.count(output) > 1:
            raise UserError(f"{output} would be written for two files of the input: rename one")
        if output.resolve() in [source.resolve() for source in sources]:
            raise UserError(f"output {output} is the input itself: name another one")
    return paths


def _output_name(source: Path) -> str:
    """Return the name of a file's answers: in its own format, or the nearest that is written."""
    suffix = packed_files.suffix_of(source)
    kind = suffix if suffix in writing.SUFFIXES else WRITTEN_AS[tables.FORMATS[suffix]]
    packed = source.suffix.lower() != suffix
    return f"{Path(source.stem).stem if packed else source.stem}{kind}"


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--input",
        required=True,
        help="a CSV, parquet, JSON, Excel or Arrow file, a folder of these, an artifact, or a "
        "database",
    )
    parser.add_argument(
        "--output",
        required=True,
        help="the file to write (.csv, .parquet, .jsonl, .json), or a folder, or a database",
    )
    parser.add_argument(
        "--model", default=MODEL, help="e.g. model_export:prod, or a directory with a model"
    )
    parser.add_argument(
        "--keep", default="null", help="columns of the input that the output has too, or null"
    )
    parser.add_argument(
        "--chunk_rows", type=cli.positive_int, default="50000", help="rows in memory at a time"
    )
    parser.add_argument(
        "--spreadsheet",
        type=cli.true_or_false,
        default="false",
        help="true: an apostrophe before what a spreadsheet would run as a formula, in CSV",
    )
    parser.add_argument(
        "--workers", default="null", help=f"who predicts the files of a folder: {tasks.KNOWN}"
    )
    databases.add_arguments(parser)
    cli.add_capture(parser)
    cli.add_trust_pickle(parser)
    return parser


class Asked(NamedTuple):
    """How all files are predicted: by the model in a folder, and how the answers are written."""

    folder: Path
    trust_pickle: bool
    keep: list[str]
    chunk_rows: int
    spreadsheet: bool


@functools.lru_cache(maxsize=1)
def _loaded(folder: Path, trust_pickle: bool) -> ServedModel:
    """Load the model once in a process that predicts several files."""
    return served_model.load(str(folder), trust_pickle=trust_pickle)


def _predict_one(asked: Asked, paths: tuple[Path, Path]) -> Done:
    """Predict one file of several, in a process that has no model yet."""
    served = _loaded(asked.folder, asked.trust_pickle)
    source, output = paths
    return predict_file(served, source, output, asked.keep, asked.chunk_rows, asked.spreadsheet)


def _predict_here(
    served: ServedModel,
    asked: Asked,
    sources: list[Path],
    written: list[Path],
    share: float,
    run: Any,
) -> list[Done]:
    """Predict one file after the other, and record a share of the rows."""
    recorder = FileRecorder(share) if share else None
    done: list[Done] = []
    for source, output in zip(sources, written, strict=True):
        request, record = f"{run.id}-{len(done)}", None
        if recorder is not None:
            record = functools.partial(recorder.take, served, request)
            logger.info("%s is request %s in the monitoring log", source.name, request)
        rows, spreadsheet = asked.chunk_rows, asked.spreadsheet
        done.append(predict_file(served, source, output, asked.keep, rows, spreadsheet, record))
    if recorder is not None:
        recorder.close()
        run.summary["recorded"] = recorder.recorded.total()
    return done


def _predict_by_several(
    workers: str, asked: Asked, sources: list[Path], written: list[Path]
) -> list[Done]:
    """Predict each file by a task of its own."""
    for output in written:
        output.parent.mkdir(parents=True, exist_ok=True)
    folders = dict.fromkeys(path.parent for path in (*sources, *written, asked.folder))
    with tasks.team(workers, [folder.resolve() for folder in folders]) as each:
        pairs = [*zip(sources, written, strict=True)]
        return each(functools.partial(_predict_one, asked), pairs)


def main(argv: list[str] | None = None) -> None:
    """Run the entry point; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    keep = [name.strip() for name in (cli.optional(args.keep) or "").split(",") if name.strip()]
    workers = tasks.workers(args.workers)
    if workers and args.capture:
        raise UserError("capture records where the model is: leave out workers, or capture")
    begin = tracking.init if Path(args.model).is_dir() else tracking.init_reader
    shown = {name: without_secrets(getattr(args, name)) for name in ("input", "output")}
    with (
        begin(job_type="predict", config=vars(args) | shown) as run,
        tempfile.TemporaryDirectory() as tmp,
    ):
        source_table, target = databases.tables(args, os.environ.get("MLFLOW_RUN_ID", run.id))
        if source_table is not None:
            sources = [databases.fetch(args.input, source_table, Path(tmp))]
        else:
            sources = find_input(args.input, run, tmp)
        folder = Path(args.model).resolve()
        if not folder.is_dir():
            folder = served_model.fetched(run.use_artifact(args.model), Path(tmp))
        served = served_model.load(str(folder), trust_pickle=args.trust_pickle)
        logger.info("predicting with %s", served.version)
        if target is not None and len(sources) > 1:
            raise UserError(f"one table is written, and the input holds {len(sources)} files")
        wanted = args.output if target is None else str(Path(tmp, "predicted.parquet"))
        written = outputs(sources, wanted)
        asked = Asked(folder, args.trust_pickle, keep, args.chunk_rows, args.spreadsheet)
        if workers and len(sources) > 1:
            done = _predict_by_several(workers, asked, sources, written)
        else:
            with databases.refusals(written[0], rejected_path(written[0]), target):
                done = _predict_here(served, asked, sources, written, args.capture, run)
        for file in done:
            if file.rejected:
                where = rejected_path(file.output)
                place = f"table {target.table}{databases.REJECTED}" if target else where
                logger.warning("%s rows are not predicted: %s", f"{file.rejected:,}", place)
        if target is not None:
            stored = databases.store(written[0], rejected_path(written[0]), target)
            done = [done[0]._replace(output=Path(stored))]
        for name in ("rows", "predicted", "rejected"):
            run.summary[name] = sum(getattr(file, name) for file in done)
        print(summary(done), flush=True)


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
