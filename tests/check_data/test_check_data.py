import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from check_data_support import NAME, REFERENCE, songs
from step_support import DECLARED, ROOT

from check_data import accept_reference, examine
from util_lib.errors import UserError


def log_of(steps):
    return steps.bytes("check_data_log:latest").decode()


def test_the_first_good_data_become_the_reference(check, steps, caplog):
    check(songs())
    assert steps.artifact(REFERENCE).version == "v0"
    assert f"there is no {REFERENCE} yet" in caplog.text
    assert f"{NAME}:v0 is now {REFERENCE}" in caplog.text
    assert "SKIPPED (drift not tested" in log_of(steps)


def test_log_and_report_are_the_same_when_done_again_and_name_no_folder(check, steps):
    check(songs())
    check(songs())
    for name in ("check_data_log", "check_data_report"):
        assert steps.artifact(f"{name}:latest").version == "v0"
    assert "/" not in log_of(steps).replace("s/s", "")


def test_the_first_bad_data_do_not_become_the_reference(check, steps):
    with pytest.raises(UserError):
        check(songs().assign(tempo=9999.0))
    assert not steps.exists(REFERENCE)


def test_other_data_of_the_same_kind_pass_and_leave_the_reference_where_it_is(check, steps):
    check(songs())
    check(songs(seed=2))
    assert steps.artifact(REFERENCE).version == "v0"
    summary = steps.run("check_data").summary
    assert (summary["n_failed"], summary["rows"]) == (0, 300)
    assert "test_no_drift[loudness] PASSED" in log_of(steps)
    used = {a.name for a in steps.artifact("check_data_log:latest").logged_by().used_artifacts()}
    assert used == {f"{NAME}:v0", f"{NAME}:v1"}


def test_data_are_not_compared_with_themselves(check, caplog):
    check(songs())
    check()
    assert examine.NOT_TESTED in caplog.text


def test_every_failure_is_named_with_column_expectation_count_and_examples(check, steps):
    table = songs()
    table.loc[:1, "genre"] = "Polka"
    table.loc[:2, "tempo"] = 9999.0
    table.loc[0, "key"] = 12
    with pytest.raises(UserError) as error:
        check(table)
    assert str(error.value) == (
        "3 checks failed: "
        "column 'tempo' must lie in [50, 250] BPM, 3 of 300 rows do not (max 9999; rows 0, 1, 2); "
        "column 'key' must lie in [0, 11], 1 of 300 rows does not (max 12; row 0); "
        "column 'genre' must be one of 3 classes, 2 of 300 rows are not ('Polka'; rows 0, 1); "
        "rows are counted from 0"
    )
    run_ = steps.run("check_data")
    assert (run_.state, run_.summary["n_failed"]) == ("failed", 3)
    log = steps.artifact("check_data_log:latest")
    assert (log.type, list(log.manifest.entries)) == ("log", ["pytest.log"])
    assert "test_range[tempo] FAILED" in log_of(steps) and "3 failed" in log_of(steps)


def test_a_missing_column_is_named_and_the_others_are_still_checked(check):
    table = songs().rename(columns={"tempo": "tempi"}).assign(energy=2.0)
    with pytest.raises(UserError) as error:
        check(table)
    assert "2 checks failed: column 'tempo' is missing; the nearest is 'tempi'" in str(error.value)
    assert (
        "column 'energy' must lie in [0, 1], 300 of 300 rows do not (max 2; rows 0, 1, 2, ...)"
        in str(error.value)
    )


def test_a_shifted_column_is_drift(check, steps):
    check(songs())
    with pytest.raises(UserError, match="1 check failed: column 'energy' drifts .* KS statistic"):
        check(songs(seed=2).assign(energy=lambda t: (t["energy"] + 0.2).clip(0, 1)))
    assert steps.artifact(REFERENCE).version == "v0"


