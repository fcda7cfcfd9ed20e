import importlib
import subprocess
import sys

import pytest
from step_support import ROOT, steps

from tests import step_rules
from tests.step_rules import packages, requirements
from util_lib import tracking
from util_lib.errors import UserError
from util_lib.tracking.store.places import store_directory

__all__ = ["steps"]

from pipeline.commands import describe, diff, gc, leaderboard, new_step, reproduce, review

TRAINERS = ("train_random_forest", "train_gradient_boosting")
STEPS = ("get_data", "preprocess", "check_data", "segregate", *TRAINERS, "evaluate")
PROJECTS = (*STEPS, "store_data", "monitoring", "data_analysis", "tools/describe", "tools/compare")
ENTRIES = [(step, "main", "run") for step in PROJECTS]
ENTRIES += [("tools/compare", name, name) for name in ("scores", "sample", "diff")]
ENTRIES.append(("check_data", "accept_reference", "accept_reference"))
ENTRIES.append(("data_analysis", "execute", "execute"))
ENTRIES += [("monitoring", n, n) for n in ("labels", "page")]
ENTRIES += [("serving", n, n) for n in ("predict", "promote", "rollback", "image", "serve")]


def read(step, name):
    return step_rules.read(ROOT / step / name)


def script_of(step, module="run"):
    return importlib.import_module(f"{step.replace('/', '.')}.{module}")


@pytest.mark.parametrize(("step", "entry", "module"), ENTRIES)
def test_mlproject_declares_exactly_what_the_script_reads_in_the_same_order(step, entry, module):
    script = script_of(step, module)
    step_rules.declares_what_the_script_reads_in_the_same_order(ROOT / step, entry, script)


@pytest.mark.parametrize(("step", "entry", "module"), ENTRIES)
def test_a_parameter_has_the_same_default_in_both_places_and_a_description(step, entry, module):
    script = script_of(step, module)
    step_rules.has_the_same_defaults_in_both_places_and_descriptions(ROOT / step, entry, script)


@pytest.mark.parametrize("module", [describe, diff, gc, leaderboard, new_step, reproduce, review])
def test_an_entry_point_of_the_root_passes_on_what_its_module_reads(module):
    name = module.__name__.rpartition(".")[2]
    declared = read(".", "MLproject")["entry_points"][name]
    actions = [a for a in module.build_parser()._actions if a.dest != "help"]
    assert list(declared["parameters"]) == [action.dest for action in actions]
    passed = " ".join(f"--{action.dest}={{{action.dest}}}" for action in actions)
    assert declared["command"].strip() == f"python -m pipeline.commands.{name} {passed}"
    for action in actions:
        assert declared["parameters"][action.dest].get("default") == action.default


ONLY_PINNED = """
import importlib.metadata as metadata, re, sys

def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()

module, *waiting = sys.argv[1:]
there = set()
while waiting:
    name = plain(waiting.pop())
    if name in there:
        continue
    there.add(name)
    try:
        needed = metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # of another platform
        continue
    waiting += [re.match(r"[\\w.-]+", text)[0] for text in needed if "extra ==" not in text]
holds = metadata.packages_distributions()

class OnlyPinned:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in holds and not {plain(each) for each in holds[top]} & there:
            raise ModuleNotFoundError(f"No module named {top!r}", name=top)

sys.meta_path.insert(0, OnlyPinned())
__import__(module)
"""


@pytest.mark.parametrize(("step", "entry", "module"), ENTRIES)
def test_a_step_begins_with_nothing_but_what_its_own_environment_holds(step, entry, module):
    module = f"{step.replace('/', '.')}.{module}"
    pinned = [text.partition("==")[0] for text in packages(ROOT / step / "conda.yml")[1]]
    done = subprocess.run(
        [sys.executable, "-c", ONLY_PINNED, module, *pinned],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("step", "entry", "module"), ENTRIES)
