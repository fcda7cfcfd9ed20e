"""What a version of a model is judged by, from the artifact that was served."""

import logging
from pathlib import Path
from typing import Any

from util_lib.errors import UserError
from util_lib.model import config, export, monitoring_reference
from util_lib.model.monitoring_reference import ModelReference
from util_lib.monitoring_log import About

logger = logging.getLogger("monitoring")

FILES = ("MLmodel", monitoring_reference.INPUTS_FILE, monitoring_reference.OUTPUTS_FILE)


def of(about: About, run: Any, folder: Path) -> ModelReference:
    """Return the reference of a version; of one that is not in the store, one that knows nothing.

    Only the files that are needed are fetched, into `folder`.
    """
    nothing = ModelReference(about.version, about.task, "")
    try:
        artifact = run.use_artifact(about.version)
    except (UserError, ValueError) as error:
        logger.warning("there is no reference for %s: %s", about.version, error)
        return nothing
    place = folder / str(artifact.source_name).replace("/", "_").replace(":", "_")
    for name in FILES:
        if name in artifact.manifest.entries:
            artifact.get_entry(name).download(str(place))
    if not (place / FILES[0]).exists():
        logger.warning("there is no reference for %s: it is no model", about.version)
        return nothing
    described = config.described(export.metadata(place), f"model {about.version}")
    return monitoring_reference.read(place, about.version, described, artifact)
