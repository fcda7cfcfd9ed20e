"""The configuration as it may be recorded: without secrets."""

from typing import Any

from pipeline.settings.schema import Settings
from util_lib.urls import without_credentials, without_secrets


def shown_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration as it may be recorded: addresses without their secrets."""
    dumped = settings.model_dump(mode="json")
    dumped["data"]["file_url"] = without_secrets(settings.data.file_url)
    repository = settings.main.components_repository
    dumped["main"]["components_repository"] = repository and without_credentials(repository)
    for source in dumped["steps"].values():
        source["uri"] = source["uri"] and without_credentials(source["uri"])
    return dumped


def shown_parameters(parameters: dict[str, str]) -> dict[str, str]:
    """Return a step's parameters as they may be recorded."""
    return {k: without_secrets(v) if k == "file_url" else v for k, v in parameters.items()}
