"""One job of a sweep: what it must know is in its configuration and in the environment."""

import math
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from pipeline.caching import fingerprint
from pipeline.planning.plan import plan
from pipeline.planning.step import Step
from pipeline.settings import schema
from pipeline.settings.schema import Settings
from pipeline.sweeps import context, record, warm_worker
from pipeline.sweeps.context import Sweep
from pipeline.sweeps.space import chain, key_of, trial_step, value_of
from util_lib import yaml_files
from util_lib.errors import UserError

TRIALS = "_trials"  # ends the name of the artifact whose versions are models of trials
WATCH_S = 1.0

_watched: list[int] = []


class Died(Exception):
    """The process that fits ended before it answered; the text says how."""


def run(
    config: DictConfig, dataset: str | None, arguments: list[str], job: int, repeats: bool = False
) -> Any:
    """Run one trial and return its objective, a tuple of several.

    NaN stands for a trial that failed: that is recorded, said, and no reason to stop the others.
    None stands for one that was given up between two folds (`sweep.give_up`). For who `repeats` a
    trial, one whose process ended has not failed: `Died` is raised.
    """
    sweep = context.required()
    _end_with_launcher(sweep)
    about = _about(sweep, arguments, job)
    started = time.monotonic()
    try:
        found = schema.check(config, dataset)
        request = _request(sweep, about, found)
    except UserError as error:
        request = _failure(about, config, str(error))
    return _ask(sweep, about, request, started, repeats)


def record_failure(config: DictConfig, arguments: list[str], job: int, why: str) -> Any:
    """Record a trial that could not be run, and return what `run` returns for one that failed."""
    sweep = context.required()
    about = _about(sweep, arguments, job)
    return _ask(sweep, about, _failure(about, config, why), time.monotonic())


def _about(sweep: Sweep, arguments: list[str], job: int) -> dict[str, Any]:
    return {
        "name": sweep.name,
        "trial": sweep.first + job + 1,  # the first one is 1
        "overrides": {key_of(a): value_of(a) for a in arguments if key_of(a) in sweep.keys},
        "arguments": [a for a in arguments if key_of(a) in sweep.keys],
        "objectives": sweep.objectives,
        "question": sweep.question,
    }


def _failure(about: dict[str, Any], config: DictConfig, why: str) -> dict[str, Any]:
    return {"sweep": about, "error": " ".join(why.split()), "project": config.main.project_name}


def _ask(
    sweep: Sweep,
    about: dict[str, Any],
    request: dict[str, Any],
    started: float,
    repeats: bool = False,
) -> Any:
    answer = warm_worker.worker(_python(sweep), sweep.uri).ask(request)
    if repeats and answer["state"] == "crashed":
        raise Died(answer["error"])
    _say(sweep, about, answer, time.monotonic() - started)
    summary = answer.get("summary", {})
    if summary.get("pruned"):
        return None
    values = [summary.get(name, math.nan) for name in sweep.objectives]
    return values[0] if len(values) == 1 else tuple(values)


def _request(sweep: Sweep, about: dict[str, Any], found: Settings) -> dict[str, Any]:
    """Describe a trial to the worker, as `mlflow.run` would describe a single run."""
    steps = plan(found)
    training = trial_step(found, steps)
    made = _made(sweep, steps[: steps.index(training)], found)
    every = found.sweep.export == "all"
    export = f"{training.outputs[0]}{TRIALS}" if training.outputs and every else None
    return training_request(sweep, about, found, training, made, export) | {
        "figures": every,
        "reuse": found.main.cache,
        "give_up": {
            "means": found.sweep.give_up,
            "highest": record.is_maximised(sweep.objectives[0]),
        },
    }


def training_request(
    sweep: Sweep,
    about: dict[str, Any],
    found: Settings,
    step: Step,
    made: dict[str, str],
    export: str | None,
) -> dict[str, Any]:
    """Return what a trial and the winner have in common; `made` are the versions of artifacts.

    `export` names the artifact that the model becomes, None where it is not written.
    """
    versions = {
        reference: made.get(reference.removesuffix(":latest"), reference)
        for reference in step.inputs
    }
    parameters = {key: versions.get(value, value) for key, value in step.parameters.items()}
    parameters["export_artifact"] = export or "null"
    # where the versions are need not be told: finished trials are looked up there
    parts = fingerprint.parts(step, found, "", versions, "")
    parts |= {"sweep.cv": str(found.sweep.cv), "sweep.export": found.sweep.export}
    arguments = [word for key, value in parameters.items() for word in (f"--{key}", value)]
    return {
        "project": found.main.project_name,
        "arguments": arguments,
        "model_config": yaml.dump(
            step.files["model_config"],
            Dumper=yaml_files.DUMPER,
            sort_keys=False,
            allow_unicode=True,
        ),
        "threads": sweep.threads,
        "sweep": about
        | {
            "cv": found.sweep.cv,
            "made": versions,
            "fingerprint": fingerprint.digest(parts),
        },
    }


def _made(sweep: Sweep, before: list[Step], found: Settings) -> dict[str, str]:
    """Return the versions that the steps before training made, which run here if not yet."""
    made = dict(sweep.pinned)
    for digest in chain(before):
        if digest in sweep.failed:
            raise UserError(sweep.failed[digest])
    if before:
        digests = chain(before)
        missing = [digest for digest in digests if digest not in sweep.made]
        if missing:
            from pipeline.sweeps import shared_steps

            shared_steps.run_missing(sweep, before, found)
        for digest in digests:
            made |= {name.partition(":")[0]: name for name in sweep.made[digest]}
    return made


def _python(sweep: Sweep) -> str:
    """Return the interpreter of the trials' step's environment, which another machine makes."""
    if Path(sweep.python).exists():
        return sweep.python
    from pipeline.sweeps import shared_steps

    return shared_steps.interpreter(sweep)


def _say(sweep: Sweep, about: dict[str, Any], answer: dict[str, Any], seconds: float) -> None:
    of = f"/{sweep.n_jobs}" if sweep.n_jobs and not sweep.first else ""
    label = f"trial {answer.get('recorded', about['trial'])}{of}"
    values = record.described(about["overrides"])
    if answer["state"] != "finished":
        said = f"failed: {answer['error']}"
    elif answer["summary"].get("pruned"):
        said = f"given up after {answer['summary']['cv_folds']} folds in {seconds:.1f} s"
    else:
        name = sweep.objectives[0]
        said = f"{name} {answer['summary'].get(name, math.nan):.4f}"
        said += ", recorded earlier" if "recorded" in answer else f" in {seconds:.1f} s"
    print(f"{label} ({values}): {said}", flush=True)


def _end_with_launcher(sweep: Sweep) -> None:
    """End this process when the one that launched it was killed; a launcher's pool would live on.

    Only where that one is its parent: on another machine nobody here knows.
    """
    if _watched or os.getpid() == sweep.pid or os.getppid() != sweep.pid:
        return
    _watched.append(sweep.pid)

    def watch() -> None:
        while os.getppid() == sweep.pid:
            time.sleep(WATCH_S)
        sys.stdout.flush()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