def test_a_script_without_its_packages_names_the_environment_that_has_them(step, entry, module):
    # -S: nothing but Python's own library
    command = [sys.executable, "-S", str(ROOT / step / f"{module}.py"), "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "has no package" in done.stderr and f"{step}/conda.yml" in done.stderr
    chosen = "" if entry in ("main", "serve") else f"-e {entry} "  # `main` serves
    assert f"mlflow run {step} --env-manager uv {chosen}-P" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (["-m", "pipeline.commands.update"], "make run"),
        (["serving/client.py"], "pip install requests"),
    ],
)
def test_a_command_without_its_packages_says_what_to_install(command, names):
    done = subprocess.run(
        [sys.executable, "-S", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and names in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("step", PROJECTS)
def test_a_step_has_one_name_in_all_its_files(step):
    step_rules.has_one_name_in_all_files(ROOT / step, script_of(step))


@pytest.mark.parametrize("step", PROJECTS)
def test_the_readme_of_a_step_names_every_parameter_and_how_to_run_it(step):
    step_rules.readme_names_every_parameter_and_how_to_run_it(ROOT / step, place=step)


@pytest.mark.parametrize("step", PROJECTS)
def test_an_environment_has_the_shape_that_every_manager_takes(step):
    step_rules.environment_has_the_shape_that_every_manager_takes(ROOT / step)


def test_a_package_has_the_same_version_everywhere():
    environments = [*ROOT.glob("conda.yml"), *ROOT.glob("*/conda.yml"), *ROOT.glob("*/*/conda.yml")]
    step_rules.a_package_has_one_version([*environments, *ROOT.glob("requirements*.txt")])


def test_the_launch_environment_is_the_roots_plus_the_mlflow_command():
    launch = requirements(ROOT / "requirements.txt")
    assert set(launch) - {"mlflow==3.17.2"} == set(packages(ROOT / "conda.yml")[1])


def test_the_test_environment_holds_the_packages_of_every_step():
    installed = {*requirements(ROOT / "requirements.txt")}
    installed |= {*requirements(ROOT / "requirements-dev.txt")}
    for step in PROJECTS:
        assert set(packages(ROOT / step / "conda.yml")[1]) <= installed, step


GIVEN = {
    "get_data": "--file_url x.csv --artifact_name raw.csv",
    "preprocess": "--input_artifact raw.csv:latest --artifact_name clean.csv",
    "check_data": "--sample_artifact clean.csv:latest --reference_artifact clean.csv:reference "
    "--ks_alpha 0.05",
    "segregate": "--input_artifact clean.csv:latest --artifact_root data --test_size 0.3 "
    "--random_state 1 --stratify null",
    "train_random_forest": "--train_data data_train.csv:latest --model_config x.yaml "
    "--export_artifact model --random_seed 1 --val_size 0.3 --stratify null",
}
GIVEN["train_gradient_boosting"] = GIVEN["train_random_forest"]


@pytest.mark.parametrize(
    ("step", "option", "value"),
    [
        ("get_data", "--artifact_name", "raw:v1"),
        ("get_data", "--artifact_type", "raw/data"),
        ("preprocess", "--artifact_name", "a/b"),
        ("preprocess", "--artifact_type", "a:b"),
        ("segregate", "--artifact_root", "a b"),
        ("segregate", "--artifact_type", "wandb-data"),
        ("train_random_forest", "--export_artifact", "model:prod"),
        ("train_gradient_boosting", "--export_artifact", "model:prod"),
    ],
)
def test_a_name_that_cannot_be_is_refused_before_the_step_begins(steps, step, option, value):
    module = importlib.import_module(f"{step}.run")
    with pytest.raises(UserError, match=f"argument {option}: "):
        module.main([*GIVEN[step].split(), option, value])
    assert not store_directory().exists()


@pytest.mark.parametrize("step", ["preprocess", "check_data", "segregate"])
def test_an_artifact_of_several_files_is_no_table(steps, step):
    folder = steps.folder / "model"
    folder.mkdir()
    for name in ("MLmodel", "model.pkl"):
        (folder / name).write_text("content")
    with tracking.init() as run:
        model = tracking.Artifact("model_export", type="model_export")
        model.add_dir(str(folder))
        run.log_artifact(model).wait()
    given = GIVEN[step].replace("raw.csv:latest", "clean.csv:latest")
    module = importlib.import_module(f"{step}.run")
    with pytest.raises(UserError, match="'model_export:latest' .* holds 2 files, and a table is"):
        module.main(given.replace("clean.csv:latest", "model_export:latest").split())


@pytest.mark.parametrize(
    "step", ["get_data", "preprocess", "check_data", "segregate", "tools.describe"]
)
def test_a_step_that_only_moves_or_checks_data_does_not_load_mlflow(step):
    import subprocess
    import sys

    code = f"import sys, {step}.run; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
