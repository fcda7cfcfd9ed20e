"""A step runs again when, and only when, something that it depends on has changed."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.planning.plan import plan
from pipeline.settings import overrides, resolvers, schema
from tests import warm
from tests.pipeline.trivial_steps import STEPS, make_project

ROOT = Path(__file__).resolve().parents[3]
GET, CLEAN, CHECK, SPLIT, TRAIN, TEST = STEPS


class Place:
    """A copy of the project with trivial steps, a table, and a folder in which a user stands."""

    def __init__(self, folder: Path) -> None:
        self.project, self.home = folder / "project", folder / "home"
        self.table = self.project / "table.csv"
        ours = ("TRACKING_", "MLFLOW_", "PIPELINE_", "WANDB_")
        others = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.environment = {**others, "RAN": str(folder / "ran")}

    def run(
        self, *given: str, python: str | None = None, **more: str
    ) -> subprocess.CompletedProcess:
        command = [python or warm.python(), str(self.project / "main.py"), "main.env_manager=local"]
        options = ["data.file_url=table.csv", "data.sha256=null", *given]
        Path(self.environment["RAN"]).write_text("")
        return subprocess.run(
            [*command, *options],
            cwd=self.home,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def ran(self, *given: str, **more: str) -> list[str]:
        """Run the pipeline and name the steps that really ran."""
        done = self.run(*given, **more)
        assert done.returncode == 0, done.stdout + done.stderr
        return Path(self.environment["RAN"]).read_text().split()

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.project / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    @property
    def store(self) -> Path:
        return self.home / "tracking_store"


def make_place(folder: Path) -> Place:
    """Return a place in which the pipeline can run, and has not yet."""
    resolvers.register_resolvers()
    make_project(folder / "project", plan(schema.check(overrides.base_config([]))))
    (folder / "home").mkdir()
    place = Place(folder)
    place.table.write_text("a,b\n1,2\n")
    return place


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A place where the pipeline has run once."""
    folder = tmp_path_factory.mktemp("template")
    assert make_place(folder).ran() == list(STEPS)
    return folder


@pytest.fixture
def place(template, tmp_path) -> Place:
    folder = tmp_path / "place"
    shutil.copytree(template, folder)
    return Place(folder)


@pytest.fixture(scope="module")
def real_code(template, tmp_path_factory) -> Place:
    """A place whose steps have the real steps' code too, which is read and never run."""
    folder = tmp_path_factory.mktemp("real") / "place"
    shutil.copytree(template, folder)
    place = Place(folder)
    for step in STEPS:
        for file in (ROOT / step).glob("*.py"):
            shutil.copyfile(file, place.project / step / f"real_{file.name}")
    assert place.ran() == list(STEPS)
    return place


def test_nothing_changed_nothing_runs_and_mlflow_is_not_even_imported(place):
    asked = "print('mlflow' in sys.modules, 'pandas' in sys.modules)"
    place.edit(
        "main.py",
        "sys.exit(startup.main(go))",
        f"code = startup.main(go)\n    {asked}\n    sys.exit(code)",
    )
    done = place.run("--explain", python=sys.executable)
    assert done.returncode == 0, done.stderr
    assert Path(place.environment["RAN"]).read_text() == "", done.stdout
    assert done.stdout.count(": cached") == 6
    assert done.stdout.rstrip().endswith("False False")
    table = done.stdout[done.stdout.index("┃ artifacts") :]
    assert "model_export:v0" in table
    assert "letters" in table


def test_the_run_that_mlflow_made_for_it_says_that_all_was_there(place):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place.home / 'mlflow.db'}")
    made = client.create_run("0", run_name="gifted-hog-7").info.run_id  # as `mlflow run .` does
    assert place.ran(MLFLOW_RUN_ID=made) == []
    shown = client.get_run(made).info
    assert shown.run_name == "songs_demo · all steps · 6 cached"
    assert client.get_experiment(shown.experiment_id).name == "songs_demo"


