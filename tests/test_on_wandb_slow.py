"""The whole pipeline on W&B by `mlflow run`, and the same artifacts as in the embedded store."""

import json
import re

import pytest
from on_wandb import ROOT, SCRIPTS, OnWandb

pytest.importorskip("wandb", reason="the genuine W&B client is not installed")
pytestmark = pytest.mark.slow

ARTIFACTS = (
    *("raw_data.parquet", "preprocessed_data.parquet", "check_data_log"),
    *("data_train.parquet", "data_test.parquet", "model_export"),
)
ASK_STORE = """
import json, sys
from util_lib import tracking

found = {}
for name in sys.argv[2:]:
    artifact = tracking.Api().artifact(f"{sys.argv[1]}/{name}:v0")
    files = {path: entry.digest for path, entry in artifact.manifest.entries.items()}
    found[name] = {"digest": artifact.digest, **files}
print(json.dumps(found))
"""


@pytest.fixture
def pipeline(tmp_path, wandb_account):
    folder = tmp_path / "on_wandb"
    folder.mkdir()
    return OnWandb(folder, wandb_account)


def digests(pipeline, backend, project):
    """Return the digests of all artifacts and of their files."""
    done = pipeline.start(
        *("env", f"TRACKING_BACKEND={backend}", SCRIPTS / "python", "-c", ASK_STORE),
        *(project, *ARTIFACTS),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def on_both(pipeline, tmp_path, project, *given):
    """Run the pipeline on W&B and in the embedded store; return the first one's output.

    Every artifact is the same on both, file by file.
    """
    given = ("main.env_manager=local", f"main.project_name={project}", *given)
    there = pipeline.run("main.tracking=wandb", *given)
    assert there.returncode == 0, there.stdout + there.stderr
    (tmp_path / "here").mkdir()
    here = OnWandb(tmp_path / "here", pipeline.account)
    done = here.run("main.tracking=local", *given)
    assert done.returncode == 0, done.stdout + done.stderr
    assert digests(pipeline, "wandb", project) == digests(here, "local", project)
    return there.stdout


def test_mlflow_run_takes_all_steps_to_wandb_and_a_second_project_stays_apart(
    pipeline, wandb_api, tmp_path, wandb_service
):
    wandb_service.order()
    for project in ("songs_demo", "songs_demo_prod"):
        options = f"main.env_manager=local main.tracking=wandb main.project_name={project}"
        done = pipeline.start(
            *(SCRIPTS / "mlflow", "run", ROOT, "--env-manager", "local"),
            *("-P", f"hydra_options={options}"),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert [run.state for run in wandb_api.runs(project)] == ["finished"] * 7
        got = tmp_path / project
        name = f"{project}/model_export:latest"
        done = pipeline.command("artifact", "get", name, "--root", str(got))
        assert done.returncode == 0, done.stderr
        assert (got / "MLmodel").is_file()
    assert not [name for name in wandb_service.requests() if " " in name]


def test_the_demo_makes_the_same_artifacts_on_wandb_and_in_the_embedded_store(pipeline, tmp_path):
    on_both(pipeline, tmp_path, "songs_demo")


def test_the_real_songs_reach_the_documented_figure_with_the_same_artifacts_on_both(
    pipeline, wandb_api, tmp_path, real_data
):
    given = ("dataset=music_genre", f"data.file_url={real_data / 'genres_mod.parquet'}")
    said = on_both(pipeline, tmp_path, "songs", *given)
    found = re.findall(r"test_roc_auc_ovo_macro +(0\.\d+)", said)[-1]  # in the closing table
    assert float(found) == pytest.approx(0.9532, abs=0.002)
    [evaluate] = wandb_api.runs("songs", filters={"jobType": "evaluate"})
    assert evaluate.summary["test_roc_auc_ovo_macro"] == pytest.approx(float(found), abs=1e-4)
