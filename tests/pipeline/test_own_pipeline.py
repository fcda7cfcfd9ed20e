"""A pipeline of one's own: its file and its steps lie where the user stands, not in the project."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import warm
from tests.pipeline.checkout import commit, git, receipts
from tests.pipeline.trivial_steps import make_project

PIPELINE = """\
# @package _global_
steps:
  numbers:
    uri: ./numbers
    parameters: {n: 4, artifact: numbers.json}
    outputs: [numbers.json]
  total:
    uri: ./total
    inputs: {numbers: "numbers.json:latest"}
    files: {config: {target: "${data.target}", weight: 2}}
    outputs: [total.json]
  report:
    uri: ./report
    inputs: {total: "total.json:latest"}
"""
STEP = """\
import json, os, sys, tempfile
import yaml
from util_lib import tracking
name, given = os.path.basename(os.getcwd()), dict(word.split("=", 1) for word in sys.argv[1:])
with open(os.environ["RAN"], "a") as ran:
    ran.write(name + chr(10))
with open(os.environ["RAN"] + "." + name, "w") as seen:
    seen.write(os.environ.get("GET_DATA_URL", ""))
def read(run, reference):
    with tempfile.TemporaryDirectory() as folder:
        return json.loads(open(run.use_artifact(reference).file(folder)).read())
def write(run, name, content):
    made = tracking.Artifact(name, type="json")
    with made.new_file(name) as file:
        json.dump(content, file)
    run.log_artifact(made)
with tracking.whole_step(), tracking.init(job_type=name, config=given) as run:
"""
BODIES = {
    "numbers": '    write(run, given["artifact"], list(range(int(given["n"]))))\n',
    "total": """\
    weight = yaml.safe_load(open(given["config"]))["weight"]
    write(run, "total.json", weight * sum(read(run, given["numbers"])))
""",
    "report": '    run.summary["total"] = read(run, given["total"])\n',
}
PARAMETERS = {"numbers": ["n", "artifact"], "total": ["numbers", "config"], "report": ["total"]}


class Home:
    """Where the user stands: a repository that holds only what is theirs."""

    def __init__(self, folder: Path) -> None:
        self.project, self.folder = folder / "project", folder / "home"
        ours = ("TRACKING_", "MLFLOW_", "PIPELINE_", "WANDB_", "PYTHONPATH", "GET_DATA_URL")
        others = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.environment = {**others, "RAN": str(folder / "ran")}

    def run(self, *given: str, program: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
        Path(self.environment["RAN"]).write_text("")
        main = (str(self.project / "main.py"), "pipeline=mine", "main.env_manager=local")
        return subprocess.run(
            [warm.python(), *(program or main), *given],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def ran(self, *given: str) -> list[str]:
        done = self.run(*given)
        assert done.returncode == 0, done.stdout + done.stderr
        return Path(self.environment["RAN"]).read_text().split()

    def refusal(self, *given: str) -> str:
        done = self.run(*given)
        assert done.returncode == 1, done.stdout + done.stderr
        assert not Path(self.environment["RAN"]).read_text(), "a step ran"
        return done.stderr.splitlines()[-1]

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.folder / path).read_text()
        assert old in text
        (self.folder / path).write_text(text.replace(old, new))


def make_home(folder: Path) -> Home:
    home = Home(folder)
    make_project(home.project, [])
    shutil.copytree(Path(__file__).parents[2] / "dataset", home.project / "dataset")
    (home.folder / "conf" / "pipeline").mkdir(parents=True)
    (home.folder / "conf" / "pipeline" / "mine.yaml").write_text(PIPELINE)
    for name, body in BODIES.items():
        (home.folder / name).mkdir()
        (home.folder / name / "run.py").write_text(STEP + body)
        declared = "".join(f"      {parameter}: string\n" for parameter in PARAMETERS[name])
        words = " ".join(f"{parameter}={{{parameter}}}" for parameter in PARAMETERS[name])
        (home.folder / name / "MLproject").write_text(
            f"name: {name}\nentry_points:\n  main:\n    parameters:\n{declared}"
            f"    command: python run.py {words}\n"
        )
    for place in (home.project, home.folder):
        (place / ".gitignore").write_text("__pycache__\ntracking_store\nmlflow.db*\noutputs\n")
        git(place, "init", "--quiet", "--initial-branch=main")
        commit(place)
    return home


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A home in which the pipeline has run once."""
    folder = tmp_path_factory.mktemp("own")
    home = make_home(folder)
    assert home.ran() == ["numbers", "total", "report"]
    return folder


