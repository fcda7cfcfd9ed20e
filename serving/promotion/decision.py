"""Whether a candidate takes the alias: both measured, the reason, the event of it."""

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any

from serving.aliases import history
from serving.aliases.history import about_now
from serving.model import served_model
from serving.promotion import comparison, report
from serving.promotion.comparison import NotComparableError, Rules
from util_lib import tracking
from util_lib.errors import UserError
from util_lib.model import export
from util_lib.tracking import names

Champion = tuple[served_model.ServedModel, Any]  # with its artifact


def compare(
    candidate: Any, before: Any | None, args: argparse.Namespace, run: Any, folder: Path
) -> dict[str, Any]:
    """Return the comparison, with the decision; what makes it impossible is one, if forced."""
    loaded = served_model.load(history.full_name(candidate), trust_pickle=args.trust_pickle)
    rules = Rules(
        comparison.primary_metric(args.metric, loaded.task),
        args.min_gain,
        args.max_class_drop,
        args.rule,
    )
    compared: dict[str, Any] = {
        "alias": args.alias,
        "metric": rules.metric,
        "min_gain": rules.min_gain,
        "max_class_drop": rules.max_class_drop,
        "rule": rules.rule,
        "candidate": {"version": loaded.version, "digest": loaded.digest, "scores": {}},
        "champion": None,
        "difference": None,
        "lost": None,
        "test_data": None,
        "notes": [],
    }
    champion, lost = _champion(before, args)
    compared["lost"] = lost
    if lost:
        compared["notes"].append(f"{lost}: it counts as a predecessor that lost")
    try:
        _measure(compared, loaded, candidate, champion, args, run, folder, rules)
        promote, code, reason = comparison.decide(compared, rules)
    except NotComparableError as error:
        if not args.force and rules.rule == "gain":
            raise
        promote, code, reason = False, comparison.NOT_COMPARABLE, str(error)
        with contextlib.suppress(NotComparableError):  # at least what the candidate itself is like
            _measure(compared, loaded, candidate, None, args, run, folder, rules)
    decision = "promoted" if promote else "not promoted"
    if args.force and not promote:
        promote, code = True, comparison.FORCED
        decision = f"promoted by force ({args.reason}), although"
    return compared | {"promote": promote, "code": code, "decision": decision, "reason": reason}


def event(compared: dict[str, Any], args: argparse.Namespace, reference: str) -> dict[str, Any]:
    """Return what the history keeps of a promotion."""
    forced = compared["decision"].startswith("promoted by force")
    rows = compared["test_data"]
    return about_now() | {
        "deed": history.FORCED if forced else history.PROMOTED,
        "reason": args.reason or compared["reason"],
        "metrics": compared["candidate"]["scores"],
        "comparison": reference,
        "test_data": rows and rows["version"],
    }


def _champion(before: Any | None, args: argparse.Namespace) -> tuple[Champion | None, str | None]:
    """Load the model in use; where it is damaged, say so instead."""
    if before is None:
        return None, None
    try:
        loaded = served_model.load(history.full_name(before), trust_pickle=args.trust_pickle)
        return (loaded, before), None
    except export.PickleError:
        raise  # it may well be sound
    except UserError as error:
        return None, f"the model in use, {history.full_name(before)}, cannot be loaded ({error})"


def _measure(
    found: dict[str, Any],
    loaded: served_model.ServedModel,
    candidate: Any,
    champion: Champion | None,
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
    if champion is not None:
        comparison.refuse_unlike(loaded, champion[0])
        models.append(champion)
    frame, left_out, notes = comparison.leave_out_seen(rows, models, folder)
    found["notes"] += notes
    found["test_data"] = {
        "version": rows.version,
        "digest": rows.digest,
        "chosen": rows.chosen,
        "rows": len(frame),
        "left_out": left_out,
    }
    measured = [comparison.measure(model, frame, artifact.size) for model, artifact in models]
    found["candidate"] = measured[0][0]
    if champion is not None:
        found["champion"] = measured[1][0]
        found["difference"] = comparison.gain(frame, loaded, rules.metric, *measured)
        if rules.rule == "interval":
            falls = [*comparison.falls_of(found, rules)]
            found["sure_falls"] = comparison.sure_falls(frame, loaded, falls, *measured)
    elif rules.rule == "interval":
        found["difference"] = comparison.gain_over_baseline(
            frame, loaded, rules.metric, measured[0]
        )


def store_comparison(compared: dict[str, Any], name: str, run: Any, folder: Path) -> str:
    """Log the comparison as an artifact; return its version."""
    content = {
        "comparison.json": json.dumps(compared, indent=1, ensure_ascii=False) + "\n",
        "comparison.md": report.as_markdown(compared),
    }
    folder = folder / "comparison"
    folder.mkdir()
    for file, text in content.items():
        (folder / file).write_text(text, encoding="utf-8")
    version = compared["candidate"]["version"]
    about = f"{version} for {compared['alias']}: {compared['decision']}"
    metadata = {"candidate": version} | {k: compared[k] for k in ("promote", "code", "reason")}
    logged = tracking.log_file(run, folder, f"{name}_comparison", "comparison", about, metadata)
    return history.full_name(logged)


def name_of(artifact: Any) -> str:
    """Return the name of an artifact without its version."""
    return artifact.source_name.partition(":")[0]
