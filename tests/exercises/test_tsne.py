"""The map of a table's numbers, on made flowers."""

import numpy as np
import pandas as pd
import pytest
import yaml
from step_support import ROOT

from exercises.tsne import run
from util_lib.errors import UserError

MEASURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")


@pytest.fixture
def tsne(steps):
    def go(n_rows=60, **changed):
        random = np.random.default_rng(2)
        species = np.arange(n_rows) % 3
        flowers = {name: random.normal(2 + species, 0.2) for name in MEASURES}
        table = pd.DataFrame({**flowers, "species": species}).assign(**changed)
        raw = f"{n_rows},4,setosa\n" + table.to_csv(index=False, header=False)
        run.main(["--input_artifact", steps.put(raw.encode(), "iris")])
        return steps.table("clean_data.csv:latest")

    return go


def test_the_map_keeps_species_apart_and_is_logged_with_its_figure(tsne, steps):
    table = tsne()
    assert list(table) == [*MEASURES, "species", "tsne_1", "tsne_2"] and len(table) == 60
    centres = table.groupby("species")[["tsne_1", "tsne_2"]].mean().to_numpy()
    spread = table.groupby("species")[["tsne_1", "tsne_2"]].std().to_numpy().max()
    assert min(np.linalg.norm(centres[i] - centres[i - 1]) for i in range(3)) > spread
    done = steps.run("process_data")
    assert "kde" in done.summary
    assert steps.artifact("clean_data.csv:latest").type == "processed_data"
    tsne()
    assert steps.artifact("clean_data.csv:latest").version == "v0"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"n_rows": 30}, "more than 30 rows, found 30"),
        ({"petal_width": np.nan}, "'petal_width' must hold a number in every row"),
        ({"species": range(60)}, "60 classes: at most 10"),
    ],
)
def test_a_table_that_cannot_be_mapped_is_one_sentence(tsne, steps, given, sentence):
    with pytest.raises(UserError, match=sentence):
        tsne(**given)
    assert not steps.exists("clean_data.csv:latest")


def test_mlproject_declares_what_the_script_reads():
    declared = yaml.safe_load((ROOT / "exercises/tsne/MLproject").read_text())
    entry = declared["entry_points"]["main"]
    flags = {a.dest: a for a in run.build_parser()._actions if a.dest != "help"}
    assert list(entry["parameters"]) == list(flags)
    for name, parameter in entry["parameters"].items():
        assert parameter.get("default") == flags[name].default
    passed = " ".join(f"--{flag} {{{flag}}}" for flag in flags)
    assert entry["command"].strip() == f"python run.py {passed}"
