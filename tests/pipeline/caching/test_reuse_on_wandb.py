"""On W&B too a step runs again when, and only when, something that it depends on has changed."""

import json
import os
import re
import sys
from pathlib import Path

import psutil
import pytest

from pipeline.planning.plan import plan
from pipeline.settings import overrides, resolvers, schema
from tests.pipeline.caching.test_reuse import Place
from tests.pipeline.trivial_steps import STEPS, make_project

wandb = pytest.importorskip("wandb", reason="the genuine W&B client is not installed")

GET, CLEAN, CHECK, SPLIT, TRAIN, TEST = STEPS
PROJECT = "songs_demo"
REMOTE, LOCAL = "main.tracking=wandb", "main.tracking=local"


@pytest.fixture(scope="module")
def account(tmp_path_factory, _wandb_double):
    _wandb_double.start()
    return _wandb_double.account(tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module")
def place(tmp_path_factory, account) -> Place:
    """A place where the pipeline has run once on W&B; every test leaves it so that nothing runs."""
    folder = tmp_path_factory.mktemp("place")
    resolvers.register_resolvers()
    make_project(folder / "project", plan(schema.check(overrides.base_config([]))))
    (folder / "home").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("TRACKING_", "NETRC"))]:
            patch.delenv(name)
        place = Place(folder)
    client = {**account.environment, "HOME": account.environment["WANDB_DIR"]}
    del client["WANDB_DIR"]  # main.py has to choose it
    place.environment |= client
    place.table.write_text("a,b\n1,2\n")
    assert place.ran(REMOTE) == list(STEPS)
    return place


@pytest.fixture
def api(account, monkeypatch):
    for name, value in account.environment.items():
        monkeypatch.setenv(name, value)
    yield wandb.Api()
    wandb.teardown()


def said(place: Place, *given: str, **more: str) -> tuple[list[str], str]:
    """Run the pipeline; return the steps that ran, and what was printed."""
    done = place.run("--explain", *given, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(place.environment["RAN"]).read_text().split(), done.stdout


def receipt(text: str) -> str:
    return re.search(r"^receipt: (.*)$", text, re.MULTILINE)[1]


def test_nothing_changed_nothing_runs_and_mlflow_is_not_even_imported(place, api):
    main = place.project / "main.py"
    before = main.read_text()
    asked = "code = startup.main(go)\n    print('mlflow' in sys.modules)\n    sys.exit(code)"
    place.edit("main.py", "sys.exit(startup.main(go))", asked)
    ran, text = said(place, REMOTE, python=sys.executable)
    main.write_text(before)
    assert ran == [] and text.count(": cached") == 6
    assert text.rstrip().endswith("False")
    assert "model_export:v0" in text and "letters" in text
    assert receipt(text) == f"{PROJECT}/receipt:v0", "nothing changed: the same receipt, no new run"
    assert [run.job_type for run in api.runs(PROJECT)] == [*STEPS, "pipeline"]
    assert api.artifact(receipt(text)).logged_by().state == "finished"
    assert not (place.store / "tracking.db").exists()
    assert not [p for p in psutil.process_iter(["name", "cwd"]) if is_left(p, place)]


def is_left(process: psutil.Process, place: Place) -> bool:
    """Say whether it is a service process of the client that was started for this place."""
    try:
        inside = str(process.info["cwd"]).startswith(str(place.home.parent))
    except psutil.Error:
        return False
    return inside and process.info["name"] == "wandb-core"


@pytest.mark.slow
def test_a_changed_parameter_runs_the_steps_that_get_it_and_latest_comes_back(place, api):
    ran, text = said(place, REMOTE, "random_forest_pipeline.random_forest.max_depth=3")
    assert ran == [TRAIN, TEST]
    assert "runs, because: random_forest_pipeline.random_forest.max_depth 13 -> 3" in text
    assert "runs, because: input model_export v0 -> v1" in text
    assert api.artifact(f"{PROJECT}/model_export:latest").version == "v1"
    assert place.ran(REMOTE) == []
    assert api.artifact(f"{PROJECT}/model_export:latest").version == "v0"


def test_a_receipt_that_wandb_does_not_take_is_a_file_and_the_run_is_a_good_one(
    place, wandb_service
):
    wandb_service.order({"match": "CreateArtifact", "status": 403, "message": "the quota is used"})
    ran, text = said(place, REMOTE, "main.experiment_name=other")
    wandb_service.order()
    file, _, why = receipt(text).partition(" (")
    assert ran == [] and json.loads(Path(file).read_text())["steps"][-1]["name"] == TEST
    assert why.startswith("not at W&B, or not whole: ") and "the quota is used" in why


@pytest.mark.slow
def test_a_deleted_version_is_made_again(place, api):
    api.artifact(f"{PROJECT}/check_data_report:v0").delete(delete_aliases=True)
    ran, text = said(place, REMOTE)
    assert ran == [CHECK]
    assert "check_data: runs, because: output check_data_report:v0 is gone" in text
    ran, text = said(place, REMOTE)
    assert ran == [] and "check_data_report:v1" in text


@pytest.mark.slow
def test_a_reference_that_moved_or_went_is_noticed_by_the_check(place, api):
    version = api.artifact(f"{PROJECT}/preprocessed_data.parquet:v0")
    version.aliases = [*version.aliases, "reference"]
    version.save()
    ran, text = said(place, REMOTE)
    assert ran == [CHECK]
    assert "input preprocessed_data.parquet:reference absent -> v0" in text
    version.aliases = [alias for alias in version.aliases if alias != "reference"]
    version.save()
    assert place.ran(REMOTE) == []  # as in the first run, when there was none


@pytest.mark.slow
def test_another_project_and_another_backend_know_nothing_of_it(place):
    alone = "main.execute_steps=get_data"
    ran, text = said(place, REMOTE, alone, "main.project_name=other")
    assert ran == [GET] and "get_data: runs, because: first time" in text
    ran, text = said(place, LOCAL, alone)
    assert ran == [GET]
    assert re.search(r"because: main.tracking W&B at \S+, \S+ -> the embedded store", text)
    assert place.ran(REMOTE, alone) == [] and place.ran(LOCAL, alone) == []
    (place.store / "tracking.db").unlink()


def test_a_plan_asks_wandb_and_starts_nothing(place):
    ran, text = said(place, REMOTE, "--plan", "data.test_size=0.2")
    assert ran == []
    assert text.count("be cached") == 5 and "data.test_size" in text


def test_a_service_that_is_not_there_is_named_before_any_step_starts(place):
    done = place.run(REMOTE, WANDB_BASE_URL="http://127.0.0.1:9")
    assert done.returncode == 1
    assert Path(place.environment["RAN"]).read_text() == ""
    last = done.stderr.splitlines()[-1]
    assert "W&B at http://127.0.0.1:9 cannot be reached or does not answer" in last
    assert "main.tracking=local" in last and "Traceback" not in done.stderr
