"""House-keeping takes what nobody needs, says what it gains, and leaves the rest whole."""

import datetime
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.caching import record
from pipeline.caching.record import Result
from pipeline.caching.version import Version
from pipeline.commands import gc
from pipeline.environments import making, unused
from pipeline.housekeeping import unneeded
from pipeline.planning.plan import plan
from pipeline.receipts import writing
from pipeline.running.exit_code import exit_code
from pipeline.settings import overrides, resolvers, schema
from tests import warm
from tests.pipeline.caching.test_reuse import Place
from tests.pipeline.environments.test_environments import make_project as make_environment_project
from tests.pipeline.trivial_steps import ROOT, STEPS, make_project
from util_lib import safe_files, tracking
from util_lib.errors import UserError
from util_lib.tracking.store.database import Store, open_store


@pytest.fixture
def place(tmp_path, monkeypatch) -> Place:
    """A place where the pipeline ran three times, each time with another size of the test set."""
    for name in [name for name in os.environ if name.startswith(("TRACKING_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    resolvers.register_resolvers()
    make_project(tmp_path / "project", plan(schema.check(overrides.base_config([]))))
    (tmp_path / "home").mkdir()
    place = Place(tmp_path)
    place.table.write_text("a,b\n1,2\n")
    place.environment["MLFLOW_ENV_ROOT"] = str(tmp_path / "envs")
    assert place.ran() == list(STEPS)
    for size in (0.2, 0.1):
        assert place.ran(f"data.test_size={size}") == list(STEPS[3:])
    return place


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.setenv("TRACKING_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("TRACKING_BACKEND", "local")
    monkeypatch.setenv("TRACKING_PUBLISH", "parent")
    monkeypatch.setenv("WANDB_PROJECT", "p")
    monkeypatch.setenv("MLFLOW_ENV_ROOT", str(tmp_path / "envs"))
    return open_store(make=True)


def log(name: str, text: str, *aliases: str, type: str = "text") -> str:
    with tracking.init(project="p") as run:
        artifact = tracking.Artifact(name, type=type)
        with artifact.new_file("text") as file:
            file.write(text)
        return run.log_artifact(artifact, aliases=[*aliases]).wait().source_name


def keep_receipt(made: list[str], read: list[str] = ()) -> str:
    """Log a receipt of one step; what it names are `name:vN`."""

    def named(versions):
        return {name.split(":")[0]: {"version": name.split(":")[1]} for name in versions}

    inputs = {f"{name}:latest": found for name, found in named(read).items()}
    text = json.dumps({"steps": [{"outputs": named(made), "inputs": inputs}]})
    return writing.keep(text, ["step"], False).removeprefix("p/")


def there(store: Store) -> set[str]:
    return {f"{v.name}:v{v.number}" for v in store.all_versions()}


def collect(place: Place, *given: str) -> str:
    done = subprocess.run(
        [warm.python(), "-m", "pipeline.commands.gc", *given],
        cwd=place.home,
        env={**place.environment, "PYTHONPATH": str(place.project)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(given: list[str]) -> int:
    return exit_code(lambda: gc.go(given))


def state(place: Place) -> tuple:
    with sqlite3.connect(place.store / "tracking.db") as db:
        versions = db.execute("SELECT * FROM versions").fetchall()
    with sqlite3.connect(place.store / "cache.db") as db:
        results = db.execute("SELECT * FROM results").fetchall()
    contents = {path: path.read_bytes() for path in (place.store / "files").glob("*/*")}
    return versions, results, contents


def test_old_results_of_the_pipeline_go_and_the_latest_and_their_receipt_stay(place):
    before = state(place)
    listed = collect(place, "--keep=1")
    assert "version songs_demo/data_train.parquet:v0" in listed
    assert "songs_demo/receipt:v1" in listed and "receipt:v2" not in listed
    assert "preprocessed_data" not in listed and "v2 " not in listed
    assert "would be gained" in listed and "Nothing was changed" in listed
    assert state(place) == before

    removed = collect(place, "--keep=1", "--delete=true")
    assert [line for line in removed.splitlines() if "version" in line] == [
        line for line in listed.splitlines() if "version" in line
    ]
    gained = sum(map(len, before[2].values())) - sum(map(len, state(place)[2].values()))
    store = Store(place.store)
    assert gained > 0 and all(store.damage(version) == [] for version in store.all_versions())
    assert "nothing can go" in collect(place, "--keep=1")

    assert place.ran("data.test_size=0.1") == []
    assert place.ran() == list(STEPS[3:])
    # the same bytes are the same version again
    assert "data_train.parquet:v0" in there(Store(place.store))
    assert "data_train.parquet:v3" not in there(Store(place.store))


def test_receipts_keep_what_they_name_as_long_as_they_are_among_the_newest(store):
    for number in range(4):
        log("data", f"data {number}")
        log("model", f"model {number}")
        keep_receipt(made=[f"model:v{number}"], read=[f"data:v{number}"])
    unneeded.clean(store, keep=2, delete=True)
    kept = {f"{name}:v{number}" for name in ("data", "model", "receipt") for number in (2, 3)}
    assert there(store) == kept


def test_what_prod_holds_can_still_be_reproduced(store):
    log("data", "old")
    log("model", "old", "prod")
    keep_receipt(made=["model:v0"], read=["data:v0"])
    for number in (1, 2):
        log("data", f"data {number}")
        log("model", f"model {number}")
        keep_receipt(made=[f"model:v{number}"], read=[f"data:v{number}"])
    unneeded.clean(store, keep=1, delete=True)
    assert there(store) == {
        f"{name}:v{number}" for name in ("data", "model", "receipt") for number in (0, 2)
    }


def test_a_receipt_that_cannot_be_read_removes_nothing(store):
    log("data", "one")
    log("data", "two")
    keep_receipt(made=["data:v0"])
    (kept,) = store.versions("p", "receipt")
    path = store.files.path(store.version_files(kept.id)[0].sha256)
    path.chmod(0o600)
    path.write_text("{}")
    with pytest.raises(UserError, match=r"p/receipt:v0 cannot be read.*nothing was removed"):
        unneeded.clean(store, keep=1, delete=True)
    assert there(store) == {"data:v0", "data:v1", "receipt:v0"}


def test_results_without_their_outputs_and_all_but_the_newest_of_a_step_are_forgotten(store):
    for number in range(5):
        outputs = [("data", number, "digest")] if log("data", f"data {number}") else []
        record.add(store.directory, "p", "get_data", Result(f"data {number}", {}, outputs, {}, 0.0))
        record.add(store.directory, "p", "check_data", Result(f"check {number}", {}, [], {}, 0.0))
    listed = [row.what for row in unneeded.clean(store, keep=2, delete=True)]
    assert sum(what.startswith("result") for what in listed) == 4 + 3
    left = [entry.fingerprint for entry in record.entries(store.directory)]
    assert left == ["check 4", "data 4", "check 3"]


def test_results_on_wandb_are_kept_by_number_and_hold_nothing_here(store):
    log("data", "one")
    log("data", "two")
    there = {record.PLACE: "W&B at https://wandb.example.org, team"}
    for number in range(3):
        outputs = [Version("data", 0, "digest")]
        result = Result(f"there {number}", there, outputs, {}, 0.0)
        record.add(store.directory, "p", "get_data", result)
    unneeded.clean(store, keep=2, delete=True)
    assert [e.fingerprint for e in record.entries(store.directory)] == ["there 2", "there 1"]
    assert [version.number for version in store.versions("p", "data")] == [1]


def test_left_overs_of_dead_processes_are_listed_before_they_go(store):
    (store.files.tmp / "work-dead").mkdir()
    (store.files.tmp / "work-dead" / "half").write_text("half")
    store.files.path("ab" * 32).parent.mkdir()
    store.files.path("ab" * 32).write_text("of a version that never came to be")
    _, lock = store.files.workspace()
    expected = {"tmp/work-dead": 4, "1 contents in files": 34}
    for delete in (False, True):
        assert {row.what: row.size for row in unneeded.clean(store, 1, delete)} == expected
    assert unneeded.clean(store, 1, True) == [] and len([*store.files.tmp.iterdir()]) == 1
    os.close(lock)


def kill_after(n_events: int, store: Store, keep: int) -> bool:
    """Run `clean` in a child that is killed at its `n_events`-th touch of a file or database."""
    child = os.fork()
    if child == 0:
        left = n_events

        def count(event: str, _: tuple) -> None:
            nonlocal left
            if event in ("os.remove", "open", "sqlite3.connect", "os.listdir", "os.scandir"):
                left -= 1
                if left <= 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            unneeded.clean(Store(store.directory, sweep=False), keep, delete=True)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def needed(store: Store, receipts: dict[str, list[str]]) -> set[str]:
    """Work out what must stay with keep=2; `receipts` are those there are, in order."""
    aliased = {f"{v.name}:v{v.number}" for v in store.all_versions() if v.aliases}
    makers = {made: name for name, (made, _) in receipts.items()}  # the last one counts
    kept = {makers[made] for made in aliased if made in makers} | {*[*receipts][-2:]}
    return aliased | kept | {name for one in kept for name in receipts[one]}


def random_history(store: Store, seed: int) -> int:
    """Log, alias, collect and kill at random; return how many kills hit."""
    choose = random.Random(seed)
    texts: dict[str, str] = {}  # what was ever logged under `data:vN`
    receipts: dict[str, list[str]] = {}
    killed = 0
    for _ in range(25):
        move = choose.choice(["new", "new", "again", "alias", "receipt", "gc", "kill", "kill"])
        data = sorted(name for name in there(store) if name.startswith("data"))
        before = needed(store, receipts)
        if move == "new":
            text = f"text {len(texts)}"
            assert log("data", text) == f"data:v{len(texts)}"
            texts[f"data:v{len(texts)}"] = text
        elif move == "again" and texts:
            name = choose.choice(sorted(texts))
            assert log("data", texts[name]) == name
        elif move == "alias" and data:
            artifact = tracking.Api().artifact(f"p/{choose.choice(data)}")
            artifact.aliases.append(choose.choice(["prod", "reference"]))
            artifact.save()
        elif move == "receipt" and data:
            named = [choose.choice(data), choose.choice(data)]
            name = keep_receipt(named[:1], named[1:])
            receipts.pop(name, None)
            receipts[name] = named
        elif move == "gc":
            unneeded.clean(store, keep=2, delete=True)
        elif move == "kill":
            killed += kill_after(choose.randint(1, 12), store, keep=2)
        if move in ("gc", "kill"):
            assert before <= there(store)
            receipts = {name: receipts[name] for name in receipts if name in there(store)}
        for version in store.all_versions():
            assert store.damage(version) == []
            if version.name == "data":
                found = tracking.Api().artifact(version.reference)
                assert Path(found.file()).read_text() == texts[found.source_name]
    unneeded.clean(store, keep=2, delete=True)
    assert there(store) == needed(store, receipts)
    used = {f.sha256 for v in store.all_versions() for f in store.version_files(v.id)}
    assert set(store.files.all_contents()) == used and not [*store.files.tmp.iterdir()]
    return killed


def test_whatever_is_logged_and_killed_what_is_needed_is_whole_and_a_number_has_one_content(
    store, tmp_path, monkeypatch
):
    killed = 0
    for seed in range(8):
        folder = tmp_path / f"history {seed}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setenv("TRACKING_STORE", str(folder / "store"))
        killed += random_history(open_store(make=True), seed)
    assert killed > 8


WRITER = """
import random, sys
from util_lib import safe_files, tracking
choose = random.Random(sys.argv[1])
for number in range(60):
    with tracking.init(project="p") as run:
        artifact = tracking.Artifact("data", type="text")
        with artifact.new_file("text") as file:
            file.write(f"text {choose.randint(0, 15)}")
        run.log_artifact(artifact)
        run.use_artifact("data:latest").download()
"""


def test_writers_and_readers_do_not_notice_that_it_runs(store, tmp_path):
    started = [
        subprocess.Popen(
            [warm.python(), "-c", WRITER, str(seed)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "WANDB_ARTIFACT_DIR": f"artifacts{seed}"},
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in (1, 2)
    ]
    n_removed = 0
    while any(process.poll() is None for process in started):
        n_removed += len(unneeded.clean(store, keep=1, delete=True))
        assert all(not store.damage(v) for v in store.all_versions() if v.aliases)
    assert [process.communicate()[1] for process in started] == ["", ""]
    unneeded.clean(store, keep=1, delete=True)
    assert n_removed > 0 and len(there(store)) == 1
    assert all(store.damage(version) == [] for version in store.all_versions())


def test_an_environment_goes_only_with_our_marker_unneeded_here_unused_and_when_told_to(
    store, tmp_path, monkeypatch, capsys
):
    log("data", "one")
    ours = make_environment_project(tmp_path, "ours", ["six==1.17.0"])
    other = make_environment_project(tmp_path, "other", ["six==1.16.0"])
    used = make_environment_project(tmp_path, "used", ["six==1.15.0"])
    monkeypatch.setattr(gc, "ROOT", tmp_path / "checkout")
    (tmp_path / "checkout").mkdir()
    ours.rename(tmp_path / "checkout" / "ours")
    tool = make_environment_project(tmp_path, "tool", ["six==1.14.0"])
    (tmp_path / "checkout" / "tools").mkdir()
    tool = tool.rename(tmp_path / "checkout" / "tools" / "tool")
    paths = {}
    for project in (tmp_path / "checkout" / "ours", tool, other, used):
        (needed,) = making.needed("uv", [project])
        paths[project.name] = needed.path
        needed.path.mkdir(parents=True)
        (needed.path / "lib.so").write_bytes(bytes(100_000))
        content = {"step": project.name, "manager": "uv"}
        (needed.path / making.MARKER).write_text(json.dumps(content))
    half = tmp_path / "envs" / "mlflow-half"
    half.mkdir()
    pipeline = subprocess.Popen(
        [sys.executable, "-c", PREPARE, str(used)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert pipeline.stdout.readline() == "ready\n"

    assert run(["--environments=true"]) == 0 and run(["--delete=true"]) == 0
    listed = capsys.readouterr().out
    assert "made for other with uv, no step of this checkout needs it" in listed
    assert "kB would be gained by -P delete=true -P environments=true" in listed
    assert f"{half}" in listed and "has no marker of a pipeline" in listed
    assert all(path.is_dir() for path in paths.values())

    assert run(["--delete=true", "--environments=true"]) == 0
    assert "stays: a pipeline is using it" in capsys.readouterr().out
    assert [name for name, path in paths.items() if path.is_dir()] == ["ours", "tool", "used"]
    pipeline.communicate("\n")
    (one,) = (one for one in unused.listed(gc.ROOT) if one.path == paths["used"])
    assert unused.delete(one) and half.is_dir()


PREPARE = """
import sys
from pathlib import Path
from pipeline.environments import making
making.prepare(making.needed("uv", [Path(sys.argv[1])]), print)
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--keep=0"], "error: argument --keep: must be a whole number above 0, found '0'"),
        (["--delete=perhaps"], "must be true or false, found 'perhaps'"),
        (["--all"], "unrecognized arguments: --all"),
    ],
)
def test_a_wrong_option_is_one_sentence(store, capsys, given, says):
    assert run(given) == 1
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


def test_without_a_store_it_says_where_it_looked_and_makes_none(
    store, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("TRACKING_STORE", str(tmp_path / "elsewhere"))
    assert run([]) == 1
    assert f"there is no store at {tmp_path / 'elsewhere'}" in capsys.readouterr().err
    monkeypatch.setenv("TRACKING_BACKEND", "wandb")
    assert run([]) == 0
    assert "gc looks after the embedded store" in capsys.readouterr().out
    assert not (tmp_path / "elsewhere").exists()


def test_it_waits_for_nobody_who_works_on_the_whole_store(store):
    log("data", "one")
    with (
        store.files.alone("sync"),
        pytest.raises(UserError, match="sync of .* is under way: wait until it has ended"),
    ):
        unneeded.clean(store, keep=1, delete=True)
    assert unneeded.clean(store, keep=1, delete=True) == []


def test_what_the_monitoring_log_holds_for_too_long_is_listed_and_then_removed(
    store, tmp_path, capsys
):
    today = datetime.datetime.now(datetime.UTC)
    days = {n: today - datetime.timedelta(days=n) for n in (0, 29, 31, 91)}
    log = tmp_path / "monitoring_log"
    for day in days.values():
        rows = log / "rows" / "project=p" / f"day={day:%Y-%m-%d}" / "part.parquet"
        rows.parent.mkdir(parents=True)
        rows.write_bytes(b"1234")
        spool = log / "spool" / "p" / f"{day:%Y%m%dT%H%M%S%f}-1-champion.arrows"
        spool.parent.mkdir(parents=True, exist_ok=True)
        spool.write_bytes(b"12")
    (log / "labels").mkdir()

    def left() -> list[str]:
        return sorted(path.name[:12] for path in log.rglob("*") if path.suffix == ".arrows")

    held = safe_files.hold(log / "spool" / "p" / f"{days[91]:%Y%m%dT%H%M%S}0-2-champion.arrows")
    before = left()
    assert run([]) == 0
    listed = capsys.readouterr().out
    assert listed.count("older than 90 days") == 2 and left() == before
    assert f"day={days[91]:%Y-%m-%d}" in listed and f"day={days[31]:%Y-%m-%d}" not in listed
    assert run(["--delete", "true", "--keep_days", "30"]) == 0
    assert capsys.readouterr().out.count("older than 30 days") == 4
    assert sorted(path.name for path in (log / "rows" / "project=p").iterdir()) == sorted(
        f"day={days[n]:%Y-%m-%d}" for n in (0, 29)
    )
    assert len(left()) == 3 and (log / "labels").is_dir()  # one of them is being written
    safe_files.release(held)