def test_a_changed_share_of_nulls_is_drift(check):
    check(songs())
    table = songs(seed=2)
    table.loc[: len(table) // 2, "loudness"] = np.nan
    with pytest.raises(
        UserError, match=r"null rate of column 'loudness' drifts .*60.00% of the rows"
    ):
        check(table)


def test_nulls_do_not_hide_drift(check):
    check(songs())
    with pytest.raises(UserError, match="'loudness' drifts .* KS statistic"):
        check(songs(seed=2).assign(loudness=lambda t: t["loudness"] - 5))


def test_drift_stops_only_until_it_is_accepted(check, steps):
    check(songs())
    shifted = songs(seed=2).assign(energy=lambda t: (t["energy"] + 0.2).clip(0, 1))
    with pytest.raises(UserError):
        check(shifted)
    accept_reference.main(["--sample_artifact", f"{NAME}:latest"])
    assert steps.artifact(REFERENCE).version == "v1"
    check()
    accept_reference.main(["--sample_artifact", f"{NAME}:v0", "--reference_alias", "approved"])
    assert steps.artifact(f"{NAME}:approved").version == "v0"


@pytest.mark.parametrize("reference", [f"{NAME}:v7", f"{NAME}:approved", "other:reference"])
def test_a_reference_that_does_not_exist_is_an_error(check, steps, reference):
    with pytest.raises(UserError, match="not found"):
        check(songs(), reference=reference)
    assert not steps.exists(REFERENCE)


def test_the_reference_is_looked_up_in_the_current_project(check, steps, monkeypatch):
    check(songs())
    monkeypatch.setenv("WANDB_PROJECT", "other")
    check(songs(seed=3))
    assert steps.artifact(f"other/{REFERENCE}").version == "v0"
    with pytest.raises(UserError, match="'energy' drifts"):
        check(songs(seed=2).assign(energy=0.5), reference=f"tests/{REFERENCE}")


def test_integers_with_nulls_pass_where_they_are_nullable(check):
    key = {"dtype": "int", "role": "categorical", "nullable": True, "min": 0, "max": 11}
    table = songs()
    table.loc[::7, "key"] = np.nan
    check(table, key=key)
    with pytest.raises(UserError, match="1 check failed: column 'key' must not be null, 43 of 300"):
        check()


@pytest.mark.parametrize(
    ("values", "declared", "sentence"),
    [
        (
            ["fast", *["1"] * 299],
            {"dtype": "float"},
            "type float, 1 of 300 rows is not ('fast'; row 0)",
        ),
        (["1"] * 300, {"dtype": "float"}, "type float, found str"),
        ([np.inf, *[1.0] * 299], {"dtype": "float"}, "finite, 1 of 300 rows is not (inf; row 0)"),
        ([1.5, *[1.0] * 299], {"dtype": "int"}, "type int, 1 of 300 rows is not (1.5; row 0)"),
        ([2] * 300, {"dtype": "bool"}, "type bool, 300 of 300 rows are not (2; rows 0, 1, 2, ...)"),
        ([1.5] * 300, {"dtype": "string"}, "type string, 300 of 300 rows are not (1.5; "),
        (["soon"] * 300, {"dtype": "datetime"}, "type datetime, 300 of 300 rows are not ('soon'; "),
        (
            [1] * 300,
            {"dtype": "int", "unique": True},
            "be unique, 299 of 300 rows are not (1; rows 1, 2, 3",
        ),
        ([3] * 300, {"dtype": "int", "min": 4}, "be at least 4, 300 of 300 rows are not (min 3; "),
        ([None] * 300, {"dtype": "float"}, "must not be null, 300 of 300 rows are (rows 0, "),
    ],
)
def test_a_column_that_is_not_as_declared_fails_once(check, values, declared, sentence):
    with pytest.raises(UserError) as error:
        check(songs().assign(x=values), x={"role": "ignore", **declared})
    assert str(error.value).startswith("1 check failed: column 'x' must ")
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("values", "declared"),
    [
        ([1] * 300, {"dtype": "float"}),
        ([True] * 300, {"dtype": "bool"}),
        (["2024-01-31"] * 300, {"dtype": "datetime"}),
        (pd.Timestamp("2024-01-31"), {"dtype": "datetime"}),
        (range(300), {"dtype": "int", "unique": True}),
        (None, {"dtype": "string", "nullable": True}),
    ],
)
def test_a_column_as_declared_passes(check, values, declared):
    check(songs().assign(x=values), x={"role": "ignore", **declared})


@pytest.mark.parametrize(
    ("checks", "change", "sentence"),
    [
        ({"min_rows": 301}, {}, "the table must have at least 301 rows, it has 300"),
        ({"max_rows": 299}, {}, "the table must have at most 299 rows, it has 300"),
        (
            {"other_columns": False},
            {"id": 1},
            "no column may be there that is not declared, found 'id'",
        ),
        (
            {"min_class_share": 0.4},
            {},
            "each class of target 'genre' must have at least 40.00% of the rows, 'Emo' has 33.33%",
        ),
        (
            {"min_class_share": 0.1},
            {"genre": ["Pop", "Emo"] * 150},
            "must have at least 10.00% of the rows, 'techno' has 0.00%",
        ),
        ({}, {"genre": "Pop"}, "target 'genre' must have at least two classes, 300 of 300 rows"),
    ],
)
def test_a_table_that_is_not_as_declared_as_a_whole_fails(check, checks, change, sentence):
    with pytest.raises(UserError) as error:
        check(songs().assign(**change), keys={"checks": checks})
    assert str(error.value).startswith("1 check failed: ")
    assert sentence in str(error.value)


def test_the_order_of_columns_is_checked_where_it_is_asked_for(check):
    table = songs()
    swapped = table[["loudness", "energy", *table.columns[2:]]]
    check(swapped)
    check(table, keys={"checks": {"column_order": True, "other_columns": False}})
    with pytest.raises(UserError) as error:
        check(swapped, keys={"checks": {"column_order": True}})
    assert str(error.value) == (
        "1 check failed: the columns must come in the declared order, 'loudness' stands where "
        "'energy' belongs"
    )


