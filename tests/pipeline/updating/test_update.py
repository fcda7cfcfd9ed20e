"""Ticks of `update`, as a scheduler starts them; steps and gate do next to nothing."""

import fcntl
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from bucket_support import _s3, bucket

from pipeline.planning.plan import plan
from pipeline.settings import overrides, resolvers, schema
from tests import warm
from tests.pipeline.trivial_steps import ROOT, STEPS, make_project
from util_lib import folders, tracking

__all__ = ["_s3", "bucket"]

PROJECT = "songs_demo"
DATASET = (
    "main.env_manager=local data.file_url=incoming data.sha256=null data.partition.by=file "
    "data.partition.window=2"
)
# What a stand-in for serving answers is told by the environment: `better`, or why it refuses.
SERVING = """
import os, sys, tempfile
from pathlib import Path
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from util_lib import tracking
given = dict(word[2:].split("=", 1) for word in sys.argv[2:])
answer = os.environ.get("GATE", "better")
with open(os.environ["RAN"], "a") as ran:
    ran.write(sys.argv[1] + chr(10))
with tracking.whole_step(), tracking.init(job_type=sys.argv[1], config=given) as run:
    if sys.argv[1] == "rollback":
        chosen = run.use_artifact("model_export:shadow")
    else:
        chosen = run.use_artifact(given["model"])
        about = {"candidate": given["model"], "promote": answer == "better"}
        about |= {"code": answer, "reason": f"it is {answer}"}
        compared = tracking.Artifact("model_export_comparison", type="text", metadata=about)
        with compared.new_file("text") as file:
            file.write(given["model"] + answer)
        run.log_artifact(compared)
    if answer == "better":
        chosen.aliases = [*chosen.aliases, "prod"]
        chosen.save()
if answer != "better":
    sys.exit("serving: refused")
"""


