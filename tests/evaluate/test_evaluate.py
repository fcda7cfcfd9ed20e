import subprocess

import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score
from step_support import MODEL, ROOT, make_songs, with_text

from evaluate import run
from tests import warm
from util_lib import tracking
from util_lib.errors import UserError
from util_lib.model import config as model_config
from util_lib.model import export, held_out, inference_pipeline

TEST = "data_test.parquet"
FEATURES = model_config.RandomForestPipeline.model_validate(MODEL).features


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    config = model_config.RandomForestPipeline.model_validate(MODEL)
    table = with_text(make_songs())
    pipeline = inference_pipeline.make_inference_pipeline(config)
    inference_pipeline.fit(pipeline, table, config)
    directory = tmp_path_factory.mktemp("export") / "model"
    saved(pipeline, table, directory)
    return pipeline, directory


def saved(pipeline, table, directory, **more):
    about = {"target": "genre", "features": MODEL["features"], **more}
    example = pipeline["columns"].transform(table)
    export.save(pipeline, directory, example, pipeline["classifier"].classes_, about)


@pytest.fixture
def evaluate(steps, fitted):
    def go(table, name=TEST, model=fitted[1]):
        artifact = tracking.Artifact("model_export", type="model_export")
        artifact.add_dir(str(model))
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


def test_where_a_split_keeps_groups_together_errors_are_those_between_groups(
    evaluate, fitted, tmp_path
):
    """Ten rows of an album that are alike say no more than one does."""
    albums = with_text(make_songs(seed=9)).head(48).assign(album=range(48))
    split = {"by": "group", "column": "album", "gap": 0.0}
    saved(fitted[0], albums, tmp_path / "model", data={"split": split})
    tenfold = pd.concat([albums] * 10, ignore_index=True)
    found = evaluate(tenfold, model=tmp_path / "model").summary
    right = found["test_accuracy"]
    assert 0 < right < 1 and found["test_groups"] == 48 and found["test_rows"] == 480
    between_albums = (right * (1 - right) / 47) ** 0.5
    assert found["test_accuracy_se"] == pytest.approx(between_albums)
    alone = evaluate(tenfold).summary
    assert found["test_roc_auc_ovo_macro_se"] > 2 * alone["test_roc_auc_ovo_macro_se"]
    assert "test_groups" not in alone


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
    steps.put(make_songs(10), "something.parquet")  # else there is no store at all
    done = subprocess.run(
        [warm.python(), "run.py", "--model_export", "model_export:latest"]
        + ["--test_data", f"{TEST}:latest"],
        cwd=ROOT / "evaluate",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("evaluate: ") and "must have been already created and stored" in last


@pytest.fixture(scope="module")
def with_digests(fitted, tmp_path_factory):
    """The model, exported with the digests of its 300 rows."""
    pipeline, _ = fitted
    table = with_text(make_songs())
    columns = [*FEATURES.names(), "genre"]
    directory = tmp_path_factory.mktemp("digests") / "model"
    example = pipeline["columns"].transform(table)
    about = {"target": "genre", "features": MODEL["features"]}
    rows = held_out.hashes(table, columns)
    export.save(pipeline, directory, example, pipeline.classes_, about, rows=rows)
    return directory


def measure(steps, directory, table, *given):
    artifact = tracking.Artifact("model_export", type="model_export")
    artifact.add_dir(str(directory))
    with tracking.init(job_type="test") as started:
        started.log_artifact(artifact)
    reference = steps.put(table, TEST)
    run.main(["--model_export", "model_export:latest", "--test_data", reference, *given])
    return steps.run("evaluate").summary


def test_rows_that_training_has_seen_are_left_out_and_counted(steps, with_digests, caplog):
    old, new = with_text(make_songs()), with_text(make_songs(seed=9))
    alone = measure(steps, with_digests, new)
    assert alone["n_test_rows_seen"] == 0
    mixed = pd.concat([old.iloc[50:170], new]).sample(frac=1, random_state=3)
    found = measure(steps, with_digests, mixed)
    assert found["n_test_rows_seen"] == 120
    assert "model_export:v0 was trained on 120 of these rows: left out" in caplog.text
    for name in ("test_roc_auc_ovo_macro", "test_accuracy"):
        assert found[name] == pytest.approx(alone[name])


def test_too_few_rows_that_training_has_not_seen_are_refused(steps, with_digests):
    mixed = pd.concat([with_text(make_songs()), with_text(make_songs(seed=9)).head(20)])
    with pytest.raises(UserError, match="300 of the 320 rows of .* were trained on: 20 are left"):
        measure(steps, with_digests, mixed)
    assert measure(steps, with_digests, mixed, "--min_rows", "20")["n_test_rows_seen"] == 300


def test_a_model_that_kept_no_digests_is_measured_on_all_rows_and_that_is_said(
    steps, fitted, caplog
):
    found = measure(steps, fitted[1], with_text(make_songs()))
    assert "n_test_rows_seen" not in found and found["test_accuracy"] > 0.5
    assert "kept no digests of its training rows" in caplog.text
