"""What MLflow shows of a run: parameters, metrics, figures, tags, and the exported model."""

import math
import shutil
from pathlib import Path

import pytest

from tests import warm
from util_lib import tracking
from util_lib.errors import UserError
from util_lib.tracking import __main__ as command
from util_lib.tracking.mlflow_mirror import publish, publish_own
from util_lib.tracking.store.database import open_store

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
pytest.importorskip("sqlalchemy", reason="MLflow's database needs sqlalchemy")
pytest.importorskip("alembic", reason="MLflow's database needs alembic")


@pytest.fixture
def client(empty_mlflow_database, store):
    """Give a client of the database beside the store."""
    path = store.directory.parent / "mlflow.db"
    shutil.copy(empty_mlflow_database, path)
    return mlflow.MlflowClient(f"sqlite:///{path}", f"sqlite:///{path}")


@pytest.fixture
def mlflow_run(client, tmp_path):
    """Give the id of an MLflow run such as `mlflow run` starts for a step."""
    experiment = client.create_experiment("e", str(tmp_path / "mlruns"))
    return client.create_run(experiment).info.run_id


@pytest.fixture
def publishing(monkeypatch):
    """Let runs publish themselves."""
    monkeypatch.delenv("TRACKING_PUBLISH")


def log_model(run, text, aliases=None, name="model_export", files=("MLmodel", "data/model.bin")):
    artifact = tracking.Artifact(name, type="model_export", description="A forest")
    for path in files:
        with artifact.new_file(path) as file:
            file.write(f"{path}: {text}")
    return run.log_artifact(artifact, aliases=aliases)


def snapshot(client, run_id):
    """Return all that MLflow knows of a run."""
    run = client.get_run(run_id)
    metrics = {
        key: sorted(
            (m.step, str(m.value), m.timestamp) for m in client.get_metric_history(run_id, key)
        )
        for key in run.data.metrics
    }
    files = sorted(str(path) for path in Path(run.info.artifact_uri).rglob("*"))
    models = [
        (version.name, version.version, version.tags) for version in client.search_model_versions()
    ]
    return run.data.params, metrics, run.data.tags, files, models


def test_a_record_is_shown_with_all_that_it_holds(client, mlflow_run, store):
    figure = pytest.importorskip("matplotlib.figure", reason="no matplotlib").Figure()
    figure.add_subplot().plot([1, 2])
    client.log_param(mlflow_run, "present", "as MLflow has it")
    with tracking.init(
        project="songs",
        group="experiment",
        job_type="train",
        name="my-run",
        notes="words",
        config={
            "forest": {"max_depth": 13, "criterion": "gini"},
            "present": "other",
            "long": "x" * 7000,
            "none": None,
            "odd*key": [1, 2],
        },
    ) as run:
        for epoch in range(3):
            run.log({"epoch": epoch, "loss": 1 / (epoch + 1)})
        run.log({"nan": float("nan"), "confusion": tracking.Image(figure)})
        run.log({"curve": tracking.Image(figure)})
        run.log({"curve": tracking.Image(figure, caption="again")})
        run.summary["test_accuracy"] = 0.9
        run.summary["best"] = "forest"
        log_model(run, "one", name="other", files=["a"])
        run.use_artifact("other:v0")
    record = store.run(run.id)

    publish(record, mlflow_run)

    shown = client.get_run(mlflow_run)
    assert shown.data.params == {
        "forest.max_depth": "13",
        "forest.criterion": "gini",
        "present": "as MLflow has it",
        "long": "x" * 6000,
        "none": "null",
        "odd_key": "[1, 2]",
    }
    loss = sorted((m.step, m.value) for m in client.get_metric_history(mlflow_run, "loss"))
    assert loss == [(0, 1), (1, 1 / 2), (2, 1 / 3)]
    assert shown.data.metrics["test_accuracy"] == 0.9
    assert math.isnan(shown.data.metrics["nan"])
    tags = shown.data.tags
    expected = {
        "project": "songs",
        "group": "experiment",
        "job_type": "train",
        "tracking.run_id": run.id,
        "tracking.run_name": "my-run",
        "artifacts.logged": "songs/other:v0",
        "artifacts.used": "songs/other:v0",
        "summary.best": "forest",
        "mlflow.note.content": "words",
    }
    assert {key: tags.get(key) for key in expected} == expected
    figures = [Path(file.path).name for file in client.list_artifacts(mlflow_run, "figures")]
    assert "confusion.png" in figures
    assert len([name for name in figures if name.startswith("curve_")]) == 2
    assert shown.info.status == "RUNNING"  # whoever started it ends it
    assert client.search_model_versions() == []  # no MLmodel file: not a model


