#!/usr/bin/env python
"""Give the alias prod back to the version that had it before, and that answers.

Reads the history of the alias, which `promote` keeps; moves the alias in the tracking backend and
in MLflow's registry, both or neither.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

from serving.aliases import history, move
from serving.aliases.history import about_now
from serving.model import served_model
from util_lib import cli, tracking
from util_lib.errors import UserError
from util_lib.tracking import names

logger = logging.getLogger("serving")


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--model", default="model_export", help="the model, without a version: model_export"
    )
    parser.add_argument("--alias", default="prod", help="the alias to move back, for example prod")
    parser.add_argument(
        "--reason", type=cli.optional, default="null", help="why, for the history; null = not said"
    )
    cli.add_trust_pickle(parser)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Move the alias back; `argv` as for a step."""
    args = build_parser().parse_args(argv)
    move.check_alias(args.alias)
    if ":" in args.model:
        raise UserError(
            f"rollback takes a model without a version, found {args.model!r}: the history of "
            "the alias says which one is next"
        )
    move.finish_interrupted_move()
    with tracking.init_reader(job_type="rollback", config=vars(args)) as run:
        project, name, _ = names.parse_reference(f"{args.model}:{args.alias}", run.project)
        now = run.use_artifact(f"{project}/{name}:{args.alias}")
        current = history.full_name(now)
        events = history.history(project, name, now.type, args.alias)
        way = history.way_back(events, current)
        if not way:
            raise UserError(
                f"{current} is the first that was promoted to {args.alias}, so there is none to go "
                "back to: promote another version"
            )
        before = served_model.first_sound(way, args.trust_pickle).version
        target = run.use_artifact(before)
        move.move(target, args.alias, _event(args, events, before, current), current)
        logger.info("%s is %s again, in place of %s", before, args.alias, current)
        run.summary["promoted"] = before


def _event(
    args: argparse.Namespace, events: list[tuple[str, dict]], before: str, current: str
) -> dict[str, Any]:
    """Return what the history keeps; what was measured of the version is still what counts."""
    known = [event for version, event in events if version == before]
    last = known[-1] if known else {}  # it had got the alias by hand
    return about_now() | {
        "deed": history.ROLLED_BACK,
        "reason": args.reason or f"rolled back from {current}",
        **{key: last.get(key) for key in ("metrics", "comparison", "test_data")},
    }


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
