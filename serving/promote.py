#!/usr/bin/env python
"""Give a model the alias prod if it is better than the model that has it.

Reads the candidate, the model in use and test rows; writes the comparison as an artifact
(`<model>_comparison`: JSON and Markdown) and moves the alias in the tracking backend and in
MLflow's registry, both or neither. A refusal ends with exit code 1.
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

from serving.aliases import history, move
from serving.promotion import report
from serving.promotion.comparison import RULES
from serving.promotion.decision import compare, event, name_of, store_comparison
from util_lib import cli, tracking
from util_lib.errors import UserError

logger = logging.getLogger("serving")


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--model",
        type=cli.artifact_reference,
        default="model_export:latest",
        help="the candidate, for example model_export:latest",
    )
    parser.add_argument("--alias", default="prod", help="the alias to give, for example prod")
    parser.add_argument(
        "--test_data",
        type=cli.optional,
        default="null",
        help="the test rows, for example data_test.parquet:v3; null = those split off together "
        "with the candidate's training rows",
    )
    parser.add_argument(
        "--metric",
        type=cli.optional,
        default="null",
        help="roc_auc_ovo_macro, accuracy, f1_macro, brier; r2, mae, rmse; null = the first",
    )
    parser.add_argument(
        "--min_gain",
        type=cli.number(0),
        default="0",
        help="the metric must be better by more than this",
    )
    parser.add_argument(
        "--max_class_drop",
        type=cli.number(0, 1),
        default="0.05",
        help="no class may lose more of its F1 than this, 0 to 1",
    )
    parser.add_argument(
        "--rule",
        choices=RULES,
        default="gain",
        help="gain: more than min_gain is enough; interval: chance must be ruled out too",
    )
    parser.add_argument(
        "--force", type=cli.true_or_false, default="false", help="true: promote in any case"
    )
    parser.add_argument(
        "--reason", type=cli.optional, default="null", help="why; required with force"
    )
    cli.add_trust_pickle(parser)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Compare, store the comparison, and move the alias if it says so; argv as for a step."""
    args = build_parser().parse_args(argv)
    move.check_alias(args.alias)
    if args.force and not args.reason:
        raise UserError('force=true needs a reason, which is recorded: -P reason="..."')
    move.finish_interrupted_move()
    with (
        tracking.init_reader(job_type="promote", config=vars(args)) as run,
        tempfile.TemporaryDirectory() as tmp,
    ):
        candidate = run.use_artifact(args.model)
        version = history.full_name(candidate)
        before = move.holder(candidate.project, name_of(candidate), args.alias)
        if before is not None and history.full_name(before) == version:
            logger.info("%s is %s already: nothing to do", version, args.alias)
            return
        if before is not None:
            before = run.use_artifact(before)
        compared = compare(candidate, before, args, run, Path(tmp))
        reference = store_comparison(compared, name_of(candidate), run, Path(tmp))
        print(report.as_text(compared), flush=True)
        run.summary["promoted"] = compared["promote"]
        for name, value in compared["candidate"].get("scores", {}).items():
            run.summary[f"test_{name}"] = value
        if compared["promote"]:
            expected = None if before is None else history.full_name(before)
            move.move(candidate, args.alias, event(compared, args, reference), expected)
            logger.info("%s is %s now; the comparison is %s", version, args.alias, reference)
    if not compared["promote"]:
        raise UserError(
            f"{version} is not promoted: {compared['reason']}; the comparison is {reference}, and "
            f'-P force=true -P reason="..." promotes it all the same'
        )


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