def test_publishing_twice_changes_nothing(client, mlflow_run, store):
    with tracking.init(project="songs", config={"a": 1}) as run:
        run.log({"loss": 1.0})
        run.log({"loss": float("nan")})
        run.summary["loss"] = 0.5
        run.summary["nan"] = float("nan")
        log_model(run, "one", aliases=["prod"])
    record = store.run(run.id)
    publish(record, mlflow_run)
    before = snapshot(client, mlflow_run)
    publish(record, mlflow_run)
    assert snapshot(client, mlflow_run) == before
    assert len(before[-1]) == 1


def test_the_exported_model_is_registered_with_its_aliases(client, mlflow_run, store, tmp_path):
    with tracking.init(project="songs") as run:
        log_model(run, "one", aliases=["prod", "not for MLflow"])
        log_model(run, "two", aliases=["candidate"])
        log_model(run, "two")
    publish(store.run(run.id), mlflow_run)

    model = client.get_registered_model("songs.model_export")
    assert {a: int(v) for a, v in model.aliases.items()} == {"prod": 1, "candidate": 2}
    tags = {int(v.version): v.tags["artifact"] for v in client.search_model_versions()}
    assert tags == {1: "songs/model_export:v0", 2: "songs/model_export:v1"}
    for alias, text in (("prod", "one"), ("candidate", "two")):
        uri = client.get_model_version_by_alias("songs.model_export", alias).source
        assert Path(uri, "MLmodel").read_text() == f"MLmodel: {text}"
        assert Path(uri, "data", "model.bin").read_text() == f"data/model.bin: {text}"


def test_an_alias_moves_in_the_registry_with_a_later_run(client, mlflow_run, store):
    for text in ("one", "two"):
        with tracking.init(project="songs") as run:
            log_model(run, text, aliases=["prod"])
        publish(store.run(run.id), mlflow_run)
    version = client.get_model_version_by_alias("songs.model_export", "prod")
    assert version.tags["artifact"] == "songs/model_export:v1"


def test_a_saved_alias_is_mirrored_and_a_removed_one_is_removed(client, mlflow_run, store):
    with tracking.init(project="songs") as run:
        first, second = (log_model(run, text) for text in ("one", "two"))
        unpublished = log_model(run, "three", name="another")
    publish(store.run(run.id), mlflow_run)

    first.aliases.append("prod")
    first.save()
    assert aliases(client) == {"prod": 1}
    second.aliases.append("prod")
    second.save()
    assert aliases(client) == {"prod": 2}
    second.aliases.remove("prod")
    second.save()
    assert aliases(client) == {}
    client.delete_registered_model("songs.another")  # as if it had never been published
    unpublished.aliases.append("prod")
    unpublished.save()
    assert tracking.Api().artifact("songs/another:prod").version == "v0"


def aliases(client):
    found = client.get_registered_model("songs.model_export").aliases
    return {alias: int(version) for alias, version in found.items()}


def test_a_registered_model_is_loaded_by_its_alias(client, mlflow_run, store, tmp_path):
    dummy = pytest.importorskip("sklearn.dummy", reason="scikit-learn is not installed")
    import mlflow.sklearn

    classifier = dummy.DummyClassifier(strategy="constant", constant=1).fit([[0], [1]], [0, 1])
    mlflow.sklearn.save_model(
        classifier, tmp_path / "export", pip_requirements=[], serialization_format="cloudpickle"
    )
    with tracking.init(project="songs") as run:
        artifact = tracking.Artifact("model_export", type="model_export")
        artifact.add_dir(tmp_path / "export")
        run.log_artifact(artifact, aliases=["prod"])
    publish(store.run(run.id), mlflow_run)
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(client.tracking_uri)
    mlflow.set_registry_uri(client.tracking_uri)
    try:
        model = mlflow.sklearn.load_model("models:/songs.model_export@prod")
    finally:
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])
    assert list(model.predict([[5]])) == [1]