@pytest.fixture
def home(template, tmp_path) -> Home:
    shutil.copytree(template, tmp_path / "place", symlinks=True)
    return Home(tmp_path / "place")


def test_the_second_run_is_cached_and_an_edited_step_runs_again_with_its_reason(home):
    assert home.ran() == []
    home.edit("total/run.py", "weight * sum", "weight * 2 * sum")
    done = home.run("--explain")
    assert Path(home.environment["RAN"]).read_text().split() == ["total", "report"]
    assert "total: runs, because: total/run.py changed" in done.stdout
    assert "total 24" in done.stdout


def test_a_value_of_a_file_is_a_key_like_others(home):
    done = home.run("steps.total.files.config.weight=3", "--explain")
    assert "total: runs, because: config.weight 2 -> 3" in done.stdout, done.stdout + done.stderr


def test_the_plan_shows_the_users_own_steps(home):
    done = home.run("--plan")
    assert done.returncode == 0 and "be cached" in done.stdout
    changed = home.run("--plan", "steps.numbers.parameters.n=9").stdout
    least, most = re.search(r"expected: ([\d.]+) to ([\d.]+) s", changed).groups()
    assert float(least) < float(most), "total runs too if numbers makes something new"
    assert "to run: 1, cached: 2, earlier results that no longer count: 1" in changed
    shown = home.run("main.plan=mermaid").stdout
    assert "artifact_numbers_json --> total" in shown


@pytest.mark.slow
def test_a_receipt_of_own_steps_is_reproduced_while_their_code_is_what_it_was(home):
    [receipt] = receipts(home.folder / "tracking_store")
    own = [step["own_code"] for step in receipt["steps"]]
    assert {code["commit"] for code in own} == {git(home.folder, "rev-parse", "HEAD").strip()}
    program = ("-m", "pipeline.commands.reproduce", "--receipt=songs_demo/receipt:v0")
    home.environment["PYTHONPATH"] = str(home.project)
    done = home.run(program=program)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "reproduced: 2 of 2 artifacts and 1 of 1 metrics are the same" in done.stdout
    assert "Look next" not in done.stdout, "there is nothing to look at: the folder is gone"
    home.edit("total/run.py", "weight * sum", "weight + sum")
    done = home.run(program=program)
    assert done.returncode == 1
    assert "the code of step total" in done.stderr and own[0]["commit"][:10] in done.stderr


def test_a_step_of_another_repository_runs_at_its_tag_and_again_when_the_tag_moves(home, tmp_path):
    other = tmp_path / "other"
    (other / "steps").mkdir(parents=True)
    shutil.move(home.folder / "report", other / "steps" / "report")
    git(other, "init", "--quiet", "--initial-branch=main")
    commit(other)
    git(other, "tag", "v1")
    place = (f"steps.report.uri='file://{other}#steps/report'", "steps.report.version=v1")
    assert home.ran(*place) == ["report"]
    assert home.ran(*place) == []  # the tag is the same commit
    (other / "steps" / "report" / "run.py").open("a").write("# edited\n")
    commit(other)
    assert home.ran(*place) == []
    git(other, "tag", "--force", "-a", "-m", "moved", "v1")
    assert home.ran(*place) == ["report"]
    said = home.refusal(*place, "+steps.report.parameters={colour: red}")
    assert "steps.report: the step's MLproject has no such parameter: unknown parameter" in said


def test_what_does_not_fit_is_one_sentence_before_anything_runs(home):
    def said(*given: str) -> str:
        return home.refusal("main.cache=false", *given)

    assert "no such parameter: unknown parameter 'nn': the nearest is 'n'" in said(
        "+steps.numbers.parameters.nn=3"
    )
    assert "the step needs the parameter 'n' and has no default for it" in said(
        "~steps.numbers.parameters.n"
    )
    assert "reads nothing.json:latest, which no step that runs makes and no version" in said(
        "steps.total.inputs.numbers=nothing.json:latest"
    )
    assert "neither a folder (looked for" in said("steps.total.uri=./totally")
    assert "unknown step 'totl': the nearest is 'total'" in said("main.execute_steps=totl")
    assert "unknown pipeline 'mein': the nearest is 'mine'" in said("pipeline=mein")
    (home.folder / "total" / "MLproject").unlink()
    assert "a step is a folder with an MLproject" in said()


def test_a_missing_input_names_the_step_that_makes_it(home):
    shutil.rmtree(home.folder / "tracking_store")
    said = home.refusal("main.execute_steps=total")
    assert said.endswith("add numbers to main.execute_steps")


