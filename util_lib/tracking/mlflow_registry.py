"""Exported models in MLflow: a logged model with its metrics, a version in the registry."""

import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from util_lib.tracking.store.database import Store
from util_lib.tracking.store.records import RunRecord, VersionRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities import Run as MlflowRun

MODEL_TYPE = "model_export"
MODEL_FILE = "MLmodel"
VERSION_TAG = "artifact"  # on a registered version: the `project/name:vN` that it was made from
DIGEST_TAG = "digest"  # on a registered version: that of the artifact's content
LOGGED_TAG = "logged_model"  # on a registered version: the id, which MLflow's database leaves out


def register(
    client: "MlflowClient", store: Store, version: VersionRecord, mlflow_run: "MlflowRun"
) -> None:
    """Show an exported model of a run as a logged model, and make it a registered version.

    The registry counts from 1 by itself; the version's description says which artifact it is.
    """
    from mlflow.exceptions import MlflowException

    if registered_version(client, version) is None:
        model = model_name(version)
        logged = _logged_model(client, store, version, mlflow_run)
        with suppress(MlflowException):  # it exists already, or the next call says why
            client.create_registered_model(model)
        client.create_model_version(
            model,
            logged.artifact_location,
            mlflow_run.info.run_id,
            tags={**_tags(version), LOGGED_TAG: logged.model_id},
            description=f"{version.reference}: {version.description or 'an exported model'}",
            model_id=logged.model_id,
        )
    mirror_aliases(client, version)


def _logged_model(
    client: "MlflowClient", store: Store, version: VersionRecord, mlflow_run: "MlflowRun"
) -> "LoggedModel":
    """Return the whole logged model of a version; make it, also where a killed process began it."""
    experiment = mlflow_run.info.experiment_id
    asked = f"tags.`{VERSION_TAG}` = '{version.reference}'"
    for found in client.search_logged_models([experiment], asked):
        if found.status == "READY":
            return found
        client.delete_logged_model(found.model_id)
    made_by = mlflow_run.info.run_id
    logged = client.create_logged_model(experiment, version.name, made_by, _tags(version))
    with tempfile.TemporaryDirectory() as folder:
        for file in store.version_files(version.id):
            target = Path(folder, file.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            what = f"file {file.path!r} of artifact {version.reference!r}"
            store.files.fetch(file.sha256, target, what)
        client.log_model_artifacts(logged.model_id, folder)
    return client.finalize_logged_model(logged.model_id, "READY")


def model_measured(client: "MlflowClient", record: RunRecord) -> str | None:
    """Return the id of the logged model that a run made, else used; None of none or of several."""
    for versions in (record.logged_artifacts(), record.used_artifacts()):
        models = [version for version in versions if is_model(record.store, version)]
        if len(models) == 1 and (found := registered_version(client, models[0])):
            return found.tags.get(LOGGED_TAG)
    return None


def _tags(version: VersionRecord) -> dict[str, str]:
    return {VERSION_TAG: version.reference, DIGEST_TAG: version.digest}


def mirror_aliases(client: "MlflowClient", version: VersionRecord) -> None:
    """Give a registered version the aliases of its artifact's version, and no others."""
    model, found = model_name(version), registered_version(client, version)
    if found is None:
        return
    number = found.version
    # A search does not list the aliases.
    present = set(client.get_model_version(model, number).aliases)
    wanted = {alias for alias in version.aliases if is_registry_alias(alias)}
    for alias in wanted - present:
        client.set_registered_model_alias(model, alias, number)
    for alias in present - wanted:
        client.delete_registered_model_alias(model, alias)


def is_registry_alias(alias: str) -> bool:
    """Say whether MLflow takes an alias: fewer characters than W&B, not `latest` and `v<N>`."""
    return alias.lower() != "latest" and bool(re.fullmatch(r"(?![vV]\d+$)[\w-]+", alias))


def registered_version(client: "MlflowClient", version: VersionRecord) -> Any | None:
    """Return the registered version that was made from an artifact's version, if it is there."""
    for found in registered_versions(client, model_name(version)):
        if found.tags.get(VERSION_TAG) == version.reference:
            return found
    return None


def registered_versions(client: "MlflowClient", model: str) -> list[Any]:
    """Return all versions of a registered model; a search does not list their aliases."""
    versions, token = list[Any](), None
    while True:
        page = client.search_model_versions(f"name = '{model}'", page_token=token)
        versions += page
        token = page.token
        if not token:
            return versions


def is_model(store: Store, version: VersionRecord) -> bool:
    """Say whether MLflow can take a version for a model."""
    return version.type == MODEL_TYPE and any(
        file.path == MODEL_FILE for file in store.version_files(version.id)
    )


def model_name(version: VersionRecord) -> str:
    """Return what an artifact is called in MLflow's registry."""
    return f"{version.project}.{version.name}"
