"""What a new step is asked to be, checked, and the template of its folder, filled in.

The template is cookie-mlflow-step; `new_step` and the program cookiecutter fill in the same one.
Imports nothing that an environment of cookiecutter alone does not have.
"""

import importlib.util
import json
import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from util_lib.errors import UserError
from util_lib.project import ROOT

TEMPLATE = ROOT / "cookie-mlflow-step"
TYPES = {"str": "str", "int": "int", "float": "float", "bool": "cli.true_or_false"}
OURS = ("main", "all", "test", "tests")  # words with a meaning where steps are chosen or tested
TAKEN = ("help", "table", "artifact_name", "artifact_type", "artifact_description")
ARTIFACT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
# What stands in YAML, Python, Markdown and a shell alike and means nothing there.
HARMLESS = re.compile(r"\w[\w .,:;!?()/+=%@#&*'-]*")
# An argument that begins with @ is a file of arguments, one with - a flag if it is no number.
VALUE = re.compile(r"[\w.:/+=%][\w .:/+=%@-]*|-\d+|-\d*\.\d+|")

MOST_CHARACTERS = 200  # of a default; Python reads no number of more than 4300 digits


@dataclass(frozen=True)
class Flag:
    """One argument of the script; a `default` of None makes it required."""

    name: str
    help: str
    reader: str = "str"
    default: str | None = None

    @property
    def options(self) -> str:
        """Return what `add_argument` gets, one option a line."""
        options = [quoted(f"--{self.name}")]
        options += [f"type={self.reader}"] if self.reader != "str" else []
        required = self.default is None
        options.append("required=True" if required else f"default={quoted(str(self.default))}")
        options.append(f"help={quoted(self.help)}")
        return "".join(f"        {option},\n" for option in options)

    @property
    def yaml(self) -> str:
        """Return what MLproject says of it."""
        default = "" if self.default is None else f"        default: {quoted(self.default)}\n"
        return (
            f"      {self.name}:\n        description: {quoted(self.help)}\n"
            f"        type: string\n{default}"
        )


@dataclass(frozen=True)
class Parameter:
    """A parameter of `work`."""

    name: str
    type: str
    default: str | None

    @property
    def example(self) -> str:
        """Return a value of its type."""
        examples = {"str": "text", "int": "1", "float": "0.5", "bool": "true"}
        return examples[self.type] if not self.default else self.default

    @property
    def literal(self) -> str:
        """Return the example as Python code."""
        if self.type == "bool":
            return str(self.example == "true")
        if self.type == "str":
            return quoted(self.example)
        return repr(int(self.example) if self.type == "int" else float(self.example))


@dataclass(frozen=True)
class NewStep:
    """A step as it was asked for. `inputs` maps the flags of the tables it reads to references."""

    name: str
    script: str
    job_type: str
    short_description: str
    long_description: str
    parameters: tuple[Parameter, ...]
    inputs: dict[str, str]
    output: str

    @property
    def tables(self) -> list[str]:
        """Return the names that the tables it reads have in `work`."""
        return ["table"] if len(self.inputs) == 1 else [*self.inputs]

    @property
    def flags(self) -> list[Flag]:
        """Return the arguments of the script, in order."""
        reads = [
            Flag(name, f"A table to read, e.g. {reference}", "cli.artifact_reference")
            for name, reference in self.inputs.items()
        ]
        writes = f"Name of the artifact, e.g. {self.output}; .csv is written as CSV"
        return [
            *reads,
            Flag("artifact_name", writes, "cli.artifact_name"),
            Flag("artifact_type", "Type of the artifact", "cli.artifact_type", self.name),
            Flag(
                "artifact_description",
                "One sentence about the artifact",
                default=self.short_description,
            ),
            *(
                Flag(p.name, f"{p.name} of work, {p.type}", TYPES[p.type], p.default)
                for p in self.parameters
            ),
        ]

    @property
    def values(self) -> dict[str, str]:
        """Return a value for each argument that has no default, and for each parameter."""
        given = {**self.inputs, "artifact_name": self.output}
        return given | {p.name: p.example for p in self.parameters}

    @property
    def required(self) -> dict[str, str]:
        """Return a value for each argument that has no default."""
        missing = {flag.name for flag in self.flags if flag.default is None}
        return {name: value for name, value in self.values.items() if name in missing}

    @property
    def conda(self) -> str:
        """Return its conda.yml: the environment of a step of the project under another name."""
        like = ROOT / str(template()["_environment_of"]) / "conda.yml"
        return re.sub(r"\Aname: .*", f"name: {self.name}", like.read_text(encoding="utf-8"))

    @property
    def entry(self) -> str:
        """Return what stands under `steps:` in a pipeline file."""
        mapped = [f"{name}: {quoted(value)}" for name, value in self.inputs.items()]
        given = {n: v for n, v in self.values.items() if n not in self.inputs}
        parameters = [f"{name}: {quoted(value)}" for name, value in given.items()]
        return (
            f"  {self.name}:\n"
            f"    uri: ./{self.name}\n"
            f"    inputs: {{{', '.join(mapped)}}}\n"
            f"    parameters: {{{', '.join(parameters)}}}\n"
            f"    outputs: [{quoted(self.output)}]\n"
        )


def quoted(text: str) -> str:
    """Write `text` as YAML and Python both read it."""
    return json.dumps(text, ensure_ascii=False)


def template() -> dict[str, Any]:
    """Return the variables of the template and its settings."""
    return json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))