@pytest.mark.parametrize(
    "error, status",
    [(None, "FINISHED"), (ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")],
)
def test_a_run_on_its_own_gets_an_mlflow_run_with_its_name_and_status(
    client, publishing, store, error, status
):
    try:
        with tracking.init(project="songs", name="alone", config={"a": 1}) as run:
            if error:
                raise error
    except (ValueError, KeyboardInterrupt):
        pass
    record = store.run(run.id)
    shown = client.get_run(record.mlflow_run_id)
    assert (shown.info.run_name, shown.info.status) == ("alone", status)
    assert shown.data.params == {"a": "1"}
    assert client.get_experiment(shown.info.experiment_id).name == "songs"
    assert shown.info.end_time == int(record.finished_at * 1000)


def test_a_run_inside_an_mlflow_run_is_shown_there(
    client, mlflow_run, publishing, store, monkeypatch
):
    monkeypatch.setenv("MLFLOW_RUN_ID", mlflow_run)
    with tracking.init(project="songs", config={"a": 1}) as run:
        pass
    shown = client.get_run(mlflow_run)
    assert shown.data.params == {"a": "1"}
    assert shown.data.tags["tracking.run_id"] == run.id
    assert shown.info.status == "RUNNING"
    assert [record.id for record in store.runs(mlflow_run_id=mlflow_run)] == [run.id]


def test_a_run_leaves_publishing_to_its_parent_when_told_so(client, store):
    with tracking.init(project="songs") as run:
        pass
    assert store.run(run.id).mlflow_run_id is None
    assert [e.name for e in client.search_experiments()] == ["Default"]


def test_results_stay_safe_when_mlflow_refuses_and_the_command_repeats_it(
    client, publishing, store, monkeypatch, capsys
):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    run = tracking.init(project="songs", name="refused")
    run.log({"loss": 1.0})
    with pytest.raises(UserError) as error:
        run.finish()
    message = str(error.value)
    assert "run refused could not be shown in MLflow: " in message
    assert f"its results are safe in {store.directory}" in message
    assert message.endswith(f"python -m util_lib.tracking publish {run.id}")
    assert store.run(run.id).state == "finished"
    assert store.run(run.id).summary == {"loss": 1.0}

    assert command.main(["publish", run.id]) == 1
    assert "could not be shown in MLflow" in capsys.readouterr().err
    store.update_run(run.id, mlflow_run_id=None)
    assert command.main(["publish", run.id]) == 0
    shown = client.get_run(store.run(run.id).mlflow_run_id)
    assert (shown.data.metrics, shown.info.status) == ({"loss": 1.0}, "FINISHED")


def test_a_failed_publication_is_finished_by_the_command(client, publishing, store, monkeypatch):
    from util_lib.tracking import mlflow_mirror as module

    def interrupted(*_):
        raise RuntimeError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_log_metrics", interrupted)
        run = tracking.init(project="songs")
        run.log({"loss": 1.0})
        with pytest.raises(UserError, match="the disk is gone"):
            run.finish()
    assert client.get_run(store.run(run.id).mlflow_run_id).info.status == "RUNNING"
    assert command.main(["publish", run.id]) == 0
    (experiment,) = [e for e in client.search_experiments() if e.name == "songs"]
    (shown,) = client.search_runs([experiment.experiment_id])
    assert (shown.info.status, shown.data.metrics) == ("FINISHED", {"loss": 1.0})


def test_an_error_of_the_step_is_not_hidden_by_one_of_mlflow(
    client, publishing, monkeypatch, capsys
):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with pytest.raises(ZeroDivisionError):
        with tracking.init(project="songs"):
            _ = 1 / 0
    assert "could not be shown in MLflow" in capsys.readouterr().err


def test_the_command_names_a_run_that_is_not_there(capsys, store):
    assert command.main(["publish", "absent"]) == 1
    assert f"there is no run 'absent' in {store.directory}" in capsys.readouterr().err


def test_without_mlflow_one_line_says_that_nothing_is_shown_and_why(answer, publishing, store):
    code, stdout, stderr = answer(
        """
import sys
sys.modules["mlflow"] = None  # as in an environment without it
from util_lib import tracking
with tracking.init(project="songs", name="unseen"):
    pass
"""
    )
    assert (code, stdout) == (0, "")
    (line,) = stderr.splitlines()
    assert f"run unseen is in {store.directory} but not shown in MLflow: " in line
    assert "mlflow" in line.rsplit("MLflow:", 1)[1]
    assert [run.state for run in store.runs()] == ["finished"]


def test_processes_that_publish_at_once_make_one_database_and_print_nothing(
    python, publishing, store
):
    source = """
from util_lib import tracking
with tracking.init(project="songs", config={"a": 1}):
    pass
"""
    processes = [python(source, program=warm.python()) for _ in range(3)]
    answers = [process.communicate(timeout=120) for process in processes]
    assert [p.returncode for p in processes] == [0, 0, 0], answers
    assert answers == [("", "")] * 3
    base = store.directory.parent
    client = mlflow.MlflowClient(f"sqlite:///{base}/mlflow.db")
    experiments = {e.name: e for e in client.search_experiments()}
    assert sorted(experiments) == ["Default", "songs"]
    # Not below the directory where whichever of them came first happened to stand.
    assert {e.artifact_location.rsplit("/", 1)[0] for e in experiments.values()} == {
        f"{base}/mlruns"
    }
    assert len(client.search_runs([experiments["songs"].experiment_id])) == 3


def test_a_run_that_crashed_is_shown_as_failed(client, python, store):
    process = python(
        """
import time
from util_lib import tracking
run = tracking.init(project="songs")
run.log({"loss": 1.0})
print(run.id, flush=True)
time.sleep(60)
"""
    )
    run_id = process.stdout.readline().strip()
    process.kill()
    process.communicate()
    publish_own(open_store().run(run_id))
    shown = client.get_run(store.run(run_id).mlflow_run_id)
    assert shown.info.status == "FAILED"
    assert shown.data.tags["tracking.state"] == "crashed"
    assert shown.data.metrics == {"loss": 1.0}
