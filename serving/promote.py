#!/usr/bin/env python
"""Give a model the alias prod if it is better than the model that has it.

Reads the candidate, the model in use and test rows; writes the comparison as an artifact
(`<model>_comparison`: JSON and Markdown) and moves the alias in the tracking backend and in
MLflow's registry, both or neither. A refusal ends with exit code 1.
"""

import argparse
import contextlib
import datetime
import getpass
import json
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from serving.aliases import move
from serving.model import served_model
from serving.promotion import comparison, report
from serving.promotion.comparison import NotComparableError, Rules
from util_lib import cli, tracking
from util_lib.errors import UserError
from util_lib.tracking import names, promotions

logger = logging.getLogger("serving")


def share(text: str) -> float:
    """Read a number from 0 to 1, both included."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, found {text!r}")
    return number


def at_least_zero(text: str) -> float:
    """Read a finite number that is not negative."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, found {text!r}")
    return number


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
        help="roc_auc_ovo_macro, accuracy, f1_macro, or r2, mae, rmse; null = the first of these",
    )
    parser.add_argument(
        "--min_gain",
        type=at_least_zero,
        default="0",
        help="the metric must be better by more than this",
    )
    parser.add_argument(
        "--max_class_drop",
        type=share,
        default="0.05",
        help="no class may lose more of its F1 than this, 0 to 1",
    )
    parser.add_argument(
        "--force", type=cli.true_or_false, default="false", help="true: promote in any case"
    )
    parser.add_argument(
        "--reason", type=cli.optional, default="null", help="why; required with force"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Compare, store the comparison, and move the alias if it says so; argv as for a step."""
    args = build_parser().parse_args(argv)
    move.check_alias(args.alias)
    if args.force and not args.reason:
        raise UserError('force=true needs a reason, which is recorded: -P reason="..."')
    move.settle()
    with (
        tracking.init(job_type="promote", config=vars(args)) as run,
        tempfile.TemporaryDirectory() as tmp,
    ):
        candidate = run.use_artifact(args.model)
        version = promotions.full_name(candidate)
        before = move.holder(candidate.project, _name(candidate), args.alias)
        if before is not None and promotions.full_name(before) == version:
            logger.info("%s is %s already: nothing to do", version, args.alias)
            return
        if before is not None:
            before = run.use_artifact(before)
        found = compare(candidate, before, args, run, Path(tmp))
        reference = _store(found, _name(candidate), run, Path(tmp))
        print(report.as_text(found), flush=True)
        run.summary["promoted"] = found["promote"]
        for name, value in found["candidate"].get("scores", {}).items():
            run.summary[f"test_{name}"] = value
        if found["promote"]:
            expected = None if before is None else promotions.full_name(before)
            move.move(candidate, args.alias, event(found, args, reference), expected)
            logger.info("%s is %s now; the comparison is %s", version, args.alias, reference)
    if not found["promote"]:
        raise UserError(
            f"{version} is not promoted: {found['reason']}; the comparison is {reference}, and "
            f'-P force=true -P reason="..." promotes it all the same'
        )


def compare(
    candidate: Any, before: Any | None, args: argparse.Namespace, run: Any, folder: Path
) -> dict[str, Any]:
    """Return the comparison, with the decision; what makes it impossible is one, if forced."""
    loaded = served_model.load(promotions.full_name(candidate))
    rules = Rules(
        comparison.primary_metric(args.metric, loaded.task), args.min_gain, args.max_class_drop
    )
    found: dict[str, Any] = {
        "alias": args.alias,
        "metric": rules.metric,
        "min_gain": rules.min_gain,
        "max_class_drop": rules.max_class_drop,
        "candidate": {"version": loaded.version, "digest": loaded.digest, "scores": {}},
        "champion": None,
        "test_data": None,
        "notes": [],
    }
    try:
        _measure(found, loaded, candidate, before, args, run, folder, rules)
        promote, reason = comparison.decide(found, rules)
    except NotComparableError as error:
        if not args.force:
            raise
        promote, reason = False, str(error)
        with contextlib.suppress(NotComparableError):  # at least what the candidate itself is like
            _measure(found, loaded, candidate, None, args, run, folder, rules)
    decision = "promoted" if promote else "not promoted"
    if args.force and not promote:
        promote, decision = True, f"promoted by force ({args.reason}), although"
    return found | {"promote": promote, "decision": decision, "reason": reason}


def event(found: dict[str, Any], args: argparse.Namespace, reference: str) -> dict[str, Any]:
    """Return what the history keeps of a promotion."""
    forced = found["decision"].startswith("promoted by force")
    rows = found["test_data"]
    return about_now() | {
        "deed": promotions.FORCED if forced else promotions.PROMOTED,
        "reason": args.reason or found["reason"],
        "metrics": found["candidate"]["scores"],
        "comparison": reference,
        "test_data": rows and rows["version"],
    }


def promotion_of(
    reference: str, project: str | None = None, alias: str | None = None
) -> dict[str, Any] | None:
    """Return how a version came to its alias, None if it was never promoted.

    `reference` is `name:prod` or `name:v3`, `alias` the one that is meant where it is a version:
    the last event of that alias, else the version's last one. Keys: alias, deed (promoted, forced
    or rolled back), from (the version before, or None), at (UTC), by, reason, metrics, comparison
    and test_data (artifacts, or None).
    """
    move.settle()
    wanted = names.parse_reference(reference, project)
    events = promotions.events_of(tracking.Api().artifact(str(wanted)))
    meant = [event for event in events if event["alias"] == (alias or wanted.alias)]
    return next(reversed(meant or events), None)


def about_now() -> dict[str, str]:
    """Return when it is, in UTC, and who asks."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a list of users
        user = f"user {os.getuid()}"
    now = datetime.datetime.now(datetime.UTC)
    return {"at": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "by": f"{user}@{os.uname().nodename}"}


