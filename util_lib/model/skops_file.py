"""A fitted pipeline as a skops file: read without running anything that is not listed here.

A pickle can call any function while it is read. A skops file names types and holds arrays; only
scikit-learn's own types and those of `TRUSTED` are made of it. What skops does not promise is that
the arrays make sense: a crafted tree could read past its end. So the trees are checked too, those
of a forest and boosted ones.
"""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from util_lib.errors import DamagedModelError

# The types and functions of a pipeline beyond those that skops knows to be harmless to make.
TRUSTED = (
    "numpy.dtype",
    "sklearn.tree._tree.Tree",
    "util_lib.transformers.DaysBeforeNewest",
    "util_lib.transformers.FeatureColumns",
    "util_lib.transformers.MeanImputer",
    "util_lib.transformers.ModeImputer",
    "util_lib.transformers.to_texts",
)
# The same of boosted trees. A model says what it needs trusted, and a forest does not need this.
BOOSTED = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
# And of probabilities that are calibrated.
CALIBRATED = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._TemperatureScaling",
)
SCHEMA = "schema.json"
NO_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can say
LEAF = -1


def trusted(pipeline: Any) -> list[str]:
    """Return what whoever reads the fitted `pipeline` must trust."""
    trees = _trees(pipeline)
    boosted = [BOOSTED] if any(hasattr(each, "_bin_mapper") for each in trees) else []
    return [*TRUSTED, *boosted, *(CALIBRATED if trees != [pipeline[-1]] else ())]


def _trees(pipeline: Any) -> list[Any]:
    """Return what has the trees of a pipeline: its last stage, or what that calibrates."""
    calibrations = getattr(pipeline[-1], "calibrated_classifiers_", None)
    if calibrations is None:
        return [pipeline[-1]]
    return [calibration.estimator.estimator for calibration in calibrations]


def load(path: Path) -> Any:
    """Return the pipeline in a skops file; `DamagedModelError` for one that cannot be trusted."""
    import skops.io
    from sklearn.ensemble._hist_gradient_boosting.gradient_boosting import BaseHistGradientBoosting
    from sklearn.pipeline import Pipeline
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        with zipfile.ZipFile(path) as archive:
            # A skops file is not packed: one that is could fill the memory.
            packed = sum(part.file_size for part in archive.infolist()) > path.stat().st_size
        if packed:
            raise zipfile.BadZipFile("it unpacks to more than it holds")
        pipeline = skops.io.load(path, trusted=[*TRUSTED, BOOSTED, *CALIBRATED])
        if not isinstance(pipeline, Pipeline):
            raise TypeError(f"it holds a {type(pipeline).__name__}, not a Pipeline")
        for trees in _trees(pipeline):
            for tree in getattr(trees, "estimators_", []):
                _check_tree(tree.tree_, path)
            if isinstance(trees, BaseHistGradientBoosting):
                _check_boosted_trees(trees, path)
    except UntrustedTypesFoundException as error:
        raise DamagedModelError(
            f"{path.name} holds types that are on no list of trusted ones ({error}): nothing of it "
            "was loaded; a type of your own belongs into TRUSTED of util_lib/model/skops_file.py"
        ) from None
    except DamagedModelError:
        raise
    except Exception as error:  # a damaged part can break any line of what reads it
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise DamagedModelError(f"{path.name} is no whole skops file: {said}") from error
    return pipeline


def make_the_same(path: Path) -> None:
    """Rewrite a skops file so that the same pipeline gives the same bytes in every process.

    skops numbers objects by their addresses in memory and lets the zip file say when it was
    written. Nothing is compressed: how small depends on the version of zlib.
    """
    with zipfile.ZipFile(path) as archive:
        schema = json.loads(archive.read(SCHEMA))
        contents = {name: archive.read(name) for name in archive.namelist() if name != SCHEMA}
    names = {
        name: f"{hashlib.sha256(content).hexdigest()[:32]}{Path(name).suffix}"
        for name, content in contents.items()
    }
    _number(schema, names, [0])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for old, new in sorted(names.items(), key=lambda pair: pair[1]):
            if new not in archive.namelist():
                archive.writestr(zipfile.ZipInfo(new, NO_TIME), contents[old])
        text = json.dumps(schema, separators=(",", ":"))
        archive.writestr(zipfile.ZipInfo(SCHEMA, NO_TIME), text)


def _number(node: Any, names: dict[str, str], last: list[int]) -> None:
    """Give each object a number of its own, in the order in which they stand."""
    if isinstance(node, dict):
        if "__id__" in node:
            last[0] += 1
            node["__id__"] = last[0]
        if node.get("file") in names:
            node["file"] = names[node["file"]]
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _number(part, names, last)


def _check_tree(tree: Any, path: Path) -> None:
    """Raise `DamagedModelError` for a tree that would not end, or read beside its arrays."""
    number = np.arange(tree.node_count)
    left, right = tree.children_left, tree.children_right
    inner = left != LEAF
    children = np.concatenate([left[inner], right[inner]])
    parents = np.concatenate([number[inner], number[inner]])
    sound = (
        tree.node_count > 0
        and ((right == LEAF) == ~inner).all()
        and (children > parents).all()
        and (children < tree.node_count).all()
        and (tree.feature[inner] >= 0).all()
        and (tree.feature[inner] < tree.n_features).all()
        and len(tree.value) == tree.node_count
    )
    if not sound:
        raise _no_tree(path)


def _check_boosted_trees(booster: Any, path: Path) -> None:
    """Raise `DamagedModelError` for trees that would not end, or read beside their arrays."""
    from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE

    try:
        width, mapper = booster.n_features_in_, booster._bin_mapper
        categorical = np.zeros(width, dtype=bool)
        if booster.is_categorical_ is not None:
            categorical |= booster.is_categorical_
        sound = booster._preprocessor is None and (mapper.is_categorical_ == categorical).all()
        sound = sound and len(mapper.is_categorical_) == len(mapper.bin_thresholds_) == width
        for tree in (tree for iteration in booster._predictors for tree in iteration):
            nodes, bits = tree.nodes, tree.raw_left_cat_bitsets
            places, splits = np.flatnonzero(nodes["is_leaf"] == 0), nodes[nodes["is_leaf"] == 0]
            children = np.stack([splits["left"], splits["right"]])
            features = splits["feature_idx"]
            sets = splits[splits["is_categorical"] != 0]
            sound = (
                sound
                and nodes.dtype == PREDICTOR_RECORD_DTYPE
                and len(nodes) > 0
                and (children > places).all()
                and (children < len(nodes)).all()
                and ((features >= 0) & (features < width)).all()
                and categorical[sets["feature_idx"]].all()
                and bits.dtype == np.uint32
                and bits.shape[1:] == (8,)
                and (sets["bitset_idx"] < len(bits)).all()
            )
    except (AttributeError, IndexError, TypeError, ValueError):
        raise _no_tree(path) from None
    if not sound:
        raise _no_tree(path)


def _no_tree(path: Path) -> DamagedModelError:
    return DamagedModelError(
        f"{path.name} holds a tree whose nodes point nowhere: the file is damaged or made to "
        "harm; train the model again"
    )
