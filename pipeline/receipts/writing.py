"""The receipt of a pipeline run: all that it takes to do it again, and what came of it.

JSON without a time, a run's id or a place on this machine (other than those that the configuration
itself holds), so that a run in which nothing changed has the very same receipt.
"""

import hashlib
import json
import platform
from typing import Any

from pipeline.caching import fingerprint
from pipeline.planning.step import Outcome, Step
from pipeline.settings.redacted import shown_config, shown_parameters
from pipeline.settings.schema import Settings
from pipeline.settings.surroundings import is_own, step_folder
from util_lib import git_state
from util_lib.errors import UserError
from util_lib.redaction import redacted_values
from util_lib.tracking.names import Reference, parse_reference

FORMAT = 1
NAME = "receipt"  # of the artifact, and its type
FILE = "receipt.json"
# How a run is shown and what it may reuse: nothing that it makes depends on them.
NOT_KEPT = ("explain", "plan", "cache", "jobs", "workers")
NOT_ITS_OWN = ("update", "promotion")  # what is done with what it makes


def make(
    settings: Settings,
    steps: list[Step],
    outcomes: list[Outcome],
    code: dict[str, Any],
) -> str:
    """Return the receipt of a run as JSON text; steps that were not reached are not in it.

    `code` is what `code_state.describe` returned before the first step ran: it may have changed
    since.
    """
    config = shown_config(settings)
    for key in NOT_KEPT:
        del config["main"][key]
    for section in NOT_ITS_OWN:
        del config[section]
    reached = [
        _step(step, outcome)
        for step, outcome in zip(steps, outcomes, strict=True)
        if outcome.outcome != "not run"
    ]
    content = {
        "format": FORMAT,
        "code": code,
        "config": config,
        "env_manager": settings.main.env_manager,
        "python": platform.python_version(),
        "steps": redacted_values(reached),
    }
    return json.dumps(content, indent=1) + "\n"


def keep(text: str, steps: list[str], failed: bool, **how: Any) -> str:
    """Store a receipt as an artifact, by a run of the type `pipeline`; return its full name.

    `how` is for `tracking.init`.
    """
    from util_lib import tracking

    run = tracking.init(job_type="pipeline", config={"execute_steps": steps}, **how)
    try:
        kept = artifact(text)
        run.log_artifact(kept).wait()
    finally:
        run.finish(exit_code=int(failed))
    return f"{run.project}/{kept.source_name}"


def artifact(text: str) -> Any:
    """Return a receipt as an artifact of the backend in use, not logged yet."""
    from util_lib import tracking

    draft = tracking.Artifact(
        NAME, type=NAME, description="How to make this run's artifacts again, byte for byte"
    )
    with draft.new_file(FILE) as file:
        file.write(text)
    return draft


def versions(text: str, project: str) -> tuple[set[Reference], set[Reference]]:
    """Return the versions that a receipt of a project names: made by its steps, read by them.

    Raises `ValueError` where `text` is no receipt.
    """
    try:
        steps = json.loads(text)["steps"]
        made = {
            Reference(project, name, found["version"])
            for step in steps
            for name, found in step["outputs"].items()
        }
        read = {
            parse_reference(reference, project)._replace(alias=found["version"])
            for step in steps
            for reference, found in step["inputs"].items()
            if found
        }
    except (KeyError, TypeError, AttributeError, UserError) as error:
        raise ValueError(f"no receipt: {error!r}") from error
    return made, read


def _step(step: Step, outcome: Outcome) -> dict[str, Any]:
    folder = step_folder(step.uri)
    environment = folder / "conda.yml"
    is_here = not step.version and environment.is_file()
    return {
        "name": step.name,
        "ended": "finished" if outcome.outcome in ("done", "cached") else outcome.outcome,
        "conda_sha256": hashlib.sha256(environment.read_bytes()).hexdigest() if is_here else None,
        "parameters": shown_parameters(step.parameters, step.address),
        "inputs": outcome.inputs,
        "outputs": dict(_output(logged, outcome) for logged in outcome.artifacts),
        "metrics": outcome.metrics,
        **({"own_code": _own_code(step.uri)} if is_own(step.uri) and folder.is_dir() else {}),
    }


def _own_code(uri: str) -> dict[str, str | None]:
    """Describe a step's folder that lies where the user stands, not in this project."""
    found = git_state.git(step_folder(uri))
    return {
        "sha256": fingerprint.digest(fingerprint.code_files(uri)),
        "remote": found.get("remote") or None,
        "commit": found.get("commit"),
    }


def _output(logged: str, outcome: Outcome) -> tuple[str, dict[str, str | None]]:
    name, _, version = logged.rpartition(":")
    return name, {"version": version, "digest": outcome.digests.get(logged)}