def test_inputs_that_were_made_by_other_settings_are_said(place):
    only = f"main.execute_steps=[{TEST}]"
    other = place.run(only, "data.test_size=0.2").stdout
    assert (
        f"which {SPLIT} made with other settings (data.test_size 0.3 -> 0.2): add {SPLIT}" in other
    )
    assert "other settings" not in place.run(only).stdout


def test_an_edit_runs_its_step_and_those_after_it_only_if_it_makes_something_else(place):
    place.edit("segregate/run.py", "import hashlib", "# a remark\nimport hashlib")
    assert place.ran() == [SPLIT]
    place.edit("segregate/run.py", 'salt = "plain"', 'salt = "rock"')
    assert place.ran() == [SPLIT, TRAIN, TEST]
    (place.project / "segregate" / "README.md").write_text("# New words\n")
    assert place.ran() == []


@pytest.mark.slow
def test_a_folder_is_read_again_when_a_file_is_added_and_only_then(place):
    incoming = place.project / "incoming"
    incoming.mkdir()
    (incoming / "b.csv").write_text("a,b\n3,4\n")
    (incoming / "a.csv").write_text("a,b\n1,2\n")
    (incoming / "_SUCCESS").write_text("")
    assert GET in place.ran("data.file_url=incoming/")
    assert place.ran("data.file_url=incoming/") == []
    (incoming / "c.csv").write_text("a,b\n5,6\n")
    assert GET in place.ran("data.file_url=incoming/")


def test_an_edit_of_what_all_steps_share_runs_all_also_where_it_is_imported_by_others(place):
    place.edit("util_lib/urls.py", "import re\n", "import re  # a remark\n")
    done = place.run("--explain")
    assert Path(place.environment["RAN"]).read_text().split() == list(STEPS)
    assert "[2/6] preprocess: runs, because: util_lib/urls.py changed" in done.stdout


@pytest.mark.parametrize(
    ("edited", "steps"),
    [
        ("buckets/remote.py", list(STEPS)),
        ("checks/drift.py", [CHECK]),
        ("dataset/declaration.py", [CLEAN, CHECK, SPLIT, TRAIN, TEST]),
        ("downloads.py", [GET]),
        ("model/held_out.py", [TRAIN, TEST]),
        ("model/metrics.py", [TRAIN, TEST]),
        ("model/uncertainty/standard_errors.py", [TRAIN, TEST]),
        ("pages/pictures.py", [CHECK]),
        ("processes/signals.py", list(STEPS)),
        ("sql/reading.py", [GET]),
        ("tables/cleaning.py", [CLEAN]),
        ("tables/reading.py", [CLEAN, CHECK, SPLIT, TRAIN, TEST]),
        ("tracking/__main__.py", []),
        ("tracking/local/run.py", list(STEPS)),
        ("tracking/names.py", list(STEPS)),
        ("tracking/online/client.py", list(STEPS)),
        ("tracking/store/database.py", list(STEPS)),
        ("tracking/sync/sending.py", []),
        ("transformers.py", [TRAIN, TEST]),
    ],
)
def test_an_edit_of_util_lib_runs_the_steps_that_import_it(real_code, edited, steps):
    file = real_code.project / "util_lib" / edited
    before = file.read_text()
    file.write_text(f"{before}# a remark\n")
    done = real_code.run("main.plan=true")
    file.write_text(before)
    assert done.returncode == 0, done.stderr
    step, will = "", dict[str, str]()
    for line in done.stdout.splitlines():
        if line.startswith("│"):
            name, words = (cell.strip() for cell in line.split("│")[1:3])
            step = name or step
            will[step] = will.get(step, "") + words.replace(" ", "")  # a narrow table breaks lines
    assert [*will] == list(STEPS)
    runs = {step: why for step, why in will.items() if why.startswith("run:")}
    assert runs == dict.fromkeys(steps, f"run:util_lib/{edited}changed")


