"""`hydra_options` arrives as typed: one argument, split by us, never seen by a shell's eyes."""

import json
import subprocess
import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from pipeline.settings import overrides, resolvers, schema
from util_lib.errors import UserError


def values(text: str) -> list[object]:
    parser = OverridesParser.create()
    return [override.value() for override in parser.parse_overrides(overrides.split(text))]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("   ", []),
        ("a=1", ["a=1"]),
        ("a=1 b=2", ["a=1", "b=2"]),
        ("  a=1\n\tb=2  ", ["a=1", "b=2"]),
        ("a='x y' b=2", ["a='x y'", "b=2"]),
        ('a="x y"', ['a="x y"']),
        ("a='a,b'", ["a='a,b'"]),
        ("a=[a,b]", ["a=[a,b]"]),
        ("a=[a, b] b=1", ["a=[a, b]", "b=1"]),
        ("a={a: 1}", ["a={a: 1}"]),
        ("a={a: [1, 2], b: {c: 3}} d=4", ["a={a: [1, 2], b: {c: 3}}", "d=4"]),
        ("a=range(1,10,2) -m", ["a=range(1,10,2)", "-m"]),
        ("a=range(1, 10, 2)", ["a=range(1, 10, 2)"]),
        ("a=* b=~ c=;", ["a=*", "b=~", "c=;"]),
        ("~a.b +c=1", ["~a.b", "+c=1"]),
        ("a='$(touch X)'", ["a='$(touch X)'"]),
        ("a='`touch X`'", ["a='`touch X`'"]),
        ("a='say \"hi there\"'", ["a='say \"hi there\"'"]),
        (r"a='it\'s here' b=1", [r"a='it\'s here'", "b=1"]),
        ("a=irises’ b=’ ’", ["a=irises’", "b=’", "’"]),
        ("a='('", ["a='('"]),
    ],
)
def test_hydra_options_are_split_on_white_space_outside_quotes_and_brackets(text, tokens):
    assert overrides.split(text) == tokens


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a='x y'", "x y"),
        ("a='a,b'", "a,b"),
        ("a=[a, b]", ["a", "b"]),
        ("a={a: 1}", {"a": 1}),
        ("a=*", "*"),
        ("a='~'", "~"),
        ("a=';'", ";"),
        ("a='$(touch X)'", "$(touch X)"),
        ("a='`touch X`'", "`touch X`"),
        ("a='\"'", '"'),
        ("a='irises’ (Setosa, ...)'", "irises’ (Setosa, ...)"),
        ("a=", ""),
    ],
)
def test_hydra_reads_the_value_that_was_typed(text, value):
    assert values(text) == [value]


@pytest.mark.parametrize("text", ["a='x", 'a="x y', "a=[1,2", "a={a: 1", "a=range(1,2"])
def test_an_open_quote_or_bracket_is_refused_with_what_is_missing(text):
    with pytest.raises(UserError, match="must close every quote and bracket"):
        overrides.split(text)


def test_hydra_options_and_own_arguments_are_put_together():
    line = overrides.command_line(
        ["--hydra_options", "a=1 b='x y' -m", "--execute_steps", "", "c=3"]
    )
    assert line == ["-m", "a=1", "b='x y'", "c=3"]


@pytest.mark.parametrize("flag", ["--execute_steps", "--steps"])
def test_steps_can_be_chosen_by_their_own_parameter(flag):
    line = overrides.command_line([flag, "get_data, preprocess"])
    assert line == ["main.execute_steps='get_data, preprocess'"]


def test_steps_whose_quotes_a_shell_took_are_still_a_list():
    given = ["main.execute_steps=get_data,preprocess", "data.test_size=0.1,0.2", "-m"]
    assert overrides.command_line(given) == [
        "-m",
        "main.execute_steps='get_data,preprocess'",
        "data.test_size=0.1,0.2",
    ]


@pytest.mark.parametrize("word", ["--cfg", "--resolve", "--multirun", "--package=main"])
def test_options_of_hydra_pass(word):
    assert overrides.command_line(["a=1", word])[-2:] in (["a=1", word], ["-m", "a=1"])


