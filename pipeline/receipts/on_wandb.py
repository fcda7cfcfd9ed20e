"""A receipt kept at W&B. Importing this module imports the W&B client."""

from typing import Any

import wandb

from pipeline.caching.versions_on_wandb import Online
from pipeline.receipts import writing
from pipeline.settings.schema import Main
from util_lib.errors import UserError
from util_lib.tracking.online import client

# For a run of main.py's own: what it prints is the steps' output, and it measures nothing.
QUIET: dict[str, Any] = {"console": "off", "silent": True, "x_disable_stats": True}


def keep(found: Online, text: str, main: Main, failed: bool) -> str:
    """Log a receipt, unless the latest one is the very same; return its full name.

    Raises `UserError` for what W&B has against it.
    """
    project = main.project_name
    try:
        latest = found.find(f"{writing.NAME}:latest", project)
        if latest and latest.digest == writing.artifact(text).manifest.digest():
            return f"{project}/{latest.name}:v{latest.number}"
        quiet = wandb.Settings(**QUIET)
        kept = writing.keep(text, main.execute_steps, failed, settings=quiet)
        client.report()
        return kept
    except (wandb.Error, ValueError, OSError, TimeoutError) as error:
        raise UserError(client.explain(error, "take the file")) from error
    finally:
        client.forget_runs()  # whatever became of it, the run itself went well or did not before
