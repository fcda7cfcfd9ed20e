"""What the tests of serving share: a model as training exports it."""

from step_support import DECLARED, MODEL, make_songs, with_text

from train_random_forest import run as training

COLUMNS = ("energy", "loudness", "tempo", "key", "title", "song_name")
DECLARATION = {
    "columns": {name: DECLARED["columns"][name] for name in COLUMNS},
    "text_feature": DECLARED["text_feature"],
}


def export_model(steps, table=None, **changes):
    """Train on a table, made songs by default; the model is `model_export:latest`."""
    table = with_text(make_songs()) if table is None else table
    config = steps.yaml({**MODEL, "declaration": DECLARATION, **changes})
    training.main(
        ["--train_data", steps.put(table, "data_train.parquet"), "--model_config", config]
        + ["--export_artifact", "model_export", "--random_seed", "42", "--val_size", "0"]
        + ["--stratify", "null"]
    )
    return steps.artifact("model_export:latest")
