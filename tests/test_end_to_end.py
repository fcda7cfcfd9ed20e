"""The whole pipeline as a user runs it: real steps, real MLflow, the shipped table."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import warm

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "songs_demo"
SCRIPTS = Path(sys.executable).parent
LOCAL = "main.env_manager=local"  # the tests' own environment holds the packages of all steps


def surroundings() -> dict[str, str]:
    """The user's environment, without what would lead runs elsewhere."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WANDB_", "MLFLOW_", "TRACKING_", "PIPELINE_"))
        and name != "PYTHONDONTWRITEBYTECODE"
    }
    return kept | {"NETRC": os.devnull, "WANDB_CONFIG_DIR": os.devnull}  # nobody's account


def run(folder: Path, *command: str, **more: str) -> subprocess.CompletedProcess:
    """Run a command as a user does."""
    path = f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"
    return _run(folder, command, {"PATH": path, **more})


def run_warm(folder: Path, *command: str, **more: str) -> subprocess.CompletedProcess:
    """The same, but `python` and `mlflow`, and the steps they start, start warm."""
    program = {"python": [warm.python()], "mlflow": [warm.python(), str(SCRIPTS / "mlflow")]}
    command = (*program.get(command[0], command[:1]), *command[1:])
    path = warm.first_on_path(dict(os.environ))["PATH"]
    return _run(folder, command, {"PATH": path, **more})


