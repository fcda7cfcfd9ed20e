"""The gate: what is promoted, what is refused, what is kept of it, and the way back."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from step_support import MODEL, ROOT, Steps, make_songs, with_text

from segregate import run as segregate
from serving import promote, rollback
from serving.aliases import history, origin
from serving.model.served_model import load
from serving.service import card
from train_random_forest import run as training
from util_lib import tracking
from util_lib.errors import UserError

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")

NAME = "tests/model_export"
# In the order in which they are trained; `twin` is another file that answers as `good` does.
FORESTS = {
    "bad": {"n_estimators": 1, "max_depth": 1},
    "good": {"n_estimators": 10, "max_depth": 4},
    "twin": {"n_estimators": 10, "max_depth": 4, "min_impurity_decrease": 0.0},
}
BAD, GOOD, TWIN = (f"{NAME}:v{number}" for number in range(3))


def train(steps, **changes):
    """Fit and export a model on `data_train.parquet:latest`."""
    forest = {"random_state": 3} | changes.pop("forest", FORESTS["good"])
    config = MODEL | {"random_forest": forest} | changes
    training.main(
        ["--train_data", "data_train.parquet:latest", "--random_seed", "42", "--val_size", "0"]
        + ["--model_config", steps.yaml(config), "--export_artifact", "model_export"]
        + ["--stratify", "null"]
    )


def split(steps, table, seed="1"):
    steps.put(table, "clean.parquet")
    segregate.main(
        ["--input_artifact", "clean.parquet:latest", "--artifact_root", "data"]
        + ["--test_size", "0.4", "--random_state", seed, "--stratify", "genre"]
    )


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory, empty_mlflow_database):
    folder = tmp_path_factory.mktemp("promote")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKING_STORE", str(folder / "store" / "tracking_store"))
        patch.setenv("TRACKING_PUBLISH", "parent")
        patch.setenv("WANDB_PROJECT", "tests")
        steps = Steps(folder)
        split(steps, with_text(make_songs()))
        for forest in FORESTS.values():
            train(steps, forest=forest)
    shutil.copy(empty_mlflow_database, folder / "store" / "mlflow.db")
    return folder / "store"


@pytest.fixture
def models(trained_once, steps):
    """A store with a bad model (v0), a good one (v1) and its twin (v2); none is promoted."""
    shutil.copytree(trained_once, steps.folder / "store")
    return steps


def go(*given):
    promote.main([*given])
    return holder()


def holder(alias="prod"):
    """The version that has the alias, on which store and registry agree; None without one."""
    api = tracking.Api()
    has = api.artifact_exists(f"{NAME}:{alias}")
    found = history.full_name(api.artifact(f"{NAME}:{alias}")) if has else None
    uri = f"sqlite:///{Path('store/mlflow.db').absolute()}"
    registry = mlflow.MlflowClient(uri, uri)
    name = NAME.replace("/", ".")
    known = registry.search_registered_models(f"name = '{name}'")
    number = registry.get_registered_model(name).aliases.get(alias) if known else None
    tags = registry.get_model_version(name, str(number)).tags if number else {}
    assert tags.get("artifact") == found
    return found


def comparison(version="latest"):
    artifact = tracking.Api().artifact(f"{NAME}_comparison:{version}")
    folder = Path(artifact.download("comparison"))
    return json.loads((folder / "comparison.json").read_text()), folder / "comparison.md"


def test_the_first_model_is_promoted_and_the_comparison_is_kept(models, capsys):
    assert go("--model", "model_export:v0") == BAD
    found, text = comparison()
    assert (found["promote"], found["reason"]) == (True, "there is no predecessor")
    assert found["test_data"]["version"] == "tests/data_test.parquet:v0"
    assert found["test_data"]["chosen"] == "split off with the candidate's training rows"
    assert found["test_data"]["rows"] == 120
    assert "roc_auc_ovo_macro" in text.read_text() and "prod: none yet" in capsys.readouterr().out
    told = origin.promotion_of("model_export:prod", "tests")
    assert (told["deed"], told["from"]) == ("promoted", None)
    assert told["metrics"] == found["candidate"]["scores"]
    assert told["comparison"] == f"{NAME}_comparison:v0" and told["by"] and told["at"]
    assert {a.name for a in models.run("promote").used_artifacts()} == {
        "model_export:v0",
        "data_test.parquet:v0",
    }


def test_a_better_model_passes_and_a_worse_or_equal_one_is_refused(models):
    go("--model", "model_export:v0")
    assert go("--model", "model_export:v1") == GOOD
    found, _ = comparison()
    better = found["difference"]
    assert 0 < better["low"] < better["gain"] < better["high"] < 1
    assert found["candidate"]["scores"]["accuracy"] > found["champion"]["scores"]["accuracy"]
    with pytest.raises(UserError, match="v0 is not promoted: roc_auc_ovo_macro is 0.* worse"):
        go("--model", "model_export:v0")
    with pytest.raises(UserError, match="v2 is not promoted: roc_auc_ovo_macro is the same"):
        go()
    assert holder() == GOOD and models.run("promote").summary["promoted"] is False
    assert models.run("promote").state == "finished"


def test_a_gain_below_the_one_asked_for_and_a_class_that_falls_are_refused(models):
    go("--model", "model_export:v0")
    with pytest.raises(UserError, match="better .* and it must be better by more than 0.9"):
        go("--model", "model_export:v1", "--min_gain", "0.9")
    # Accuracy alone, of a forest that has given up one class for the others.
    table = with_text(make_songs(seed=8))
    few = table[(table["genre"] != "Pop") | (table.index % 10 == 1)].reset_index(drop=True)
    split(models, few)
    train(models)
    given = ["--test_data", "data_test.parquet:v0", "--metric", "accuracy"]
    with pytest.raises(UserError, match=r"but F1 falls for Pop by 0\.\d+; at most 0 is allowed"):
        go(*given, "--max_class_drop", "0")
    assert go(*given, "--max_class_drop", "1") == f"{NAME}:v3"


def test_by_the_rule_of_the_interval_chance_promotes_nothing(models):
    interval = ["--rule", "interval"]
    assert go("--model", "model_export:v0", *interval) == BAD
    first = comparison()[0]
    assert first["code"] == "beats_baseline"
    assert first["difference"]["gain"] == first["candidate"]["scores"]["roc_auc_ovo_macro"] - 0.5
    assert go("--model", "model_export:v1", *interval) == GOOD
    assert comparison()[0]["code"] == "better"
    train(models, forest={"n_estimators": 11, "max_depth": 4})
    with pytest.raises(UserError, match="v3 is not promoted: .* better .*, which may be chance"):
        go(*interval)
    kept = tracking.Api().artifact(f"{NAME}_comparison:latest").metadata
    assert (kept["candidate"], kept["promote"], kept["code"]) == (f"{NAME}:v3", False, "not_sure")
    difference = comparison()[0]["difference"]
    assert difference["low"] <= 0 < difference["gain"]
    assert go() == f"{NAME}:v3"  # by hand a gain is enough


def test_a_first_model_no_better_than_one_answer_for_all_is_refused(models):
    table = with_text(make_songs())
    shuffled = table["genre"].sample(frac=1, random_state=3).to_numpy()
    split(models, table.assign(genre=shuffled, title="", song_name=""))
    train(models, forest={"n_estimators": 1, "max_depth": 1})
    with pytest.raises(UserError, match="than the same answer for all rows"):
        go("--rule", "interval")
    assert comparison()[0]["code"] == "not_above_baseline" and holder() is None


def test_force_promotes_with_a_reason_and_records_both(models):
    go("--model", "model_export:v1")
    with pytest.raises(UserError, match="force=true needs a reason"):
        go("--model", "model_export:v0", "--force", "true")
    assert go("--model", "model_export:v0", "--force", "true", "--reason", "a test") == BAD
    told = origin.promotion_of("model_export:prod", "tests")
    assert (told["deed"], told["reason"], told["from"]) == ("forced", "a test", GOOD)
    assert "worse" in comparison()[0]["reason"]


def test_rollback_goes_back_version_by_version_and_ends_at_the_first(models):
    go("--model", "model_export:v0")
    go("--model", "model_export:v1")
    rollback.main(["--reason", "it was slow"])
    assert holder() == BAD
    told = origin.promotion_of("model_export:prod", "tests")
    assert (told["deed"], told["reason"], told["from"]) == ("rolled back", "it was slow", GOOD)
    with pytest.raises(UserError, match="v0 is the first that was promoted to prod"):
        rollback.main([])
    assert go("--model", "model_export:v1") == GOOD
    events = history.history("tests", "model_export", "model_export", "prod")
    assert [(version, event["deed"]) for version, event in events] == [
        (BAD, "promoted"),
        (GOOD, "promoted"),
        (BAD, "rolled back"),
        (GOOD, "promoted"),
    ]


def test_the_card_of_a_served_model_tells_how_it_came_to_the_alias_it_is_served_by(models):
    go("--model", "model_export:v1", "--reason", "for production")
    go("--model", "model_export:v1", "--alias", "staging", "--reason", "for a trial")
    assert card.of(load("model_export:prod"))["promoted"]["reason"] == "for production"
    assert card.of(load("model_export:v1"))["promoted"]["reason"] == "for a trial"
    assert card.of(load("model_export:v0"))["promoted"] is None
    shown = card.as_page(served := load("model_export:prod"), card.of(served))
    text = " ".join(re.sub("<[^>]+>", " ", shown).split())
    assert "promoted reason for production" in text
    assert "promoted metrics roc_auc_ovo_macro 0." in text and "promoted from" not in text


def test_a_model_that_has_the_alias_already_is_left_alone(models, caplog):
    go("--model", "model_export:v0")
    go("--model", "model_export:v0")
    assert "v0 is prod already: nothing to do" in caplog.text
    assert len(history.history("tests", "model_export", "model_export", "prod")) == 1


def test_rows_that_the_model_in_use_was_trained_on_do_not_count(models):
    go("--model", "model_export:v1")
    split(models, with_text(make_songs()), seed="2")
    train(models, forest={"n_estimators": 40, "max_depth": 6})
    try:
        go()
    except UserError:
        pass
    found, _ = comparison()
    rows = found["test_data"]
    assert rows["version"] == "tests/data_test.parquet:v1"
    assert rows["left_out"] > 40 and rows["rows"] + rows["left_out"] == 120
    assert f"{GOOD} was trained on {rows['left_out']} of them: left out" in found["notes"]


def test_measuring_on_training_rows_is_refused(models):
    with pytest.raises(UserError, match="v2 was trained on tests/data_train.parquet:v0 itself"):
        go("--test_data", "data_train.parquet:latest")
    table = models.table("data_train.parquet:latest").iloc[::-1]
    models.put(table, "data_test.parquet", "segregated_data")
    with pytest.raises(UserError, match="180 of the 180 rows .* were trained on: 0 are left"):
        go("--test_data", "data_test.parquet:latest")
    assert holder() is None


def test_models_that_answer_different_questions_are_refused_unless_forced(models):
    go("--model", "model_export:v1")
    features = {
        "numerical": ["energy", "loudness"],
        "categorical": ["key"],
        "nlp": ["text_feature"],
    }
    regression = {"task": "regression", "target": "tempo", "features": features}
    train(models, **regression)
    with pytest.raises(UserError, match="task differs: .*v3 has 'regression', .*v1 has 'class"):
        go()
    assert go("--force", "true", "--reason", "tempo is wanted now") == f"{NAME}:v3"
    assert [*comparison()[0]["candidate"]["scores"]] == ["r2", "mae", "rmse"]
    train(models, **regression, forest={"n_estimators": 50, "max_depth": 1})
    with pytest.raises(UserError, match="it must be better by more than 99"):
        go("--metric", "rmse", "--min_gain", "99")
    assert comparison()[0]["metric"] == "rmse"
    with pytest.raises(UserError, match="unknown metric of task regression 'accuracy'"):
        go("--metric", "accuracy")
    table = with_text(make_songs()).replace({"genre": {"Pop": "Polka"}})
    split(models, table)
    train(models)
    with pytest.raises(UserError, match="task differs"):
        go()


def test_other_classes_are_named(models):
    go("--model", "model_export:v1")
    split(models, with_text(make_songs()).replace({"genre": {"Pop": "Polka"}}))
    train(models)
    refused = "classes differ: .*v3 is without 'Pop', with 'Polka'"
    with pytest.raises(UserError, match=refused):
        go()
    with pytest.raises(UserError, match=refused):
        go("--rule", "interval")
    assert comparison()[0]["code"] == "not_comparable"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--model", "model_export:v9"], "artifact 'model_export:v9' not found in project 'tests'"),
        (["--model", "data_test.parquet:latest"], "data_test.parquet:v0 .* is no model: expected"),
        (["--alias", "latest"], "alias 'latest' cannot be moved"),
        (["--test_data", "data_test.csv:latest"], "artifact 'data_test.csv:latest' not found"),
        (["--test_data", "data_test.parquet"], "without alias"),
        (["--min_gain", "-1"], "must be a number from 0, found '-1'"),
        (["--max_class_drop", "2"], "must be a number from 0 to 1, found '2'"),
        (["--metric", "roc_auc_ovo"], "the nearest is 'roc_auc_ovo_macro'"),
    ],
)
def test_what_cannot_be_is_one_sentence(models, given, sentence):
    with pytest.raises(UserError, match=sentence):
        go(*given)
    assert holder() is None


def test_without_a_test_split_the_sentence_says_how_to_name_one(exported):
    table = with_text(make_songs(seed=9))
    exported.put(table, "more.parquet")
    with pytest.raises(
        UserError, match="was not made together with one test split .* -P test_data"
    ):
        promote.main(["--alias", "candidate"])


def damage(version):
    """Change a byte of a model where the store keeps it."""
    artifact = tracking.Api().artifact(version)
    entry = artifact.manifest.entries["model.skops"]
    path = artifact._store.files.path(entry.sha256)
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("how", [[], ["--force", "true", "--reason", "it is damaged"]])
def test_a_damaged_model_in_use_is_a_predecessor_that_lost(models, how, capsys):
    go("--model", "model_export:v1")
    damage(GOOD)
    assert go("--model", "model_export:v0", *how) == BAD
    found, text = comparison()
    assert (found["champion"], found["decision"]) == (None, "promoted")
    assert found["reason"] == "the predecessor cannot be loaded"
    (note,) = found["notes"]
    assert f"the model in use, {GOOD}, cannot be loaded" in note and "is damaged" in note
    assert note.endswith("it counts as a predecessor that lost")
    assert note in capsys.readouterr().out and note in text.read_text()
    assert origin.promotion_of("model_export:prod", "tests")["from"] == GOOD


def test_a_damaged_candidate_becomes_prod_by_no_means(models):
    go("--model", "model_export:v0")
    damage(GOOD)
    for how in ([], ["--force", "true", "--reason", "now"]):
        with pytest.raises(UserError, match="model.skops.* is damaged"):
            go("--model", "model_export:v1", *how)
    assert holder() == BAD


def test_a_model_in_use_that_is_a_pickle_is_no_damaged_one(models):
    train(models, export_format="cloudpickle")
    trust = ["--trust_pickle", "true"]
    assert go("--model", "model_export:v3", *trust) == f"{NAME}:v3"
    with pytest.raises(UserError, match="is a pickle, which runs whatever is in it"):
        go("--model", "model_export:v0", "--force", "true", "--reason", "smaller")
    assert holder() == f"{NAME}:v3"
    with pytest.raises(UserError, match="v0 is not promoted: .* worse"):
        go("--model", "model_export:v0", *trust)


def test_rollback_passes_over_a_damaged_version_and_says_so(models, caplog):
    for version in ("v0", "v1", "v2"):
        go("--model", f"model_export:{version}", "--force", "true", "--reason", "a way")
    damage(GOOD)
    rollback.main([])
    assert holder() == BAD
    assert f"{GOOD} is passed over: " in caplog.text and "is damaged" in caplog.text


def test_rollback_installs_no_damaged_version(models):
    go("--model", "model_export:v0")
    go("--model", "model_export:v1")
    damage(BAD)
    with pytest.raises(UserError, match="none of the 1 versions before can be loaded: .*v0 "):
        rollback.main([])
    assert holder() == GOOD


def test_rollback_without_prod_or_with_a_version_is_one_sentence(models):
    with pytest.raises(UserError, match="artifact 'model_export:prod' not found"):
        rollback.main([])
    with pytest.raises(UserError, match="rollback takes a model without a version"):
        rollback.main(["--model", "model_export:v1"])


def test_evaluate_measures_the_promoted_model_and_needs_none_otherwise(models):
    from evaluate import run as evaluate

    given = ["--test_data", "data_test.parquet:latest", "--model_export"]
    evaluate.main([*given, "model_export:latest"])
    with pytest.raises(
        UserError, match="artifact 'model_export:prod' not found in project 'tests'"
    ):
        evaluate.main([*given, "model_export:prod"])
    go("--model", "model_export:v0")
    evaluate.main([*given, "model_export:prod"])
    expected = origin.promotion_of("model_export:prod", "tests")["metrics"]
    for name, value in expected.items():
        assert models.run("evaluate").summary[f"test_{name}"] == value


KILLS = """
import json, os, random, signal, sys, time
from pathlib import Path
import mlflow.store.tracking.sqlalchemy_store, mlflow.store.model_registry.sqlalchemy_store
from serving import promote
from util_lib import cli, tracking
from serving.aliases import history, move as moving
n_kills, longest, name = int(sys.argv[1]), float(sys.argv[2]), "tests/model_export"
choose = random.Random(int(sys.argv[3]))


