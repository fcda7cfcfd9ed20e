"""The plan: which steps, with which parameters, from and to which artifacts."""

import re

import pytest
import yaml

from pipeline.planning.plan import plan
from pipeline.planning.step import Step
from pipeline.settings import overrides, resolvers, schema
from util_lib.dataset import declaration
from util_lib.errors import UserError
from util_lib.project import ROOT


def planned(*given: str) -> list[Step]:
    resolvers.register_resolvers()
    return plan(schema.check(overrides.base_config(overrides.command_line(list(given)))))


def only(name: str, *given: str) -> Step:
    [step] = planned(f"main.execute_steps={name}", *given)
    return step


def test_every_parameter_of_the_plan_is_declared_by_the_steps_mlproject():
    for step in planned():
        spec = yaml.safe_load((ROOT / step.uri / "MLproject").read_text())
        declared = spec["entry_points"]["main"]["parameters"]
        given = set(step.parameters) | set(step.files)
        assert given <= set(declared), step.name
        required = {name for name, value in declared.items() if value.get("default") is None}
        assert required <= given, step.name


def test_what_a_step_reads_was_made_by_a_step_before_it():
    made: set[str] = set()
    for step in planned("data.reference_dataset=preprocessed_data.parquet:latest"):
        assert {reference.split(":")[0] for reference in step.inputs} <= made, step.name
        made |= set(step.outputs)


def test_the_seed_reaches_both_splits():
    steps = {step.name: step for step in planned("main.random_seed=7")}
    assert steps["segregate"].parameters["random_state"] == "7"
    assert steps["train_random_forest"].parameters["random_seed"] == "7"


def test_the_test_of_the_promoted_model_is_evaluate_on_what_prod_holds():
    step, usual = only("test_regression_model"), only("evaluate")
    assert step.uri == usual.uri == "evaluate"
    assert step.parameters == usual.parameters | {"model_export": "model_export:prod"}
    elsewhere = only("test_regression_model", "main.components_repository=https://x.org/r.git")
    assert elsewhere.uri == "https://x.org/r.git#evaluate"


def test_no_stratification_is_written_as_null():
    assert only("segregate", "data.stratify=null").parameters["stratify"] == "null"


def test_those_who_want_csv_get_csv_all_the_way():
    steps = {s.name: s for s in planned("data.preprocessed_artifact=preprocessed_data.csv")}
    assert steps["preprocess"].parameters["artifact_name"] == "preprocessed_data.csv"
    assert steps["segregate"].outputs == ("data_train.csv", "data_test.csv")
    assert steps["evaluate"].parameters["test_data"] == "data_test.csv:latest"
    assert steps["check_data"].parameters["reference_artifact"] == "preprocessed_data.csv:reference"


def test_the_model_section_is_passed_resolved():
    config = only("train_random_forest").files["model_config"]
    assert config["target"] == "genre"
    assert config["features"]["nlp"] == ["text_feature"]


@pytest.mark.parametrize(
    ("given", "uri", "version"),
    [
        ([], "get_data", None),
        (["steps.get_data.uri=/elsewhere/get"], "/elsewhere/get", None),
        (
            [
                "steps.get_data.uri='https://git.example/r.git#get_data'",
                "steps.get_data.version=v1",
            ],
            "https://git.example/r.git#get_data",
            "v1",
        ),
        (
            ["main.components_repository='https://git.example/r.git'"],
            "https://git.example/r.git#get_data",
            None,
        ),
        (
            [
                "main.components_repository='https://git.example/r.git#components'",
                "main.components_version=main",
            ],
            "https://git.example/r.git#components/get_data",
            "main",
        ),
        (
            [
                "main.components_repository='https://git.example/r.git'",
                "steps.get_data.uri=get_data",
            ],
            "get_data",
            None,
        ),
    ],
)
def test_a_step_comes_from_its_own_repository_the_common_one_or_here(given, uri, version):
    step = only("get_data", *given)
    assert (step.uri, step.version) == (uri, version)


def refusal(*given: str) -> str:
    with pytest.raises(UserError) as refused:
        planned(*given)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_engine_names_no_step():
    names = set()
    for path in (ROOT / "conf" / "pipeline").glob("*.yaml"):
        names |= {*yaml.safe_load(path.read_text())["steps"]}
    words = re.compile(rf"\b({'|'.join(sorted(names))})\b")
    files = [*(ROOT / "pipeline").rglob("*.py"), ROOT / "main.py"]
    assert len(names) > 5 and len(files) > 30
    found = {path.name: words.findall(path.read_text(encoding="utf-8")) for path in files}
    assert {name: steps for name, steps in found.items() if steps} == {}


@pytest.mark.parametrize("dataset", overrides.datasets())
@pytest.mark.parametrize("half", [False, True])
def test_a_step_gets_of_the_dataset_what_is_declared(dataset, half, tmp_path):
    resolvers.register_resolvers()
    given = [f"dataset={dataset}", f"data.reference_half={str(half).lower()}"]
    settings = schema.check(overrides.base_config(given))
    said = settings.data.model_dump()
    steps = {step.name: step for step in plan(settings)}
    for name in ("preprocess", "check_data"):
        content = steps[name].files["dataset_config"]
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content))
        read = declaration.load(path).model_dump()
        for key in content:
            if key != "file_url":
                assert content[key] == read[key] == said[key], key
    assert ("random_state" in steps["preprocess"].parameters) == half
    assert ("stratify" in steps["preprocess"].files["dataset_config"]) == half
    assert ("reference_data.parquet" in steps["preprocess"].outputs) == half
    assert steps["train_random_forest"].files == {
        "model_config": settings.random_forest_pipeline.model_dump()
    }


def test_a_parameter_is_the_checked_value():
    steps = {step.name: step for step in planned("data.val_size=0", "data.stratify=none")}
    assert steps["train_random_forest"].parameters["val_size"] == "0.0"
    assert steps["segregate"].parameters["stratify"] == "null"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["steps.check_data.outputs=[data_train.parquet]"],
            "steps check_data and segregate both make data_train.parquet",
        ),
        (
            ["steps.segregate.inputs.input_artifact=model_export:latest"],
            "circle, each reading what the next makes: segregate -> train_random_forest -> segre",
        ),
        (
            ["steps.check_data.inputs.sample_artifact=data_test.parquet:latest"],
            "step check_data reads data_test.parquet, which segregate makes after it",
        ),
        (
            ["random_forest_pipeline.export_artifact=null"],
            "evaluate needs the input model_export, and random_forest_pipeline.export_artifact is",
        ),
        (
            ["+steps.check_data.parameters.dataset_config=a"],
            "steps.check_data: 'dataset_config' is given twice",
        ),
        (["+steps.check_data.source=file_url"], "source: unknown parameter 'file_url'"),
        (["+steps.check_data.gates=true"], "the nearest is 'steps.check_data.gate'"),
        (["+steps.check_data.parameters.x=[1]"], "steps.check_data.parameters.x"),
        (["steps.segregate.inputs.input_artifact=a"], "a"),
        (["+steps.preprocess.only_when.colour=true"], "only_when: unknown name 'colour'"),
        (["+steps.check_data.parameters.x=${data.testsize}"], "testsize"),
        (["~steps"], "the pipeline has no steps"),
    ],
)
def test_a_pipeline_that_cannot_run_is_refused_in_one_sentence(given, said):
    assert said in refusal(*given)


def test_what_an_earlier_run_made_may_come_from_a_later_step():
    steps = planned("steps.segregate.inputs.input_artifact=model_export:prod")
    assert steps[3].inputs == ("model_export:prod",)
