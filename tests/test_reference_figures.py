"""The figures of the real table, for which the documents give numbers to compare with."""

import pytest
import yaml
from step_support import ROOT, steps

from check_data import run as check_data
from evaluate import run as evaluate
from get_data import run as get_data
from preprocess import run as preprocess
from segregate import run as segregate
from train_random_forest import run as train
from util_lib import dataset

__all__ = ["steps"]

DATASET = "conf/dataset/music_genre.yaml"


@pytest.mark.slow
def test_the_published_scores_of_the_music_genres_are_reproduced(real_data, steps):
    data = dataset.load(ROOT / DATASET)
    source = real_data / "genres_mod.parquet"
    forest = yaml.safe_load((ROOT / "config.yaml").read_text())["random_forest_pipeline"][
        "random_forest"
    ]
    names = {
        role: [name for name, column in data.columns.items() if column.role == role]
        for role in ("numerical", "categorical")
    }
    model = {
        "target": "genre",
        "features": {**names, "nlp": ["text_feature"]},
        "tfidf": {"max_features": 10},
        "random_forest": {**forest, "random_state": 42},
    }
    raw, table = "raw_data.parquet", "preprocessed_data.parquet"
    get_data.main(["--file_url", str(source), "--artifact_name", raw, "--sha256", str(data.sha256)])
    preprocess.main(
        ["--input_artifact", f"{raw}:v0", "--artifact_name", table, "--dataset_config", DATASET]
    )
    check_data.main(
        ["--reference_artifact", f"{table}:reference", "--sample_artifact", f"{table}:v0"]
        + ["--ks_alpha", "0.05", "--dataset_config", DATASET]
    )
    segregate.main(
        ["--input_artifact", f"{table}:v0", "--artifact_root", "data", "--test_size", "0.3"]
        + ["--random_state", "42", "--stratify", "genre"]
    )
    train.main(
        ["--train_data", "data_train.parquet:v0", "--model_config", steps.yaml(model)]
        + ["--export_artifact", "model_export", "--random_seed", "42", "--val_size", "0.3"]
        + ["--stratify", "genre"]
    )
    evaluate.main(["--model_export", "model_export:v0", "--test_data", "data_test.parquet:v0"])

    rows = {n: steps.artifact(f"{n}:v0").metadata["rows"] for n in (table, "data_train.parquet")}
    assert rows == {table: 41_975, "data_train.parquet": 29_382}
    val, test = steps.run("train_random_forest").summary, steps.run("evaluate").summary
    assert val["val_roc_auc_ovo_macro"] == pytest.approx(0.9544, abs=0.002)
    assert test["test_roc_auc_ovo_macro"] == pytest.approx(0.9532, abs=0.002)
    assert test["test_accuracy"] == pytest.approx(0.688, abs=0.01)
