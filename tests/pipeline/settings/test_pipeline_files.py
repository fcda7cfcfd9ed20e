"""A pipeline file that cannot be: one sentence, an exit code that is not 0, and nothing runs."""

import sys
from pathlib import Path

import pytest

from main import go
from pipeline import startup

HEAD = "# @package _global_\n"
PIPELINE = f"""\
{HEAD}steps:
  numbers:
    uri: ./numbers
    parameters: {{n: 4, artifact: numbers.json}}
    outputs: [numbers.json]
  total:
    uri: ./total
    inputs: {{numbers: "numbers.json:latest"}}
"""
TOTAL = (
    "entry_points: {main: {parameters: {numbers: string}, command: 'python run.py {numbers}'}}\n"
)
NUMBERS = "entry_points: {main: {parameters: {n: string, artifact: string}, command: echo}}\n"


class Home:
    """Where the user stands, with two steps and a pipeline file."""

    def __init__(self, folder: Path, monkeypatch, capsys) -> None:
        self.folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys
        self.file = folder / "conf" / "pipeline" / "mine.yaml"
        self.file.parent.mkdir(parents=True)
        for name, text in {"numbers": NUMBERS, "total": TOTAL}.items():
            (folder / name).mkdir()
            self.declare(name, text)
        self.write(PIPELINE)

    def write(self, text: str, encoding: str = "utf-8") -> None:
        self.file.write_text(text, encoding=encoding)

    def declare(self, step: str, text: str) -> None:
        (self.folder / step / "MLproject").write_text(text)

    def plan(self, *words: str) -> tuple[int, str]:
        """Return the exit code of `main.py --plan` and what it says."""
        self._monkeypatch.setattr(sys, "argv", ["main.py", "pipeline=mine", "--plan", *words])
        try:
            code = startup.main(go)
        except SystemExit as ended:
            code = int(str(ended.code))
        said = self._capsys.readouterr()
        return code, said.out + said.err

    def refusal(self, *words: str) -> str:
        code, said = self.plan(*words)
        assert code == 1, said
        lines = said.strip().splitlines()
        assert len(lines) == 1, said
        return lines[0]


@pytest.fixture
def home(tmp_path, monkeypatch, capsys) -> Home:
    monkeypatch.delenv("TRACKING_STORE")
    monkeypatch.chdir(tmp_path)
    return Home(tmp_path, monkeypatch, capsys)


def replaced(old: str, new: str) -> str:
    assert old in PIPELINE
    return PIPELINE.replace(old, new)


def beginning_with(defaults: str) -> str:
    return replaced("steps:\n", f"defaults: {defaults}\nsteps:\n")


