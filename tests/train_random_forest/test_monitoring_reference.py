"""What a model carries for monitoring: distributions of its training rows, answers, its score."""

import filecmp

import numpy as np
import pandas as pd
import pytest
from step_support import DECLARED, MODEL, make_songs, with_text

from evaluate import run as evaluate
from train_random_forest import run
from util_lib.dataset.columns import Column
from util_lib.model import export, monitoring_reference
from util_lib.model.config import Declaration, described

NAMES = ("energy", "loudness", "tempo", "key", "title", "song_name")
DECLARATION = {
    "columns": {name: DECLARED["columns"][name] for name in NAMES},
    "text_feature": DECLARED["text_feature"],
}


@pytest.fixture
def exported(steps, tmp_path):
    """An exported model: its artifact, its directory and its training rows."""
    table = with_text(make_songs())
    declaration = DECLARATION | {
        "columns": DECLARATION["columns"]
        | {"tempo": {**DECLARED["columns"]["tempo"], "monitor": "drop"}}
    }
    run.main(
        [
            "--train_data",
            steps.put(table, "data_train.parquet"),
            "--export_artifact",
            "model_export",
        ]
        + ["--model_config", steps.yaml({**MODEL, "declaration": declaration})]
        + ["--random_seed", "42", "--val_size", "0.3", "--stratify", "genre"]
    )
    artifact = steps.artifact("model_export:latest")
    return artifact, artifact.download(str(tmp_path / "model")), table


def test_a_model_carries_columns_and_answers_and_is_judged_by_its_test_score(exported, steps):
    artifact, directory, table = exported
    about = described(export.load(directory)[1], "the model")
    found = monitoring_reference.read(directory, "mine", about, artifact)
    assert list(found.inputs) == ["energy", "loudness", "key", "text_feature"]
    assert found.inputs["energy"].is_monotonic_increasing
    assert set(found.inputs["energy"]) < set(table["energy"])
    assert set(found.inputs["text_feature"]) <= set(table["text_feature"].str.len())
    done = steps.run("train_random_forest").summary
    assert len(found.outputs) == done["val_rows"]
    right = found.outputs["prediction"] == found.outputs["target"]
    assert right.mean() == pytest.approx(done["val_accuracy"])
    assert (found.score.split, found.score.value) == ("validation", done["val_accuracy"])

    test = steps.put(with_text(make_songs(seed=9)), "data_test.parquet")
    evaluate.main(["--model_export", "model_export:latest", "--test_data", test])
    measured = steps.run("evaluate").summary
    score = monitoring_reference.read(directory, "mine", about, artifact).score
    assert (score.split, score.metric) == ("test", "accuracy")
    assert (score.value, score.error, score.n) == tuple(
        measured[name] for name in ("test_accuracy", "test_accuracy_se", "test_rows")
    )


def test_the_order_of_a_column_says_nothing_of_its_rows_and_many_rows_are_drawn(tmp_path):
    n = 30_000
    frame = pd.DataFrame({"age": np.arange(n)[::-1], "name": [f"n{k}" for k in range(n)]})
    frame["kind"] = frame["name"]
    columns = {
        "age": Column(dtype="int", role="numerical"),
        "name": Column(dtype="string", role="text"),
        "kind": Column(dtype="string", role="categorical"),
    }
    modes = Declaration(columns=columns).monitored([*columns])
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
        answers, truth = np.arange(n, dtype=float), np.arange(n, dtype=float) + 1
        made = monitoring_reference.tables(frame, modes, answers, truth)
        monitoring_reference.write(made, folder)
    kept = pd.read_parquet(folders[0] / monitoring_reference.INPUTS_FILE)
    assert len(kept) == 10_000
    for name in kept:
        assert kept[name].is_monotonic_increasing
    assert set(kept["name"]) == {2, 3, 4, 5, 6}  # lengths of texts
    assert kept["age"].mean() == pytest.approx(n / 2, rel=0.02)
    outputs = pd.read_parquet(folders[0] / monitoring_reference.OUTPUTS_FILE)
    assert (outputs["target"] - outputs["prediction"] == 1).all()
    assert not outputs["target"].is_monotonic_increasing
    for name in (monitoring_reference.INPUTS_FILE, monitoring_reference.OUTPUTS_FILE):
        assert filecmp.cmp(folders[0] / name, folders[1] / name, shallow=False)