def test_every_sub_package_of_util_lib_is_edited_above():
    (edited,) = (
        {case[0].rpartition("/")[0] for case in mark.args[1]}
        for mark in test_an_edit_of_util_lib_runs_the_steps_that_import_it.pytestmark
    )
    packages = (ROOT / "util_lib").rglob("__init__.py")
    assert edited == {
        "" if home == ROOT / "util_lib" else home.relative_to(ROOT / "util_lib").as_posix()
        for home in (path.parent for path in packages)
    }


def test_an_edit_of_the_environment_runs_its_step(place):
    place.edit("train_random_forest/conda.yml", "trivial", "other")
    done = place.run("--explain")
    assert Path(place.environment["RAN"]).read_text().split() == [TRAIN]
    assert "runs, because: train_random_forest/conda.yml changed" in done.stdout


@pytest.mark.parametrize(
    ("given", "steps", "why"),
    [
        ("data.test_size=0.2", [SPLIT, TRAIN, TEST], "data.test_size 0.3 -> 0.2"),
        ("data.ks_alpha=0.1", [CHECK], "data.ks_alpha 0.05 -> 0.1"),
        (
            "random_forest_pipeline.random_forest.max_depth=3",
            [TRAIN, TEST],
            "random_forest_pipeline.random_forest.max_depth 13 -> 3",
        ),
        (
            "data.columns.tempo.max=300",
            [CLEAN, CHECK, SPLIT, TRAIN, TEST],
            "data.columns.tempo.max 250 -> 300",
        ),
        ("main.project_name=other", list(STEPS), "first time"),
    ],
)
def test_a_changed_parameter_runs_the_steps_that_get_it(place, given, steps, why):
    done = place.run(given, "--explain")
    assert done.returncode == 0, done.stderr
    assert Path(place.environment["RAN"]).read_text().split() == steps
    assert f"runs, because: {why}" in done.stdout
    if given.startswith("data.test_size"):
        assert place.ran(given) == []
        assert place.ran() == []  # and the first result is still known


def test_another_content_of_the_same_file_runs_everything_that_comes_of_it(place):
    place.table.write_text("a,b\n1,3\n")
    done = place.run("--explain")
    assert Path(place.environment["RAN"]).read_text().split() == list(STEPS)
    assert "[2/6] preprocess: runs, because: input raw_data.parquet v0 -> v1" in done.stdout
    place.table.write_text("a,b\n1,2\n")
    assert place.ran() == []
    held = sqlite3.connect(place.store / "tracking.db").execute(
        "SELECT c.name, v.number FROM aliases a JOIN versions v ON v.id = a.version_id"
        " JOIN collections c ON c.id = v.collection_id WHERE a.alias = 'latest'"
    )
    assert dict(held)["raw_data.parquet"] == 0, "latest follows what the pipeline run has used"


@pytest.mark.parametrize("how", ["damaged", "removed"])
def test_a_damaged_or_removed_output_is_made_again(place, how):
    (digest,) = (
        sqlite3.connect(place.store / "tracking.db")
        .execute(
            "SELECT f.sha256 FROM version_files f JOIN versions v ON v.id = f.version_id"
            " JOIN collections c ON c.id = v.collection_id WHERE c.name = 'model_export'"
        )
        .fetchone()
    )
    kept = place.store / "files" / digest[:2] / digest
    kept.unlink()
    if how == "damaged":
        kept.write_text("something else")
    done = place.run("--explain")
    assert done.returncode == 0, done.stderr
    assert Path(place.environment["RAN"]).read_text().split() == [TRAIN]
    assert "runs, because: output model_export:v0: 'text' is" in done.stdout
    assert place.ran() == []


