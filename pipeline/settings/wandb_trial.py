"""A run of the pipeline as a trial of W&B's own sweep: what its agent says in the environment.

It names one run. All steps would be that run, each in the place of the last, so what it says is put
aside at the start and handed to the training step alone.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from util_lib.errors import UserError

if TYPE_CHECKING:
    from pipeline.settings.schema import Settings

VARIABLE = "PIPELINE_WANDB_TRIAL"  # what was put aside, for this process
RUN, SWEEP, PARAMETERS = "WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH"
PROJECT = "WANDB_PROJECT"
ITS_OWN = (RUN, SWEEP, PARAMETERS)


def put_aside() -> None:
    """Take a trial's variables out of the environment, if an agent has set them."""
    if not (os.environ.get(RUN) and os.environ.get(SWEEP)):
        return
    found = {name: value for name in ITS_OWN if (value := os.environ.pop(name, None))}
    if path := found.get(PARAMETERS):
        found[PARAMETERS] = str(Path(path).absolute())  # steps have another working directory
    found |= {name: value for name in [PROJECT] if (value := os.environ.get(name))}
    os.environ[VARIABLE] = json.dumps(found)


def variables(settings: "Settings", step: str) -> dict[str, str]:
    """Return what a step is to find in its environment: nothing but for a trial's training."""
    found = _told() if step == settings.sweep.step else {}
    return {name: found[name] for name in ITS_OWN if name in found}


def refuse_unfit(settings: "Settings", steps: list[str], backend: str) -> None:
    """Raise `UserError` where the run that the agent expects would not come to be."""
    if not (found := _told()):
        return
    sweep, project = found[SWEEP], settings.main.project_name
    if backend != "wandb":
        raise UserError(
            f"this is a trial of the sweep {sweep} at W&B, and its runs would be recorded here: "
            "run `wandb login` or set WANDB_API_KEY, and main.tracking=wandb"
        )
    if settings.sweep.step not in steps:
        raise UserError(
            f"this is a trial of the sweep {sweep} at W&B, and no step that runs trains: add "
            f"{settings.sweep.step} to main.execute_steps in the command of the sweep's file"
        )
    if found.get(PROJECT, project) != project:
        raise UserError(
            f"the sweep {sweep} is in project {found[PROJECT]} at W&B, and its trials would go to "
            f"{project}: make it by `wandb sweep --project {project}`, or add "
            f"main.project_name={found[PROJECT]} to the command of the sweep's file"
        )


def refuse_multirun() -> None:
    """Raise `UserError` where a trial is to be several jobs."""
    if found := _told():
        raise UserError(
            f"this is one trial of the sweep {found[SWEEP]} at W&B, and -m makes many: take -m, "
            "and values with commas, out of the command of the sweep's file"
        )


def _told() -> dict[str, str]:
    told: dict[str, str] = json.loads(os.environ.get(VARIABLE) or "{}")
    return told
