"""Drafts of tables that others made run through the whole pipeline untouched."""

import re
import sys

import pytest
from sklearn import datasets
from step_support import ROOT
from test_end_to_end import main, run

# What a forest with the settings of config.yaml reaches at least.
BUNDLED = {
    "wine": (datasets.load_wine, "test_accuracy", 0.9),
    "breast_cancer": (datasets.load_breast_cancer, "test_accuracy", 0.9),
    "diabetes": (datasets.load_diabetes, "test_r2", 0.3),
}
SHARED = {
    "genres_mod.parquet": ("test_roc_auc_ovo_macro", 0.93),
    "iris.csv": ("test_accuracy", 0.85),
    # Its prices are not cleaned: a few are a hundred times the others.
    "nyc_sample1.csv": ("test_r2", 0.0),
    "pokemon.csv": ("test_accuracy", 0.9),
}

TARGETS = {"pokemon.csv": ("--target", "Legendary")}  # its first column may be meant as well


def figure_of_the_draft(folder, file, metric, *said):
    drafts = folder / "conf" / "dataset"
    name = file.name.partition(".")[0]
    script = str(ROOT / "tools/describe/run.py")
    done = run(
        folder, sys.executable, script, "--file_url", str(file), "--folder", str(drafts), *said
    )
    assert done.returncode == 0, done.stdout + done.stderr
    done = main(folder, f"dataset={name}")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return float(re.search(rf"{metric} (-?[\d.]+)", done.stdout)[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", BUNDLED)
def test_the_draft_of_a_table_of_scikit_learn_runs_untouched(tmp_path, name):
    load, metric, least = BUNDLED[name]
    file = tmp_path / f"{name}.csv"
    load(as_frame=True).frame.to_csv(file, index=False)
    assert figure_of_the_draft(tmp_path, file, metric) >= least


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED)
def test_the_draft_of_a_real_table_runs_untouched(tmp_path, real_data, name):
    metric, least = SHARED[name]
    said = TARGETS.get(name, ())
    assert figure_of_the_draft(tmp_path, real_data / name, metric, *said) >= least