def apart(work):  # each in a process of its own, which has imported everything already
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print("failed:", repr(error), flush=True)
            os._exit(1)
    return child


def promote_one():
    now = moving.holder("tests", "model_export", "prod")
    other = "v0" if now is not None and now.version == "v1" else "v1"
    sys.stdout = open(os.devnull, "w")
    given = ["--model", f"model_export:{other}", "--force", "true", "--reason", "kill"]
    if sys.argv[4] == "whole":
        promote.main(given)
    while sys.argv[4] == "moves":
        holder = moving.holder("tests", "model_export", "prod")
        full = holder and history.full_name(holder)
        other = f"{name}:v0" if full == f"{name}:v1" else f"{name}:v1"
        event = {"deed": "promoted", "at": "", "by": "", "reason": ""}
        moving.move(tracking.Api().artifact(other), "prod", event, full)


def look():
    uri = f"sqlite:///{Path('store/mlflow.db').absolute()}"
    client = mlflow.MlflowClient(uri, uri)

    def state():
        holder = moving.holder("tests", "model_export", "prod")
        known = client.search_registered_models()
        model = "tests.model_export"
        number = client.get_registered_model(model).aliases.get("prod") if known else None
        tags = client.get_model_version(model, str(number)).tags if number else {}
        past = history.history("tests", "model_export", "model_export", "prod")
        last = past[-1][0] if past else None
        return (holder and history.full_name(holder), tags.get("artifact"), last)

    noted = [*Path("store/tracking_store").glob("moving.*.json")] != []
    before = state()
    moving.finish_interrupted_move()
    after = state()
    assert len(set(after)) == 1, (before, after)
    assert len(set(before)) == 1 or noted, before
    assert not [*Path("store/tracking_store").glob("moving.*.json")]
    print(json.dumps({"noted": noted, "apart": len(set(before)) > 1, "prod": after[0]}), flush=True)