def test_a_reference_that_moved_or_went_is_noticed_by_the_check(place):
    db = sqlite3.connect(place.store / "tracking.db", isolation_level=None)
    db.execute(
        "INSERT INTO aliases SELECT c.id, 'reference', v.id FROM versions v JOIN collections c"
        " ON c.id = v.collection_id WHERE c.name = 'preprocessed_data.parquet'"
    )
    assert place.ran() == [CHECK]
    db.execute("DELETE FROM aliases WHERE alias = 'reference'")
    done = place.run("--explain")
    assert "check_data: cached" in done.stdout  # as in the first run, when there was none


def test_after_a_failure_the_same_command_goes_on_where_it_failed(place):
    place.table.write_text("a,b\n9,9\n")
    failed = place.run(FAILS=SPLIT)
    assert failed.returncode == 1
    assert Path(place.environment["RAN"]).read_text().split() == [GET, CLEAN, CHECK, SPLIT]
    assert place.ran() == [SPLIT, TRAIN, TEST]


def test_a_file_of_record_that_is_no_database_is_named(place):
    (place.store / "cache.db").write_text("scribble" * 1000)
    done = place.run()
    assert done.returncode == 1
    assert "cache.db" in done.stderr.splitlines()[-1]
    assert "main.cache=false" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_one_step_alone_is_reused_too(place):
    done = place.run("main.execute_steps=train_random_forest", "--explain")
    assert done.returncode == 0, done.stderr
    assert "[1/1] train_random_forest: cached, has model_export:v0" in done.stdout


@pytest.mark.parametrize("column", ["parts", "outputs", "metrics"])
@pytest.mark.parametrize("content", ['{"a', "[1, 2]", "null"])
def test_a_damaged_row_of_the_record_makes_its_step_run_again(place, column, content):
    with sqlite3.connect(place.store / "cache.db") as record:
        record.execute(f"UPDATE results SET {column} = ? WHERE step = 'segregate'", (content,))
        record.execute("UPDATE imports SET names = '[' || names")
    assert place.ran() == ["segregate"]
    assert place.ran() == []


def test_a_record_whose_schema_is_damaged_says_which_file_to_delete(place):
    path = place.store / "cache.db"
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE results", b"CREAT\xc3 TABLE results"))
    done = place.run()
    assert done.returncode == 1 and f"{path}" in done.stderr and "delete that file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_table_that_the_gate_has_refused_stays_refused_until_it_passes(place):
    place.table.write_text("a,b\n1,3\n")
    failed = place.run(FAILS=CHECK)
    assert failed.returncode == 1 and f"step {CHECK} failed: told to fail" in failed.stderr
    alone = place.run(f"main.execute_steps={SPLIT}")
    assert alone.returncode == 1 and Path(place.environment["RAN"]).read_text() == ""
    assert (
        f"{SPLIT} would take preprocessed_data.parquet:v1, which {CHECK} refused (told to fail): "
        f"correct the data or the declaration and add {CHECK} to main.execute_steps"
    ) in alone.stderr
    allowed = place.run(f"main.execute_steps={SPLIT}", "main.allow_unchecked=true")
    assert allowed.returncode == 0
    assert f"although {CHECK} refused it: main.allow_unchecked" in allowed.stdout
    assert place.ran(f"main.execute_steps={CHECK}") == [CHECK]
    passed = place.run(f"main.execute_steps={SPLIT}")
    assert passed.returncode == 0 and "refused" not in passed.stdout
    assert "has not checked" not in passed.stdout


def test_a_table_that_nobody_has_checked_as_declared_now_is_taken_and_that_is_said(place):
    done = place.run(f"main.execute_steps={SPLIT}", "data.ks_alpha=0.01")
    assert done.returncode == 0, done.stderr
    said = f"{SPLIT} takes preprocessed_data.parquet:v0, which {CHECK} has not checked as declared"
    assert said in " ".join(done.stdout.split())
    assert "has not checked" not in place.run(f"main.execute_steps={SPLIT}").stdout
