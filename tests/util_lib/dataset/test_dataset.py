"""A declaration that cannot be meant is refused in one sentence, whatever reads it."""

import re
from pathlib import Path

import pytest
import yaml

from pipeline.settings import resolvers
from util_lib import validation
from util_lib.dataset import declaration, expressions
from util_lib.dataset.columns import Column
from util_lib.errors import UserError

ROOT = Path(__file__).resolve().parents[3]

COLUMNS = """
  columns:
    size: {dtype: float, role: numerical, min: 0, max: 9}
    colour: {dtype: string, role: categorical, allowed: [red, blue]}
    born: {dtype: datetime, role: date, nullable: true}
    "unit price": {dtype: float, role: numerical}
    kind: {dtype: string, role: target}
"""


def load(tmp_path, keys: str = "", columns: str = COLUMNS) -> declaration.Data:
    path = tmp_path / "table.yaml"
    path.write_text(f"data:\n  file_url: t.csv\n  target: kind\n{keys}{columns}")
    return declaration.load(path)


def refusal(tmp_path, keys: str = "", columns: str = COLUMNS) -> str:
    with pytest.raises(UserError) as refused:
        load(tmp_path, keys, columns)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_only_the_file_the_target_and_the_columns_need_be_said(tmp_path):
    data = load(tmp_path)
    assert (data.task, data.leakage, data.csv.separator) == ("classification", "warn", ",")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            "  csv: {seperator: ';'}\n",
            "'csv.seperator': the nearest is 'csv.separator'",
        ),
        ("  csv: {separator: ';;'}\n", "csv.separator"),
        ("  csv: {encoding: utf9}\n", "an encoding that Python knows, found 'utf9'"),
        ("  csv: {decimal: ','}\n", "separator and decimal are both ','"),
        ("  csv: {date_format: '%q'}\n", "'%q' is no format of dates"),
        ("  format: sas\n", "'auto', 'parquet', 'csv', 'json', 'excel' or 'arrow', found 'sas'"),
        ("  task: ranking\n", "'classification' or 'regression', found 'ranking'"),
        ("  task: regression\n", "target 'kind' has dtype string"),
        ("  clean: {keep_rows: {size: {min: 3, max: 1}}}\n", "min 3 is above max 1"),
        ("  clean: {keep_rows: {size: {mn: 3}}}\n", "the nearest is 'clean.keep_rows.size.min'"),
        ("  clean: {drop_columns: [size]}\n", "'size' is declared in columns: choose one"),
        ("  clean: {drop_nulls: 3}\n", "clean.drop_nulls"),
        ("  derived: {area: size * size}\n", "derived: unknown column 'area'"),
        ("  derived: {size: size *}\n", "'size *' is no expression"),
        ("  derived: {size: __import__('os')}\n", "only columns, numbers"),
        ("  derived: {size: colour.upper}\n", "only columns, numbers"),
        ("  checks: {min_rows: 5, max_rows: 4}\n", "min_rows 5 is above max_rows 4"),
        ("  checks: {min_class_share: 2}\n", "checks.min_class_share must be less than or equal"),
        ("  leakage: maybe\n", "'off', 'warn' or 'fail', found 'maybe'"),
        ("  stratify: knd\n", "stratify: unknown column 'knd': the nearest is 'kind'"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_the_file_and_what_is_allowed(tmp_path, keys, said):
    sentence = refusal(tmp_path, keys)
    assert said in sentence
    assert sentence.startswith(str(tmp_path / "table.yaml"))


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("{dtype: float, role: numerical, max_null_rate: 0.1}", "max_null_rate needs nullable"),
        ("{dtype: string, role: date}", "role date needs dtype datetime, found string"),
        ("{dtype: string, role: numerical}", "use text or categorical"),
        ("{dtype: datetime, role: numerical}", "use date"),
        ("{dtype: float, role: numerical, encoding: one_hot}", "belong to role categorical"),
        ("{dtype: float, role: numerical, monitor: length}", "monitor length belongs to texts"),
        ("{dtype: float, role: numerical, monitor: none}", "'keep', 'length', 'hash' or 'drop'"),
        ("{dtype: string, role: categorical, ordered: true}", "ordered needs `allowed`"),
        ("{dtype: float, role: numerical, min: 2024-01-01, max: 3}", "are of two kinds"),
    ],
)
def test_keys_of_a_column_that_do_not_fit_together_are_refused(tmp_path, column, said):
    columns = f"  columns:\n    x: {column}\n    kind: {{dtype: string, role: target}}\n"
    assert said in refusal(tmp_path, columns=columns)


