"""Where two exported models first differ: the stage, of a forest the tree and its node."""

import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from util_lib.model import export

# What a tree decides in a node, in this order, and what it answers there.
LEFT, RIGHT = "children_left", "children_right"


def is_model(folder: Path) -> bool:
    """Say whether a folder is an MLflow model."""
    return (folder / "MLmodel").is_file()


def difference(before: Path, now: Path) -> str:
    """Return the first difference of two pipelines in one line.

    A pickle is not opened: loading it would run what is in it.
    """
    try:
        old, _ = export.load(before)
        new, _ = export.load(now)
    except export.PickleError:
        return "another content; pickles are not opened to be compared"
    names = [name for name, _ in getattr(old, "steps", [])]
    if not names or names != [name for name, _ in getattr(new, "steps", [])]:
        return f"the model is a {_described(old)} -> {_described(new)}"
    for name in names:
        if hasattr(old[name], "estimators_") and hasattr(new[name], "estimators_"):
            first = of_forests(old[name], new[name])
        else:
            first = _of_estimators(old[name], new[name])
        if first:
            return f"{name}: {first}"
    return "the same pipeline, written in another way"


def of_forests(old: Any, new: Any) -> str:
    """Return how two forests first differ: a parameter, their size, or a node of a tree."""
    if found := _of_parameters(old, new):
        return found
    if len(old.estimators_) != len(new.estimators_):
        return f"{len(old.estimators_)} -> {len(new.estimators_)} trees"
    for number, (a, b) in enumerate(zip(old.estimators_, new.estimators_, strict=True)):
        if found := of_trees(a.tree_, b.tree_):
            return f"tree {number}, {found} (counted from 0)"
    return _of_state(old, new)


def of_trees(old: Any, new: Any) -> str:
    """Return the first node in which two fitted trees differ; empty where they are equal."""
    common = min(old.node_count, new.node_count)
    differs = np.zeros(common, dtype=bool)
    for name in (LEFT, RIGHT, "feature", "threshold"):
        a, b = (getattr(tree, name)[:common] for tree in (old, new))
        differs |= a != b
    differs |= (old.value[:common] != new.value[:common]).reshape(common, -1).any(axis=1)
    if differs.any():
        node = int(np.argmax(differs))
        return f"node {node}: {_node(old, node)} -> {_node(new, node)}"
    if old.node_count != new.node_count:
        return f"{old.node_count} -> {new.node_count} nodes"
    return ""


def _node(tree: Any, node: int) -> str:
    if getattr(tree, LEFT)[node] == -1:
        return f"leaf {np.round(tree.value[node].ravel(), 6).tolist()}"
    return f"feature {tree.feature[node]} <= {tree.threshold[node]!r}".replace("np.float64", "")


def _of_estimators(old: Any, new: Any) -> str:
    return _of_parameters(old, new) or _of_state(old, new)


def _of_parameters(old: Any, new: Any) -> str:
    a, b = (each.get_params(deep=False) for each in (old, new))
    for name in {**a, **b}:
        before, now = a.get(name), b.get(name)
        if not _same(before, now) and not hasattr(before, "get_params"):
            return f"parameter {name} {_short(before)} -> {_short(now)}"
    return ""


def _of_state(old: Any, new: Any) -> str:
    """Name the first thing learnt that differs; of a ColumnTransformer, its part."""
    if _same(old, new):
        return ""
    for (name, a, _), (_, b, _) in zip(
        getattr(old, "transformers_", []), getattr(new, "transformers_", []), strict=False
    ):
        for stage, (part, other) in enumerate(zip(_parts(a), _parts(b), strict=False)):
            if not _same(part, other):
                inner = _of_state(part, other) or "differs"
                return f"{name}, stage {stage} ({type(part).__name__}): {inner}"
    for name, value in vars(old).items():
        other = vars(new).get(name)
        if not _same(value, other):
            return f"{name} {_short(value)} -> {_short(other)}"
    return ""


def _parts(treatment: Any) -> list[Any]:
    return [part for _, part in getattr(treatment, "steps", [("", treatment)])]


def _same(old: Any, new: Any) -> bool:
    """Say whether two are equal to the bit, however often the same text is kept in them."""
    try:
        return bool(joblib.hash(old) == joblib.hash(new))
    except (pickle.PicklingError, AttributeError, TypeError):
        return repr(old) == repr(new)


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _described(model: Any) -> str:
    names = [name for name, _ in getattr(model, "steps", [])]
    return f"{type(model).__name__}{f' of {names}' if names else ''}"