class Place:
    """A copy of the project, a folder of weekly files, and a folder in which a user stands."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.project, self.home = folder, folder / "project", folder / "home"
        ours = ("TRACKING_", "MLFLOW_", "PIPELINE_", "WANDB_")
        others = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        path = warm.first_on_path(others)["PATH"]
        self.environment = {**others, "PATH": path, "RAN": str(folder / "ran")}
        self.environment["PYTHONPATH"] = str(self.project)

    def deliver(self, week: int, content: str = "", age_s: float = 600) -> Path:
        file = self.project / "incoming" / f"songs_2026-W{week:02d}.csv"
        file.write_text(f"a,b\n{week},2{content}\n")
        os.utime(file, (time.time() - age_s,) * 2)
        return file

    def tick(self, *flags: str, options: str = "", **more: str) -> tuple[int, str]:
        """Do one tick; return its exit code and its last line."""
        (self.folder / "ran").write_text("")
        done = subprocess.run(
            [warm.python(), "-m", "pipeline.commands.update"]
            + [f"--hydra_options={DATASET} {options}", *flags],
            cwd=self.home,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        said = done.stdout if done.returncode in (0, 2, 3) else done.stderr
        return done.returncode, said.strip().splitlines()[-1]

    @property
    def ran(self) -> list[str]:
        return (self.folder / "ran").read_text().split()

    def version(self, reference: str):
        return tracking.Api().artifact(f"{PROJECT}/{reference}")

    def ticks(self) -> list[dict]:
        return json.loads(self.text("update_log:latest", "update_log.json"))["ticks"]

    def text(self, reference: str, file: str) -> str:
        return Path(self.version(reference).download(self.folder / "read"), file).read_text()

    def judge(self, version: str, state: str, score: float, n: int = 400) -> None:
        """Log what monitoring hands over."""
        alarm = {"family": "inputs", "test": "drift", "column": "a", "reason": "a has moved."}
        found = {
            "window": "2026-W14",
            "state": state,
            "version": f"{PROJECT}/model_export:{version}",
        }
        found |= {"alarms": [alarm] * (state == "alarm"), "labelled": {"score": score, "n": n}}
        with tracking.init(project=PROJECT, job_type="monitoring") as run:
            report = tracking.Artifact("monitoring_report", type="report")
            with report.new_file("verdict.json") as file:
                file.write(json.dumps(found))
            run.log_artifact(report)


def make_place(folder: Path, mlflow_database: Path) -> Place:
    """Return a place where two weeks have come."""
    resolvers.register_resolvers()
    project = make_project(folder / "project", plan(schema.check(overrides.base_config([]))))
    (project / "serving").mkdir()
    entries = yaml.safe_load((ROOT / "serving" / "MLproject").read_text())["entry_points"]
    made = {}
    for name in ("promote", "rollback"):
        parameters = entries[name]["parameters"]
        flags = " ".join(f"--{key}={{{key}}}" for key in parameters)
        made[name] = {"parameters": parameters, "command": f"python run.py {name} {flags}"}
    (project / "serving" / "MLproject").write_text(yaml.safe_dump({"entry_points": made}))
    (project / "serving" / "conda.yml").write_text("name: trivial\n")
    (project / "serving" / "run.py").write_text(SERVING)
    (project / "incoming").mkdir()
    (folder / "home").mkdir()
    shutil.copy(mlflow_database, folder / "home" / "mlflow.db")
    place = Place(folder)
    place.deliver(1)
    place.deliver(2)
    return place


@pytest.fixture(scope="module")
def once(tmp_path_factory, empty_mlflow_database) -> Path:
    """A place where two weeks have come and the first model is prod."""
    folder = tmp_path_factory.mktemp("update")
    place = make_place(folder, empty_mlflow_database)
    code, said = place.tick()
    assert (code, place.ran) == (0, [*STEPS, "promote"]), said
    return folder


@pytest.fixture
def place(once, tmp_path, monkeypatch) -> Place:
    folder = tmp_path / "place"
    shutil.copytree(once, folder)
    monkeypatch.setenv("TRACKING_STORE", str(folder / "home" / "tracking_store"))
    return Place(folder)


def test_new_data_are_trained_on_and_a_tick_without_news_does_nothing(place):
    (first,) = place.ticks()
    assert (first["triggers"], first["outcome"], first["newest"]) == (
        ["new_data"],
        "promoted",
        "2026-W02",
    )
    before = sorted(path.name for path in place.home.rglob("*"))
    code, said = place.tick()
    assert (code, place.ran) == (0, [])
    assert "nothing to do: 2026-W02 is the newest partition, promoted on" in said
    assert sorted(path.name for path in place.home.rglob("*")) == before
    place.deliver(3)
    code, said = place.tick("--why=true")
    assert (code, place.ran) == (0, []) and "would run (new_data: 2026-W03 is new)" in said
    code, said = place.tick()
    assert code == 0 and "promoted: songs_demo/model_export:v1 is prod" in said
    assert place.version("model_export:prod").version == "v1"
    assert place.version("model_export:shadow").version == "v0"
    assert place.version("preprocessed_data.parquet:reference").version == "v1"
    made = place.version("update_log:latest").logged_by()
    assert {*made.tags} == {"update", "trigger:new_data", "outcome:promoted"}
    receipt = json.loads(place.text("receipt:latest", "receipt.json"))["config"]["data"]
    taken = sorted((place.project / "incoming").iterdir())[1:]
    assert receipt["sha256"] == folders.digest(taken)
    assert receipt["partition"]["until"] == "2026-W03"


def test_deliveries_in_a_bucket_are_trained_on_and_the_same_again_are_no_news(bucket, place):
    shutil.copytree(ROOT / "get_data", place.project / "get_data", dirs_exist_ok=True)
    options = f"data.file_url={bucket.address}/in/ data.raw_artifact=bucket_data"
    options += " data.partition.window=1"  # the steps here take one file
    code, said = place.tick(options=options)
    assert code == 1 and "in/ does not exist" in said
    for week in (1, 2, 3):
        bucket.put(f"in/songs_2026-W{week:02d}.csv", b"a,b\n%d,2\n" % week)
    code, said = place.tick(options=options)
    assert code == 0 and "(new_data: 2026-W03 is new" in said, said
    made = place.version("bucket_data:latest")
    assert [*made.manifest.entries] == ["songs_2026-W03.csv"]
    bucket.put("in/songs_2026-W03.csv", b"a,b\n3,2\n")  # the same again
    bucket.put("in/songs_2026-W01.csv", b"a,b\n9,9\n")  # not taken
    code, said = place.tick(options=options)
    assert (code, place.ran) == (0, []) and "nothing to do: 2026-W03" in said
    bucket.put("in/songs_2026-W03.csv", b"a,b\n3,3\n")
    code, said = place.tick(options=options)
    assert code == 0 and "new_data" in said and "train_random_forest" in place.ran
    code, said = place.tick(options=options, AWS_ENDPOINT_URL="http://127.0.0.1:1")
    assert code == 1 and "cannot be reached" in said


@pytest.mark.slow
def test_on_wandb_too_new_data_are_trained_on_and_a_tick_without_news_does_nothing(
    tmp_path, empty_mlflow_database, wandb_account, wandb_api, monkeypatch
):
    folder = tmp_path / "on_wandb"
    folder.mkdir()
    place = make_place(folder, empty_mlflow_database)
    client = {**wandb_account.environment, "HOME": wandb_account.environment["WANDB_DIR"]}
    del client["WANDB_DIR"]  # the command has to choose it
    place.environment |= client
    monkeypatch.setenv("TRACKING_BACKEND", "wandb")
    there = "main.tracking=wandb"
    code, said = place.tick(options=there)
    assert (code, place.ran) == (0, [*STEPS, "promote"]), said
    assert "promoted: songs_demo/model_export:v0 is prod" in said
    code, said = place.tick(options=there)
    assert (code, place.ran) == (0, []) and "nothing to do: 2026-W02 is the newest" in said
    place.deliver(3)
    code, said = place.tick(options=there)
    assert code == 0 and "promoted: songs_demo/model_export:v1 is prod" in said
    aliases = ("model_export:prod", "model_export:shadow", "preprocessed_data.parquet:reference")
    assert [place.version(name).version for name in aliases] == ["v1", "v0", "v1"]
    assert [tick["outcome"] for tick in place.ticks()] == ["promoted", "promoted"]
    runs = [run for run in wandb_api.runs(PROJECT) if run.job_type == "update"]
    assert [(run.state, "trigger:new_data" in run.tags) for run in runs] == [("finished", True)] * 2
    assert not (place.home / "tracking_store" / "tracking.db").exists()


def test_the_same_bad_data_are_refused_once(place):
    place.deliver(3, "bad")
    code, said = place.tick(FAILS="check_data")
    assert code == 2 and "data refused: step check_data failed: told to fail" in said
    code, said = place.tick(FAILS="check_data")
    assert (code, place.ran) == (0, []) and "data refused on" in said
    assert [tick["outcome"] for tick in place.ticks()] == ["promoted", "data refused"]


@pytest.mark.slow
def test_what_breaks_down_is_tried_again_and_goes_on_where_it_was(place):
    place.deliver(3)
    code, said = place.tick(FAILS="evaluate")
    assert code == 1 and "step evaluate failed" in said and len(place.ticks()) == 1
    code, said = place.tick()
    assert (code, place.ran) == (0, ["evaluate", "promote"])


@pytest.mark.slow
def test_a_refused_model_is_no_prod_and_not_asked_of_again(place):
    place.deliver(3)
    code, said = place.tick(GATE="not_sure")
    assert code == 3 and "v1 is not promoted: it is not_sure (new_data: 2026-W03 is new)" in said
    assert place.version("model_export:prod").version == "v0"
    assert place.ticks()[-1]["word"] == "not_sure"
    assert place.tick()[0] == 0 and place.ran == []
    code = (place.project / "evaluate" / "run.py").read_text()
    (place.project / "evaluate" / "run.py").write_text(code.replace('"plain"', '"other"'))
    code, said = place.tick()
    assert (code, place.ran) == (0, ["evaluate"])
    assert "v1 came of it, as before (model refused" in said
    assert "code: code or configuration of evaluate changed" in said


def test_only_one_of_two_at_once_runs_and_a_file_that_still_grows_waits(place):
    place.deliver(3, age_s=5)
    code, said = place.tick()
    assert (code, place.ran) == (0, []) and "waits: songs_2026-W03.csv was changed " in said
    place.deliver(3)
    with (place.home / "tracking_store" / f"update.{PROJECT}.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        code, said = place.tick()
    assert (code, place.ran) == (0, []) and "another update of it is running" in said


@pytest.mark.slow
def test_an_alarm_of_drift_trains_once_and_lets_the_drift_pass(place):
    place.judge("v0", "alarm", 0.8)
    code, said = place.tick(options="update.triggers.drift=false")
    assert (code, place.ran) == (0, []) and "monitoring's alarm of 2026-W14 stays" in said
    code, said = place.tick()
    assert code == 0 and "drift: monitoring's alarm of 2026-W14: a has moved" in said
    receipt = json.loads(place.text("receipt:latest", "receipt.json"))
    assert receipt["config"]["data"]["drift"] == "warn"
    code, said = place.tick()
    assert (code, place.ran) == (0, []) and "alarm of 2026-W14 stays" in said


@pytest.mark.slow
def test_a_promoted_model_that_labels_show_to_be_worse_is_rolled_back_and_blocked(place):
    place.judge("v0", "quiet", 0.90)
    place.deliver(3)
    assert place.tick()[0] == 0
    assert place.version("model_export:prod").version == "v1"
    place.judge("v1", "quiet", 0.80)
    code, said = place.tick()
    assert (code, place.ran) == (3, ["rollback"])
    assert (
        "rolled back: songs_demo/model_export:v0 is prod again: by the labels of 2026-W14" in said
    )
    assert "v1 is 0.1000 worse than songs_demo/model_export:v0" in said
    assert place.tick()[0] == 0 and place.ran == []
    code = (place.project / "evaluate" / "run.py").read_text()
    (place.project / "evaluate" / "run.py").write_text(code.replace('"plain"', '"other"'))
    code, said = place.tick()
    assert (code, place.ran) == (3, ["check_data", "evaluate"])
    assert "v1: it was rolled back at" in said
    assert place.version("model_export:prod").version == "v0"


@pytest.mark.slow
def test_a_difference_that_may_be_chance_confirms_the_promotion(place):
    place.judge("v0", "quiet", 0.90)
    place.deliver(3)
    place.tick()
    place.judge("v1", "quiet", 0.88)
    assert place.tick()[0] == 0 and place.ran == []
    assert place.ticks()[-1]["outcome"] == "confirmed"
    place.judge("v1", "quiet", 0.50)  # one window only: what comes later is monitoring's
    assert place.tick()[0] == 0 and place.ticks()[-1]["outcome"] == "confirmed"


@pytest.mark.slow
def test_a_backfill_is_a_tick_for_each_week_and_the_same_again_elsewhere(place, once):
    receipts = []
    for _ in range(2):
        here = Place(place.folder)
        shutil.rmtree(here.home)
        here.home.mkdir()
        shutil.copy(once / "home" / "mlflow.db", here.home)
        here.deliver(3)
        code, said = here.tick("--backfill=2026-W02:2026-W03")
        assert code == 0 and "until 2026-W03: promoted" in said
        assert [tick["newest"] for tick in here.ticks()] == ["2026-W02", "2026-W03"]
        receipts.append([here.version(f"receipt:v{n}").digest for n in range(2)])
    assert receipts[0] == receipts[1]
    code, said = here.tick("--backfill=2026-W02:2026-W03")
    assert (code, here.ran) == (0, []) and "until 2026-W03: nothing to do" in said
    code, said = here.tick("--until=2026-W02")
    assert (code, here.ran) == (0, []) and "until 2026-W02: nothing to do" in said
    code, said = here.tick("--backfill=2026-W07:2026-W09")
    assert code == 1 and "backfill must be FIRST:LAST, such as 2026-W01:2026-W03" in said


@pytest.mark.parametrize("flags", [[], ["--why=true"], ["--backfill=2026-W01:2026-W02"]])
def test_data_that_are_not_there_are_broken_and_no_fault_of_theirs(place, flags):
    code, said = place.tick(*flags, options="data.file_url=away/")
    assert code == 1 and "data.file_url 'away/' does not exist: looked for" in said
    assert place.ran == []
