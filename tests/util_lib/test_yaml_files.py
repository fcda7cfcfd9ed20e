"""A YAML file is read within limits, whoever hands it over."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from util_lib import yaml_files
from util_lib.dataset import declaration
from util_lib.dataset.declaration import Data
from util_lib.errors import UserError
from util_lib.model import export
from util_lib.model.skops_file import DamagedModelError

NAMES = "abcdefghi"
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip(NAMES, NAMES[1:], strict=False)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 30)}]}}\n"
    for before, name in zip(NAMES, NAMES[1:], strict=False)
)
BOMBS = {
    "laughs": LAUGHS,
    "merges": MERGES,
    "deep": "[" * 20_000 + "]" * 20_000,
    "deep by indentation": "".join(f"{' ' * level}a:\n" for level in range(200)),
    "one that holds itself": "a: &a {b: *a}",
    "long": "a: " + "x" * 10_000_001,
    "many": "[" + "x, " * 500_001 + "]",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_in_one_sentence_by_whoever_reads_it(bomb, tmp_path):
    path = tmp_path / "MLmodel"
    path.write_text(BOMBS[bomb])
    for read in (yaml_files.read, declaration.load):
        with pytest.raises(UserError, match="no configuration is so") as refused:
            read(path)
        assert "\n" not in str(refused.value) and str(path) in str(refused.value)
    with pytest.raises(DamagedModelError, match="describes no scikit-learn model"):
        export.load(tmp_path)


@pytest.mark.parametrize(
    "value", ["2019-02-31", "9" * 5_000, "!!python/object:os.x {}", "!!int", "!!bool x", "\x00"]
)
def test_a_value_that_yaml_cannot_mean_is_one_sentence(value, tmp_path):
    path = tmp_path / "table.yaml"
    path.write_text(f"data: {{x: {value}}}")
    with pytest.raises(UserError, match="table.yaml is no YAML file: ") as refused:
        declaration.load(path)
    assert "\n" not in str(refused.value)


def test_names_for_values_may_be_used_as_people_do(tmp_path):
    path = tmp_path / "table.yaml"
    path.write_text("a: &a {x: [1, 2]}\nb: {<<: *a, y: *a}\n")
    assert yaml_files.read(path)["b"] == {"x": [1, 2], "y": {"x": [1, 2]}}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=5), part),
    max_leaves=12,
)
PIECES = st.sampled_from(
    [
        *"{}[]&*:,-?|>#!%@`'\" \n\t",
        "&a ",
        "*a",
        "<<",
        "!!int ",
        "1e9",
        "~",
        ": ",
        "- ",
        "0x",
        "\x85",
    ]
)


@settings(max_examples=300, deadline=None)
@given(VALUES.map(yaml.safe_dump) | st.lists(PIECES, max_size=30).map("".join) | st.text())
def test_any_text_is_read_as_yaml_reads_it_or_refused(text):
    try:
        expected = yaml.load(text, Loader=yaml_files.LOADER)
    except Exception:  # PyYAML lets some of its own through
        expected = yaml.YAMLError
    try:
        assert repr(yaml_files.parse(text, "x")) == repr(expected)
    except UserError as refused:
        assert "no configuration is so large" in str(refused)
    except yaml.YAMLError:
        assert expected is yaml.YAMLError


KEYS = sorted(Data.model_fields)
GOOD = {
    "file_url": "t.csv",
    "target": "k",
    "columns": {
        "k": {"dtype": "string", "role": "target"},
        "x": {"dtype": "float", "role": "numerical"},
    },
}


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), VALUES, max_size=3))
def test_a_hostile_declaration_is_refused_in_one_sentence(tmp_path_factory, changes):
    path = tmp_path_factory.getbasetemp() / "hostile.yaml"
    path.write_text(yaml.safe_dump({"data": {**GOOD, **changes}}), encoding="utf-8")
    try:
        assert isinstance(declaration.load(path), Data)
    except UserError as refused:
        assert len(str(refused)) < 2_000 and "\n" not in str(refused).strip()
