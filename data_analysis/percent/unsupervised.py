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
# # Do the classes show without their names?
# Rows are grouped by their features alone, and then it is looked how far the groups are the
# classes. Two mistakes make such figures too good to be true, and neither is made here: the number
# of a row is no feature (a table sorted by class would give the classes away), and numbers are
# scaled before distances are taken (else the column with the largest numbers is the only one).

# %% tags=["parameters"]
dataset = "conf/dataset/songs_demo.yaml"  # declares the columns
project = "songs_demo"
artifact = "preprocessed_data.parquet:latest"

# %%
import tempfile

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import KNNImputer
from sklearn.manifold import TSNE
from sklearn.metrics import f1_score
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler

from util_lib import tracking
from util_lib.dataset import declaration
from util_lib.errors import UserError
from util_lib.project import resolve_path
from util_lib.tables import reading

data = declaration.load(resolve_path(dataset))
if data.task != "classification":
    raise UserError(
        f"target {data.target!r} is a number: this notebook compares groups with classes"
    )
about = {"dataset": dataset, "artifact": artifact}
run = tracking.init(project=project, job_type="unsupervised", config=about, save_code=True)
path = reading.fetch(run.use_artifact(artifact), tempfile.mkdtemp())
table = reading.read_own(path, data.table_columns)

SEED, MOST_ROWS = 42, 3_000  # agglomerative clustering keeps all pairs of rows in memory
table = table.sample(min(len(table), MOST_ROWS), random_state=SEED).reset_index(drop=True)
classes = table[data.target]
print(f"{len(table):,} rows, {classes.nunique()} classes")

# %% [markdown]
# ## Features
# Gaps are filled from the nearest rows; what is skewed is taken by its logarithm; then everything
# is scaled. The words of the text come in by TF-IDF, of which the strongest directions are kept.

# %%
names = [name for name, column in data.columns.items() if column.role == "numerical"]
scaled = StandardScaler().fit_transform(table[names].astype("float64"))
numbers = pd.DataFrame(KNNImputer(n_neighbors=5).fit_transform(scaled), columns=names)
skewed = [name for name in names if abs(numbers[name].skew()) > 0.75]
numbers[skewed] = np.log1p(numbers[skewed] - numbers[skewed].min())
features = StandardScaler().fit_transform(numbers)
print("by their logarithm:", ", ".join(skewed))

# %%
texts = [data.text_feature.name] if data.text_feature else []
if texts and table[texts[0]].str.strip().any():
    words = TfidfVectorizer(max_features=500).fit_transform(table[texts[0]])
    directions = TruncatedSVD(min(20, words.shape[1] - 1), random_state=SEED).fit_transform(words)
    features = np.hstack([features, StandardScaler().fit_transform(directions)])
print(f"{features.shape[1]} features, none of them the number of a row")

# %% [markdown]
# ## How many groups

# %%
tried = range(5, 25)
inertia = [KMeans(k, n_init=1, random_state=SEED).fit(features).inertia_ for k in tried]
figure, axes = plt.subplots(figsize=(7, 4))
axes.plot(tried, inertia, marker="o")
axes.set_xlabel("groups")
axes.set_ylabel("sum of squared distances to the group's centre")
run.log({"elbow": tracking.Image(figure)})

# %% [markdown]
# ## Groups against classes
# Each group is called by the class that most of its rows have, and the F1 score of these names is
# taken. What naming all rows by chance would reach stands beside it.


# %%
def named(groups: np.ndarray) -> pd.Series:
    """Name each row by the most frequent class of its group."""
    most_frequent = classes.groupby(groups).agg(lambda rows: rows.mode()[0])
    return pd.Series(groups).map(most_frequent)


def f1(groups: np.ndarray) -> float:
    """Return the F1 score of the names, weighted by the classes' rows."""
    return float(
        f1_score(y_true=classes, y_pred=named(groups), average="weighted", zero_division=0)
    )


k = classes.nunique()
groups = {
    "k_means": KMeans(k, n_init=5, random_state=SEED).fit_predict(features),
    "gaussian_mixture": GaussianMixture(k, covariance_type="diag", random_state=SEED).fit_predict(
        features
    ),
    "agglomerative": AgglomerativeClustering(k).fit_predict(features),
    "by_chance": np.random.default_rng(SEED).integers(0, k, len(table)),
}
scores = {name: f1(found) for name, found in groups.items()}
pd.Series(scores, name="F1").round(4).to_frame()

# %% [markdown]
# ## A map

# %%
some = np.arange(min(len(table), 1_000))
points = TSNE(random_state=SEED).fit_transform(features[some])
figure, both = plt.subplots(1, 2, figsize=(13, 6))
for axes, title, values in (
    (both[0], data.target, classes[some]),
    (both[1], "groups of K-means", pd.Series(groups["k_means"][some])),
):
    axes.scatter(*points.T, s=6, c=pd.factorize(values)[0], cmap="tab20")
    axes.set_title(title)
run.log({"t_sne": tracking.Image(figure)})

# %%
run.summary.update({f"f1_{name}": score for name, score in scores.items()})
run.finish()
