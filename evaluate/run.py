#!/usr/bin/env python
"""Measure an exported model on rows that training never saw.

Step 6 of 6. Reads a model directory and the test rows; writes the metrics `test_roc_auc_ovo_macro`,
`test_accuracy`, `test_f1_macro` and the figure `confusion_matrix`, or of a model that predicts
numbers `test_r2`, `test_mae`, `test_rmse` and `residuals`. The model gets the columns it was fitted
on and no other.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from util_lib import cli, tracking, validation
from util_lib.errors import UserError
from util_lib.model import export, held_out, measuring
from util_lib.model.config import Declaration, Features
from util_lib.tables import reading

logger = logging.getLogger("evaluate")


def described(metadata: dict[str, Any], where: str) -> tuple[Features, str, str]:
    """Return a model's features, its target and its task, as training wrote them."""
    try:
        features = validation.check(Features, metadata["features"], "features")
        return features, metadata["target"], metadata.get("task", "classification")
    except (KeyError, TypeError, UserError):
        raise UserError(
            f"model {where} does not say which columns it uses: expected metadata with target and "
            "features, such as train_random_forest writes"
        ) from None


def build_parser() -> argparse.ArgumentParser:
    """Name the step's inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--model_export",
        type=cli.artifact_reference,
        required=True,
        help="the exported model, e.g. model_export:latest",
    )
    parser.add_argument(
        "--test_data",
        type=cli.artifact_reference,
        required=True,
        help="the test rows, e.g. data_test.parquet:latest",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the step; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    with (
        tracking.init(job_type="evaluate", config=vars(args)) as run,
        tempfile.TemporaryDirectory() as tmp,
    ):
        exported = run.use_artifact(args.model_export)
        data = run.use_artifact(args.test_data)
        model, metadata = export.load(exported.download(str(Path(tmp, "model"))))
        features, target, task = described(metadata, exported.source_name)
        declaration = validation.check(Declaration, metadata.get("declaration", {}), "declared")
        columns = declaration.of_table(features, target)
        frame = reading.read_own(reading.fetch(data, Path(tmp, "data")), columns)
        held_out.check_columns(frame, features.names(), target, task)
        model_name, data_name = exported.source_name, data.source_name
        logger.info("measuring %s on %s, %s rows", model_name, data_name, f"{len(frame):,}")

        rows, truth = frame[features.names()], frame[target].to_numpy()
        try:
            scores, figures = measuring.measure(model, rows, truth, task, "test")
        except ValueError as error:
            raise UserError(f"model {model_name} cannot predict {data_name}: {error}") from error
        for name, value in scores.items():
            run.summary[name] = value
            logger.info("%s %.4f", name, value)
        run.log({name: tracking.Image(figure) for name, figure in figures.items()})


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