def test_a_pipeline_file_that_can_be_is_planned(home):
    code, said = home.plan()
    assert code == 0 and "numbers.json:latest" in said, said
    home.write(beginning_with("[other, _self_]"))
    (home.folder / "conf/pipeline/other.yaml").write_text(f"{HEAD}main: {{random_seed: 7}}\n")
    assert home.plan()[0] == 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"{HEAD}- a\n", "mine.yaml must be a mapping (key: value), found ['a']"),
        (f"{HEAD}3\n", "mine.yaml must be a mapping (key: value), found 3"),
        (f"{HEAD}{'[' * 2000}", "more than 50 levels"),
        (f"{PIPELINE}  : :\n", "mine.yaml is no YAML file: "),
        (replaced("{n: 4", "{null: 4"), "steps.numbers.parameters has the key null"),
        (f"{PIPELINE}null: 3\n", "the file has the key null"),
        (replaced("n: 4", "n: '${nope'"), "parameters.n: '${nope' is no interpolation"),
        (replaced("[numbers.json]", "['${}']"), "outputs.0: '${}' is no interpolation"),
        (replaced("n: 4", "n: '${data.nope}'"), "Interpolation key 'data.nope' not found"),
        (f"{HEAD}steps: &a\n  x: *a\n", "no configuration is so large"),
        (f"{PIPELINE}extra: &a [*a]\n", "no configuration is so large"),
        (f"{PIPELINE}hydra: null\n", "hydra must be a mapping"),
        (f"{PIPELINE}hydra: {{mode: FOO}}\n", "Invalid value 'FOO', expected one of [RUN, MULTI"),
        (f"{PIPELINE}hydra: {{hydra_logging: {{version: 7}}}}\n", "Unsupported version: 7"),
        (beginning_with("[nope, _self_]"), "defaults: unknown pipeline 'nope': choose from"),
        (beginning_with("nope"), "defaults must be a list such as [training, _self_]"),
        (beginning_with("[null]"), "defaults must be a list such as [training, _self_]"),
        (beginning_with("[{a: b, c: d}]"), "defaults must be a list such as"),
        (beginning_with("[mine, _self_]"), "the files begin with each other: mine -> mine"),
        (beginning_with("[{dataset: nope}]"), "Could not find 'pipeline/dataset/nope'"),
    ],
)
def test_what_hydra_cannot_compose_is_one_sentence(home, text, sentence):
    home.write(text)
    assert sentence in home.refusal()


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ("steps: [a, b]", "config: steps must be a mapping (key: value), found"),
        ("steps: hello", "config: steps must be a mapping (key: value), found 'hello'"),
        ("steps: {a: [b]}", "config: steps.a must be a mapping"),
        ("steps: {a: {inputs: [b]}}", "config: steps.a.inputs must be a mapping"),
        ("steps: {a: {parameters: b}}", "config: steps.a.parameters must be a mapping"),
        ("steps: {../../x: {outputs: []}}", "'../../x' cannot be the name of a step"),
        ("steps: {a/b: {outputs: []}}", "'a/b' cannot be the name of a step"),
        ("steps: {'': {outputs: []}}", "'' cannot be the name of a step"),
        ("steps: {3: {outputs: []}}", "'3' cannot be the name of a step"),
        ("steps: {all: {outputs: []}}", "'all' cannot be the name of a step"),
        ("steps: {a: {uri: ./numbers, in_all: false}}", "each has in_all: false"),
    ],
)
def test_steps_of_another_shape_are_refused(home, steps, sentence):
    home.write(f"{HEAD}{steps}\n")
    assert sentence in home.refusal()


def test_a_pipeline_file_without_its_first_line_is_told_which(home):
    home.write(PIPELINE.removeprefix(HEAD))
    assert "must have `# @package _global_` as its first line" in home.refusal()


def test_files_that_begin_with_each_other_are_refused(home):
    home.write(beginning_with("[other, _self_]"))
    (home.folder / "conf/pipeline/other.yaml").write_text(f"{HEAD}defaults: [mine]\n")
    assert "mine -> other -> mine" in home.refusal()


def test_aliases_of_aliases_do_not_grow_without_end(home):
    more = [
        f"{a}: &{a} [{','.join([f'*{b}'] * 9)}]" for b, a in zip("abcdefg", "bcdefgh", strict=True)
    ]
    home.write("\n".join([f"{PIPELINE}a: &a [1, 1]", *more]))
    assert "more than 500,000 values" in home.refusal()


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig"])
def test_another_encoding_is_named(home, encoding):
    home.write(f"{PIPELINE}# é\n", encoding)
    assert "UTF-8" in home.refusal()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("entry_points: {main: {parameters: [numbers], command: x}}", "must be a mapping"),
        ("entry_points: {main: {parameters: numbers, command: x}}", "must be a mapping"),
        ("entry_points: {main: {parameters: , command: x}}", "must be a mapping"),
        ("entry_points: {main: {parameters: {numbers: [a]}, command: x}}", "must be a mapping"),
        ("entry_points: {main: {parameters: {numbers: string}}}", "'main' has no command"),
        ("entry_points: {main: {command: [a]}}", "'main' has no command"),
        ("entry_points: {main: {command: 'echo {nope}'}}", "has 'nope' in braces"),
        ("entry_points: {main: {command: 'echo {'}}", "has '{' in braces"),
        ("entry_points: &a {main: *a}", "no configuration is so large"),
        ("entry_points: [main]", "declares no entry point 'main'"),
        ("entry_points: {main: {command: x}, other: 3}", "declares no entry point 'main'"),
        ("3", "declares no entry point 'main'"),
        ("conda_env: nope.yml\nentry_points: {main: {command: x}}", "conda_env must name a file"),
    ],
)
def test_an_mlproject_of_another_shape_is_refused(home, text, sentence):
    home.declare("total", text)
    said = home.refusal()
    assert sentence in said and "total/MLproject" in said


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("./numbers#sub", "'./numbers#sub', which is neither a folder (looked for"),
        ("./numbers\n    version: v1", "version 'v1' is set and './numbers' is a folder"),
        ("'ext::sh -c touch% made'", "'ext::sh -c touch% made' is neither a folder nor an"),
        ("'ext::sh -c touch% made'\n    version: v1", "is neither a folder nor an address"),
        ("foo:bar", "'foo:bar' is neither a folder nor an address"),
        ("'git@host::bar'", "'git@host::bar' is neither a folder nor an address"),
        ("file://", "'file://' is neither a folder nor an address"),
        ("https://x.org/r\n    version: --upload-pack=x", "version must be a tag, a branch or"),
    ],
)
def test_a_place_that_no_step_can_come_from_is_refused(home, place, sentence):
    home.write(replaced("./numbers", place))
    assert sentence in home.refusal()


