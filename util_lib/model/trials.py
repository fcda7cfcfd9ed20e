"""One trial of a sweep: what a run of the training step does, with what earlier trials left warm.

A trial is a run of the tracking backend like a single run of the step, with the same functions and
the same bytes. What it shares with trials before it in the same process: the rows, their split,
and fitted processors, none of which depends on the hyperparameters.
"""

import argparse
import json
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline

from util_lib import tracking
from util_lib.errors import UserError
from util_lib.model import config as model_config
from util_lib.model import inference_pipeline, metric_names, training
from util_lib.model.config import AnyPipeline
from util_lib.model.training import Trainer
from util_lib.tables import splitting

KEPT = 8  # of each kind: tables, splits, and fitted processors with the features they made
WINNER_JOB_TYPE = "sweep"  # of the run that logs the winner
PARAMETERS_TYPE = "parameters"

# Asked after each fold of a cross-validation with the scores so far: whether to go on.
GoOn = Callable[[list[float]], bool]


class Warm:
    """What one trial of a trainer leaves for the next: at most `KEPT` of each kind, the latest."""

    def __init__(self, trainer: Trainer) -> None:
        """Begin with nothing."""
        self.trainer = trainer
        self._kept: dict[str, OrderedDict[str, Any]] = {}

    def get(self, kind: str, key: Any, make: Callable[[], Any]) -> Any:
        """Return what is kept under `key`, else what `make` returns, which is then kept."""
        kept, text = self._kept.setdefault(kind, OrderedDict()), json.dumps(key, default=str)
        if text not in kept:
            kept[text] = make()
            while len(kept) > KEPT:
                kept.popitem(last=False)
        kept.move_to_end(text)
        return kept[text]


def run_trial(request: dict[str, Any], warm: Warm) -> dict[str, Any]:
    """Fit, measure and log what `request` describes; return what became of it.

    `arguments` and `model_config` (YAML) are those of a single run of the step. `sweep` goes into
    the run's config as it is; of it `name`, `trial`, `cv` and `objectives` are read. `give_up` says
    when a cross-validation ends early (`_go_on`), whose trial exports nothing. `threads` is
    how many cores one fit may use, `figures` whether figures are drawn.
    """
    sweep = request["sweep"]
    with tempfile.TemporaryDirectory() as tmp:
        args, config = _arguments(request, tmp, warm.trainer)
        with _run(
            request, f"{sweep['name']}-{sweep['trial']}", warm.trainer.name, args, config
        ) as run:
            try:
                summary = _fit_and_log(run, request, args, config, warm)
            except Exception as error:
                words = str(error) if isinstance(error, UserError) else _unexpected(error)
                run.summary["error"] = " ".join(words.split())
                raise
            return {"run": run.id, "summary": summary}


def recorded(project: str, trainer: Trainer) -> dict[str, dict[str, Any]]:
    """Return the finished trials of a project by their fingerprint."""
    runs = tracking.Api().runs(project, filters={"job_type": trainer.name, "state": "finished"})
    found = {}
    for run in runs:
        sweep = dict(run.config).get("sweep") or {}
        if "fingerprint" in sweep:
            summary = {key: value for key, value in run.summary.items() if key[0] != "_"}
            found[sweep["fingerprint"]] = {"run": run.id, "sweep": sweep, "summary": summary}
    return found


def take(request: dict[str, Any], known: dict[str, Any], trainer: Trainer) -> dict[str, Any] | None:
    """Return the answer that an earlier trial gave, None where it wrote a model that is gone.

    A trial of another sweep or question becomes a run of this one too, with what was measured
    then.
    """
    summary, sweep = known["summary"], request["sweep"]
    is_same = all(known["sweep"].get(key) == sweep.get(key) for key in ("name", "question"))
    project, model = request["project"], summary.get("model")
    if model and not tracking.Api().artifact_exists(f"{project}/{model}"):
        return None
    if not summary.get("pruned"):
        summary = summary | objective_of(summary, sweep["objectives"])
    elif not is_same:
        return None  # given up for what that sweep had reached
    if is_same:
        return {"run": known["run"], "summary": summary, "recorded": known["sweep"]["trial"]}
    with tempfile.TemporaryDirectory() as tmp:
        args, config = _arguments(request, tmp, trainer)
        with _run(request, f"{sweep['name']}-{sweep['trial']}", trainer.name, args, config) as run:
            run.use_artifact(args.train_data)
            if model:
                run.use_artifact(model)
            for name, value in summary.items():
                run.summary[name] = value
            return {"run": run.id, "summary": summary, "recorded": sweep["trial"]}


def log_failure(request: dict[str, Any], trainer: Trainer) -> dict[str, Any]:
    """Record a trial that cannot be run: `error` is a sentence that says why."""
    sweep = request["sweep"]
    name = f"{sweep['name']}-{sweep['trial']}"
    run = tracking.init(
        project=request["project"],
        job_type=trainer.name,
        group=sweep["name"],
        name=name,
        config={"sweep": sweep},
    )
    run.summary["error"] = request["error"]
    run.finish(exit_code=1)
    return {"run": run.id, "state": "failed", "error": request["error"]}


