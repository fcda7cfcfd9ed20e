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
# # What is in the table
# The raw table as it came, then as the pipeline cleans it. The run keeps which version was read,
# this code, and the figures.

# %% tags=["parameters"]
dataset = "conf/dataset/songs_demo.yaml"  # declares the columns
project = "songs_demo"
artifact = "raw_data.parquet:latest"

# %%
# %matplotlib inline
# without the line above, no figure is shown after the report of skrub

import tempfile

import matplotlib.pyplot as plt
import pandas as pd
from skrub import TableReport

from util_lib import tracking
from util_lib.dataset import declaration
from util_lib.project import resolve_path
from util_lib.tables import cleaning, reading

data = declaration.load(resolve_path(dataset))
about = {"dataset": dataset, "artifact": artifact}
run = tracking.init(project=project, job_type="eda", config=about, save_code=True)
raw = cleaning.read(reading.fetch(run.use_artifact(artifact), tempfile.mkdtemp()), data)
raw.head()

# %%
TableReport(raw, verbose=0)

# %%
raw.describe(include="all").T

# %% [markdown]
# ## Rows that repeat, and values that are missing

# %%
repeats = raw.duplicated()
gaps = raw.isna().mean().sort_values(ascending=False)
print(f"{repeats.sum():,} of {len(raw):,} rows equal an earlier one")
gaps[gaps > 0].to_frame("share missing")

# %% [markdown]
# ## By hand, what `preprocess` does
# Repeats go, texts that are missing become empty, and the columns of `text_feature` are joined.
# Numbers that are missing stay missing: what fills them is learnt from training rows alone, in the
# model.

# %%
by_hand = raw[~repeats] if data.drop_duplicates else raw
texts = [name for name, column in data.columns.items() if column.role == "text" and name in raw]
by_hand = by_hand.fillna(dict.fromkeys(texts, "")).reset_index(drop=True)
if data.text_feature:
    joined = by_hand[data.text_feature.columns].agg(" ".join, axis=1)
    by_hand[data.text_feature.name] = joined

table = cleaning.clean(raw, data)
print(f"by hand {by_hand.shape}, by the pipeline {table.shape} rows and columns")

# %% [markdown]
# ## The target

# %%
if data.task == "classification":
    shares = table[data.target].value_counts(normalize=True)
    axes = shares.plot.barh(title=f"share of each {data.target}", figsize=(7, 5))
else:
    axes = table[data.target].plot.hist(bins=50, title=data.target, figsize=(7, 4))
run.log({"target": tracking.Image(axes.figure)})

# %% [markdown]
# ## Numbers: how they are distributed, and which go together

# %%
numbers = [name for name, column in data.columns.items() if column.role == "numerical"]
grid = table[numbers].hist(bins=40, figsize=(12, 9), layout=(-1, 4))
figure = grid.flat[0].figure
figure.tight_layout()
run.log({"histograms": tracking.Image(figure)})

# %%
correlations = table[numbers].corr(method="spearman")
figure, axes = plt.subplots(figsize=(7, 6))
image = axes.imshow(correlations, vmin=-1, vmax=1, cmap="RdBu_r")
axes.set_xticks(range(len(numbers)), numbers, rotation=90)
axes.set_yticks(range(len(numbers)), numbers)
figure.colorbar(image, ax=axes, label="Spearman's rank correlation")
run.log({"correlations": tracking.Image(figure)})

# %%
pairs = correlations.where(~pd.DataFrame(False, correlations.index, correlations.columns))
strongest = pairs.stack().loc[lambda found: [a < b for a, b in found.index]]
strongest.reindex(strongest.abs().sort_values(ascending=False).index).head(5).to_frame(
    "rank correlation"
)

# %%
run.summary.update(
    {
        "n_rows": len(raw),
        "n_repeats": int(repeats.sum()),
        "largest_share_missing": float(gaps.max()),
    }
)
run.finish()
