"""The configuration as it may be recorded: without secrets."""

import copy
from typing import Any

from pipeline.settings.schema import Settings
from util_lib.urls import without_credentials, without_secrets


def shown_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration as it may be recorded: addresses without their secrets."""
    dumped = settings.model_dump(mode="json")
    dumped["data"]["file_url"] = without_secrets(settings.data.file_url)
    repository = settings.main.components_repository
    dumped["main"]["components_repository"] = repository and without_credentials(repository)
    # As written, with its `${...}`: who runs it again may need to change what is filled in.
    dumped["steps"] = copy.deepcopy(settings.steps_as_written)
    for name, entry in settings.steps.items():
        written = dumped["steps"][name]
        if entry.uri:
            written["uri"] = without_credentials(written["uri"])
        if entry.source:
            written["parameters"][entry.source] = without_secrets(
                written["parameters"][entry.source]
            )
    return dumped


def shown_parameters(parameters: dict[str, str], source: str | None) -> dict[str, str]:
    """Return a step's parameters as they may be recorded; `source` names an address."""
    return {k: without_secrets(v) if k == source else v for k, v in parameters.items()}
