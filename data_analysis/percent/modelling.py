# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Which forest
# A grid over the forest of the pipeline, by cross-validation on the training rows, then once on
# the test rows. One metric decides and is told: ROC AUC, one class against one, their mean.
# Classes keep their weights (`class_weight`) in every model.

# %% tags=["parameters"]
dataset = "conf/dataset/songs_demo.yaml"  # declares the columns
project = "songs_demo"
artifact = "preprocessed_data.parquet:latest"

# %%
# %matplotlib inline
# without the line above, a figure at the end of a cell is shown by its name alone

import tempfile

import pandas as pd
from sklearn.model_selection import GridSearchCV, train_test_split

from util_lib import tracking
from util_lib.dataset import declaration
from util_lib.errors import UserError
from util_lib.model import inference_pipeline, metrics, plots
from util_lib.model.config import Features, RandomForestPipeline, Tfidf
from util_lib.project import resolve_path
from util_lib.tables import reading

data = declaration.load(resolve_path(dataset))
if data.task != "classification":
    raise UserError(f"target {data.target!r} is a number: this notebook compares classifiers")
about = {"dataset": dataset, "artifact": artifact}
run = tracking.init(project=project, job_type="modelling", config=about, save_code=True)
path = reading.fetch(run.use_artifact(artifact), tempfile.mkdtemp())
table = reading.read_own(path, data.table_columns)
table.describe()

# %%
numbers = [name for name, column in data.columns.items() if column.role == "numerical"]
grid = table[numbers].hist(bins=40, figsize=(12, 9), layout=(-1, 4))
grid.flat[0].figure.tight_layout()

# %% [markdown]
# ## The split
# As `segregate` makes it: a share of the rows, every class with its own share.

# %%
SEED = 42
by = table[data.stratify] if data.stratify else None
train, test = train_test_split(table, test_size=data.test_size, random_state=SEED, stratify=by)
print(f"{len(train):,} rows to fit on, {len(test):,} to measure on once")

# %% [markdown]
# ## The inference pipeline: preprocessing and forest in one


# %%
def with_role(role: str) -> list[str]:
    return [name for name, column in data.columns.items() if column.role == role]


forest = {"n_estimators": 100, "max_depth": 13, "class_weight": "balanced", "random_state": SEED}
config = RandomForestPipeline(
    target=data.target,
    features=Features(
        numerical=numbers,
        categorical=with_role("categorical"),
        dates=with_role("date"),
        nlp=[data.text_feature.name] if data.text_feature else with_role("text"),
    ),
    tfidf=Tfidf(max_features=10),
    random_forest=forest,
)
pipeline = inference_pipeline.make_inference_pipeline(config)
pipeline

# %%
search = GridSearchCV(
    pipeline,
    {"classifier__max_depth": [5, 13], "classifier__n_estimators": [50, 100]},
    scoring="roc_auc_ovo",
    cv=3,
)
search.fit(train, train[data.target])
found = pd.DataFrame(search.cv_results_).sort_values("rank_test_score")
found[
    [
        "param_classifier__max_depth",
        "param_classifier__n_estimators",
        "mean_test_score",
        "std_test_score",
    ]
]

# %% [markdown]
# ## The test rows, once

# %%
best = search.best_estimator_
assert best["classifier"].class_weight == "balanced"  # a copied forest easily loses it
probabilities = best.predict_proba(test)
scores = metrics.scores(test[data.target], probabilities, best.classes_, "test")
print(f"best of cross-validation {search.best_params_}: {search.best_score_:.4f}")
for name, value in scores.items():
    print(f"{name} {value:.4f}")

# %%
figure = plots.confusion_matrix(test[data.target], best.predict(test), best.classes_)
run.log({"confusion_matrix": tracking.Image(figure)})
figure

# %%
run.summary.update({"cv_roc_auc_ovo_macro": float(search.best_score_), **scores})
run.finish()
