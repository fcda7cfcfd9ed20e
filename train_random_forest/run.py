#!/usr/bin/env python
"""Fit a random forest in an inference pipeline, measure it and export it.

Step 5 of 6. Reads the training rows; fits on one part of them and measures on the other, the
validation split. Writes the artifact `--export_artifact`: an MLflow model directory that holds
preprocessing and forest together, so that whoever predicts repeats nothing of what is done here.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder, StandardScaler

from util_lib import cli, metrics, model_config, model_export, plots, tables, tracking, validation
from util_lib.errors import UserError
from util_lib.model_config import RandomForestPipeline
from util_lib.project import ROOT, resolve_path
from util_lib.tracking import surroundings
from util_lib.transformers import FeatureColumns, MeanImputer, ModeImputer, to_texts

logger = logging.getLogger("train_random_forest")

UNKNOWN_CATEGORY = -1  # what a category that training never saw is encoded as


def make_forest(parameters: dict[str, Any]) -> RandomForestClassifier:
    """Return an unfitted forest; `UserError` for a hyperparameter that it does not have."""
    known = list(RandomForestClassifier().get_params())
    for name in parameters:
        if name not in known:
            raise UserError(f"random_forest: {validation.choose('hyperparameter', name, known)}")
    if parameters.get("max_features") == "auto":
        raise UserError(
            "random_forest.max_features 'auto' no longer exists in scikit-learn: write 'sqrt', "
            "which is what it meant for a classifier"
        )
    return RandomForestClassifier(**parameters)


def make_inference_pipeline(config: RandomForestPipeline) -> Pipeline:
    """Return the unfitted pipeline columns -> processor -> classifier."""
    features = config.features
    numerical = (
        MeanImputer() if config.numerical_imputer == "mean" else SimpleImputer(strategy="median")
    )
    treatments = [
        ("numerical", make_pipeline(numerical, StandardScaler()), features.numerical),
        (
            "categorical",
            make_pipeline(
                ModeImputer(),
                OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=UNKNOWN_CATEGORY),
            ),
            features.categorical,
        ),
    ]
    for column in features.nlp:
        words = make_pipeline(
            SimpleImputer(strategy="constant", fill_value=""),
            FunctionTransformer(to_texts, feature_names_out="one-to-one"),
            TfidfVectorizer(binary=True, max_features=config.tfidf.max_features),
        )
        treatments.append((f"nlp_{column}", words, [column]))
    return Pipeline(
        [
            ("columns", FeatureColumns(features.numerical, features.categorical, features.nlp)),
            ("processor", ColumnTransformer(treatments, remainder="drop")),
            ("classifier", make_forest(config.random_forest)),
        ]
    )


def check_columns(frame: pd.DataFrame, config: RandomForestPipeline, stratify: str | None) -> None:
    """Raise `UserError` if a column is missing, or is empty where it must not be."""
    features = config.features
    columns = list(map(str, frame.columns))
    used = [config.target, *features.numerical, *features.categorical, *features.nlp]
    for name in used + [stratify] * bool(stratify):
        if name not in frame.columns:
            raise UserError(f"training data: {validation.choose('column', name, columns)}")
    for name in dict.fromkeys([config.target, stratify or config.target]):
        if n_missing := int(frame[name].isna().sum()):
            raise UserError(
                f"column {name!r} must have a value in every row, {n_missing:,} of {len(frame):,} "
                "rows have none"
            )
    if frame[config.target].nunique() < 2:
        raise UserError(
            f"target {config.target!r} must have at least two classes, found only "
            f"{str(frame[config.target].iloc[0])!r}"
        )
    for name in features.numerical:
        column = frame[name]
        n_infinite = int(np.isinf(column).sum()) if column.dtype.kind == "f" else 0
        if n_infinite:
            raise UserError(
                f"feature {name!r} must be finite, {n_infinite:,} of {len(frame):,} rows are not"
            )


def split(
    frame: pd.DataFrame, val_size: float, seed: int, stratify: str | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows to fit on and the validation rows."""
    labels = frame[stratify] if stratify else None
    try:
        return train_test_split(frame, test_size=val_size, random_state=seed, stratify=labels)
    except ValueError as error:
        by = f" stratified by {stratify!r}" if stratify else ""
        raise UserError(
            f"{len(frame):,} training rows cannot be split{by} with val_size {val_size}: {error}"
        ) from error


