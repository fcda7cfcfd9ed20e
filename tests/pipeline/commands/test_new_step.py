"""The root's entry point `new_step` and cookiecutter: a step of one's own that runs as it is."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml
from step_support import ROOT, make_songs, steps

from pipeline.commands import new_step
from tests import step_rules, warm
from util_lib.errors import UserError

__all__ = ["steps"]

ASKED = {"name": "clean_titles", "inputs": "raw_data.parquet", "outputs": "clean_data.parquet"}
KINDS = [
    {},
    {"parameters": "min_len:int=3,lang:str=en"},
    {"parameters": "a,b:float,c:bool=true,d:int=-1,e:float=-.5,f=", "outputs": "clean.csv"},
    {"inputs": "run.parquet:v3, more_songs.csv", "description": "Join: songs & more (100%)."},
]
TYPE_HERE = "raw_data.parquet:latest --artifact_name clean_data.parquet".split()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty folder in which a user stands."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.delenv("TRACKING_STORE")
    monkeypatch.chdir(folder)
    return folder


def make(**asked):
    new_step.go([f"--{name}={value}" for name, value in {**ASKED, **asked}.items()])


def run(*words, util_lib=True, **more):
    environment = {**os.environ, "WANDB_PROJECT": "tests", "TRACKING_PUBLISH": "parent", **more}
    for name in ("TRACKING_STORE", "PIPELINE_HOME", "MLFLOW_TRACKING_URI", "PYTHONPATH"):
        environment.pop(name, None)
    environment |= {"PYTHONPATH": str(ROOT)} if util_lib else {}
    environment = warm.first_on_path(environment)
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("asked", KINDS)
def test_what_is_made_keeps_the_rules_of_the_projects_own_steps(home, asked):
    make(**asked)
    folder = home / "clean_titles"
    script = step_rules.load(folder)
    step_rules.declares_what_the_script_reads_in_the_same_order(folder, "main", script)
    step_rules.has_the_same_defaults_in_both_places_and_descriptions(folder, "main", script)
    step_rules.has_one_name_in_all_files(folder, script)
    step_rules.readme_names_every_parameter_and_how_to_run_it(folder, "clean_titles")
    step_rules.environment_has_the_shape_that_every_manager_takes(folder)
    step_rules.a_package_has_one_version([folder / "conda.yml", *ROOT.glob("*/conda.yml")])


def test_what_is_made_is_tidy_and_its_own_tests_pass(home):
    names = [f"step_{number}" for number in range(len(KINDS))]
    for name, asked in zip(names, KINDS, strict=True):
        make(**asked, name=name)
    done = run(warm.python(), "-m", "pytest", "-q", *names)
    assert f"{2 * len(KINDS)} passed" in done.stdout, done.stdout
    settings = ["--config", str(ROOT / "pyproject.toml")]
    for words in (["check"], ["format", "--check"]):
        done = run("ruff", *words, *settings, *names)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("asked", KINDS)
def test_cookiecutter_makes_the_same_files(home, tmp_path, monkeypatch, asked):
    main = pytest.importorskip("cookiecutter.main", reason="cookiecutter is not installed")
    settings = tmp_path / "cookiecutter.yaml"
    folders = {"replay_dir": str(tmp_path), "cookiecutters_dir": str(tmp_path)}
    settings.write_text(yaml.safe_dump(folders))
    monkeypatch.setenv("COOKIECUTTER_CONFIG", str(settings))
    make(**asked)
    given = {"step_name" if key == "name" else key: value for key, value in (ASKED | asked).items()}
    if "description" in given:
        given["short_description"] = given.pop("description").rstrip(".")
    main.cookiecutter(
        str(ROOT / "cookie-mlflow-step"),
        no_input=True,
        extra_context=given,
        output_dir=str(tmp_path / "other"),
    )
    names = sorted(path.name for path in (home / "clean_titles").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "other/clean_titles").iterdir())
    for name in names:
        one = (home / "clean_titles" / name).read_bytes()
        assert one == (tmp_path / "other/clean_titles" / name).read_bytes(), name


@pytest.mark.parametrize("name", ["../outside", "two words", "class", "get_data"])
def test_cookiecutter_refuses_a_bad_name_in_one_sentence(home, tmp_path, name):
    pytest.importorskip("cookiecutter", reason="cookiecutter is not installed")
    template = str(ROOT / "cookie-mlflow-step")
    done = run("cookiecutter", template, "--no-input", f"step_name={name}", HOME=str(tmp_path))
    assert done.returncode == 1
    [sentence] = (done.stdout + done.stderr).strip().splitlines()
    assert sentence.startswith("the name of a step must be") and name in sentence
    assert not [*home.iterdir()] and not (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"name": "class"}, "a Python name of small letters, digits and _ and no keyword"),
        ({"name": "Clean"}, "found 'Clean'"),
        ({"name": "2nd"}, "found '2nd'"),
        ({"name": ""}, "found ''"),
        ({"name": "../up"}, "found '../up'"),
        ({"name": "clean\ntitles"}, r"found 'clean\\ntitles'"),
        ({"name": "x" * 65}, "found 'xxx"),
        ({"name": "über"}, "found 'über'"),
        ({"name": "tab\tbed"}, "found 'tab"),
        ({"name": "a;b"}, "found 'a;b'"),
        ({"name": "{{x}}"}, "found '{{x}}'"),
        ({"name": "get_data"}, "'get_data' is the name of a part of the pipeline"),
        ({"name": "util_lib"}, "'util_lib' is the name of a part of the pipeline"),
        ({"name": "all"}, "'all' is the name of a part of the pipeline"),
        ({"name": "json"}, "'json' is a Python package"),
        ({"name": "pandas"}, "'pandas' is a Python package"),
        ({"inputs": ""}, "inputs must be artifact names .* found ''"),
        ({"inputs": "a b"}, "inputs must be artifact names .* found 'a b'"),
        ({"inputs": "$(rm -rf .)"}, "inputs must be artifact names"),
        ({"inputs": "a.csv,a.parquet"}, "inputs 'a.csv:latest' and 'a.parquet' have one name"),
        ({"inputs": "a.csv,2b.csv"}, "the name of an input must be a Python name, found '2b'"),
        ({"outputs": "a,b"}, "outputs must be one artifact name"),
        ({"outputs": "../a"}, "outputs must be one artifact name"),
        ({"outputs": "raw_data.parquet"}, "'raw_data.parquet' is also an input"),
        ({"parameters": "n:integer=1"}, "n: unknown type 'integer': choose from str, int"),
        ({"parameters": "n:"}, "n: unknown type ''"),
        ({"parameters": "n,n:int"}, "the step already has 'n'"),
        ({"parameters": "artifact_name"}, "the step already has 'artifact_name'"),
        ({"parameters": "input_artifact"}, "the step already has 'input_artifact'"),
        ({"parameters": "for"}, "the name of a parameter must be a Python name, found 'for'"),
        ({"parameters": "a,,b"}, "the name of a parameter must be a Python name, found ''"),
        ({"parameters": "n:int=three"}, "the default of a int must be like 3, found 'three'"),
        ({"parameters": f"n:int={'9' * 5000}"}, "default must have at most 200 .* found 5000"),
        ({"parameters": "n:float=nan"}, "the default of a float must be like 0.5, found 'nan'"),
        ({"parameters": "n:bool=perhaps"}, "must be like true or false, found 'perhaps'"),
        ({"parameters": "n:float=-1e-5"}, "found '-1e-5'"),
        ({"parameters": "n=`id`"}, "n: the default must be letters"),
        ({"parameters": 'n="quoted"'}, "n: the default must be letters"),
        ({"parameters": "n=two\nlines"}, "n: the default must be letters"),
        ({"parameters": "n=@file"}, "not begin with - or @"),
        ({"parameters": "n=${oc.env:HOME}"}, "n: the default must be letters"),
        ({"description": 'a """ end'}, "short_description must be one line"),
        ({"description": "a {{ template }}"}, "short_description must be one line"),
        ({"description": "it costs ${oc.env:HOME}"}, "short_description must be one line"),
        ({"description": "run `id`"}, "short_description must be one line"),
        ({"description": "- a\\n"}, "short_description must be one line"),
        ({"description": "two\nlines"}, "short_description must be one line"),
        ({"description": "x" * 81}, "short_description must be one line of 1 to 80"),
        ({"pipeline": "../mine"}, "pipeline must be a word such as mine"),
        ({"pipeline": "training"}, "pipeline 'training' is one of the project's own"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_nothing_is_written(home, asked, sentence):
    with pytest.raises(UserError, match=sentence) as raised:
        make(**asked)
    assert "\n" not in str(raised.value)
    assert not [*home.iterdir()]


def test_a_folder_that_exists_stays_as_it_is(home):
    (home / "clean_titles").mkdir()
    with pytest.raises(UserError, match="clean_titles already exists: choose another name"):
        make()
    assert [path.name for path in home.rglob("*")] == ["clean_titles"]
    (home / "clean_titles").rmdir()
    (home / "clean_titles").symlink_to("nowhere")
    with pytest.raises(UserError, match="already exists"):
        make()


def test_of_two_at_once_each_writes_whole_and_of_one_name_only_the_first(home):
    code = "import sys; from pipeline.commands import new_step; new_step.go(sys.argv[1:])"
    given = [f"--{key}={value}" for key, value in (ASKED | {"pipeline": "mine"}).items()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = [
        subprocess.Popen(
            [warm.python(), "-c", code, *given, f"--name={name}"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "one", "two", "three")
    ]
    ended = [(process.communicate()[1], process.returncode) for process in started]
    [(said, _)] = [one for one in ended if one[1]]
    assert "one already exists: choose another name" in said
    steps = yaml.safe_load((home / "conf" / "pipeline" / "mine.yaml").read_text())["steps"]
    assert sorted(steps) == ["get_data", "one", "three", "two"]
    assert sorted(path.name for path in home.iterdir()) == ["conf", "one", "three", "two"]


def test_a_place_that_cannot_be_written_to_is_named(home, monkeypatch):
    (home / "file").write_text("a file where a folder should be")
    monkeypatch.setenv("TRACKING_STORE", str(home / "file" / "tracking_store"))
    with pytest.raises(UserError, match="file.*go to a folder that you may write to"):
        make()
    assert [path.name for path in home.iterdir()] == ["file"]


def test_the_entry_is_printed_or_put_at_the_end_of_a_pipeline_file(home, capsys):
    make(parameters="min_len:int=3,word")
    printed = capsys.readouterr().out
    entry = yaml.safe_load(printed[printed.index("  clean_titles:\n") :])["clean_titles"]
    assert entry == {
        "uri": "./clean_titles",
        "inputs": {"input_artifact": "raw_data.parquet:latest"},
        "parameters": {"artifact_name": "clean_data.parquet", "min_len": "3", "word": "text"},
        "outputs": ["clean_data.parquet"],
    }
    path = home / "conf" / "pipeline" / "mine.yaml"
    make(name="second", inputs="clean_data.parquet", outputs="b.csv", pipeline="mine")
    path.write_text(path.read_text() + "  # a word of mine\n")
    make(name="third", inputs="b.csv", outputs="c.csv", pipeline="mine")
    text = path.read_text()
    assert text.startswith("# @package _global_\n") and "# a word of mine" in text
    own = yaml.safe_load((ROOT / "conf/pipeline/training.yaml").read_text())["steps"]
    made = yaml.safe_load(text)["steps"]
    assert [*made] == [next(iter(own)), "second", "third"]
    assert made["get_data"] == own["get_data"]


@pytest.mark.parametrize(
    "text", ["steps: {a: {}}\n", "steps:\n  a: {}\nmain: {x: 1}\n", "[", "- a\n", "steps: 3\n"]
)
def test_a_pipeline_file_that_cannot_be_added_to_is_left_alone(home, text):
    path = home / "conf" / "pipeline" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(UserError, match="does not end with its steps"):
        make(pipeline="mine")
    assert path.read_text() == text and [p.name for p in home.iterdir()] == ["conf"]
    path.write_text("steps:\n  clean_titles: {}\n")
    with pytest.raises(UserError, match="already has a step 'clean_titles'"):
        make(pipeline="mine")


def test_where_the_pipeline_file_cannot_be_written_there_is_no_folder_either(home):
    (home / "conf").write_text("a file where a folder should be")
    with pytest.raises(UserError, match="cannot read or write .*conf.*nothing was written"):
        make(pipeline="mine")
    assert [path.name for path in home.iterdir()] == ["conf"]


def test_it_runs_as_a_script_and_as_an_mlflow_project_from_where_it_lies(
    home, monkeypatch, empty_mlflow_database
):
    shutil.copy(empty_mlflow_database, home / "mlflow.db")
    make()
    make_songs(30).to_parquet("raw_data.parquet")
    log = (
        "from util_lib import tracking\n"
        "with tracking.init() as run:\n"
        "    run.log_artifact('raw_data.parquet', name='raw_data.parquet', type='raw_data')\n"
    )
    assert run(warm.python(), "-c", log).returncode == 0
    alone = run(
        sys.executable, "clean_titles/run.py", "--input_artifact", *TYPE_HERE, util_lib=False
    )
    assert alone.returncode == 1 and "\n" not in alone.stderr.strip()
    assert alone.stderr.startswith("clean_titles: util_lib is not found: main.py sets PYTHONPATH")
    beside = run(warm.python(), "clean_titles/run.py", "--input_artifact", *TYPE_HERE)
    assert "logged clean_data.parquet:v0: 30 rows" in beside.stdout, beside.stderr
    monkeypatch.chdir("clean_titles")
    inside = run(warm.python(), "run.py", "--input_artifact", *TYPE_HERE)
    assert "logged clean_data.parquet:v0: 30 rows" in inside.stdout, inside.stderr
    monkeypatch.chdir(home)
    given = ["input_artifact=raw_data.parquet:latest", "artifact_name=other.parquet"]
    options = [word for pair in given for word in ("-P", pair)]
    project = run("mlflow", "run", "clean_titles", "--env-manager", "local", *options)
    assert "logged other.parquet:v0: 30 rows" in project.stdout, project.stderr
    assert not (home / "clean_titles" / "tracking_store").exists()


@pytest.mark.slow
def test_two_of_them_make_a_pipeline_whose_second_run_is_cached(home, empty_mlflow_database):
    shutil.copy(empty_mlflow_database, home / "mlflow.db")
    make(pipeline="mine", parameters="min_len:int=3")
    make(name="shorten", inputs="clean_data.parquet", outputs="short.csv", pipeline="mine")

    def outcomes():
        command = [sys.executable, str(ROOT / "main.py"), "pipeline=mine", "main.env_manager=local"]
        done = run(*command, "--explain", util_lib=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return [line for line in done.stdout.splitlines() if line.startswith("[")]

    first = outcomes()
    assert sum(": done in " in line for line in first) == 3
    assert outcomes() == [
        "[1/3] get_data: cached, has raw_data.parquet:v0",
        "[2/3] clean_titles: cached, has clean_data.parquet:v0",
        "[3/3] shorten: cached, has short.csv:v0",
    ]
    script = home / "shorten" / "run.py"
    script.write_text(script.read_text().replace("return table\n", "return table.head(5)\n"))
    third = outcomes()
    assert "[2/3] clean_titles: cached, has clean_data.parquet:v0" in third
    assert "[3/3] shorten: runs, because: shorten/run.py changed" in third
    assert any("made short.csv:v1" in line for line in third)
