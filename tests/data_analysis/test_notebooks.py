"""Notebooks: run from top to bottom and logged, or opened in Jupyter."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import jupytext
import nbformat
import pytest
from step_support import DECLARED, ROOT, make_songs

from data_analysis import execute, notebooks
from util_lib import tracking
from util_lib.errors import UserError
from util_lib.tracking.store.database import open_store

PARAMETERS = """# %% tags=["parameters"]
dataset = "none"
project = "none"
artifact = "raw_data.parquet:latest"
"""


@pytest.fixture
def songs(steps, monkeypatch):
    """A dataset of made songs, and its raw table in the store of its project."""
    path = steps.yaml({"main": {"project_name": "tests"}, "data": DECLARED}, "songs.yaml")
    steps.put(make_songs(60), "raw_data.parquet")
    return path


def run(notebook, dataset):
    execute.main(["--notebook", str(notebook), "--dataset", dataset])


def test_a_failing_cell_is_one_sentence_and_what_was_shown_before_is_logged(songs, steps):
    own = steps.folder / "mine.py"
    cells = ("print(f'{project} reads {artifact}')", "rows = 1 / 0", "print('never')")
    own.write_text(PARAMETERS + "".join(f"\n# %%\n{cell}\n" for cell in cells))
    with pytest.raises(UserError) as failed:
        run(own, songs)
    assert str(failed.value) == (
        "mine.py: cell 4 (rows = 1 / 0) fails: ZeroDivisionError: division by zero; up to there it "
        "is logged as mine_notebook:v0"
    )
    logged = steps.artifact("mine_notebook:v0")
    folder = Path(logged.download(str(steps.folder / "got")))
    shown = (folder / "mine.html").read_text()
    assert "tests reads raw_data.parquet:v0" in shown and "ZeroDivisionError" in shown
    outputs = [cell.outputs for cell in nbformat.read(folder / "mine.ipynb", 4).cells]
    assert [bool(found) for found in outputs] == [False, False, True, True, False]
    maker = logged.logged_by()
    assert maker.state == "failed"
    assert [used.source_name for used in maker.used_artifacts()] == ["raw_data.parquet:v0"]


@pytest.mark.parametrize(
    ("notebook", "changed", "said"),
    [
        ("edda", [], "unknown notebook 'edda': the nearest is 'eda'; choose from eda, modelling"),
        ("gone.py", [], "there is no notebook .*gone.py"),
        ("eda", ["--dataset", "songs_dmo"], "unknown dataset 'songs_dmo': .*'songs_demo'"),
        ("eda", ["--artifact", "raw:v0"], "raw:v0|'raw'"),
        ("modelling", [], "preprocessed_data.parquet"),
        ("plain.py", [], "plain.py has no cell with the tag 'parameters'"),
    ],
)
def test_what_cannot_run_is_one_sentence_before_anything_runs(
    songs, steps, notebook, changed, said
):
    (steps.folder / "plain.py").write_text("# %%\n1\n")
    given = ["--notebook", notebook, "--dataset", songs, *changed]
    with pytest.raises(UserError, match=said):
        execute.main(given)
    assert not steps.exists(f"{notebook.removesuffix('.py')}_notebook:latest")


@pytest.mark.parametrize(
    "path", sorted(notebooks.FOLDER.glob("[!._]*")), ids=lambda path: path.name
)
def test_a_notebook_is_a_python_file_that_names_its_table_and_holds_no_output(path):
    assert path.suffix == ".py"
    notebook = jupytext.read(path)
    _, own = execute.parameters_of(notebook, path.name)
    assert set(own) == {"dataset", "project", "artifact"}
    assert (ROOT / own["dataset"]).is_file()
    assert not any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.slow
def test_the_notebooks_run_on_the_demo_and_their_figures_are_honest(steps, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "songs_demo")
    given = ["main.env_manager=local", "main.execute_steps=get_data,preprocess"]
    subprocess.run([sys.executable, str(ROOT / "main.py"), *given], check=True)
    for name, figures in (("eda", 3), ("modelling", 2), ("unsupervised", 2)):
        run(name, "songs_demo")
        folder = Path(steps.artifact(f"songs_demo/{name}_notebook:v0").download())
        page = (folder / f"{name}.html").read_text()
        shown = len(re.findall(r'<img[^>]*src="data:image/png', page))
        assert shown == figures
        assert not re.search(r'<(script|link|img)[^>]*(src|href)="https?:', page)
    eda, modelling, groups = (
        next(run for run in tracking.Api().runs("songs_demo") if run.job_type == name)
        for name in ("eda", "modelling", "unsupervised")
    )
    (record,) = open_store().runs(id=groups.id)
    assert [path for path, _, _ in record.files() if path.endswith(".py")] == ["unsupervised.py"]
    assert (eda.summary["n_rows"], eda.summary["n_repeats"]) == (7000, 140)
    best, test = (modelling.summary[f"{part}_roc_auc_ovo_macro"] for part in ("cv", "test"))
    assert abs(best - test) < 0.05
    for method in ("k_means", "gaussian_mixture", "agglomerative"):
        # rows in the order of the classes would give nearly all of them away
        assert groups.summary["f1_by_chance"] < groups.summary[f"f1_{method}"] < 0.5


@pytest.mark.slow
def test_jupyter_opens_on_a_notebook_and_asks_for_a_token(tmp_path):
    command = [sys.executable, str(ROOT / "data_analysis" / "run.py"), "--browser", "false"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=os.environ, stderr=subprocess.PIPE, text=True
    )
    try:
        address = next(
            found[0]
            for line in process.stderr
            if (found := re.search(r"http://\S+token=\w+", line))
        )
        assert "/lab/tree/eda.py" in address
        threading.Thread(target=process.stderr.read, daemon=True).start()  # or it fills up
        for _ in range(100):  # it tells the address before it listens
            with contextlib.suppress(urllib.error.URLError):
                with urllib.request.urlopen(address) as answer:
                    page = answer.read().decode()
                break
            time.sleep(0.3)
        assert "JupyterLab" in page
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(address.partition("/lab")[0] + "/api/contents")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
