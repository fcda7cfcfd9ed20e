"""Which features pushed one prediction: Shapley values, sampled.

A feature's value counts as unknown when it is left out, and the pipeline then fills in what it
learned in training (the median, the most frequent category, no words). Features are made known one
after the other, in several orders; how far the prediction moves when a feature's turn comes, on
average over the orders, is its push. Together the pushes lead exactly from the prediction for a row
of which nothing is known to the one for this row.

After Štrumbelj and Kononenko (2014), https://doi.org/10.1007/s10115-013-0679-x, "Explaining
prediction models and individual predictions with feature contributions"; each order is also taken
backwards.
"""

from typing import Any

import numpy as np

from serving.model.loaded import Loaded
from serving.model.prediction import predict

ORDERS = 8  # and as many backwards
METHOD = (
    f"Shapley values over {2 * ORDERS} orders of the features; an unknown value is filled in as in "
    "training"
)


def explain(loaded: Loaded, row: dict[str, Any]) -> dict[str, Any]:
    """Return what moved the prediction of one checked `row`, the strongest push first.

    Pushes are in probability of the predicted class, or in the unit of a predicted number. The
    orders are drawn with a fixed seed: the same row has the same explanation.
    """
    names = [name for name in loaded.model.columns if row.get(name) is not None]
    random = np.random.default_rng(0)
    orders = [random.permutation(len(names)) for _ in range(ORDERS)]
    orders += [order[::-1] for order in orders]
    rows: list[dict[str, Any]] = []
    for order in orders:
        known: dict[str, Any] = {}
        rows.append(dict(known))
        for place in order:
            known[names[place]] = row[names[place]]
            rows.append(dict(known))
    labels, probabilities = predict(loaded, rows)
    label, classes = labels[len(names)], loaded.model.classes
    if probabilities is None or classes is None:
        reached = np.array(labels, dtype=float)
    else:
        reached = probabilities[:, classes.tolist().index(label)]
    paths = reached.reshape(len(orders), len(names) + 1)
    pushes = np.zeros(len(names))
    for order, steps in zip(orders, np.diff(paths, axis=1), strict=True):
        pushes[order] += steps / len(orders)
    listed = [
        {"feature": name, "value": row[name], "push": float(push)}
        for name, push in zip(names, pushes, strict=True)
    ]
    return {
        "label": label,
        "known_nothing": float(paths[0, 0]),
        "known_all": float(paths[0, -1]),
        "features": sorted(listed, key=lambda item: -abs(item["push"])),
        "method": METHOD,
    }
