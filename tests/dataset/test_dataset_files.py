"""Every dataset file, the example in docs/datasets.md too, is one that the steps can read."""

import hashlib
import re

import pandas as pd
import pytest
import yaml

from util_lib.dataset import declaration
from util_lib.project import ROOT, resolve_path

FILES = sorted((ROOT / "conf" / "dataset").glob("*"))
MANUAL = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"```yaml\n(.*?)```", MANUAL, re.DOTALL).group(1)

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


def test_the_demo_and_the_real_table_are_declared():
    assert {"songs_demo.yaml", "music_genre.yaml"} <= {path.name for path in FILES}


@each_file
def test_a_file_name_is_one_that_hydra_takes_as_a_choice(path):
    assert re.fullmatch(r"[a-z][a-z0-9_]*\.yaml", path.name)


@each_file
def test_a_file_is_read_as_typed_declarations(path):
    data = declaration.load(path)
    assert data.columns
    assert (data.sha256 is None) or re.fullmatch(r"[0-9a-f]{64}", data.sha256)


@each_file
def test_a_file_sets_its_keys_at_the_root_and_names_its_own_project(path):
    # Without the header Hydra would read data.* as dataset.data.*, and no table would be found.
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == "# @package _global_"
    assert yaml.safe_load(text)["main"]["project_name"]


def test_no_two_tables_share_a_project():
    names = [yaml.safe_load(path.read_text())["main"]["project_name"] for path in FILES]
    assert len(set(names)) == len(names)


@each_file
def test_the_target_is_declared_has_that_role_and_no_gaps(path):
    data = declaration.load(path)
    assert data.columns[data.target].role == "target"
    assert not data.columns[data.target].nullable


@each_file
def test_the_text_feature_is_made_of_declared_text_columns_and_has_a_new_name(path):
    data = declaration.load(path)
    text = data.text_feature
    if text is None:
        pytest.skip(f"{path.name} declares no text feature")
    assert {data.columns[name].role for name in text.columns} == {"text"}
    assert text.name not in data.columns


@each_file
def test_a_local_table_is_there(path):
    url = declaration.load(path).file_url
    if "://" in url:
        pytest.skip(f"{path.name} names an address: {url}")
    assert resolve_path(url).is_file()


def test_the_demo_declares_the_columns_of_the_real_table():
    demo, real = (
        declaration.load(ROOT / "conf" / "dataset" / name)
        for name in ("songs_demo.yaml", "music_genre.yaml")
    )
    assert list(demo.columns.items()) == list(real.columns.items())


def test_the_real_table_is_what_its_file_declares(real_data):
    path = real_data / "genres_mod.parquet"
    if not path.is_file():
        pytest.skip(f"the real table is not at {path}")
    data = declaration.load(ROOT / "conf" / "dataset" / "music_genre.yaml")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == data.sha256
    table = pd.read_parquet(path)
    assert set(table.columns) == set(data.columns)
    for name, column in data.columns.items():
        values = table[name].dropna()
        assert column.nullable == (len(values) < len(table)), name
        if column.min is not None:
            assert values.between(column.min, column.max).all(), name
        if column.allowed:
            assert set(values) == set(column.allowed)


def test_the_example_in_the_manual_can_be_loaded(tmp_path):
    path = tmp_path / "customers.yaml"
    path.write_text(EXAMPLE, encoding="utf-8")
    data = declaration.load(path)
    header = re.search(r"```\n(customer_id,.*)\n", MANUAL).group(1)
    assert set(data.columns) == set(header.split(","))
    assert data.columns["left"].allowed == ["yes", "no"]
    assert EXAMPLE.startswith("# @package _global_\n")


def test_the_manual_explains_every_key_and_no_other():
    sections = MANUAL.split("\n## ")
    for title, model in (
        ("Keys of `data`", declaration.Data),
        ("Keys of a column", declaration.Column),
    ):
        section = next(text for text in sections if text.startswith(title))
        first_table = re.split(r"^\| `role` \| what happens", section, flags=re.M)[0]
        rows = re.findall(r"^\| (`.*?) \|", first_table, re.M)
        assert {key for row in rows for key in _keys(row)} == set(model.model_fields)


def _keys(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)
