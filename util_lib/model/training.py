"""What every training step does: its parameters, checks, the split of the rows, and the export."""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.api.types import is_integer_dtype
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline

from util_lib import cli, git_state, tracking, validation
from util_lib.errors import UserError
from util_lib.model import export as model_export
from util_lib.model import (
    held_out,
    inference_pipeline,
    measuring,
    metric_names,
    monitoring_reference,
)
from util_lib.model.config import AnyPipeline
from util_lib.project import ROOT
from util_lib.tables import drawing, reading, splitting

GATE = "check_data"  # job type of the runs that say whether a table may be trained on


class Trainer(NamedTuple):
    """What tells one training step from another: its name, and the section of its model."""

    name: str
    section: type[AnyPipeline]


def build_parser(trainer: Trainer, description: str | None = None) -> argparse.ArgumentParser:
    """Name the inputs of a training step; its MLproject declares the same ones."""
    parser = cli.parser(description)
    parser.add_argument(
        "--train_data",
        type=cli.artifact_reference,
        required=True,
        help="artifact with the training rows, e.g. data_train.parquet:latest",
    )
    parser.add_argument(
        "--model_config",
        required=True,
        help=f"YAML file with the {trainer.section.SECTION} section; relative to the project root",
    )
    parser.add_argument(
        "--export_artifact",
        type=cli.optional_artifact_name,
        required=True,
        help="name of the exported model, e.g. model_export; null = measure, export nothing",
    )
    parser.add_argument(
        "--random_seed", type=cli.seed, required=True, help="seeds the train/validation split"
    )
    parser.add_argument(
        "--val_size",
        type=cli.fraction_or_zero,
        required=True,
        help="fraction of the rows kept for validation, in [0, 1); 0 = fit on all rows",
    )
    parser.add_argument(
        "--stratify",
        type=cli.optional,
        required=True,
        help="column whose classes keep their shares in both parts, or null",
    )
    splitting.add_arguments(parser)
    return parser


def check_columns(frame: pd.DataFrame, config: AnyPipeline, stratify: str | None) -> None:
    """Raise `UserError` if a column is missing, or is empty where it must not be."""
    columns = list(map(str, frame.columns))
    for name in [config.target, *config.features.names()] + [stratify] * bool(stratify):
        if name not in frame.columns:
            raise UserError(f"training data: {validation.choose('column', name, columns)}")
    for name in dict.fromkeys([config.target, stratify or config.target]):
        if n_missing := int(frame[name].isna().sum()):
            raise UserError(
                f"column {name!r} must have a value in every row, {n_missing:,} of {len(frame):,} "
                "rows have none"
            )
    check_target(frame[config.target], config.task)
    for name in config.features.numerical:
        _refuse_infinite(frame[name], f"feature {name!r}")


def check_target(target: pd.Series, task: str) -> None:
    """Raise `UserError` for a target that the task cannot predict."""
    first = target.iloc[0]
    is_number = pd.api.types.is_numeric_dtype(target) and not pd.api.types.is_bool_dtype(target)
    if task == "regression":
        if not is_number:
            raise UserError(
                f"target {target.name!r} must hold numbers for task regression, found {first!r}: "
                "set data.task to classification, or choose another target"
            )
        _refuse_infinite(target, f"target {target.name!r}")
        if target.nunique() < 2:
            raise UserError(f"target {target.name!r} is {first} in every row: nothing to learn")
        return
    if target.nunique() < 2:
        raise UserError(
            f"target {target.name!r} must have at least two classes, found only {str(first)!r}"
        )
    if is_number and (fractions := target[target % 1 != 0]).size:
        raise UserError(
            f"target {target.name!r} holds numbers such as {fractions.iloc[0]}, and task "
            "classification needs classes: set data.task to regression"
        )


def _refuse_infinite(column: pd.Series, what: str) -> None:
    n_infinite = int(np.isinf(column).sum()) if column.dtype.kind == "f" else 0
    if n_infinite:
        raise UserError(f"{what} must be finite, {n_infinite:,} of {len(column):,} rows are not")


