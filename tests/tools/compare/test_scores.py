"""Two models are measured on rows that neither has seen, each by its own code."""

import json
import shutil

import pytest
from step_support import MODEL, make_songs, with_text

from tools.compare import scores
from util_lib.errors import UserError
from util_lib.model import config as model_config
from util_lib.model import export, held_out, inference_pipeline
from util_lib.tables import reading

ALL, TRAINED = 400, 280
CONFIG = model_config.RandomForestPipeline.model_validate(MODEL)


def put(folder, train, test):
    """A model fitted on some rows, beside the rows that were split off with them."""
    pipeline = inference_pipeline.make_inference_pipeline(CONFIG)
    inference_pipeline.fit(pipeline, train, CONFIG)
    rows = held_out.hashes(train, [*CONFIG.features.names(), "genre"])
    example = pipeline["columns"].transform(train)
    about = {"target": "genre", "features": MODEL["features"]}
    classes = pipeline["classifier"].classes_
    export.save(pipeline, folder / "model", example, classes, about, rows=rows)
    (folder / "test").mkdir()
    reading.write(test, folder / "test" / "data_test.parquet")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Before: a model that learnt from the rows. Now: one whose genres were shuffled."""
    folder = tmp_path_factory.mktemp("pair")
    songs = with_text(make_songs(ALL))
    train, test = songs[:TRAINED], songs[TRAINED:]
    put(folder / "before", train, test)
    shuffled = train["genre"].sample(frac=1, random_state=1).to_numpy()
    put(folder / "now", train.assign(genre=shuffled), test)
    return folder


def test_a_model_that_learnt_nothing_has_fallen_and_the_interval_says_so(pair):
    scores.main(["--folder", str(pair)])
    told = json.loads((pair / "scores.json").read_text())
    assert (told["rows"], told["chosen"]) == (ALL - TRAINED, "all test rows")
    accuracy, brier = told["metrics"]["accuracy"], told["metrics"]["brier"]
    assert accuracy["now"] < accuracy["before"] and accuracy["low"] < accuracy["high"] < 0
    assert accuracy["fell"] and brier["fell"] and brier["low"] > 0


def test_a_model_answers_by_the_code_that_travels_with_it(pair, tmp_path):
    """So that transformers which a change has broken do not break the base's model as well."""
    shutil.copytree(pair / "before", tmp_path / "before")
    side = scores.read(tmp_path / "before")
    [code] = (tmp_path / "before" / "model").rglob("transformers.py")
    code.write_text(code.read_text() + "\nraise SystemExit('the code of the model itself')\n")
    with pytest.raises(UserError, match="the code of the model itself"):
        scores.answers(side, side.frame, tmp_path / "before")


def test_of_other_splits_only_rows_count_that_neither_was_trained_on(pair, tmp_path):
    songs = with_text(make_songs(ALL)).sample(frac=1, random_state=2)
    put(tmp_path / "other", songs[:TRAINED], songs[TRAINED:])
    before, now = scores.read(pair / "before"), scores.read(tmp_path / "other")
    frame, same, chosen = scores.same_rows(before, now)
    columns = [*CONFIG.features.names(), "genre"]
    left = set(held_out.hashes(frame, columns))
    in_both = [set(held_out.hashes(each.frame, columns)) for each in (before, now)]
    assert left == in_both[0] & in_both[1] and same is frame
    assert "neither model was trained on" in chosen

    few = now._replace(frame=now.frame[:20])
    with pytest.raises(UserError, match=r"only \d+ were trained on by neither model"):
        scores.same_rows(before._replace(frame=before.frame[:20]), few)


def test_the_same_rows_made_in_another_way_are_paired_by_their_place(pair, tmp_path):
    before = scores.read(pair / "before")
    moved = before.frame.assign(tempo=before.frame["tempo"] + 1)
    reading.write(moved, tmp_path / "table.parquet")
    now = before._replace(frame=moved, table=tmp_path / "table.parquet")
    one, other, chosen = scores.same_rows(before, now)
    assert one is before.frame and other is moved and "place and target" in chosen


def test_what_cannot_be_compared_is_said_and_is_no_error(pair, tmp_path):
    shutil.copytree(pair, tmp_path / "pair")
    shutil.rmtree(tmp_path / "pair" / "now" / "model")
    scores.main(["--folder", str(tmp_path / "pair")])
    told = json.loads((tmp_path / "pair" / "scores.json").read_text())
    assert told == {"why_not": "the models are no MLflow models, as the steps here export them"}
