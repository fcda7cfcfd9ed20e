"""The tables that a run read and made, as MLflow's datasets: version, digest, rows, context."""

import json
import re
from typing import TYPE_CHECKING

from util_lib.tracking.store.records import RunRecord, VersionRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

TABLES = (".parquet", ".csv")
CONTEXTS = {"train": "training", "val": "validation", "test": "testing"}  # by a word of the name
CONTEXT_TAG = "mlflow.data.context"


def log(client: "MlflowClient", record: RunRecord, run_id: str) -> None:
    """Note the tables that a run read and made; the same ones again change nothing."""
    inputs = [_dataset(version, "read") for version in record.used_artifacts()]
    inputs += [_dataset(version, "made") for version in record.logged_artifacts()]
    if found := [each for each in inputs if each is not None]:
        client.log_inputs(run_id, found)


def _dataset(version: VersionRecord, how: str) -> "DatasetInput | None":
    from mlflow.entities import Dataset, DatasetInput, InputTag

    if not version.name.endswith(TABLES):
        return None
    words = re.split(r"[\W_]+", version.name)
    contexts = [CONTEXTS[word] for word in words if word in CONTEXTS]
    rows = version.metadata.get("rows")
    dataset = Dataset(
        f"{version.name}:v{version.number}",
        version.digest[:36],
        "artifact",
        json.dumps({"artifact": version.reference}),
        profile=json.dumps({"num_rows": rows} if rows else {"bytes": version.size}),
    )
    return DatasetInput(dataset, [InputTag(CONTEXT_TAG, contexts[0] if contexts else how)])
