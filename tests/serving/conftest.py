"""What the tests of serving share: a model that the training step has exported."""

import pytest
from serving_support import model_directory, service
from step_support import DECLARED, MODEL, make_songs, steps, with_text

from train_random_forest import run as training

__all__ = ["model_directory", "service", "steps"]

COLUMNS = ("energy", "loudness", "tempo", "key", "title", "song_name")
DECLARATION = {
    "columns": {name: DECLARED["columns"][name] for name in COLUMNS},
    "text_feature": DECLARED["text_feature"],
}


@pytest.fixture
def exported(steps):
    """The store of one test, with `model_export:latest` and `:prod` in project `tests`."""
    return export(steps)


def export(steps, changes=None):
    """Export a model of made songs into the store, and call it `prod`."""
    table = with_text(make_songs())
    training.main(
        ["--train_data", steps.put(table, "data_train.parquet"), "--model_config"]
        + [
            steps.yaml({**MODEL, **(changes or {}), "declaration": DECLARATION}),
            "--export_artifact",
            "model_export",
            "--random_seed",
            "42",
        ]
        + ["--val_size", "0", "--stratify", "null"]
    )
    artifact = steps.artifact("model_export:latest")
    artifact.aliases.append("prod")
    artifact.save()
    return steps