def test_the_share_of_nulls_has_a_limit_where_one_is_declared(check):
    loudness = {"dtype": "float", "role": "numerical", "nullable": True}
    check(songs(), loudness={**loudness, "max_null_rate": 0.2})
    with pytest.raises(UserError, match="null in at most 19.00% of the rows, 60 of 300 .*20.00%"):
        check(loudness={**loudness, "max_null_rate": 0.19})


def test_rows_are_numbered_as_they_lie_in_the_table_whatever_its_index(check, steps):
    table = songs()
    table.loc[[7, 40], "tempo"] = 1.0
    table.index = range(1000, 1300)
    with pytest.raises(UserError, match=r"min 1; rows 7, 40\)"):
        check(table)


def test_a_leak_is_a_warning_and_stops_where_it_is_asked_to(check, steps, caplog):
    table = songs().assign(copied=lambda t: t["genre"] + " song")
    declared = {"dtype": "string", "role": "categorical"}
    check(table, copied=declared)
    assert "each value of column 'copied' belongs to one 'genre'" in caplog.text
    assert "test_no_leak[copied] warning: each value of column 'copied'" in log_of(steps)
    with pytest.raises(UserError, match="each value of column 'copied' belongs to one 'genre'"):
        check(keys={"leakage": "fail"}, copied=declared)
    check(keys={"leakage": "off"}, copied=declared)
    assert "no_leak" not in log_of(steps)


def test_the_first_data_with_a_leak_that_stops_do_not_become_the_reference(check, steps):
    with pytest.raises(UserError):
        check(songs(), keys={"leakage": "fail"})
    assert not steps.exists(REFERENCE)


def test_csv_data_are_checked_alike(check, steps):
    steps.put(songs(), "songs.csv")
    check(reference="songs.csv:reference", sample="songs.csv:latest")
    assert steps.exists("songs.csv:reference")


@pytest.mark.parametrize("alpha", ["0", "1", "x"])
def test_an_impossible_alpha_is_refused(check, alpha):
    with pytest.raises(UserError, match="--ks_alpha: must be a number between 0 and 1"):
        check(songs(), alpha=alpha)


def pytest_alone(steps, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "pytest", ".", *arguments],
        cwd=ROOT / "check_data",
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_pytest_alone_names_the_missing_options(steps):
    done = pytest_alone(steps, "--sample_artifact", "x:latest")
    assert done.returncode != 0
    assert "missing on the command line: --reference_artifact, --ks_alpha" in done.stderr


def test_pytest_alone_checks_and_moves_no_alias(steps):
    steps.put(songs().assign(tempo=1.0), NAME)
    options = ["--reference_artifact", REFERENCE, "--sample_artifact", f"{NAME}:latest"]
    options += ["--ks_alpha", "0.05", "--dataset_config", steps.yaml(DECLARED)]
    done = pytest_alone(steps, *options)
    assert done.returncode == 1
    assert "column 'tempo' must lie in [50, 250] BPM, 300 of 300 rows do not" in done.stdout
    assert not steps.exists(REFERENCE)


def test_the_script_alone_is_not_touched_by_the_machines_settings_of_pytest_and_pandera(steps):
    steps.put(songs().assign(tempo=1.0), NAME)
    done = subprocess.run(
        [sys.executable, "run.py", "--reference_artifact", REFERENCE, "--sample_artifact"]
        + [f"{NAME}:latest", "--ks_alpha", "0.05", "--dataset_config", steps.yaml(DECLARED)],
        cwd=ROOT / "check_data",
        env={
            **os.environ,
            "PYTEST_ADDOPTS": "-k nothing --collect-only",
            "PYTEST_PLUGINS": "no",
            "PANDERA_VALIDATION_ENABLED": "False",
            "PANDERA_VALIDATION_DEPTH": "nothing",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "check_data: 1 check failed: column 'tempo' must lie in [50, 250] BPM, "
        "300 of 300 rows do not (min 1; rows 0, 1, 2, ...); rows are counted from 0"
    )


def test_many_rows_dropped_as_repeats_fail_unless_the_declaration_allows_them(check, steps):
    steps.put(songs(), NAME)
    table = steps.artifact(f"{NAME}:latest")
    table.metadata = {**table.metadata, "duplicates_dropped": 0.412}
    table.save()
    with pytest.raises(UserError, match="41.2% of the rows were dropped .* allows 20%: raise it"):
        check(keys={"drop_duplicates": True})
    assert "test_repeats_dropped FAILED" in log_of(steps)
    check(keys={"duplicates": {"max_share": 0.5}})
    assert "test_repeats_dropped PASSED" in log_of(steps)
    check()  # nothing is dropped by today's declaration
    assert "test_repeats_dropped" not in log_of(steps)