def fit(pipeline: Pipeline, frame: pd.DataFrame, config: RandomForestPipeline) -> None:
    """Fit `pipeline`; what scikit-learn refuses, and why, becomes a `UserError`."""
    features = config.features
    for name in [*features.numerical, *features.categorical, *features.nlp]:
        if frame[name].isna().all():
            raise UserError(
                f"feature {name!r} has no value in any of the {len(frame):,} rows to fit on: "
                "remove it from features, or correct the data"
            )
    try:
        pipeline.fit(frame, frame[config.target].to_numpy())
    except (ValueError, TypeError) as error:
        raise UserError(f"scikit-learn refuses to fit: {' '.join(str(error).split())}") from error
    for treatment, words, _ in pipeline["processor"].transformers_:
        if treatment.startswith("nlp_"):
            # A memory address: with it the same model would be another file in every process.
            vars(words[-1]).pop("_stop_words_id", None)


def feature_importances(pipeline: Pipeline) -> dict[str, float]:
    """Return each feature's share; that of a text feature is the sum over its words."""
    processor, values = pipeline["processor"], pipeline["classifier"].feature_importances_
    importances: dict[str, float] = {}
    for treatment, _, columns in processor.transformers_:
        part = values[processor.output_indices_[treatment]]
        if treatment.startswith("nlp_"):
            importances[columns[0]] = float(part.sum())
        elif len(columns):
            importances |= {name: float(v) for name, v in zip(columns, part, strict=True)}
    return importances


def build_parser() -> argparse.ArgumentParser:
    """Name the step's inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--train_data",
        type=cli.artifact_reference,
        required=True,
        help="artifact with the training rows, e.g. data_train.parquet:latest",
    )
    parser.add_argument(
        "--model_config",
        required=True,
        help="YAML file with the random_forest_pipeline section; relative to the project root",
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
        type=cli.fraction,
        required=True,
        help="fraction of the rows kept for validation, in (0, 1)",
    )
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
    config = model_config.load(resolve_path(args.model_config))
    pipeline = make_inference_pipeline(config)
    parameters = config.model_dump(exclude={"export_artifact"})
    run_config = vars(args) | {"random_forest_pipeline": parameters}
    with (
        tracking.init(job_type="train_random_forest", config=run_config) as run,
        tempfile.TemporaryDirectory() as tmp,
    ):
        data = run.use_artifact(args.train_data)
        frame = tables.read(data.file(tmp), text_columns=config.features.nlp)
        check_columns(frame, config, args.stratify)
        train, val = split(frame, args.val_size, args.random_seed, args.stratify)
        logger.info("fitting on %s rows, validating on %s", f"{len(train):,}", f"{len(val):,}")
        fit(pipeline, train, config)

        classes = pipeline["classifier"].classes_
        truth = val[config.target].to_numpy()
        probabilities = pipeline.predict_proba(val)
        scores = metrics.scores(truth, probabilities, classes, "val")
        for name, value in scores.items():
            run.summary[name] = value
            logger.info("%s %.4f", name, value)
        predicted = classes[probabilities.argmax(axis=1)]
        figures = {
            "feature_importance": plots.feature_importance(feature_importances(pipeline)),
            "confusion_matrix": plots.confusion_matrix(truth, predicted, classes),
        }
        run.log({name: tracking.Image(figure) for name, figure in figures.items()})

        if args.export_artifact is None:
            logger.info("export_artifact is null: nothing is exported")
            return
        about = {
            "parameters": parameters,
            "target": config.target,
            "task": config.task,
            "features": config.features.model_dump(),
            "data": {
                "artifact": f"{data.project}/{data.source_name}",
                "digest": data.digest,
                "val_size": args.val_size,
                "random_seed": args.random_seed,
                "stratify": args.stratify,
            },
            "git_commit": surroundings.git(ROOT).get("commit"),
        }
        directory = Path(tmp, "model")
        example = pipeline["columns"].transform(train)
        model_export.save(pipeline, directory, example, classes, about)
        artifact = tracking.Artifact(
            args.export_artifact,
            type="model_export",
            description="Random Forest pipeline export",
            metadata=about,
        )
        artifact.add_dir(str(directory))
        logged = run.log_artifact(artifact)
        logged.wait()
        logger.info("exported %s, %.1f MB", logged.name, logged.size / 1e6)


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
