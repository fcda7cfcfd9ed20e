import subprocess
import sys

import pytest
from sklearn.metrics import accuracy_score, roc_auc_score
from step_support import MODEL, ROOT, make_songs, with_text

from evaluate import run
from util_lib import tracking
from util_lib.errors import UserError
from util_lib.model import config as model_config
from util_lib.model import export, inference_pipeline

TEST = "data_test.parquet"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    config = model_config.RandomForestPipeline.model_validate(MODEL)
    table = with_text(make_songs())
    pipeline = inference_pipeline.make_inference_pipeline(config)
    inference_pipeline.fit(pipeline, table, config)
    directory = tmp_path_factory.mktemp("export") / "model"
    export.save(
        pipeline,
        directory,
        pipeline["columns"].transform(table),
        pipeline["classifier"].classes_,
        {"target": "genre", "features": MODEL["features"]},
    )
    return pipeline, directory


@pytest.fixture
def evaluate(steps, fitted):
    def go(table, name=TEST):
        artifact = tracking.Artifact("model_export", type="model_export")
        artifact.add_dir(str(fitted[1]))
        with tracking.init(job_type="test") as started:
            started.log_artifact(artifact)
        reference = steps.put(table, name)
        run.main(["--model_export", "model_export:latest", "--test_data", reference])
        return steps.run("evaluate")

    return go


def test_scores_are_those_of_the_model_on_the_test_rows(evaluate, fitted):
    pipeline, _ = fitted
    table = with_text(make_songs(seed=9))
    done = evaluate(table)
    probabilities = pipeline.predict_proba(table)
    assert done.summary["test_roc_auc_ovo_macro"] == pytest.approx(
        roc_auc_score(table["genre"], probabilities, multi_class="ovo", average="macro")
    )
    assert done.summary["test_accuracy"] == pytest.approx(
        accuracy_score(table["genre"], pipeline.predict(table))
    )
    assert 0 < done.summary["test_f1_macro"] <= 1
    assert "confusion_matrix" in done.summary
    assert {a.name for a in done.used_artifacts()} == {"model_export:v0", f"{TEST}:v0"}


def test_columns_that_the_model_does_not_use_change_nothing(evaluate):
    table = with_text(make_songs(seed=9))
    expected = evaluate(table).summary["test_roc_auc_ovo_macro"]
    more = table.assign(type="x", title=1.5)[table.columns[::-1].tolist() + ["type"]]
    assert evaluate(more).summary["test_roc_auc_ovo_macro"] == expected


def test_csv_rows_are_measured_alike(evaluate):
    table = with_text(make_songs(seed=9))
    expected = evaluate(table).summary["test_roc_auc_ovo_macro"]
    found = evaluate(table, "data_test.csv").summary["test_roc_auc_ovo_macro"]
    assert found == pytest.approx(expected)


def test_a_class_that_the_model_never_saw_counts_as_wrong(evaluate, caplog):
    table = with_text(make_songs(seed=9))
    before = evaluate(table).summary
    table.loc[:29, "genre"] = "Polka"
    after = evaluate(table).summary
    assert after["test_accuracy"] < before["test_accuracy"]
    assert "30 of 300 rows have a class that the model does not know (Polka)" in caplog.text


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (lambda t: t.rename(columns={"tempo": "tempi"}), "unknown column 'tempo'.*'tempi'"),
        (lambda t: t.drop(columns="genre"), "unknown column 'genre'"),
        (lambda t: t.assign(genre=None), "must have a value in every row, 300 of 300"),
        (lambda t: t.assign(tempo="fast"), "column 'tempo' must hold numbers, found 'fast'"),
        (lambda t: t.assign(genre="Pop"), "test split holds only 'Pop'"),
    ],
)
def test_rows_that_cannot_be_measured_are_refused(evaluate, table, sentence):
    with pytest.raises(UserError, match=sentence):
        evaluate(table(with_text(make_songs())))


def test_a_directory_that_is_no_model_is_refused(steps):
    steps.put(b"hello", "model_export")
    steps.put(make_songs(), TEST)
    with pytest.raises(UserError, match="describes no scikit-learn model"):
        run.main(["--model_export", "model_export:latest", "--test_data", f"{TEST}:latest"])


def test_missing_inputs_are_said_to_be_missing(steps):
    done = subprocess.run(
        [sys.executable, "run.py", "--model_export", "model_export:latest"]
        + ["--test_data", f"{TEST}:latest"],
        cwd=ROOT / "evaluate",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("evaluate: ") and "must have been already created and stored" in last
