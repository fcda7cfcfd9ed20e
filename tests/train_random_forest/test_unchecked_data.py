"""A model of rows that the gate has not let through says so."""

import pytest
from step_support import MODEL, make_songs, with_text

from train_random_forest import run
from util_lib import tracking
from util_lib.tables import reading

TABLE = "preprocessed_data.parquet"


@pytest.fixture
def rows(steps):
    """Training rows split off a table, as segregate leaves them."""
    steps.put(with_text(make_songs(90)), TABLE)
    reading.write(with_text(make_songs(80)), "rows.parquet")
    with tracking.init(job_type="segregate") as split:
        split.use_artifact(f"{TABLE}:latest")
        return split.log_artifact("rows.parquet", name="data_train.parquet", type="data").name


def check(fails):
    run = tracking.init(job_type="check_data")
    run.use_artifact(f"{TABLE}:latest")
    run.finish(exit_code=int(fails))


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [([], "has not checked"), ([True], "refused"), ([True, False], None), ([False], None)],
)
def test_the_models_card_tells_of_rows_that_the_gate_has_not_let_through(
    steps, rows, verdicts, said
):
    for fails in verdicts:
        check(fails)
    given = ["--train_data", rows, "--export_artifact", "model_export", "--random_seed", "42"]
    run.main(
        [*given, "--val_size", "0.3", "--stratify", "genre"] + ["--model_config", steps.yaml(MODEL)]
    )
    told = steps.artifact("model_export:latest").metadata.get("to_mind")
    expected = f"trained on rows of {TABLE}:v0, which check_data {said}: allow_unchecked"
    assert told == ([expected] if said else None)
    assert steps.run("train_random_forest").summary.get("to_mind") == (expected if said else None)
