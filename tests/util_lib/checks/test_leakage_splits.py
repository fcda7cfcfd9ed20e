"""What a random split hides is measured; where it hides nothing, nothing is said."""

import numpy as np
import pandas as pd
import pytest

from check_data.columns_of_file import ColumnsOfFile
from util_lib.checks import leakage
from util_lib.checks.findings import Finding
from util_lib.dataset.declaration import Data

HIDDEN = {"dtype": "string", "role": "ignore"}
BY_PATIENT = {"by": "group", "column": "patient_id"}


def patients(seed: int, alike: bool) -> pd.DataFrame:
    """Forty patients with fifteen rows each; `alike`: their rows are, and the patient is ill."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(40), 15)
    rows = rng.normal(size=(600, 4))
    if alike:
        rows = rng.normal(size=(40, 4))[patient] + 0.1 * rows
    ill = rng.permutation(np.repeat(["yes", "no"], 20))[patient]
    frame = pd.DataFrame(rows, columns=list("abcd")).assign(
        patient_id=[f"P{i:03d}" for i in patient],
        y=ill if alike else np.where(rows[:, 0] > 0, "yes", "no"),
    )
    return frame.sample(frac=1, random_state=1, ignore_index=True)


def weeks(seed: int, walks: bool) -> pd.DataFrame:
    """Ten rows in each of sixty weeks; `walks`: each week's price is the last one's, and a step."""
    rng = np.random.default_rng(seed)
    week = np.repeat(np.arange(60), 10)
    level = np.cumsum(rng.normal(size=60))[week] if walks else 0
    volume = rng.normal(size=600)
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(week * 7, "D")
    price = level + (0.2 * rng.normal(size=600) if walks else volume)
    return pd.DataFrame({"date": when, "a": volume, "y": price})


def declared(frame: pd.DataFrame, **keys) -> Data:
    columns: dict[str, dict] = {n: {"dtype": "float", "role": "numerical"} for n in frame}
    columns["y"] = {"dtype": "float" if frame["y"].dtype == float else "string", "role": "target"}
    columns |= {n: HIDDEN for n in ("patient_id",) if n in frame}
    columns |= {n: {"dtype": "datetime", "role": "date"} for n in ("date",) if n in frame}
    task = "regression" if frame["y"].dtype == float else "classification"
    return Data(file_url="t.csv", target="y", task=task, columns=columns, **keys)


def told(frame, data: Data) -> list[Finding]:
    return [found for found in leakage.find(frame, data) if found.rule == "split"]


@pytest.mark.parametrize("seed", range(3))
def test_rows_of_one_patient_on_both_sides_of_a_random_split_are_measured(seed):
    table = patients(seed, alike=True)
    [found] = told(table, declared(table))
    apart, together = found.strength["apart"], found.strength["at random"]
    assert together > 0.95 and abs(apart - 0.5) < 0.25 and not found.fatal
    assert found.message == (
        f"by patient_id {apart:.2f}, at random {together:.2f} (AUC of the nearest rows): rows of "
        "one patient are in both; declare data.split (by: group, column: patient_id)"
    )
    honest = patients(seed, alike=False)
    assert not told(honest, declared(honest))


def test_it_stops_the_pipeline_where_leaks_do_and_ends_once_a_split_is_declared():
    table = patients(0, alike=True)
    assert told(table, declared(table, leakage="fail"))[0].fatal
    assert not told(table, declared(table, leakage="fail", split=BY_PATIENT))


def test_ignored_numbers_are_ids_unless_they_have_limits():
    table = patients(0, alike=True)
    table["patient_id"] = pd.factorize(table["patient_id"])[0] + 1_000
    data = declared(table).model_dump()
    for limits, n_found in (({}, 1), ({"max": 2_000}, 0)):
        data["columns"]["patient_id"] = {"dtype": "int", "role": "ignore", **limits}
        assert len(told(table, Data.model_validate(data))) == n_found


@pytest.mark.parametrize("seed", range(3))
def test_weeks_that_a_random_split_fills_in_are_measured_and_nobody_is_told_to_shuffle(seed):
    table = weeks(seed, walks=True)
    [found] = told(table, declared(table))
    assert found.strength["at random"] > 0.8 and found.strength["apart"] < 0.5
    assert "declare data.split (by: time, column: date)" in found.message
    rules = {each.rule: each.message for each in leakage.find(table, declared(table))}
    assert "shuffle them" not in rules["row order"] and "by time" in rules["row order"]
    by_time = declared(table, split={"by": "time", "column": "date"})
    assert not {"row order", "split"} & {each.rule for each in leakage.find(table, by_time)}
    honest = weeks(seed, walks=False)
    assert not told(honest, declared(honest))


def test_a_table_of_which_a_column_at_a_time_is_in_memory_is_measured_the_same(tmp_path):
    table = pd.concat([patients(0, alike=True)] * 4, ignore_index=True)
    table[["a", "b"]] += np.random.default_rng(0).normal(scale=0.1, size=(len(table), 2))
    table.to_parquet(tmp_path / "t.parquet")
    data = declared(table)
    opened = ColumnsOfFile(tmp_path / "t.parquet", data.table_columns)
    assert told(opened, data) == told(table, data) != []