child, began = apart(promote_one), time.monotonic()
while moving.holder("tests", "model_export", "prod") is None:
    time.sleep(0.01)
longest = max(longest, 3 * (time.monotonic() - began))  # the machine may be busy
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
os.waitpid(apart(moving.finish_interrupted_move), 0)
for _ in range(n_kills):
    child = apart(promote_one)
    time.sleep(choose.uniform(0, longest))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    status = os.waitpid(apart(look), 0)[1]
    assert status == 0
"""


def kill_and_look(models, n_kills, longest, how):
    done = subprocess.run(
        [sys.executable, "-c", KILLS, str(n_kills), str(longest), "7", how],
        env=models.environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.fixture
def killed(models):
    import os

    models.environment = dict(os.environ)
    return models


def test_killed_while_aliases_move_store_registry_and_history_agree_after_it(killed):
    seen = kill_and_look(killed, n_kills=8, longest=0.4, how="moves")
    assert len(seen) == 8


@pytest.mark.slow
def test_promote_killed_at_fifty_random_moments_leaves_both_aliases_together(killed):
    for how, longest in (("moves", 0.4), ("whole", 2.0)):
        seen = kill_and_look(killed, n_kills=50, longest=longest, how=how)
        noted, apart = (sum(line[key] for line in seen) for key in ("noted", "apart"))
        moved = len({line["prod"] for line in seen} - {None})
        print(f"{how}: 50 kills, {noted} in the middle of a move, {apart} times apart before")
        assert len(seen) == 50 and moved == 2
        assert how == "whole" or noted > 5