def split(frame: pd.DataFrame, args: argparse.Namespace) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows to fit on and the validation rows, of which `val_size` 0 gives none.

    `args` are those of a training step: they divide as segregate does.
    """
    val_size, seed, stratify = args.val_size, args.random_seed, args.stratify
    if val_size == 0:
        return frame, frame.iloc[:0]
    if (how := splitting.rule(args)).column is not None:
        splitting.check_column([*map(str, frame.columns)], how)
        codes = pd.factorize(frame[stratify])[0] if stratify else None
        places = splitting.part(frame[how.column], how, val_size, seed, codes)
        return frame.iloc[places[0]], frame.iloc[places[1]]
    labels = frame[stratify] if stratify else None
    try:
        return train_test_split(frame, test_size=val_size, random_state=seed, stratify=labels)
    except ValueError as error:
        by = f" stratified by {stratify!r}" if stratify else ""
        raise UserError(
            f"{len(frame):,} training rows cannot be split{by} with val_size {val_size}: {error}"
        ) from error


def parameters_of(config: AnyPipeline) -> dict[str, Any]:
    """Return what a run records of the model's configuration."""
    unused = {name for name in ("max_rows", "calibrate") if getattr(config, name) is None}
    return config.model_dump(exclude={"export_artifact", "declaration", *unused})


def validate(
    pipeline: Pipeline,
    val: pd.DataFrame,
    config: AnyPipeline,
    args: argparse.Namespace,
    split: str = "val",
    errors: bool = True,
) -> tuple[Pipeline, dict[str, float], Callable[[], dict[str, Any]], np.ndarray | None]:
    """Return the fitted pipeline, calibrated by the validation rows, its scores, what draws them.

    And what was measured: its answers to the validation rows, None without any. A calibrated model
    is measured on answers of calibrations that have not seen the row, five parts of the validation
    rows by turns: what it answers itself would look too well.
    """
    if val.empty:
        if config.calibrate:
            raise UserError(
                f"calibrate {config.calibrate!r} needs validation rows and val_size is 0: set "
                "data.val_size above 0, or calibrate to null"
            )
        return pipeline, {}, dict, None
    truth = val[config.target].to_numpy()
    groups = splitting.groups_of(val, splitting.rule(args))
    if config.calibrate:
        answers = inference_pipeline.answers_of_calibrations(
            pipeline, val, config, args.random_seed, groups
        )
        pipeline = inference_pipeline.calibrated(pipeline, val, config)
    else:
        answers = measuring.answer(pipeline, val, config.task)
    scores, draw = measuring.score(
        pipeline, val, truth, config.task, split, errors, answers, groups
    )
    return pipeline, scores, draw, answers


def read_rows(
    data: tracking.Artifact, config: AnyPipeline, folder: str, args: argparse.Namespace
) -> tuple[pd.DataFrame, float]:
    """Fetch the training rows into `folder`; return those that are used, and their share.

    More than `max_rows` are drawn from: the classes of `stratify` keep their shares, the others are
    never in memory all at once.
    """
    columns = config.declaration.of_table(config.features, config.target)
    path = Path(reading.fetch(data, folder))
    names, n_rows = reading.shape(path)
    if config.max_rows is None or n_rows <= config.max_rows:
        return reading.read_own(path, columns), 1.0
    codes = None
    if args.stratify in names:
        pieces = reading.pieces(path, wanted={args.stratify})
        codes = drawing.codes_of(piece.columns[args.stratify] for piece in pieces)[1]
    marks = drawing.drawn(n_rows, config.max_rows, args.random_seed, codes)
    return reading.read_own(path, columns, marks), config.max_rows / n_rows


