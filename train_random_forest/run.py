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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

from util_lib import cli, tracking
from util_lib.model import config as model_config
from util_lib.model import inference_pipeline, metric_names, training
from util_lib.model.config import RandomForestPipeline
from util_lib.project import resolve_path

logger = logging.getLogger("train_random_forest")

TRAINER = training.Trainer("train_random_forest", RandomForestPipeline)


def build_parser() -> argparse.ArgumentParser:
    """Name the step's inputs; MLproject declares the same ones."""
    return training.build_parser(TRAINER, __doc__)


def main(argv: list[str] | None = None) -> None:
    """Run the step; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    config = model_config.load(resolve_path(args.model_config), RandomForestPipeline)
    pipeline = inference_pipeline.make_inference_pipeline(config)
    run_config = vars(args) | {config.SECTION: training.parameters_of(config)}
    with (
        tracking.init_reader(job_type=TRAINER.name, config=run_config) as run,
        tempfile.TemporaryDirectory() as tmp,
    ):
        data = run.use_artifact(args.train_data)
        frame, share = training.read_rows(data, config, tmp, args)
        training.check_columns(frame, config, args.stratify)
        train, val = training.split(frame, args)
        logger.info("fitting on %s rows, validating on %s", f"{len(train):,}", f"{len(val):,}")
        inference_pipeline.fit(pipeline, train, config)

        pipeline, scores, draw, answers = training.validate(pipeline, val, config, args)
        scores |= training.learning_curve(share, train, val, config, args, scores)
        for name, value in scores.items():
            run.summary[name] = value
        for line in metric_names.lines(scores):
            logger.info(line)
        figures = draw() | {"feature_importance": training.draw_importance(pipeline)}
        run.log({name: tracking.Image(figure) for name, figure in figures.items()})

        if args.export_artifact is None:
            logger.info("export_artifact is null: nothing is exported")
            return
        name = args.export_artifact
        logged = training.export(run, name, pipeline, train, val, answers, data, config, args)
        logger.info("exported %s, %.1f MB", logged.name, logged.size / 1e6)


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