@pytest.mark.parametrize("uri", ["./more#numbers", "https://x.org/r.git#n", "git@x.org:o/r.git"])
def test_a_folder_in_a_folder_and_the_address_of_a_repository_are_places(home, uri):
    (home.folder / "more").mkdir()
    (home.folder / "numbers").rename(home.folder / "more" / "numbers")
    home.write(replaced("./numbers", uri))
    assert home.plan()[0] == 0


@pytest.mark.parametrize("name", ["serving", "pipeline", "tools", "util_lib", "conf", "dataset"])
def test_a_step_is_not_called_like_a_part_of_the_project_that_is_none(home, name):
    home.write(replaced("  total:", f"  {name}:"))
    assert f"'{name}' cannot be the name of a step" in home.refusal()


def test_a_step_of_the_project_may_be_replaced_by_ones_own(home):
    home.write(replaced("  total:", "  preprocess:"))
    assert home.plan()[0] == 0


@pytest.mark.parametrize("key", ["steps_as_written: {}", "_steps_as_written: {}", "hello: 1"])
def test_only_keys_that_a_file_may_have_are_offered(home, key):
    home.write(f"{PIPELINE}{key}\n")
    said = home.refusal()
    assert f"unknown key '{key.partition(':')[0]}'" in said
    assert (
        said.partition("choose from ")[2]
        .partition(" (value")[0]
        .endswith("sweep, update, promotion, store, steps")
    )


@pytest.mark.parametrize("key", ["keys", "_keys", "colour"])
def test_only_keys_that_a_step_may_have_are_offered(home, key):
    home.write(f"{PIPELINE}    {key}: {{n: a}}\n")
    said = home.refusal()
    assert f"unknown key 'steps.total.{key}'" in said
    assert "steps.total.keys" not in said.partition("choose from ")[2]


@pytest.mark.parametrize(
    "reference", ["", "numbers.json", "a b:latest", "a:", "a/b/c/d:e", "a:b/c"]
)
def test_an_input_of_a_bad_form_is_refused_with_its_key(home, reference):
    home.write(replaced('"numbers.json:latest"', f'"{reference}"'))
    said = home.refusal()
    assert "steps.total: inputs.numbers must be the name of an artifact and an alias" in said
    assert f"found {reference!r}" in said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (replaced("[numbers.json]", "[a, a]"), "steps.numbers: outputs: 'a' stands there twice"),
        (f"{PIPELINE}sweep: {{step: totl}}\n", "sweep.step: unknown step 'totl': the nearest is"),
        (f"{PIPELINE}    also_called: [numbers]\n", "'numbers' already means numbers"),
        (f"{PIPELINE}    also_called: [sum, sum]\n", "'sum' already means total"),
        (f"{PIPELINE}    also_called: [all]\n", "'all' already means every step"),
    ],
)
def test_one_name_means_one_thing(home, text, sentence):
    home.write(text)
    assert sentence in home.refusal()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("totl", "unknown step 'totl': the nearest is 'total'"),
        ("Total", "unknown step 'Total': the nearest is 'total'"),
        ("[]", "names no step: choose from numbers, total"),
        ("null", "names no step"),
        ("','", "names no step"),
        ("[1]", "must be a list or a comma-separated text of step names"),
        ("'all,total'", "'all' means every step and stands alone"),
    ],
)
def test_a_choice_of_steps_that_cannot_be_is_refused(home, given, sentence):
    said = home.refusal(f"main.execute_steps={given}")
    assert "main.execute_steps" in said and sentence in said


def test_a_step_that_is_named_twice_runs_once(home):
    code, said = home.plan("main.execute_steps=numbers,numbers", "main.plan=mermaid")
    assert code == 0 and said.count('numbers["numbers"]') == 1
