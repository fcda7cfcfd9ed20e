"""What a run leaves behind so that it can be done again."""

import hashlib
import json
from pathlib import Path

import pytest

from pipeline.planning.plan import plan
from pipeline.planning.step import Outcome
from pipeline.receipts import code_state, writing
from pipeline.settings import overrides, resolvers, schema
from tests.pipeline.caching.test_reuse import Place
from tests.pipeline.checkout import commit, copy_place, git, receipts
from tests.pipeline.trivial_steps import STEPS
from util_lib import redaction

GET, CLEAN, CHECK, SPLIT, TRAIN, TEST = STEPS
DIGESTS = {"version", "digest"}


@pytest.fixture
def place(recorded_run, tmp_path) -> Place:
    return copy_place(recorded_run, tmp_path / "place")


def test_the_last_line_names_the_receipt_and_an_unchanged_run_has_the_same_one(recorded_run):
    for number in (1, 2):
        last = (recorded_run / f"out{number}.txt").read_text().splitlines()[-1]
        assert last == "receipt: songs_demo/receipt:v0"
    [only] = receipts(recorded_run / "home" / "tracking_store")
    assert "done" in (recorded_run / "out1.txt").read_text()
    assert only["format"] == writing.FORMAT


def test_a_receipt_names_code_configuration_and_every_version_and_no_place_or_time(recorded_run):
    [only] = receipts(recorded_run / "home" / "tracking_store")
    head = git(recorded_run / "project", "rev-parse", "HEAD").strip()
    assert (only["code"]["commit"], only["code"]["dirty"]) == (head, False)
    assert only["config"]["data"]["test_size"] == 0.3
    assert only["env_manager"] == "local"
    steps = {step["name"]: step for step in only["steps"]}
    assert [*steps] == list(STEPS)
    assert steps[SPLIT]["parameters"]["test_size"] == "0.3"
    assert set(steps[SPLIT]["inputs"]) == {"preprocessed_data.parquet:latest"}
    made = steps[CLEAN]["outputs"]["preprocessed_data.parquet"]
    assert set(made) == DIGESTS
    assert steps[SPLIT]["inputs"]["preprocessed_data.parquet:latest"] == made
    assert steps[CHECK]["inputs"]["preprocessed_data.parquet:reference"] is None
    assert steps[TEST]["metrics"]["letters"] > 0
    assert len(steps[TRAIN]["conda_sha256"]) == 64
    text = json.dumps({**only, "code": None})
    assert str(recorded_run) not in text


def test_the_parent_run_in_mlflow_shows_the_receipt(recorded_run):
    [kept] = (recorded_run / "shown.txt").read_text().splitlines()
    assert (
        json.loads(Path(kept).read_text()) == receipts(recorded_run / "home" / "tracking_store")[0]
    )


def test_the_diff_of_a_dirty_tree_makes_the_same_files_of_the_commit(place, tmp_path):
    place.edit("segregate/run.py", 'salt = "plain"', 'salt = "rock"')
    (place.project / "segregate" / "notes.bin").write_bytes(bytes(range(256)))
    (place.project / "conf" / "accents.txt").write_bytes("déjà\n".encode("latin-1"))
    (place.project / "evaluate" / "outputs.json").write_text("[ ]\n")
    git(place.project, "rm", "--quiet", "tools/compare/README.md")
    before = git(place.project, "status", "--porcelain") + git(place.project, "count-objects")
    done = place.run()
    assert done.returncode == 0, done.stderr
    assert git(place.project, "status", "--porcelain") + git(place.project, "count-objects") == (
        before
    )
    code = receipts(place.store)[-1]["code"]
    assert code["dirty"] and code["left_out"] is None
    assert "cannot be reproduced" not in done.stdout
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", str(place.project), str(other))
    patch = tmp_path / "patch"
    patch.write_bytes(code["diff"].encode(errors="surrogateescape"))
    git(other, "apply", str(patch))
    changed = ("segregate/run.py", "segregate/notes.bin", "conf/accents.txt")
    for name in (*changed, "evaluate/outputs.json"):
        assert (other / name).read_bytes() == (place.project / name).read_bytes()
    assert not (other / "tools/compare/README.md").exists()


PRIVATE = "Smith, 12 Main Street, k3y-9f8e7d6c5b"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("notes.txt", None),
        (".env", None),
        ("customers.csv", None),
        ("tests/test_mine.py", None),
        ("evaluate/.env.local", "may hold keys"),
        ("evaluate/customers.csv", "is a data file"),
        ("conf/dataset/server.pem", "may hold keys"),
    ],
)
def test_the_content_of_such_a_file_is_in_no_receipt_and_its_digest_is(place, name, why):
    path = place.project / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(PRIVATE)
    code = code_state.describe(place.project)
    assert PRIVATE not in json.dumps(code)
    assert code["dirty"]
    assert code["other_changes"] == {name: hashlib.sha256(PRIVATE.encode()).hexdigest()}
    assert code_state.why_not_again(code) == (why and f"{name} {why}")


def test_a_run_whose_receipt_cannot_be_reproduced_says_so_when_it_is_written(place):
    (place.project / "customers.csv").write_text(PRIVATE)
    done = place.run()
    assert done.returncode == 0 and "cannot be reproduced" not in done.stdout
    (place.project / "evaluate" / "customers.csv").write_text(PRIVATE)
    done = place.run()
    assert done.returncode == 0
    *_, before, last = done.stdout.splitlines()
    assert before == "this run cannot be reproduced: evaluate/customers.csv is a data file"
    assert last == "receipt: songs_demo/receipt:v2"
    assert PRIVATE not in json.dumps(receipts(place.store))


