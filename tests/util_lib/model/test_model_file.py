"""Model files: what a skops file is read with, and what a crafted one cannot do."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from util_lib.errors import UserError
from util_lib.model import skops_file

X = np.random.default_rng(0).normal(size=(60, 3))


class Harm:
    """What runs a command when it is unpickled, or made by its name."""

    def __init__(self, path):
        self.path = path

    def __setstate__(self, state):
        Path(state["path"]).write_text("ran")

    def __getstate__(self):
        return {"path": self.path}


def pipeline(first=None):
    forest = RandomForestClassifier(n_estimators=3, max_depth=4, random_state=0)
    return Pipeline([("first", first or StandardScaler()), ("last", forest)]).fit(X, X[:, 0] > 0)


def boosted():
    """Boosted trees as training leaves them, the first feature a category."""
    rows = np.column_stack([np.arange(60) % 5, X[:, 1:]])
    trees = HistGradientBoostingClassifier(max_iter=3, random_state=0, categorical_features=[0])
    trees.fit(rows, rows[:, 0] > 2)
    trees._preprocessor = None
    return Pipeline([("first", FunctionTransformer()), ("last", trees)])


def written(path, content):
    skops.io.dump(content, path)
    skops_file.make_the_same(path)
    return path


def changed(path, change):
    """Rewrite the arrays of a skops file."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, change(name, content))


def test_a_pipeline_comes_back_with_the_same_answers_and_the_same_bytes(tmp_path):
    original = pipeline()
    path = written(tmp_path / "a.skops", original)
    np.testing.assert_array_equal(skops_file.load(path).predict_proba(X), original.predict_proba(X))
    again = written(tmp_path / "b.skops", pipeline())
    assert path.read_bytes() == again.read_bytes()


def test_a_type_that_is_on_no_list_is_refused_and_does_not_run(tmp_path):
    ran = tmp_path / "ran"
    path = written(tmp_path / "a.skops", pipeline(FunctionTransformer(kw_args=None)))
    harmful = pipeline()
    harmful.harm = Harm(str(ran))
    skops.io.dump(harmful, path)
    with pytest.raises(UserError, match="types that are on no list of trusted ones .*Harm"):
        skops_file.load(path)
    assert not ran.exists()


@pytest.mark.parametrize("function", [os.system, eval])
def test_a_function_that_is_on_no_list_is_refused(tmp_path, function):
    harmful = pipeline(FunctionTransformer())
    harmful["first"].func = function
    path = tmp_path / "a.skops"
    skops.io.dump(harmful, path)
    with pytest.raises(UserError, match="on no list of trusted ones"):
        skops_file.load(path)


@pytest.mark.parametrize(
    ("field", "value"), [("left_child", 10**6), ("left_child", 0), ("feature", 99)]
)
def test_a_tree_that_points_nowhere_or_back_is_refused(tmp_path, field, value):
    path = written(tmp_path / "a.skops", pipeline())

    def change(name, content):
        import io

        array = np.load(io.BytesIO(content)) if name.endswith(".npy") else None
        if array is None or array.dtype.names is None:
            return content
        array[field][0] = value
        out = io.BytesIO()
        np.save(out, array)
        return out.getvalue()

    changed(path, change)
    with pytest.raises(UserError, match="holds a tree whose nodes point nowhere"):
        skops_file.load(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("left", 10**6), ("right", 0), ("feature_idx", 99), ("feature_idx", -1), ("bitset_idx", 9)],
)
def test_a_boosted_tree_that_points_nowhere_or_back_is_refused(tmp_path, field, value):
    harmful = boosted()
    assert skops_file.load(written(tmp_path / "good.skops", harmful))
    nodes = harmful["last"]._predictors[0][0].nodes
    assert nodes["is_categorical"][0]
    nodes[field][0] = value
    with pytest.raises(UserError, match="holds a tree whose nodes point nowhere"):
        skops_file.load(written(tmp_path / "a.skops", harmful))


def test_a_tree_beneath_a_calibration_is_looked_at_too(tmp_path):
    harmful = boosted()
    rows = np.column_stack([np.arange(60) % 5, X[:, 1:]])
    calibrated = CalibratedClassifierCV(FrozenEstimator(harmful["last"]), method="isotonic")
    harmful.steps[-1] = ("last", calibrated.fit(rows, rows[:, 0] > 2))
    assert skops_file.load(written(tmp_path / "good.skops", harmful)).predict(rows).any()
    calibrated.estimator.estimator._predictors[0][0].nodes["left"][0] = 10**6
    with pytest.raises(UserError, match="holds a tree whose nodes point nowhere"):
        skops_file.load(written(tmp_path / "a.skops", harmful))


@pytest.mark.parametrize(
    "change",
    [
        lambda trees: setattr(trees, "_preprocessor", StandardScaler()),
        lambda trees: setattr(trees, "n_features_in_", 1),
        lambda trees: setattr(trees, "is_categorical_", None),
        lambda trees: setattr(trees._bin_mapper, "is_categorical_", np.zeros(1, dtype=bool)),
        lambda trees: setattr(trees._predictors[0][0], "raw_left_cat_bitsets", np.zeros((1, 1))),
        lambda trees: setattr(trees, "_predictors", [[None]]),
    ],
)
def test_boosted_trees_whose_parts_do_not_fit_together_are_refused(tmp_path, change):
    harmful = boosted()
    change(harmful["last"])
    with pytest.raises(UserError, match="holds a tree whose nodes point nowhere"):
        skops_file.load(written(tmp_path / "a.skops", harmful))


@pytest.mark.parametrize("content", [b"", b"PK no zip", b"\x80\x04."])
def test_a_file_that_is_no_skops_file_is_one_sentence(tmp_path, content):
    path = tmp_path / "a.skops"
    path.write_bytes(content)
    with pytest.raises(UserError, match="a.skops is no whole skops file"):
        skops_file.load(path)


def test_a_file_whose_schema_is_cut_or_wrong_is_one_sentence(tmp_path):
    for text in ("{", "[]", json.dumps({"protocol": 99}), json.dumps({"protocol": 2})):
        path = written(tmp_path / "a.skops", pipeline())
        changed(path, lambda name, content, text=text: text if name == "schema.json" else content)
        with pytest.raises(UserError, match="a.skops is no whole skops file"):
            skops_file.load(path)


FULL = """
import resource, sys
import numpy as np, pandas as pd
from sklearn.linear_model import LogisticRegression
from util_lib.errors import UserError
from util_lib.model import export
frame = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]})
model = LogisticRegression().fit(frame, [0, 1, 0, 1])
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # as on a disk with little room left
try:
    export.save(model, sys.argv[1], frame, np.array([0, 1]), {})
except UserError as error:
    print(error)
"""


def test_a_disk_that_is_full_while_a_model_is_written_is_called_full(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "model")],
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
    )
    assert "free space there, or set TMPDIR to another directory" in done.stdout, done.stderr
    assert "code path" not in done.stdout