def learning_curve(
    share: float,
    train: pd.DataFrame,
    val: pd.DataFrame,
    config: AnyPipeline,
    args: argparse.Namespace,
    scores: dict[str, float],
) -> dict[str, float]:
    """Return what a run says where `max_rows` left rows out, by name; nothing where it did not.

    The share of the rows that are used, and the first metric of models fitted on a quarter, half
    and all of those: would more rows make a better model? `scores` are those of all, measured
    already; the rows of `train` are in random order.
    """
    if share == 1:
        return {}
    said = {"share_of_rows_used": share}
    if val.empty:
        return said
    metric = f"val_{metric_names.of_task(config.task)[0]}"
    for part in (0.25, 0.5):
        pipeline = inference_pipeline.make_inference_pipeline(config)
        inference_pipeline.fit(pipeline, train.iloc[: int(len(train) * part)], config)
        found = validate(pipeline, val, config, args, errors=False)[1]
        said[f"{metric}_at_{part:g}_of_rows"] = found[metric]
    return said | {f"{metric}_at_1_of_rows": scores[metric]}


def draw_importance(pipeline: Pipeline) -> Any:
    """Return the figure `feature_importance`."""
    from util_lib.model import (
        plots,  # drawing is half a second of imports, and a trial draws nothing
    )

    return plots.feature_importance(inference_pipeline.feature_importances(pipeline))


def unchecked(data: tracking.Artifact) -> list[str]:
    """Say of which table the training rows are, where the gate has not let it through."""
    said = []
    with tracking.lineage():
        maker = data.logged_by()
        for table in maker.used_artifacts() if maker else ():
            verdicts = {run.state for run in table.used_by() if run.job_type == GATE}
            if "finished" not in verdicts:
                verdict = "refused" if verdicts else "has not checked"
                said.append(
                    f"trained on rows of {table.source_name}, which {GATE} {verdict}: "
                    "allow_unchecked"
                )
    return said


def export(
    run: tracking.Run,
    name: str,
    pipeline: Pipeline,
    train: pd.DataFrame,
    val: pd.DataFrame,
    answers: np.ndarray | None,
    data: tracking.Artifact,
    config: AnyPipeline,
    args: argparse.Namespace,
    aliases: list[str] | None = None,
) -> tracking.Artifact:
    """Log the fitted `pipeline` as the artifact `name` and return its version.

    `answers` are those to the rows of `val`, as `validate` gives them. Its files say nothing of
    `name` or of the run: the same model is the same content.
    """
    parameters = parameters_of(config)
    about: dict[str, Any] = {
        # n_jobs says only how fast the model was made
        "parameters": parameters
        | {config.ESTIMATOR: {k: v for k, v in config.estimator.items() if k != "n_jobs"}},
        "target": config.target,
        "task": config.task,
        "features": config.features.model_dump(),
        "declaration": config.declaration.model_dump(mode="json", exclude_defaults=True),
        "data": {
            "artifact": f"{data.project}/{data.source_name.partition(':')[0]}",
            "digest": data.digest,
            "val_size": args.val_size,
            "random_seed": args.random_seed,
            "stratify": args.stratify,
            **splitting.rule(args).about(),
        },
    }
    with tempfile.TemporaryDirectory() as tmp:
        directory = Path(tmp, "model")
        example = pipeline["columns"].transform(train)
        with inference_pipeline.predicting(pipeline, train.head(1)):
            labels = pipeline.predict(train.head(1))
        names = config.features.names()
        whole = [n for n in names if is_integer_dtype(train[n]) and train[n].notna().all()]
        columns = [*names, config.target]
        # a model is chosen by its validation rows, so they have been looked at too
        rows = np.concatenate([held_out.hashes(part, columns) for part in (train, val)])
        reference = monitoring_reference.tables(
            train,
            config.declaration.monitored(names),
            answers,
            val[config.target].to_numpy(),
            getattr(pipeline, "classes_", None),
        )
        export_format = config.export_format
        model_export.save(
            pipeline, directory, example, labels, about, export_format, whole, rows, reference
        )
        metadata = about | {
            "parameters": parameters,
            "data": about["data"] | {"artifact": f"{data.project}/{data.source_name}"},
            "git_commit": git_state.git(ROOT).get("commit"),
        }
        if said := unchecked(data):
            run.summary["to_mind"] = "; ".join(said)
            metadata["to_mind"] = said
        text = f"{config.ESTIMATOR.replace('_', ' ').title()} pipeline export"
        return tracking.log_file(run, directory, name, "model_export", text, metadata, aliases)