def test_a_regression_has_no_classes_to_stratify_by_or_to_count(tmp_path):
    columns = """
  columns:
    size: {dtype: float, role: numerical}
    kind: {dtype: float, role: target}
"""
    assert load(tmp_path, "  task: regression\n", columns).task == "regression"
    for keys, said in (
        ("  stratify: kind\n", "stratify: 'kind' is a number to predict"),
        ("  checks: {min_class_share: 0.1}\n", "belongs to task classification"),
    ):
        assert said in refusal(tmp_path, f"  task: regression\n{keys}", columns)


def test_an_expression_names_its_columns_also_those_in_backticks():
    found = expressions.columns_of("(size + `unit price`) / size > 2 and not colour == 'red'", "x")
    assert sorted(found) == ["colour", "size", "unit price"]


def test_what_the_pipeline_hands_a_step_reads_as_the_same_declaration(tmp_path):
    data = load(tmp_path, "  clean: {keep_rows: {born: {min: 2020-01-01}}}\n")
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(data.model_dump()))
    assert declaration.load(path) == data


@pytest.mark.parametrize("name", ["song_halves", "pokemon_types"])
def test_a_file_that_builds_on_another_is_read_as_hydra_reads_it(name):
    from pipeline.settings import overrides, schema

    resolvers.register_resolvers()
    composed = schema.check(overrides.base_config([f"dataset={name}"])).data
    alone = declaration.load(ROOT / "conf" / "dataset" / f"{name}.yaml")
    for key in ("columns", "target", "task", "clean", "reference_half", "reference_dataset"):
        assert getattr(alone, key) == getattr(composed, key), key


def test_a_base_that_is_not_there_is_one_sentence(tmp_path):
    assert "other.yaml cannot be read" in refusal(tmp_path, "defaults: [other]\n", "")


@pytest.mark.parametrize(
    ("dtype", "bound", "words"),
    [
        ("string", 1, "min and max belong to numbers and dates, found dtype string"),
        ("bool", 0, "min and max belong to numbers and dates, found dtype bool"),
        ("float", "2024-01-31", "dtype float cannot be compared with the bound 2024-01-31"),
        ("datetime", 5, "dtype datetime cannot be compared with the bound 5"),
    ],
)
def test_a_bound_that_no_value_can_be_compared_with_is_refused(dtype, bound, words):
    with pytest.raises(ValueError, match=words):
        Column(dtype=dtype, role="ignore", min=bound)


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        (
            "{dtype: string, role: categorical, allowed: [NO, SE]}",
            "columns.c: allowed holds False (YAML reads NO, no, off and false as false: quote it), "
            "expected dtype string",
        ),
        (
            "{dtype: string, role: ignore, allowed: [a, 007]}",
            "allowed holds 7 (YAML reads it so: q",
        ),
        (
            "{dtype: string, role: ignore, allowed: [a, null]}",
            "allowed holds None (YAML reads null",
        ),
        (
            "{dtype: int, role: categorical, allowed: [1, yes]}",
            "allowed holds True (YAML reads YES",
        ),
        (
            "{dtype: float, role: categorical, allowed: [1, '2']}",
            "allowed holds '2', expected float",
        ),
        ("{dtype: bool, role: categorical, allowed: [true, 1]}", "allowed holds 1 (YAML reads it"),
    ],
)
def test_allowed_values_of_another_type_are_refused_as_yaml_read_them(column, sentence):
    content = yaml.safe_load(f"c: {column}\nt: {{dtype: int, role: target}}")
    mapping = {"file_url": "x.csv", "target": "t", "columns": content}
    with pytest.raises(UserError, match=re.escape(sentence)):
        validation.check(declaration.Data, mapping, "x")


def test_kept_values_of_another_type_are_refused_too():
    columns = {
        "t": {"dtype": "string", "role": "target"},
        "x": {"dtype": "int", "role": "numerical"},
    }
    mapping = {"file_url": "x.csv", "target": "t", "columns": columns}
    kept = mapping | {"clean": {"keep_rows": {"t": {"allowed": ["yes", False]}}}}
    with pytest.raises(UserError, match=r"keep_rows.t.allowed holds False \(YAML reads NO"):
        validation.check(declaration.Data, kept, "x")
    assert validation.check(declaration.Data, mapping, "x").target == "t"


def test_a_split_names_a_declared_column_and_what_it_is_by(tmp_path):
    for keys, said in (
        ("  split: {by: group}\n", "split: by 'group' needs a column"),
        ("  split: {column: size}\n", "split: by 'random' takes no column"),
        ("  split: {by: group, column: sise}\n", "split.column: unknown column 'sise'"),
        ("  split: {by: group, column: size, gap: 3}\n", "gap belongs to by: time"),
    ):
        assert said in refusal(tmp_path, keys)