def test_choosing_steps_twice_is_refused():
    with pytest.raises(UserError, match="give one of them"):
        overrides.command_line(["--execute_steps", "get_data", "--steps", "preprocess"])


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            "modeling.random_forest.max_depth=3",
            "random_forest_pipeline.random_forest.max_depth=3",
        ),
        ("modeling.max_tfidf_features=10,15", "random_forest_pipeline.tfidf.max_features=10,15"),
        ("main.steps=all", "main.execute_steps='all'"),
        ("main.steps=download,preprocess", "main.execute_steps='download,preprocess'"),
        ("modeling.random_forestry=1", "modeling.random_forestry=1"),
        ("etl.min_price=20", "data.clean.keep_rows.price.min=20"),
        ("data_check.kl_threshold=0.3", "data.kl_threshold=0.3"),
        ("data.test_size=0.2", "data.test_size=0.2"),
        ("data.clean.keep_rows.tempo.min=60", "++data.clean.keep_rows.tempo.min=60"),
        ("data.columns.tempo.nullable=true", "++data.columns.tempo.nullable=true"),
        ("~data.columns.tempo.min", "~data.columns.tempo.min"),
    ],
)
def test_keys_of_the_rental_pipeline_mean_ours(theirs, ours):
    assert overrides.command_line([theirs]) == [ours]


def test_a_shell_between_mlflow_and_main_evaluates_nothing(tmp_path):
    """The very quoting MLflow uses, a real bash, and the values as main.py sees them."""
    from mlflow.projects._project_spec import EntryPoint

    typed = "a='$(touch X)' b='`touch Y`' c=* d='x  y' e='irises’' f='\"' g=';touch Z' h='~'"
    show = tmp_path / "show.py"
    show.write_text("import json, sys; print(json.dumps(sys.argv[1:]))")
    entry = EntryPoint(
        "main",
        {"hydra_options": {"type": "string"}},
        f"{sys.executable} {show} --hydra_options {{hydra_options}}",
    )
    command = entry.compute_command({"hydra_options": typed}, None)
    shown = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert overrides.command_line(json.loads(shown.stdout)) == overrides.split(typed)
    assert [path.name for path in tmp_path.iterdir()] == ["show.py"]


def doubled(shape: str) -> list[str]:
    """Forty keys that each name the next one twice."""
    keys = [f"+k{n}={shape.replace('?', f'${{k{n + 1}}}')}" for n in range(40)]
    return [*keys, "+k40=x"]


@pytest.mark.parametrize("shape", ["??", "[?,?]", "{a: ?, b: ?}"])
def test_references_that_stand_for_more_than_anybody_writes_are_refused(shape):
    resolvers.register_resolvers()
    with pytest.raises(UserError, match=r"stands for more than 10,000 references.*write the value"):
        schema.check(overrides.base_config(doubled(shape)))


@pytest.mark.parametrize("word", [f"+a={'[' * 51}{']' * 51}", "a=" + "${" * 51 + "b" + "}" * 51])
def test_brackets_in_brackets_have_an_end_and_those_in_quotes_are_text(word):
    with pytest.raises(UserError, match="a: more than 50 brackets in brackets"):
        overrides.command_line([word])
    quoted = "a='" + "[" * 60 + "'"
    assert overrides.command_line([quoted]) == [quoted]


@pytest.mark.parametrize("text", ["range(1,1000000000)", "range(0,1,1e-300)", "range(1,9,0)"])
def test_a_range_of_more_values_than_anybody_waits_for_is_refused(text):
    word = OverridesParser.create().parse_override(f"main.random_seed={text}")
    with pytest.raises(UserError, match=r"more than 100,000 jobs.*interval\(from,to\)"):
        overrides.swept_values(word)
    few = OverridesParser.create().parse_override("main.random_seed=range(1,4)")
    assert overrides.swept_values(few) == ["1", "2", "3"]


@pytest.mark.parametrize("word", ["sweep=null", "sweep=None", "sweep="])
def test_a_sweep_that_is_null_is_none(word):
    assert overrides.command_line([word]) == ["~sweep"]
