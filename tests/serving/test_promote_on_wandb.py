"""The gate with the genuine W&B client: alias, history and comparison are kept at W&B."""

import pytest
from step_support import Steps, make_songs, with_text
from test_promote import FORESTS, NAME, split, train

from serving import promote, rollback
from serving.aliases import history, origin
from util_lib import tracking
from util_lib.errors import UserError

pytest.importorskip("wandb", reason="the genuine W&B client is not installed")
pytestmark = pytest.mark.slow  # the moves alone are tested on both backends in test_moving.py


@pytest.fixture
def on_wandb(steps, wandb_account, monkeypatch) -> Steps:
    """The steps' surroundings, with runs and artifacts on the double of W&B."""
    monkeypatch.setenv("TRACKING_BACKEND", "wandb")
    for name, value in wandb_account.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_PROJECT", "tests")
    yield steps
    tracking.backend().close(failed=True)


def prod():
    return history.full_name(tracking.Api().artifact(f"{NAME}:prod"))


def test_a_model_on_wandb_is_promoted_refused_and_rolled_back_there(on_wandb):
    split(on_wandb, with_text(make_songs()))
    train(on_wandb, forest=FORESTS["bad"])
    train(on_wandb, forest=FORESTS["good"])
    promote.main(["--model", "model_export:v0"])
    assert prod() == f"{NAME}:v0"
    promote.main([])
    assert prod() == f"{NAME}:v1"
    with pytest.raises(UserError, match="v0 is not promoted: roc_auc_ovo_macro is 0.* worse"):
        promote.main(["--model", "model_export:v0"])
    told = origin.promotion_of("tests/model_export:prod")
    assert (told["deed"], told["from"]) == ("promoted", f"{NAME}:v0")
    assert told["test_data"] == "tests/data_test.parquet:v0"
    comparison = tracking.Api().artifact(told["comparison"])
    assert sorted(comparison.manifest.entries) == ["comparison.json", "comparison.md"]
    rollback.main([])
    assert prod() == f"{NAME}:v0"
