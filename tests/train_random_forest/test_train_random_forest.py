import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.pyfunc.scoring_server import parse_csv_input
from step_support import MODEL, make_songs, with_text

from tests import warm
from train_random_forest import run
from util_lib import tracking
from util_lib.errors import UserError
from util_lib.model import config as model_config
from util_lib.model import export as model_export
from util_lib.model import inference_pipeline

DATA = "data_train.parquet"


@pytest.fixture
def train(steps):
    def go(table=None, *, export="null", stratify="genre", val_size="0.3", forest=None, **changes):
        table = with_text(make_songs()) if table is None else table
        config = {**MODEL, **changes}
        config["random_forest"] = {**MODEL["random_forest"], **(forest or {})}
        run.main(
            ["--train_data", steps.put(table, DATA), "--model_config", steps.yaml(config)]
            + ["--export_artifact", export, "--random_seed", "42", "--val_size", val_size]
            + ["--stratify", stratify]
        )
        return steps.run("train_random_forest")

    return go


COLUMNS = ["energy", "loudness", "tempo", "key", "text_feature"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model directory, made once, and the table it was fitted on."""
    table = with_text(make_songs())
    config = model_config.RandomForestPipeline.model_validate(MODEL)
    pipeline = inference_pipeline.make_inference_pipeline(config)
    inference_pipeline.fit(pipeline, table, config)
    directory = tmp_path_factory.mktemp("export") / "model"
    example = pipeline["columns"].transform(table)
    about = {"target": "genre", "features": MODEL["features"]}
    labels = pipeline["classifier"].classes_
    model_export.save(pipeline, directory, example, labels, about, whole=["key"])
    return directory, pipeline, table


def test_scores_parameters_and_figures_are_kept_with_the_run(train):
    done = train()
    assert done.summary["val_roc_auc_ovo_macro"] > 0.9
    assert 0.5 < done.summary["val_accuracy"] <= 1
    assert 0.5 < done.summary["val_f1_macro"] <= 1
    assert {"feature_importance", "confusion_matrix"} <= set(done.summary)
    assert done.config["random_forest_pipeline"]["random_forest"]["max_depth"] == 4
    assert done.config["val_size"] == 0.3


def test_the_same_seed_gives_the_same_scores_and_another_one_others(train, steps):
    first = train().summary["val_roc_auc_ovo_macro"]
    assert train().summary["val_roc_auc_ovo_macro"] == first
    assert train(forest={"random_state": 4}).summary["val_roc_auc_ovo_macro"] != first


def test_nothing_is_exported_where_export_artifact_is_null(train, steps):
    train(export="null")
    assert not steps.exists("model_export:latest")


def test_the_model_section_may_stand_under_its_key(steps):
    path = steps.yaml({"random_forest_pipeline": MODEL})
    bare = steps.yaml(MODEL, "bare.yaml")
    section = model_config.RandomForestPipeline
    assert model_config.load(path, section) == model_config.load(bare, section)


def test_text_is_one_bar_and_all_bars_together_are_one(exported):
    importances = inference_pipeline.feature_importances(exported[1])
    assert list(importances) == ["energy", "loudness", "tempo", "key", "text_feature"]
    assert sum(importances.values()) == pytest.approx(1)
    assert importances["text_feature"] > importances["tempo"]


@pytest.mark.parametrize("imputer", ["median", "mean", "zero"])
def test_missing_numbers_are_filled_as_configured(imputer):
    config = model_config.RandomForestPipeline.model_validate(
        {**MODEL, "numerical_imputer": imputer}
    )
    table = with_text(make_songs())
    table["tempo"] = np.where(np.arange(300) < 250, 100.0, 200.0)
    table.loc[0, "tempo"] = np.nan
    pipeline = inference_pipeline.make_inference_pipeline(config)
    inference_pipeline.fit(pipeline, table, config)
    filled = (
        pipeline["processor"]
        .named_transformers_["numerical"][0]
        .transform(pipeline["columns"].transform(table)[["energy", "loudness", "tempo"]])
    )
    expected = {"median": 100, "mean": table["tempo"].mean(), "zero": 0}
    assert np.asarray(filled)[0, 2] == pytest.approx(expected[imputer])


@pytest.mark.parametrize(
    ("forest", "sentence"),
    [
        ({"max_dept": 3}, "unknown hyperparameter 'max_dept': the nearest is 'max_depth'"),
        ({"min_impurity_split": None}, "unknown hyperparameter 'min_impurity_split'"),
        ({"max_features": "auto"}, "write 'sqrt'"),
        ({"criterion": "mse"}, "'criterion' parameter of RandomForestClassifier must be"),
        ({"n_estimators": 0}, "'n_estimators' parameter"),
        ({"oob_score": True, "bootstrap": False}, "bootstrap"),
    ],
)
def test_a_wrong_hyperparameter_is_named(train, forest, sentence):
    with pytest.raises(UserError, match=sentence):
        train(forest=forest)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"task": "regression"}, "'genre' must hold numbers for task regression, found 'Emo'"),
        ({"task": "ranking"}, "task must be 'classification' or 'regression'"),
        ({"numerical_imputer": "mod"}, "numerical_imputer must be 'median', 'mean' or 'zero'"),
        ({"features": {"numerical": [], "categorical": [], "nlp": []}}, "no feature is named"),
        (
            {"features": {"numerical": ["energy"], "categorical": ["energy"], "nlp": []}},
            "column 'energy' is named twice",
        ),
        (
            {"features": {"numerical": ["energy"], "categorical": ["genre"], "nlp": []}},
            "holds the target 'genre'",
        ),
        (
            {"features": {"numerical": ["tempi"], "categorical": [], "nlp": []}},
            "unknown column 'tempi': the nearest is 'tempo'",
        ),
        ({"features": {"numerical": ["title"], "categorical": [], "nlp": []}}, "hold numbers"),
        ({"target": "gender"}, "unknown column 'gender': the nearest is 'genre'"),
        ({"tfidf": {"max_features": 0}}, "tfidf.max_features must be"),
        ({"tfid": {"max_features": 1}}, "unknown key 'tfid': the nearest is 'tfidf'"),
    ],
)
def test_a_wrong_model_configuration_is_one_sentence(train, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        train(**changes)


def test_data_that_cannot_be_fitted_are_refused(train):
    songs = with_text(make_songs(60))
    with pytest.raises(UserError, match="'genre' must have a value in every row, 60 of 60"):
        train(songs.assign(genre=None))
    with pytest.raises(UserError, match="at least two classes, found only 'Pop'"):
        train(songs.assign(genre="Pop"))
    with pytest.raises(UserError, match="feature 'tempo' has no value"):
        train(songs.assign(tempo=np.nan))
    with pytest.raises(UserError, match="feature 'tempo' must be finite, 60 of 60"):
        train(songs.assign(tempo=np.inf))
    with pytest.raises(UserError, match="unknown column 'gendre': the nearest is 'genre'"):
        train(songs, stratify="gendre")
    with pytest.raises(UserError, match="cannot be split stratified by 'genre'"):
        train(songs.assign(genre=["Polka", *songs["genre"][1:]]))


def test_two_classes_and_numbers_as_classes_are_fine(train):
    songs = with_text(make_songs()).assign(genre=lambda t: (t["genre"] == "Pop").astype(int))
    assert 0.5 < train(songs).summary["val_roc_auc_ovo_macro"] <= 1


def test_a_validation_split_without_some_class_is_still_measured(train):
    songs = with_text(make_songs())
    songs.loc[songs.index[:2], "genre"] = "Polka"
    scores = train(songs, stratify="null", val_size="0.05").summary
    assert np.isfinite(scores["val_roc_auc_ovo_macro"]) and np.isfinite(scores["val_f1_macro"])


def test_features_without_text_or_categories_are_fine(train):
    features = {"numerical": ["energy", "loudness"], "categorical": [], "nlp": []}
    assert train(features=features).summary["val_roc_auc_ovo_macro"] > 0.5


def test_text_categories_are_fine(train):
    features = {"numerical": ["energy"], "categorical": ["song_name"], "nlp": []}
    assert train(with_text(make_songs()), features=features).summary["val_accuracy"] > 0


def test_the_export_is_described(train, steps):
    train(export="model_export")
    artifact = steps.artifact("model_export:latest")
    assert (artifact.type, artifact.description) == (
        "model_export",
        "Random Forest pipeline export",
    )
    about = artifact.metadata
    assert about["parameters"]["random_forest"] == MODEL["random_forest"]
    assert about["target"] == "genre" and about["task"] == "classification"
    assert about["features"] == {**MODEL["features"], "one_hot": [], "dates": []}
    assert about["data"]["artifact"] == f"tests/{DATA}:v0"
    assert about["data"]["digest"] == steps.artifact(f"{DATA}:v0").digest


def test_the_same_data_and_parameters_give_the_same_version_in_every_process(train, steps):
    train(export="model_export")
    again = subprocess.run(
        [warm.python(), "run.py", "--train_data", f"{DATA}:v0", "--model_config"]
        + [str(steps.folder / "config.yaml"), "--export_artifact", "model_export"]
        + ["--random_seed", "42", "--val_size", "0.3", "--stratify", "genre"],
        cwd=Path(run.__file__).parent,
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    assert steps.artifact("model_export:latest").version == "v0"
    train(export="model_export", forest={"max_depth": 2})
    assert steps.artifact("model_export:latest").version == "v1"


def test_versions_of_the_data_and_of_the_code_are_said_beside_the_model_not_in_it(train, steps):
    train(export="model_export", forest={"n_jobs": 2})
    artifact = steps.artifact("model_export:latest")
    described = yaml.safe_load(
        Path(artifact.download(str(steps.folder / "model")), "MLmodel").read_text()
    )
    inside = described["metadata"]
    assert inside["data"]["artifact"] == f"tests/{DATA}"
    assert inside["data"]["digest"] == artifact.metadata["data"]["digest"]
    assert "git_commit" not in inside and artifact.metadata["git_commit"]
    assert "n_jobs" not in inside["parameters"]["random_forest"]
    assert artifact.metadata["parameters"]["random_forest"]["n_jobs"] == 2


@pytest.mark.slow
def test_ten_runs_under_other_threads_hashes_time_zones_languages_and_folders_make_one_model(
    steps, tmp_path
):
    songs = with_text(make_songs(3000))
    steps.put(songs, DATA)
    metrics = set()
    for number in range(10):
        folder = tmp_path / f"place {number}"
        folder.mkdir()
        forest = {
            **MODEL["random_forest"],
            "n_estimators": 40,
            "n_jobs": [None, 1, 2, 4][number % 4],
        }
        config = steps.yaml({**MODEL, "random_forest": forest}, f"config {number}.yaml")
        done = subprocess.run(
            [sys.executable, run.__file__, "--train_data", f"{DATA}:v0", "--model_config", config]
            + ["--export_artifact", "model_export", "--random_seed", "42", "--val_size", "0.3"]
            + ["--stratify", "genre"],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONHASHSEED": str(number),
                "TZ": ["UTC", "Asia/Tokyo", "America/New_York"][number % 3],
                "LC_ALL": ["C", "C.UTF-8", "POSIX"][number % 3],
                "OMP_NUM_THREADS": str(1 + number % 3),
            },
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        summary = steps.run("train_random_forest").summary
        metrics.add(repr(sorted((k, v) for k, v in summary.items() if k.startswith("val_"))))
    runs = [run for run in tracking.Api().runs() if run.job_type == "train_random_forest"]
    assert len(runs) == 10 and len(metrics) == 1
    versions = {made.version for each in runs for made in each.logged_artifacts()}
    assert versions == {"v0"}


def test_mlmodel_says_what_it_takes_and_nothing_of_this_machine(exported):
    directory, _, _ = exported
    text = (directory / "MLmodel").read_text()
    described = yaml.safe_load(text)
    inputs = {column["name"]: column for column in json.loads(described["signature"]["inputs"])}
    assert {name: c["type"] for name, c in inputs.items()} == {
        "energy": "double",
        "loudness": "double",
        "tempo": "double",
        "key": "any",  # integers, and doubles where some are missing
        "text_feature": "string",
    }
    assert not any(column["required"] for column in inputs.values())
    assert described["flavors"]["sklearn"]["serialization_format"] == "skops"
    assert "run_id" not in described and str(Path.home()) not in text
    assert described["metadata"]["target"] == "genre"
    requirements = (directory / "requirements.txt").read_text().split()
    assert all("==" in line for line in requirements)
    assert {line.partition("==")[0] for line in requirements} == {
        "mlflow",
        "skops",
        *model_export.REQUIREMENTS,
    }


def test_the_examples_hold_used_columns_only_and_null_for_missing(exported):
    directory, _, _ = exported
    for name in ("input_example.json", "serving_input_example.json"):
        text = (directory / name).read_text()
        content = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
        split = content.get("dataframe_split", content)
        assert split["columns"] == ["energy", "loudness", "tempo", "key", "text_feature"]
        assert split["data"][0][1] is None


def test_a_csv_file_with_integers_with_gaps_or_without_is_read_by_mlflow(exported, tmp_path):
    directory, pipeline, table = exported
    model = mlflow.pyfunc.load_model(str(directory))
    whole = table.head(40)
    gaps = whole.assign(key=whole["key"].where(whole.index % 3 > 0), tempo=whole["tempo"].round())
    for rows in (whole, gaps):
        rows.to_csv(tmp_path / "rows.csv", index=False)
        read = parse_csv_input(tmp_path / "rows.csv")  # as `mlflow models predict -t csv` does
        assert list(model.predict(read)) == list(pipeline.predict(read))


@pytest.mark.slow
def test_mlflow_predicts_the_example_and_a_csv_file_from_the_command_line(exported, tmp_path):
    directory, pipeline, table = exported
    table.to_csv(tmp_path / "data_test.csv", index=False)
    example = json.loads((directory / "input_example.json").read_text())["dataframe_split"]
    for kind, path, rows in (
        ("json", directory / "input_example.json", pd.DataFrame(example["data"], columns=COLUMNS)),
        ("csv", tmp_path / "data_test.csv", table),
    ):
        words = ["predict", "-t", kind, "-i", str(path), "-m", str(directory)]
        done = subprocess.run(
            [warm.python(), "-m", "mlflow", "models", *words, "--env-manager", "local"]
            + ["-o", str(tmp_path / "answers.json")],
            env={
                **warm.first_on_path(dict(os.environ)),
                "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/x.db",
            },
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        answers = json.loads((tmp_path / "answers.json").read_text())
        assert answers["predictions"] == list(pipeline.predict(rows))


def test_only_the_code_of_the_model_travels_with_it(exported):
    code = exported[0] / "code"
    assert sorted(str(p.relative_to(code)) for p in code.rglob("*") if p.is_file()) == [
        "util_lib/__init__.py",
        "util_lib/transformers.py",
    ]


ELSEWHERE = """
import json
import mlflow.pyfunc, pandas as pd
from mlflow.pyfunc.scoring_server import infer_and_parse_data
model = mlflow.pyfunc.load_model("model")
answers = []
for rows in json.load(open("rows.json")):
    # as the server reads a request
    table = infer_and_parse_data({"dataframe_records": rows}, model.metadata.get_input_schema())
    answers.append(list(map(str, model.predict(table))))
print(json.dumps(answers))
import util_lib
assert "code" in util_lib.__file__, util_lib.__file__
"""


def test_the_export_predicts_where_this_repository_was_never_seen(exported, tmp_path):
    directory, pipeline, table = exported
    shutil.copytree(directory, tmp_path / "model")
    rows = json.loads(table.head(4)[["energy", "loudness", "tempo", "key", "text_feature"]]
                      .to_json(orient="records"))  # fmt: skip
    shuffled = [dict(reversed(row.items())) for row in rows]
    nulls = [{**row, "key": None, "tempo": None, "text_feature": None} for row in rows]
    left_out = [{"energy": row["energy"], "unknown": 1} for row in rows]
    integers = [{**row, "energy": 1, "key": int(row["key"])} for row in rows]
    (tmp_path / "rows.json").write_text(json.dumps([rows, shuffled, nulls, left_out, integers]))
    done = subprocess.run(
        [warm.python(), "-c", ELSEWHERE],
        cwd=tmp_path,
        env={"PATH": "", "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/x.db"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    assert answers[0] == answers[1] == list(pipeline.predict(table.head(4)))
    assert [len(answer) for answer in answers] == [4] * 5


def test_rows_as_json_brings_them_get_the_same_prediction(exported):
    _, pipeline, table = exported
    table = table.head(50)
    as_json = pd.DataFrame(json.loads(table.to_json(orient="records")))
    as_objects = as_json.astype(object).where(as_json.notna(), None)
    expected = pipeline.predict_proba(table)
    np.testing.assert_array_equal(pipeline.predict_proba(as_json), expected)
    np.testing.assert_array_equal(pipeline.predict_proba(as_objects), expected)


def test_a_category_never_seen_is_not_taken_for_a_known_one(exported):
    _, pipeline, table = exported
    encoder = pipeline["processor"].named_transformers_["categorical"]
    encoded = encoder.transform(pd.DataFrame({"key": [99.0, 3.0, np.nan]}))
    assert encoded[0, 0] == inference_pipeline.UNKNOWN_CATEGORY
    assert encoded[1, 0] == 3 and encoded[2, 0] >= 0