def log_winner(request: dict[str, Any], warm: Warm) -> dict[str, Any]:
    """Fit the best trial again and export its model, with plots and its parameters' file.

    The same parameters, rows and environment give the same bytes, so no trial need write a model.
    """
    sweep = request["sweep"]
    with tempfile.TemporaryDirectory() as tmp:
        args, config = _arguments(request, tmp, warm.trainer)
        name = f"{sweep['name']}-winner"
        with _run(request, name, WINNER_JOB_TYPE, args, config) as run:
            data = run.use_artifact(args.train_data)
            train, val = _split(_rows(data, config, warm, args), data, args, config, warm)
            pipeline, _ = _fit(
                train, config, warm, _key(data, args, config), request.get("threads")
            )
            pipeline, scores, draw, answers = training.validate(pipeline, val, config, args)
            _told(run, request["summary"] | scores)
            _draw(run, pipeline, draw)
            logged = [_log_file(run, request, config)]
            name, aliases = args.export_artifact, ["latest", "best"]
            logged += [
                training.export(
                    run, name, pipeline, train, val, answers, data, config, args, aliases
                )
            ]
            return {"run": run.id, "artifacts": [version.name for version in logged]}


def cross_validate(
    frame: pd.DataFrame,
    config: AnyPipeline,
    folds: int,
    args: argparse.Namespace,
    warm: Warm,
    key: Any,
    go_on: GoOn,
    objective: str,
    threads: int | None = None,
) -> dict[str, Any]:
    """Return `cv_<metric>_mean` and `cv_<metric>_std` over `folds` folds of `frame`.

    The folds are shuffled by the seed of `args` and keep the shares of its `stratify`, or are made
    by group or time as it says. The deviation is that of the folds' scores (divisor folds - 1);
    `cv_scores` are those of `objective`. `cv_folds` is how many there were: fewer than asked for,
    with `pruned` true, where `go_on` said no after one.
    """
    seed, stratify, how = args.random_seed, args.stratify, splitting.rule(args)
    labels = frame[stratify] if stratify else None
    splitter = (StratifiedKFold if stratify else KFold)(folds, shuffle=True, random_state=seed)
    try:
        if how.column is None:
            parts = list(splitter.split(frame, labels))
        else:
            parts = list(splitting.folds(frame[how.column], how, folds, seed, labels))
    except ValueError as error:
        raise UserError(f"sweep.cv={folds}: {error}") from error
    scores: list[dict[str, float]] = []
    for number, (fitted_on, held_out) in enumerate(parts):
        train, val = frame.iloc[fitted_on], frame.iloc[held_out]
        pipeline, _ = _fit(train, config, warm, [*key, "fold", number, folds], threads)
        scores.append(training.validate(pipeline, val, config, args, "cv", errors=False)[1])
        if number + 1 < folds and not go_on([found[objective] for found in scores]):
            break
    found: dict[str, Any] = {"cv_folds": len(scores), "pruned": len(scores) < folds}
    found["cv_scores"] = [score[objective] for score in scores]
    for name in scores[0]:
        values = [score[name] for score in scores]
        found[f"{name}_mean"] = float(np.mean(values))
        found[f"{name}_std"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return found


def _arguments(
    request: dict[str, Any], folder: str, trainer: Trainer
) -> tuple[argparse.Namespace, AnyPipeline]:
    """Read the request as a single run reads its command line."""
    path = Path(folder, "model_config.yaml")
    path.write_text(request["model_config"], encoding="utf-8")
    args = training.build_parser(trainer).parse_args(
        [*request["arguments"], "--model_config", str(path)]
    )
    return args, model_config.load(path, trainer.section)


def _run(
    request: dict[str, Any],
    name: str,
    job_type: str,
    args: argparse.Namespace,
    config: AnyPipeline,
) -> Any:
    given = {key: value for key, value in vars(args).items() if key != "model_config"}
    return tracking.init(
        project=request["project"],
        job_type=job_type,
        group=request["sweep"]["name"],
        name=name,
        config=given | {config.SECTION: training.parameters_of(config), "sweep": request["sweep"]},
    )


def _fit_and_log(
    run: Any,
    request: dict[str, Any],
    args: argparse.Namespace,
    config: AnyPipeline,
    warm: Warm,
) -> dict[str, Any]:
    sweep, threads = request["sweep"], request.get("threads")
    data = run.use_artifact(args.train_data)
    frame = _rows(data, config, warm, args)
    training.check_columns(frame, config, args.stratify)
    train, val = _split(frame, data, args, config, warm)
    summary: dict[str, Any] = {}
    if sweep["cv"]:
        folds, objective = sweep["cv"], sweep["objectives"][0]
        key = [data.source_name, args.stratify, args.random_seed, *splitting.rule(args)]
        objective = objective.removesuffix("_mean") if objective.startswith("cv_") else ""
        measured = cross_validate(
            frame,
            config,
            folds,
            args,
            warm,
            key,
            _go_on(request.get("give_up") if objective else None),
            objective or _any_score(config),
            threads,
        )
        summary |= measured
        if measured["pruned"]:
            return _told(run, summary)
    pipeline, seconds = _fit(train, config, warm, _key(data, args, config), threads)
    pipeline, scores, draw, answers = training.validate(pipeline, val, config, args)
    summary |= scores
    summary |= {"fit_seconds": seconds, "model_mb": inference_pipeline.megabytes(pipeline)}
    if args.export_artifact:
        name = args.export_artifact
        logged = training.export(run, name, pipeline, train, val, answers, data, config, args)
        summary["model"] = logged.name
    summary |= objective_of(summary, sweep["objectives"])
    if request.get("figures"):
        _draw(run, pipeline, draw)
    return _told(run, summary)


def _key(data: Any, args: argparse.Namespace, config: AnyPipeline) -> list[Any]:
    """Return what the rows that a processor is fitted on depend on."""
    how = splitting.rule(args)
    seed = (args.random_seed, args.stratify)
    return [data.source_name, config.max_rows, args.val_size, *seed, *how]


def _told(run: Any, summary: dict[str, Any]) -> dict[str, Any]:
    """Write `summary` to the run and return it."""
    for name, value in summary.items():
        run.summary[name] = value
    return summary


def _go_on(give_up: dict[str, Any] | None) -> GoOn:
    """Return what says after each fold whether there is to be another one.

    `give_up` holds `means`: after so many folds as its place, a worse mean of the scores so far
    ends the cross-validation; and `highest`, whether more is better. After more folds than there
    are means it goes on.
    """
    means = (give_up or {}).get("means") or []
    sign = 1 if give_up and give_up["highest"] else -1

    def go_on(scores: list[float]) -> bool:
        place = len(scores) - 1
        return place >= len(means) or sign * float(np.mean(scores)) >= sign * means[place]

    return go_on


def objective_of(summary: dict[str, Any], objectives: list[str]) -> dict[str, float]:
    """Return `objective`: the first of `objectives`, all of which must have been measured."""
    for name in objectives:
        if name not in summary:
            raise UserError(
                f"sweep.metric names {name!r}, which a trial did not measure: choose from "
                f"{', '.join(k for k, v in summary.items() if isinstance(v, float))}"
            )
    return {"objective": summary[objectives[0]]}


def _any_score(config: AnyPipeline) -> str:
    return f"cv_{metric_names.of_task(config.task)[0]}"


def _rows(data: Any, config: AnyPipeline, warm: Warm, args: argparse.Namespace) -> pd.DataFrame:
    texts = [*config.features.nlp, *config.features.dates]

    def read() -> pd.DataFrame:
        with tempfile.TemporaryDirectory() as folder:
            return training.read_rows(data, config, folder, args)[0]

    return warm.get("rows", [texts, *_key(data, args, config)], read)


def _split(
    frame: pd.DataFrame,
    data: Any,
    args: argparse.Namespace,
    config: AnyPipeline,
    warm: Warm,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    texts = [*config.features.nlp, *config.features.dates]
    key = [*_key(data, args, config), texts]
    return warm.get("split", key, lambda: training.split(frame, args))


def _fit(
    train: pd.DataFrame,
    config: AnyPipeline,
    warm: Warm,
    key: Any,
    threads: int | None,
) -> tuple[Pipeline, float]:
    """Return a fitted pipeline and the seconds that fitting took.

    A processor that is kept counts with the seconds that fitting it once took.
    """
    pipeline = inference_pipeline.make_inference_pipeline(config)

    def fit_processor() -> tuple[list[Any], Any, float]:
        started = time.perf_counter()
        features = inference_pipeline.fit_processor(pipeline, train, config)
        return pipeline.steps[:-1], features, time.perf_counter() - started

    steps, features, seconds = warm.get(
        "processor", [key, inference_pipeline.processor_settings(config)], fit_processor
    )
    pipeline = Pipeline([*steps, pipeline.steps[-1]])
    started = time.perf_counter()
    inference_pipeline.fit_estimator(pipeline, features, train, config, threads)
    return pipeline, seconds + time.perf_counter() - started


def _draw(run: Any, pipeline: Pipeline, draw: Callable[[], dict[str, Any]]) -> None:
    figures = draw() | {"feature_importance": training.draw_importance(pipeline)}
    run.log({name: tracking.Image(figure) for name, figure in figures.items()})


def _log_file(run: Any, request: dict[str, Any], config: AnyPipeline) -> Any:
    name = request["parameters_artifact"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{name}.yaml")
        path.write_text(request["parameters_file"], encoding="utf-8")
        text = f"{config.SECTION} of a sweep's winner"
        return tracking.log_file(run, path, name, PARAMETERS_TYPE, text)


def _unexpected(error: Exception) -> str:
    return f"unexpected {type(error).__name__}: {error}"