def check(answers: Mapping[str, Any]) -> NewStep:
    """Read the variables of the template; what cannot be is one `UserError`."""
    answers = {
        name: str(text).strip(" ") for name, text in answers.items() if not name.startswith("_")
    }
    name, script = answers["step_name"], answers["script_name"]
    _check_step_name(name)
    if not re.fullmatch(r"[a-z][a-z0-9_]*\.py", script) or script.startswith("test_"):
        raise UserError(f"script_name must be like run.py, found {script!r}")
    if not ARTIFACT.fullmatch(answers["job_type"]):
        raise UserError(f"job_type must be a word, found {answers['job_type']!r}")
    for key in ("short_description", "long_description"):
        longest = 80 if key == "short_description" else 1000
        if not HARMLESS.fullmatch(answers[key]) or len(answers[key]) > longest:
            raise UserError(
                f"{key} must be one line of 1 to {longest} letters, digits and .,:;!?()/+=%@#&*'- "
                f"(no quotes, backslashes, brackets or $), found {answers[key]!r}"
            )
    inputs = _inputs(answers["inputs"])
    output = answers["outputs"]
    if not ARTIFACT.fullmatch(output):
        raise UserError(
            "outputs must be one artifact name, such as clean_data.parquet (log others in the "
            f"script and list them in the pipeline file), found {output!r}"
        )
    if output in [reference.partition(":")[0] for reference in inputs.values()]:
        raise UserError(f"outputs {output!r} is also an input: a step writes another artifact")
    return NewStep(
        name=name,
        script=script,
        job_type=answers["job_type"],
        short_description=answers["short_description"],
        long_description=answers["long_description"],
        parameters=_parameters(answers["parameters"], {*TAKEN, *inputs}),
        inputs=inputs,
        output=output,
    )


def _check_step_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name) or keyword.iskeyword(name):
        raise UserError(
            "the name of a step must be a Python name of small letters, digits and _ and no "
            f"keyword, such as clean_titles; found {name!r}"
        )
    if name in OURS or (ROOT / name).exists():
        raise UserError(
            f"the name of a step must be its own, and {name!r} is the name of a part of the "
            "pipeline: choose another one"
        )
    module = importlib.util.find_spec(name)
    if module is not None and module.origin:  # else only a folder somewhere
        raise UserError(
            f"the name of a step must be its own, and {name!r} is a Python package: choose another"
        )


def _inputs(text: str) -> dict[str, str]:
    """Read artifact names separated by commas; return references by the flag that takes each."""
    references: dict[str, str] = {}
    names = [name.strip() for name in text.split(",")]
    for name in names:
        artifact, _, alias = name.partition(":")
        if not ARTIFACT.fullmatch(artifact) or not ARTIFACT.fullmatch(alias or "latest"):
            raise UserError(
                "inputs must be artifact names separated by commas, such as raw_data.parquet, "
                f"found {name!r}"
            )
        stem = re.sub(r"\W", "_", artifact.partition(".")[0])
        flag = "input_artifact" if len(names) == 1 else _name("an input", stem, {*TAKEN})
        if flag in references:
            raise UserError(f"inputs {references[flag]!r} and {name!r} have one name: rename one")
        references[flag] = f"{artifact}:{alias or 'latest'}"
    return references


def _name(what: str, name: str, taken: set[str]) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or keyword.iskeyword(name):
        raise UserError(f"the name of {what} must be a Python name, found {name!r}")
    if name in taken:
        raise UserError(f"the name of {what} must be its own, and the step already has {name!r}")
    return name


def _parameters(text: str, taken: set[str]) -> tuple[Parameter, ...]:
    """Read `min_len:int=3,lang:str=en,word`; without a type str, without a default required."""
    parameters: list[Parameter] = []
    for declared in text.split(",") if text else []:
        head, equals, default = declared.strip().partition("=")
        name, colon, type = (word.strip() for word in head.partition(":"))
        _name("a parameter", name, taken | {parameter.name for parameter in parameters})
        if colon and type not in TYPES:
            raise UserError(
                f"parameter {name}: unknown type {type!r}: choose from {', '.join(TYPES)}"
            )
        parameter = Parameter(name, type or "str", default if equals else None)
        _check_default(parameter)
        parameters.append(parameter)
    return tuple(parameters)


def _check_default(parameter: Parameter) -> None:
    default, type = parameter.default, parameter.type
    if default is None:
        return
    if len(default) > MOST_CHARACTERS:
        raise UserError(
            f"parameter {parameter.name}: the default must have at most {MOST_CHARACTERS} "
            f"characters, found {len(default)}"
        )
    pattern = {"int": r"-?\d+", "float": r"-?(\d+\.?\d*|\.\d+)(e-?\d+)?", "bool": "true|false"}
    if type in pattern and not re.fullmatch(pattern[type], default, re.ASCII):
        examples = {"int": "3", "float": "0.5", "bool": "true or false"}
        raise UserError(
            f"parameter {parameter.name}: the default of a {type} must be like {examples[type]}, "
            f"found {default!r}"
        )
    if not VALUE.fullmatch(default):
        raise UserError(
            f"parameter {parameter.name}: the default must be letters, digits, spaces and "
            f".:/+=%@-_ and not begin with - or @, found {default!r}"
        )


def render(step: NewStep, folder: Path) -> None:
    """Write the files of the step into `folder`, which is there."""
    options = template()["_jinja2_env_vars"]
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, **options)
    given = {"new_step": lambda answers: step, "cookiecutter": {}}
    (files,) = (path for path in TEMPLATE.iterdir() if "{{" in path.name)
    for path in files.iterdir():
        name = environment.from_string(path.name).render(given)
        text = environment.from_string(path.read_text(encoding="utf-8")).render(given)
        (folder / name).write_text(text, encoding="utf-8")
