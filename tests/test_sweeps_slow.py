"""The sweep of the course material, from a cold start: no environment is there yet."""

import os
import shutil

import pytest
from sweep_support import ROOT, Place, said

SWEEP = (
    "hydra/launcher=joblib main.execute_steps='train_random_forest' "
    "random_forest_pipeline.random_forest.max_depth=range(10,50,10) "
    "random_forest_pipeline.tfidf.max_features=range(50,200,50) -m"
)
TIMES = int(os.environ.get("SWEEP_TIMES", "1"))  # how often in a row


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("uv"), reason="uv, which makes the environments, is not here")
@pytest.mark.parametrize("time", range(TIMES))
def test_twelve_trials_at_once_without_any_environment_make_one_model(time, tmp_path):
    place = Place(tmp_path)
    data = "main.env_manager=local main.execute_steps='get_data,preprocess,segregate'"
    done = place.call("python", str(ROOT / "main.py"), *data.split())
    assert done.returncode == 0, done.stdout + done.stderr

    cold = {"MLFLOW_ENV_ROOT": str(tmp_path / "environments"), "PYTHONPATH": ""}
    command = ("mlflow", "run", str(ROOT), "--env-manager", "uv", "-P", f"hydra_options={SWEEP}")
    done = place.call(*command, **cold)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(said(done)) == 12 and done.stdout.count(", project songs_demo") == 1
    runs = place.ask(
        "[[r.state, 'model' in r.summary, list(r.config['sweep']['overrides'].values())] for r in"
        " api.runs('songs_demo', filters={'job_type': 'train_random_forest'})]"
    )
    assert [state for state, *_ in runs] == ["finished"] * 12
    assert not any(has_model for _, has_model, _ in runs)
    expected = [[depth, words] for depth in (10, 20, 30, 40) for words in (50, 100, 150)]
    assert sorted(values for *_, values in runs) == expected
    exported = place.ask(
        "[a.aliases for a in api.artifacts('model_export', 'songs_demo/model_export')]"
    )
    assert len(exported) == 1 and set(exported[0]) == {"best", "latest"}
    made = [path.parent for path in (tmp_path / "environments").glob("*/.complete.json")]
    assert made, "the training step's environment was made, once, and is whole"