@pytest.mark.parametrize(
    "line",
    [
        'API_KEY = "k3y-9f8e7d6c5b"',
        "password: hunter22",
        "export DB_PASSWORD=hunter22",
        'url = "https://ann:hunter22@host/x.csv"',
        'url = "https://host/x.csv?sig=Zm9vYmFy12"',
        "token = 'ghp_0123456789abcdefghijABCDEFGHIJ012345'",
        "-----BEGIN RSA PRIVATE KEY-----",
        "# value of the variable: from-the-env-1234",
    ],
)
def test_code_that_holds_a_secret_is_in_no_receipt_and_the_run_says_so(place, line, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "from-the-env-1234")
    redaction.remember_environment()
    (place.project / "evaluate" / "mine.yaml").write_text(f"a: 1\n{line}\nb: 2\n")
    code = code_state.describe(place.project)
    assert code["diff"] is None and line.split()[-1] not in json.dumps(code)
    assert code["left_out"] == "evaluate/mine.yaml holds what looks like a secret"
    assert code_state.why_not_again(code) == code["left_out"]


def test_ordinary_code_is_no_secret(place):
    text = (
        'TOKEN = "SERVING_TOKEN"\ntoken: str | None\nmax_tokens = 100\nmask_token: "[MASK]"\n'
        'url = "https://host/x.csv?raw=true&page=12345678"\npassword: ${oc.env:PASSWORD1}\n'
        "sha256: 520f68f05fc1520f68f05fc1520f68f05fc1520f68f05fc1520f68f05fc11111\n"
    )
    (place.project / "evaluate" / "mine.yaml").write_text(text)
    assert code_state.describe(place.project)["left_out"] is None


def test_too_large_a_change_is_left_out_and_the_receipt_says_so(place):
    (place.project / "conf" / "table_of_mine.txt").write_text("0" * (code_state.FILE_BYTES + 1))
    code = code_state.describe(place.project)
    assert code["dirty"] and code["diff"] is None
    assert code["left_out"] == "conf/table_of_mine.txt is larger than 1,000,000 bytes"
    commit(place.project)
    assert code_state.describe(place.project)["dirty"] is False


def test_what_a_run_leaves_inside_the_checkout_is_no_change_of_the_code(place, monkeypatch):
    home = place.project / "conf" / "here"
    left = ("mlflow.db", "tracking_store/tracking.db", "serving_image/model/x", "conf/best/s.yaml")
    for name in left:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("x")
    monkeypatch.setenv("PIPELINE_HOME", str(home))
    assert code_state.describe(place.project)["dirty"] is False
    (home / "mine.yaml").write_text("x")
    assert "mine.yaml" in code_state.describe(place.project)["diff"]


def test_new_datasets_and_winners_of_sweeps_are_in_the_configuration_and_no_change(place):
    for name in ("dataset/drafted.yaml", "best/night.yaml", "pipeline/mine.yaml"):
        path = place.project / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("main: {experiment_name: mine}\n")
    assert code_state.describe(place.project)["dirty"] is False
    (place.project / "segregate" / "new.py").write_text("x = 1\n")
    diff = code_state.describe(place.project)["diff"]
    assert "new.py" in diff and "conf/" not in diff


def test_without_git_there_is_no_commit(tmp_path):
    assert code_state.describe(tmp_path)["commit"] is None


def test_a_failed_run_has_a_receipt_up_to_its_failure(place):
    place.table.write_text("a,b\n9,9\n")
    failed = place.run(FAILS=SPLIT)
    assert failed.returncode == 1
    assert "receipt: songs_demo/receipt:v1" in failed.stdout.splitlines()[-1]
    last = receipts(place.store)[-1]
    ended = [(step["name"], step["ended"]) for step in last["steps"]]
    assert ended == [*((name, "finished") for name in (GET, CLEAN, CHECK)), (SPLIT, "failed")]
    assert last["steps"][-1]["outputs"] == {}
    assert last["steps"][-1]["inputs"]["preprocessed_data.parquet:latest"]["version"] == "v1"


def test_a_run_that_ends_before_its_first_step_leaves_the_newest_receipt_alone(place):
    before = receipts(place.store)
    failed = place.run("main.env_manager=conda", "data.test_size=0.21", PATH="/usr/bin:/bin")
    assert failed.returncode == 1 and "conda" in failed.stderr
    assert "no receipt: the run ended before its first step" in failed.stdout
    assert receipts(place.store) == before


def test_secrets_of_addresses_are_in_no_receipt():
    resolvers.register_resolvers()
    checked = schema.check(
        overrides.base_config(
            [
                "data.file_url='https://me:hunter2@example.org/t.csv?sig=topsecret'",
                "main.components_repository='https://tok3n@example.org/steps.git'",
                "++steps.evaluate.uri='https://u:hunter2@example.org/other.git'",
            ]
        )
    )
    steps = plan(checked)
    outcomes = [Outcome(step.name, "failed") for step in steps]
    text = writing.make(checked, steps, outcomes, {})
    assert "https://example.org/t.csv?sig=***" in text
    assert not [word for word in ("hunter2", "topsecret", "tok3n") if word in text]