def _measure(
    found: dict[str, Any],
    loaded: served_model.ServedModel,
    candidate: Any,
    before: Any | None,
    args: argparse.Namespace,
    run: Any,
    folder: Path,
    rules: Rules,
) -> None:
    """Measure the models and write into `found` what comes of it."""
    chosen = "as asked for" if args.test_data else "split off with the candidate's training rows"
    reference = args.test_data or comparison.test_split(candidate)
    names.parse_reference(reference)
    rows = comparison.read_rows(run.use_artifact(reference), chosen, loaded, folder / "test")
    models = [(loaded, candidate)]
    if before is not None:
        champion = served_model.load(promotions.full_name(before))
        comparison.refuse_unlike(loaded, champion)
        models.append((champion, before))
    frame, left_out, notes = comparison.leave_out_seen(rows, models, folder)
    found["notes"] += notes
    found["test_data"] = {
        "version": rows.version,
        "digest": rows.digest,
        "chosen": rows.chosen,
        "rows": len(frame),
        "left_out": left_out,
    }
    measured = [comparison.measure(each, frame, artifact.size) for each, artifact in models]
    found["candidate"] = measured[0][0]
    if before is not None:
        found["champion"] = measured[1][0]
        found["difference"] = comparison.gain(frame, loaded, rules.metric, *measured)


def _store(found: dict[str, Any], name: str, run: Any, folder: Path) -> str:
    """Log the comparison as an artifact; return its version."""
    artifact = tracking.Artifact(
        f"{name}_comparison",
        type="comparison",
        description=f"{found['candidate']['version']} for {found['alias']}: {found['decision']}",
        metadata={"candidate": found["candidate"]["version"], "promote": found["promote"]},
    )
    content = {
        "comparison.json": json.dumps(found, indent=1, ensure_ascii=False) + "\n",
        "comparison.md": report.as_markdown(found),
    }
    for file, text in content.items():
        (folder / file).write_text(text, encoding="utf-8")
        artifact.add_file(str(folder / file))
    return promotions.full_name(run.log_artifact(artifact).wait())


def _name(artifact: Any) -> str:
    return artifact.source_name.partition(":")[0]


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
