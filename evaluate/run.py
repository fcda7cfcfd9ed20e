#!/usr/bin/env python
"""Measure an exported model on rows that training never saw.

Step 6 of 6. Reads a model directory and the test rows; writes the metrics `test_roc_auc_ovo_macro`,
`test_accuracy`, `test_f1_macro`, `test_brier` and the figures `confusion_matrix` and `reliability`,
or of a model that predicts numbers `test_r2`, `test_mae`, `test_rmse` and `residuals`. The model
gets the columns it was fitted on and no other. Rows that training has seen are left out, and
counted as `n_test_rows_seen`.
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
from util_lib.errors import UserError
from util_lib.model import export, held_out, measuring, metric_names
from util_lib.model.config import described
from util_lib.tables import reading, splitting

logger = logging.getLogger("evaluate")


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
    parser.add_argument(
        "--min_rows",
        type=cli.positive_int,
        default=str(held_out.MIN_ROWS),
        help="rows that must be left where training has seen some of them",
    )
    cli.add_trust_pickle(parser)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the step; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    with (
        tracking.init_reader(job_type="evaluate", config=vars(args)) as run,
        tempfile.TemporaryDirectory() as tmp,
    ):
        exported = run.use_artifact(args.model_export)
        data = run.use_artifact(args.test_data)
        directory = exported.download(str(Path(tmp, "model")))
        model, metadata = export.load(directory, args.trust_pickle)
        about = described(metadata, f"model {exported.source_name}")
        features, target, task = about.features, about.target, about.task
        columns = about.declaration.of_table(features, target)
        frame = reading.read_own(reading.fetch(data, Path(tmp, "data")), columns)
        held_out.check_columns(frame, features.names(), target, task)
        model_name, data_name = exported.source_name, data.source_name
        digests = held_out.read_digests(directory)
        if digests is None:
            logger.warning(
                "%s is of a version that kept no digests of its training rows: whether "
                "these rows are among them is not known",
                model_name,
            )
        elif held_out.split_off_together(held_out.training_rows(exported), data):
            run.summary["n_test_rows_seen"] = 0
        else:
            seen = held_out.seen(frame, digests, [*features.names(), target])
            frame, n_seen = frame[~seen], int(seen.sum())
            run.summary["n_test_rows_seen"] = n_seen
            held_out.refuse_few(len(frame), n_seen, data_name, args.min_rows)
            if n_seen:
                logger.warning(
                    "%s was trained on %s of these rows: left out", model_name, f"{n_seen:,}"
                )
        logger.info("measuring %s on %s, %s rows", model_name, data_name, f"{len(frame):,}")

        rows, truth = frame[features.names()], frame[target].to_numpy()
        groups = splitting.groups_of(
            frame, splitting.Rule(**metadata.get("data", {}).get("split", {}))
        )
        try:
            scores, draw = measuring.score(
                model, rows, truth, task, "test", errors=True, groups=groups
            )
        except ValueError as error:
            raise UserError(f"model {model_name} cannot predict {data_name}: {error}") from error
        for name, value in scores.items():
            run.summary[name] = value
        for line in metric_names.lines(scores):
            logger.info(line)
        with tracking.lineage():
            trained = exported.logged_by()
        before = dict(trained.summary) if trained else {}
        said = metric_names.said_of(scores, "test", before)
        for line in said:
            logger.warning(line)
        if said:
            run.summary["to_mind"] = "; ".join(said)
        run.log({name: tracking.Image(figure) for name, figure in draw().items()})


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