def _run(folder: Path, command: tuple[str, ...], more: dict[str, str]):
    return subprocess.run(
        command,
        cwd=folder,
        env={**surroundings(), **more},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def main(folder: Path, *given: str) -> subprocess.CompletedProcess:
    return run_warm(folder, "python", str(ROOT / "main.py"), LOCAL, *given)


def ask_store(folder: Path, code: str) -> object:
    """Evaluate `code`, which sees `api`, in a process that uses the store of `folder`."""
    program = f"import json; from util_lib import tracking; api = tracking.Api(); {code}"
    store = str(folder / "tracking_store")
    done = run_warm(ROOT, "python", "-c", program, TRACKING_STORE=store)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def state_of_checkout() -> str:
    """What git sees as changed, new or ignored, but for cached bytecode and the like."""
    seen = run(ROOT, "git", "status", "--porcelain", "--ignored").stdout.splitlines()
    return "\n".join(line for line in seen if "cache" not in line)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A folder in which `mlflow run <this project>` has run once; its output is in out.txt."""
    folder = tmp_path_factory.mktemp("pipeline")
    before = state_of_checkout()
    done = run(
        folder,
        *("mlflow", "run", str(ROOT), "--env-manager", "local", "-P", f"hydra_options={LOCAL}"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "out.txt").write_text(done.stdout)
    (folder / "checkout.txt").write_text(before)
    return folder


@pytest.fixture(scope="session")
def client(finished):
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{finished / 'mlflow.db'}")


def test_the_table_names_every_step_with_what_it_made_and_measured(finished):
    said = (finished / "out.txt").read_text()
    table = said[said.index("┃ artifacts") :]
    for made in ("raw_data.parquet:v0", "preprocessed_data.parquet:v0", "check_data_report:v0"):
        assert made in table
    for made in ("data_train.parquet:v0", "data_test.parquet:v0", "model_export:v0"):
        assert made in table
    assert table.count("done") == 6
    assert re.search(r"val_roc_auc_ovo_macro 0\.9\d{3}", table)
    assert re.search(r"test_roc_auc_ovo_macro 0\.9\d{3}", table)
    assert f"mlflow ui --backend-store-uri sqlite:///{finished}/mlflow.db" in table


def test_nothing_is_left_beside_the_results(finished):
    left = {path.name for path in finished.iterdir()} - {"out.txt", "checkout.txt"}
    kept = {"mlflow.db", "mlruns", "tracking_store", "outputs", "ml_pipeline.log"}
    assert left == kept | {".tracking_stores"}


def test_all_steps_write_one_log(finished):
    lines = (finished / "ml_pipeline.log").read_text().splitlines()
    steps = list(dict.fromkeys(line.split(" - ")[3] for line in lines))
    assert steps == list(ALONE)
    assert any("checks passed on" in line for line in lines)


def test_the_checkout_stays_as_it_was(finished):
    assert state_of_checkout() == (finished / "checkout.txt").read_text()


def test_lineage_leads_from_the_model_back_to_the_raw_data(finished):
    code = (
        f"a = api.artifact('{PROJECT}/model_export:v0')\n"
        "seen = []\n"
        "while a is not None:\n"
        "    made_by = a.logged_by()\n"
        "    seen.append([a.name, made_by.job_type])\n"
        "    a = next(iter(made_by.used_artifacts()), None)\n"
        "print(json.dumps(seen))"
    )
    program = f"exec({code!r})"
    assert ask_store(finished, program) == [
        ["model_export:v0", "train_random_forest"],
        ["data_train.parquet:v0", "segregate"],
        ["preprocessed_data.parquet:v0", "preprocess"],
        ["raw_data.parquet:v0", "get_data"],
    ]


def test_the_first_checked_data_become_the_reference(finished):
    code = (
        f"a = api.artifact('{PROJECT}/preprocessed_data.parquet:reference'); "
        "print(json.dumps([a.version, sorted(a.aliases)]))"
    )
    assert ask_store(finished, code) == ["v0", ["latest", "reference"]]
    assert "reference" in (finished / "out.txt").read_text()


def test_mlflow_shows_the_steps_below_one_run_with_parameters_and_metrics(finished, client):
    (experiment,) = [e for e in client.search_experiments() if e.name == PROJECT]
    parent, *children = client.search_runs(
        [experiment.experiment_id], order_by=["attributes.start_time"]
    )
    names = [child.info.run_name for child in children]
    assert names == [
        *("get_data", "preprocess", "check_data", "segregate", "train_random_forest", "evaluate")
    ]
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    train, evaluate = children[-2:]
    assert train.data.params["random_forest_pipeline.random_forest.max_depth"] == "13"
    assert train.data.metrics["val_accuracy"] > 0.5
    assert evaluate.data.metrics["test_accuracy"] > 0.5
    assert parent.data.metrics["test_accuracy"] == evaluate.data.metrics["test_accuracy"]
    assert f"{PROJECT}/model_export:v0" in train.data.tags["artifacts.logged"]
    assert parent.info.run_name.startswith(f"{PROJECT} · ") and "6 ran" in parent.info.run_name
    assert parent.data.params["dataset"] == PROJECT
    note = parent.data.tags["mlflow.note.content"]
    assert "| train_random_forest | done |" in note and f"- receipt: {PROJECT}/receipt:v0" in note
    assert all("/" not in run.data.params.get("dataset_config", "") for run in children)
    page = Path(client.download_artifacts(parent.info.run_id, "pages/lineage.html")).read_text()
    assert page.count('<a class="run done"') == 6 and page.count('<a class="run finished"') == 5
    assert page.count(">data_test.parquet:v0</text>") == 2  # read by a step, made of the raw file
    figures = {file.path for file in client.list_artifacts(train.info.run_id, "figures")}
    assert any("confusion_matrix" in path for path in figures)
    assert any("feature_importance" in path for path in figures)


def test_mlflow_shows_the_tables_of_a_run_and_the_model_with_what_was_measured_of_it(
    finished, client
):
    runs = {run.info.run_name: run for run in client.search_runs(["1"])}
    read = {
        (each.dataset.name, each.tags[0].value, json.loads(each.dataset.profile).get("num_rows"))
        for step in ("segregate", "evaluate")
        for each in runs[step].inputs.dataset_inputs
    }
    assert {(name, context) for name, context, _ in read} == {
        ("preprocessed_data.parquet:v0", "read"),
        ("data_train.parquet:v0", "training"),
        ("data_test.parquet:v0", "testing"),
    }
    assert all(rows > 1000 for _, _, rows in read)
    (model,) = client.search_logged_models(["1"])
    assert (model.name, model.source_run_id) == (
        "model_export",
        runs["train_random_forest"].info.run_id,
    )
    measured = {metric.key: metric.value for metric in model.metrics}
    assert measured["test_accuracy"] == runs["evaluate"].data.metrics["test_accuracy"]
    assert measured["val_accuracy"] == runs["train_random_forest"].data.metrics["val_accuracy"]


def test_the_model_loads_where_this_project_was_never_seen(finished, client, tmp_path):
    [version] = client.search_model_versions(f"name='{PROJECT}.model_export'")
    assert version.tags["artifact"] == f"{PROJECT}/model_export:v0"
    program = (
        "import json, sys, mlflow\n"
        "model = mlflow.pyfunc.load_model(sys.argv[1])\n"
        "example = model.input_example\n"
        "print(json.dumps([list(model.predict(example)), list(example.columns)]))"
    )
    done = run_warm(
        tmp_path,
        *("python", "-c", program, f"models:/{PROJECT}.model_export/1"),
        MLFLOW_TRACKING_URI=f"sqlite:///{finished / 'mlflow.db'}",
    )
    assert done.returncode == 0, done.stderr
    genres, columns = json.loads(done.stdout.strip().splitlines()[-1])
    assert len(genres) == 2 and all(isinstance(genre, str) for genre in genres)
    assert columns[-1] == "text_feature" and "genre" not in columns


def test_an_alias_of_the_store_is_an_alias_in_mlflows_registry(finished, client):
    code = (
        f"a = api.artifact('{PROJECT}/model_export:v0'); a.aliases.append('prod'); a.save(); "
        "print(json.dumps(True))"
    )
    assert ask_store(finished, code) is True
    found = client.get_model_version_by_alias(f"{PROJECT}.model_export", "prod")
    assert found.version in (1, "1")


def test_retraining_from_stored_artifacts_makes_the_same_version(finished):
    done = main(finished, "main.execute_steps='train_random_forest,evaluate'")
    assert done.returncode == 0, done.stderr
    assert "model_export:v0" in done.stdout and "model_export:v1" not in done.stdout


def spoil(table: pd.DataFrame, how: str) -> pd.DataFrame:
    if how == "genre":
        table.loc[:11, "genre"] = "Polka"
    elif how == "tempo":
        table.loc[:2, "tempo"] = 9999.0
    elif how == "missing":
        table = table.drop(columns="valence")
    elif how == "energy":
        table["energy"] = (table["energy"] * 0.8).clip(0, 1)
    return table


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("genre", ["'genre'", "12 of", "'Polka'"]),
        pytest.param("tempo", ["'tempo'", "[50, 250]", "3 of", "9999"], marks=pytest.mark.slow),
        pytest.param("missing", ["'valence'"], marks=pytest.mark.slow),
        ("energy", ["'energy'", "KS"]),
    ],
)
def test_bad_data_stop_the_pipeline_with_column_rule_and_count(finished, tmp_path, how, said):
    spoiled = tmp_path / "spoiled.parquet"
    demo = pd.read_parquet(ROOT / "dataset" / "songs_demo.parquet").drop_duplicates()
    spoil(demo.reset_index(drop=True), how).to_parquet(spoiled, index=False)
    # a folder of its own, with the reference of the finished run
    folder = tmp_path / "own"
    shutil.copytree(finished, folder)
    steps = "main.execute_steps='get_data,preprocess,check_data,segregate'"
    done = main(folder, f"data.file_url={spoiled}", "data.sha256=null", steps)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: step ") and "Traceback" not in done.stderr
    for words in said:
        assert words in last
    assert "data_train" not in done.stdout and "not run" in done.stdout


def copy_of_this_tree(folder: Path) -> Path:
    """The tracked files as they are now, without git."""
    work = folder / "work"
    for name in run(ROOT, "git", "ls-files", "-z").stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, work / name)
    return work


ALONE = {
    "get_data": {"file_url": "dataset/songs_demo.parquet", "artifact_name": "raw_data.parquet"},
    "preprocess": {
        "input_artifact": "raw_data.parquet:latest",
        "artifact_name": "preprocessed_data.parquet",
    },
    "check_data": {
        "reference_artifact": "preprocessed_data.parquet:reference",
        "sample_artifact": "preprocessed_data.parquet:latest",
        "ks_alpha": "0.05",
    },
    "segregate": {
        "input_artifact": "preprocessed_data.parquet:latest",
        "artifact_root": "data",
        "test_size": "0.3",
        "random_state": "42",
        "stratify": "genre",
    },
    "train_random_forest": {
        "train_data": "data_train.parquet:latest",
        "model_config": "model_config.yaml",
        "export_artifact": "model_export",
        "random_seed": "42",
        "val_size": "0.3",
        "stratify": "genre",
    },
    "evaluate": {"model_export": "model_export:latest", "test_data": "data_test.parquet:latest"},
}


@pytest.mark.parametrize(
    "way", ["mlflow run .", pytest.param("python run.py", marks=pytest.mark.slow)]
)
def test_every_step_runs_alone_in_its_own_folder_and_finds_what_the_others_made(
    tmp_path, way, empty_mlflow_database
):
    checkout = copy_of_this_tree(tmp_path)
    if way == "mlflow run .":
        for step in [*ALONE][1:]:  # get_data's is made by MLflow, which takes it a second
            shutil.copy(empty_mlflow_database, checkout / step)
    section = run_warm(
        checkout,
        *("python", "main.py", "--cfg", "job", "--resolve"),
        *("--package", "random_forest_pipeline"),
    )
    (checkout / "model_config.yaml").write_text(section.stdout)
    early = run_warm(checkout / "preprocess", "python", "run.py", *flags(ALONE["preprocess"]))
    assert early.returncode == 1
    assert "preprocess: there is no store at" in early.stderr.splitlines()[-1]
    for step, parameters in ALONE.items():
        if way == "python run.py":
            done = run_warm(checkout / step, "python", "run.py", *flags(parameters))
        else:
            given = [
                word for name, value in parameters.items() for word in ("-P", f"{name}={value}")
            ]
            done = run_warm(checkout / step, "mlflow", "run", ".", "--env-manager", "local", *given)
        assert done.returncode == 0, f"{step}: {done.stdout}{done.stderr}"
    code = (
        f"runs = api.runs('{PROJECT}', order='+created_at'); "
        "print(json.dumps([[r.job_type, r.state] for r in runs]))"
    )
    ran = ask_store(checkout, code)
    assert ran == [[step, "finished"] for step in ALONE]
    from mlflow import MlflowClient

    # MLflow's own default: the database lies where `mlflow run` was typed
    database = checkout / ("evaluate/mlflow.db" if way == "mlflow run ." else "mlflow.db")
    client = MlflowClient(f"sqlite:///{database}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    measured = [
        run.data.metrics["test_accuracy"]
        for run in client.search_runs(experiments)
        if "test_accuracy" in run.data.metrics
    ]
    assert measured == [pytest.approx(0.6, abs=0.05)]


def flags(parameters: dict[str, str]) -> list[str]:
    return [word for name, value in parameters.items() for word in (f"--{name}", value)]


def test_drifted_data_can_be_accepted_as_the_new_reference(finished, tmp_path):
    folder = tmp_path / "own"
    shutil.copytree(finished, folder)
    demo = pd.read_parquet(ROOT / "dataset" / "songs_demo.parquet").drop_duplicates()
    louder = tmp_path / "louder.parquet"
    spoil(demo.reset_index(drop=True), "energy").to_parquet(louder, index=False)
    given = [f"data.file_url={louder}", "data.sha256=null"]
    steps = "main.execute_steps=[get_data,preprocess,check_data]"
    assert main(folder, *given, steps).returncode == 1
    accepted = run_warm(
        folder,
        *("mlflow", "run", str(ROOT / "check_data"), "-e", "accept_reference"),
        *("--env-manager", "local", "-P", "sample_artifact=preprocessed_data.parquet:latest"),
    )
    assert accepted.returncode == 0, accepted.stderr
    again = main(folder, "main.execute_steps=check_data")
    assert again.returncode == 0, again.stderr


def git_address_of_this_tree(folder: Path, tag: str) -> tuple[str, dict[str, str]]:
    """Commit the tracked files to a repository that git reaches by an invented address."""
    work = copy_of_this_tree(folder)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.test"]
    for words in (
        *(["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "all"], ["tag", tag]),
        ["clone", "-q", "--bare", ".", str(folder / "bare.git")],
    ):
        done = run(work, *git, *words)
        assert done.returncode == 0, done.stderr
    address = "https://git.example.test/org/pipeline.git"
    return address, {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{(folder / 'bare.git').as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": address,
    }


def test_a_tag_of_a_git_address_runs_and_its_results_stay_where_the_user_stands(tmp_path):
    address, rewritten = git_address_of_this_tree(tmp_path, "v0.1.0")
    folder = tmp_path / "empty"
    folder.mkdir()
    done = run_warm(
        folder,
        *("mlflow", "run", address, "-v", "v0.1.0", "--env-manager", "local"),
        *("-P", f"hydra_options={LOCAL}", "-P", "execute_steps=get_data,preprocess"),
        **rewritten,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "preprocessed_data.parquet:v0" in done.stdout
    assert (folder / "tracking_store" / "tracking.db").is_file()
    code = f"print(json.dumps(api.artifact('{PROJECT}/preprocessed_data.parquet:latest').version))"
    assert ask_store(folder, code) == "v0"


def made_places(n_rows: int = 1_200) -> pd.DataFrame:
    """Rows in the shape of the NYC table, none of it real: price depends on room and place."""
    random = np.random.default_rng(3)
    rooms = {"Shared room": 40, "Private room": 80, "Entire home/apt": 170}
    room = random.choice(list(rooms), n_rows)
    latitude = random.uniform(40.6, 40.9, n_rows)
    price = pd.Series(room).map(rooms) + 400 * (latitude - 40.6) + random.normal(0, 10, n_rows)
    price[:6] = 5_000
    seen = pd.Timestamp("2019-07-08") - pd.to_timedelta(random.integers(0, 900, n_rows), unit="D")
    reviewed = random.random(n_rows) < 0.8
    return pd.DataFrame(
        {
            "id": np.arange(n_rows),
            "name": random.choice(["the sunny loft", "cosy room", None], n_rows),
            "host_id": random.integers(1, 500, n_rows),
            "host_name": "A. Host",
            "neighbourhood_group": random.choice(["Bronx", "Queens", "Manhattan"], n_rows),
            "neighbourhood": "Somewhere",
            "latitude": latitude,
            "longitude": random.uniform(-74.1, -73.8, n_rows),
            "room_type": room,
            "price": price.astype(int),
            "minimum_nights": random.integers(1, 30, n_rows),
            "number_of_reviews": random.integers(0, 90, n_rows),
            "last_review": pd.Series(seen.strftime("%Y-%m-%d")).where(reviewed),
            "reviews_per_month": np.where(reviewed, random.uniform(0, 5, n_rows), np.nan),
            "calculated_host_listings_count": random.integers(1, 9, n_rows),
            "availability_365": random.integers(0, 366, n_rows),
        }
    )


def test_numbers_are_predicted_from_a_csv_file_by_configuration_alone(tmp_path):
    places = tmp_path / "places.csv"
    text = made_places().to_csv(index=False, sep=";", decimal=",")
    places.write_text(f"made for a test\n{text}", encoding="latin-1")
    done = main(
        tmp_path,
        "dataset=nyc_airbnb",
        *(f"data.file_url={places}", "data.sha256=null", "data.checks.min_rows=1000"),
        "data.csv={separator: ';', decimal: ',', skip_lines: 1, encoding: latin-1}",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "clean.keep_rows.price: dropped 6 of 1,200 rows" in done.stdout
    scores = dict(re.findall(r"(test_(?:r2|mae|rmse)) +([\d.]+)", done.stdout))
    assert float(scores["test_r2"]) > 0.8 and 5 < float(scores["test_mae"]) < 30
    assert "accuracy" not in done.stdout


def test_a_table_beside_the_user_is_drafted_and_run_by_a_project_from_a_git_address(tmp_path):
    address, rewritten = git_address_of_this_tree(tmp_path, "v0.1.0")
    folder = tmp_path / "mine"
    folder.mkdir()
    songs = pd.read_parquet(ROOT / "dataset" / "songs_demo.parquet").head(400)
    songs.to_csv(folder / "songs.csv", index=False, sep=";")
    project = ["mlflow", "run", address, "-v", "v0.1.0", "--env-manager", "local"]
    given = ["-P", "file_url=songs.csv", "-P", "target=genre", "-P", "env_manager=local"]
    done = run_warm(folder, *project, "-e", "describe", *given, **rewritten)
    assert done.returncode == 0, done.stdout + done.stderr
    draft = folder / "conf" / "dataset" / "songs.yaml"
    assert f"Drafted {draft}" in done.stdout and "songs_profile:v0" in done.stdout
    assert f"The dataset file lies in {draft.parent}" in done.stdout
    assert "outputs" not in done.stdout  # nothing undeclared

    options = f"hydra_options=dataset=songs {LOCAL}"
    steps = ["-P", "execute_steps=get_data,preprocess,check_data"]
    done = run_warm(folder, *project, "-P", options, *steps, **rewritten)
    assert done.returncode == 0, done.stdout + done.stderr
    code = "print(json.dumps(api.artifact('songs/preprocessed_data.parquet:reference').version))"
    assert ask_store(folder, code) == "v0"
    pages = sorted(path.name for path in folder.rglob("pages/*.html"))
    assert "songs_profile.html" in pages


def test_the_documented_figures_are_reached_on_the_real_data(real_data, tmp_path):
    table = real_data / "genres_mod.parquet"
    done = main(tmp_path, "dataset=music_genre", f"data.file_url={table}")
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = {
        name: float(value)
        for name, value in re.findall(r"((?:val|test)_\w+) +(0\.\d+)", done.stdout)
    }
    assert metrics["val_roc_auc_ovo_macro"] == pytest.approx(0.9544, abs=0.002)
    assert metrics["test_roc_auc_ovo_macro"] == pytest.approx(0.9532, abs=0.002)
    assert metrics["test_accuracy"] == pytest.approx(0.688, abs=0.01)