def test_the_secrets_of_an_address_reach_the_step_that_reads_it_and_no_other(home):
    home.edit("numbers/MLproject", "      n: string\n", "      n: string\n      url: string\n")
    home.edit("conf/pipeline/mine.yaml", "n: 4,", "n: 4, url: 'http://u:s3cret@host/a?token=T',")
    home.edit("conf/pipeline/mine.yaml", "uri: ./numbers\n", "uri: ./numbers\n    source: url\n")
    assert home.ran("main.cache=false") == ["numbers", "total", "report"]
    seen = {name: Path(home.environment["RAN"] + f".{name}").read_text() for name in BODIES}
    assert seen == {"numbers": "http://u:s3cret@host/a?token=T", "total": "", "report": ""}
    kept = json.dumps(receipts(home.folder / "tracking_store"))
    assert "s3cret" not in kept and "token=***" in kept


@pytest.mark.slow
def test_a_step_that_uses_plain_mlflow_is_recorded_and_cached_like_others(home):
    home.edit("conf/pipeline/mine.yaml", "  report:\n", "  plain:\n    uri: ./plain\n  report:\n")
    home.edit("conf/pipeline/mine.yaml", "./plain\n", "./plain\n    outputs: [note.txt, notes]\n")
    (home.folder / "plain").mkdir()
    (home.folder / "plain" / "MLproject").write_text(
        "name: plain\nentry_points: {main: {command: python run.py}}\n"
    )
    (home.folder / "plain" / "run.py").write_text(
        "import mlflow\n"
        "with mlflow.start_run():\n"
        "    mlflow.log_metric('length', 4)\n"
        "    mlflow.log_text('note', 'note.txt')\n"
        "    mlflow.log_text('1', 'notes/one.txt')\n"
    )
    done = home.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "plain: done" in done.stdout and "made note.txt:v0, notes:v0" in done.stdout
    again = home.run()
    assert "plain: cached, has note.txt:v0, notes:v0" in again.stdout, again.stdout
    assert "length 4" in again.stdout


def test_a_step_that_does_not_make_what_it_declares_fails_and_nothing_goes_on_with_old_results(
    home,
):
    home.edit("numbers/run.py", "    write(run", "    if given['n'] != '9': write(run")
    assert home.ran("steps.numbers.parameters.n=5") == ["numbers", "total", "report"]
    for _ in range(2):  # a failure is not reused
        done = home.run("steps.numbers.parameters.n=9")
        assert done.returncode == 1
        assert Path(home.environment["RAN"]).read_text().split() == ["numbers"]
        assert "step numbers failed: it ended without making numbers.json" in done.stderr


@pytest.mark.slow
def test_an_output_that_is_not_declared_is_kept_and_told(home):
    home.edit(
        "total/run.py",
        '    write(run, "total.json"',
        '    write(run, "more.json", 1)\n    write(run, "total.json"',
    )
    done = home.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "total made more.json, which its entry in the pipeline file does not list" in done.stdout
    again = home.run("steps.report.inputs.total=more.json:latest")
    assert "total: cached, has more.json:v0, total.json:v0" in again.stdout
    assert "report: done" in again.stdout and "does not list" not in again.stdout


@pytest.mark.parametrize(
    ("ending", "sentence"),
    [
        ("print('half way'); sys.exit(3)", "it ended with exit code 3; it last said 'half way'"),
        (
            "os.kill(os.getpid(), 9)",
            "it was killed by SIGKILL (perhaps memory ran out); it said no",
        ),
    ],
)
def test_how_a_step_ended_is_said_with_its_code_or_signal(home, ending, sentence):
    home.edit("total/run.py", "with tracking.whole_step", f"{ending}\nwith tracking.whole_step")
    done = home.run()
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"error: step total failed: {sentence}" in done.stderr.splitlines()[-1]
    assert done.stderr.endswith("all that it wrote stands above\n")


def test_without_an_environment_a_package_that_is_not_there_is_named(home):
    home.edit("total/MLproject", "name: total\n", "name: total\nconda_env: conda.yml\n")
    (home.folder / "total" / "conda.yml").write_text(
        "name: total\ndependencies:\n- python=3.11.7\n- pip\n"
        "- pip: [pyyaml, no-such-package==1.2, 'absent; python_version < \"3\"', -r more.txt]\n"
    )
    home.edit("total/run.py", "import yaml\n", "import yaml\nimport no_such_package\n")
    done = home.run()
    lack = (
        "its conda.yml asks for no-such-package==1.2, which this Python lacks: install it here, or "
        "use main.env_manager=uv, which makes an environment that has it\n"
    )
    assert f"total may fail: {lack}" in done.stdout
    said = f"failed: ModuleNotFoundError: No module named 'no_such_package'; {lack}"
    assert done.stderr.endswith(said)
