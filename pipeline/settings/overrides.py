"""The command line: from one `hydra_options` string to the overrides Hydra reads.

`mlflow run . -P hydra_options="..."` hands main.py one argument. It is split here, in Python, so
that no shell ever globs, expands or evaluates a user's value.
"""

import argparse
import math
import re
import textwrap
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from pipeline.settings import conf_files
from pipeline.settings.redacted import put_apart
from util_lib import cli, validation
from util_lib.errors import UserError
from util_lib.project import ROOT

MULTIRUN = {"-m", "--multirun"}
MOST_LEVELS, MOST_JOBS = 50, 100_000
QUOTED = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")
CLOSING = {"(": ")", "[": "]", "{": "}"}

# Groups of files in conf, and what one of their files is called.
GROUPS = {
    "dataset": "dataset",
    "pipeline": "pipeline",
    "sweep": "sweep",
    "best": "winner of a sweep",
}

STEPS_KEY = "main.execute_steps"
FLAGS = {"--explain": "main.explain=true", "--plan": "main.plan=true"}
# Keys that may be set whether a file has them or not.
OPEN_KEY = re.compile(r"data\.(columns|clean\.keep_rows)\.\w+\.\w+|steps\.\w+\.(uri|version)")

# Keys of the NYC rental pipeline (columns: theirs, ours), so that its commands work unchanged.
ALIASES = {
    "main.steps": "main.execute_steps",
    "etl.sample": "data.file_url",
    "etl.min_price": "data.clean.keep_rows.price.min",
    "etl.max_price": "data.clean.keep_rows.price.max",
    "data_check.ks_alpha": "data.ks_alpha",
    "data_check.kl_threshold": "data.kl_threshold",
    "modeling.test_size": "data.test_size",
    "modeling.val_size": "data.val_size",
    "modeling.stratify_by": "data.stratify",
    "modeling.random_seed": "main.random_seed",
    "modeling.max_tfidf_features": "random_forest_pipeline.tfidf.max_features",
    "modeling.random_forest": "random_forest_pipeline.random_forest",
}


def split(text: str) -> list[str]:
    """Split `text` on white space that lies outside quotes and brackets; keep every character.

    Quotes stay in the tokens because Hydra reads them. A backslash inside quotes hides the next
    character. Raises `UserError` where a quote or bracket is left open.
    """
    tokens: list[str] = []
    token = ""
    quote = ""
    open_brackets: list[str] = []
    escaped = False
    for char in text:
        if quote:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == quote:
                quote = ""
        elif char in "'\"":
            quote = char
        elif char in CLOSING:
            open_brackets.append(CLOSING[char])
        elif open_brackets and char == open_brackets[-1]:
            open_brackets.pop()
        elif char.isspace() and not open_brackets:
            if token:
                tokens.append(token)
            token = ""
            continue
        token += char
    if quote or open_brackets:
        missing = quote or open_brackets[-1]
        raise UserError(
            f"hydra_options must close every quote and bracket: {missing} is missing in {token!r}; "
            'a value that holds one is written in quotes, for example key="it\'s"'
        )
    return tokens + [token] if token else tokens


def command_line(arguments: list[str]) -> list[str]:
    """Turn main.py's arguments into Hydra's: split `--hydra_options`, expand `--execute_steps`.

    Arguments that Hydra knows (`-m`, `--cfg job`, `key=value`) pass through. `--steps` is the NYC
    pipeline's name for `--execute_steps`; both given is an error. Secrets are put apart first: no
    message repeats one.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--hydra_options", default="")
    parser.add_argument("--execute_steps", default="")
    parser.add_argument("--steps", default="")
    known, rest = parser.parse_known_args([put_apart(word) for word in arguments])
    if known.steps and known.execute_steps:
        raise UserError(
            f"execute_steps ({known.execute_steps!r}) and steps ({known.steps!r}) mean the same: "
            "give one of them"
        )
    given = [FLAGS.get(word, word) for word in split(known.hydra_options) + rest]
    _refuse_unknown_options(given)
    _refuse_depth(given)
    # Hydra's own parser wants the overrides in one piece: its flag goes first
    overrides = ["-m"] if MULTIRUN & set(given) else []
    if steps := known.execute_steps or known.steps:
        quoted = steps.strip().strip("'\"").replace("\\", "\\\\").replace("'", "\\'")
        overrides.append(f"{STEPS_KEY}='{quoted}'")
    given = [use_our_key(word) for word in given if word not in MULTIRUN]
    # a shell may have eaten the quotes of main.execute_steps='a,b', and nobody sweeps over steps
    return overrides + [
        f"{STEPS_KEY}='{word.removeprefix(STEPS_KEY + '=')}'"
        if re.fullmatch(rf"{STEPS_KEY}=[\w, ]+", word)
        else word
        for word in given
    ]


def _refuse_unknown_options(words: list[str]) -> None:
    """`mlflow run . -P stesp=x` arrives as `--stesp x`, which Hydra would answer with its usage."""
    flags = [flag for action in get_args_parser()._actions for flag in action.option_strings]
    for word in words:
        name = word.partition("=")[0]
        if name in FLAGS:
            raise UserError(f"{name} takes no value, found {word!r}: write {name}")
        if word.startswith("--") and name not in flags:
            if validation.nearest(name, [*FLAGS]):
                raise UserError(validation.choose("option", name, [*FLAGS]))
            ours = ["hydra_options", "execute_steps", "steps"]
            raise UserError(
                f"{validation.choose('parameter', name.removeprefix('--'), ours)}; keys of the "
                "configuration go into hydra_options, as key=value"
            )


def _refuse_depth(words: list[str]) -> None:
    """Hydra's parser calls itself for each bracket in a bracket."""
    for word in words:
        level = 0
        for char in QUOTED.sub("", word):
            level += (char in CLOSING) - (char in CLOSING.values())
            if level > MOST_LEVELS:
                key = word.partition("=")[0][:100]
                raise UserError(f"{key}: more than {MOST_LEVELS} brackets in brackets: write fewer")


def swept_values(override: Override) -> list[str]:
    """Return what an override that names several values stands for."""
    found = override.value()
    if isinstance(found, RangeSweep):  # told before it is written out
        width = float(found.stop or 0) - float(found.start or 0)
        count = abs(width / found.step) if found.step else math.inf
        refuse_many([count], str(override.input_line))
    return [*override.sweep_string_iterator()]


def refuse_many(counts: list[float], what: str) -> None:
    """Raise `UserError` for more jobs than anybody waits for: the product of `counts`."""
    if math.prod(counts) > MOST_JOBS:
        raise UserError(
            f"{what} stands for more than {MOST_JOBS:,} jobs: give fewer values, or search a wide "
            "range by hydra/sweeper=optuna with interval(from,to)"
        )


def use_our_key(override: str) -> str:
    """Rewrite an override that uses a key of `ALIASES`; return others as they are.

    A key of a column, of the rows kept by it, or where a step's code is may be set whether a file
    has it or not: Hydra's `++`.
    """
    match = re.fullmatch(r"([+~]*)([\w.]+)(=.*|)", override, re.DOTALL)
    if not match:
        return override
    mark, key, value = match.groups()
    if key == "sweep" and value[1:].strip().lower() in cli.NOTHING:
        return "~sweep"  # Hydra's word for none of a group
    if not mark and OPEN_KEY.fullmatch(key):
        return f"++{override}"
    for theirs, ours in ALIASES.items():
        if key == theirs or key.startswith(theirs + "."):
            return mark + ours + key[len(theirs) :] + value
    return override


def of_job(hydra: Any) -> list[str]:
    """Return the overrides of a job as they were typed, `${...}` in them not filled in."""
    written: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    return written


def config_keys(config: DictConfig) -> list[str]:
    """List every dotted path of `config`, sections and leaves."""
    keys: list[str] = []

    def visit(node: object, path: str) -> None:
        if path:
            keys.append(path)
        if isinstance(node, dict):
            for name, value in node.items():
                visit(value, f"{path}.{name}" if path else str(name))

    visit(OmegaConf.to_container(config, resolve=False, throw_on_missing=False), "")
    return keys


def datasets() -> list[str]:
    """Name the files of conf/dataset, the project's and those where the user stands."""
    return choices("dataset")


def choices(group: str) -> list[str]:
    """Name the files of a group of conf, the project's and those where the user stands."""
    return conf_files.choices(ROOT, group)


def refuse_unfit_files(words: list[str]) -> None:
    """Raise `UserError` for a file of the user's that `words` choose and Hydra cannot take."""
    conf_files.refuse_unfit(ROOT, [*GROUPS], words)


def explain(error: Exception, overrides: list[str]) -> UserError:
    """Turn Hydra's refusal of `overrides` into one sentence: key, value, allowed, nearest key."""
    parsed: list[Override] = []
    for before, word in zip(["", *overrides], overrides, strict=False):
        is_value = before.startswith("-") and before not in MULTIRUN and "=" not in word
        if word.startswith("-") or is_value:  # an option of Hydra
            continue
        try:
            parsed += OverridesParser.create().parse_overrides([word])
        except (OverrideParseException, HydraException) as refusal:
            return UserError(
                f"cannot read the override {word!r} ({str(refusal).splitlines()[0]}): write "
                "key=value, and put values with spaces or any of ; ~ ` ( ) ’ in quotes, "
                "key='the value'"
            )
    multirun = MULTIRUN & set(overrides)
    for override in parsed:
        key, value = override.key_or_group, str(override.input_line).partition("=")[2]
        if override.is_sweep_override() and not multirun:
            return UserError(
                f"{key}={value} names several values: add -m to run once for each, or write "
                f"{key}='{value}' (a text) or {key}=[{value}] (a list)"
            )
        if key in GROUPS and not override.is_sweep_override():
            if value not in choices(key):
                return UserError(validation.choose(GROUPS[key], value, choices(key)))
    chosen = [str(o.input_line) for o in parsed if o.key_or_group in ("dataset", "pipeline")]
    try:
        keys = config_keys(base_config([] if multirun else chosen))
    except Exception:  # the file is at fault, not a key
        keys, parsed = [], []
    for override in parsed:
        key = override.key_or_group
        known = key in keys or key.startswith("hydra") or key in GROUPS or "/" in key
        if not known and not override.is_add() and not override.is_force_add():
            value = str(override.input_line).partition("=")[2]
            near = validation.nearest(key, [*GROUPS, *keys])
            allowed = [*GROUPS] if near in GROUPS else _siblings(near or key, keys)
            return UserError(f"{validation.choose('config key', key, allowed)} (value {value})")
    return UserError(f"the configuration does not compose: {_reason(error)}")


def _reason(error: BaseException) -> str:
    """Return what was said first of `error` and its causes, without Hydra's lists of places."""
    said = re.split(r"\s+(?:Config search path:|full_key:|Available options)", str(error))[0]
    said = " ".join(said.split())
    cause = error.__cause__ or error.__context__
    return said or (_reason(cause) if cause else type(error).__name__)


HELP = """\
{steps}

  mlflow run . --env-manager uv [-P hydra_options="key=value ..."]
                                [-P execute_steps=step,step]
  python main.py [key=value ...]

Examples:
  python main.py main.execute_steps={first}    only these steps
  python main.py dataset=music_genre data.test_size=0.2    another table, split
  python main.py -m data.test_size=0.2,0.3                 a run for each
  python main.py --plan                                    say what would run
  python main.py --explain                                 and of each step why
  python main.py --cfg job --resolve                       the keys, composed

{datasets}
{pipelines}

Keys and their values here, all of which can be overridden:

{config}"""


def help_text(overrides: list[str]) -> str:
    """Say how main.py is used, with the configuration that `overrides` compose.

    Hydra's own --help looks for configuration in every folder below config.yaml, .venv included,
    which takes a minute.
    """
    config = base_config([word for word in overrides if not word.startswith("-")])
    shown = OmegaConf.to_yaml(config)
    entries = config.get("steps") or {}
    steps = [str(name) for name, entry in entries.items() if (entry or {}).get("in_all", True)]
    return HELP.format(
        steps=_listed("Runs the pipeline:", steps),
        first=",".join(steps[:2]),
        datasets=_listed("Datasets (dataset=...):", datasets()),
        pipelines=_listed("Pipelines (pipeline=...):", choices("pipeline")),
        config=shown,
    )


def _listed(what: str, names: list[str]) -> str:
    return textwrap.fill(f"{what} {', '.join(names)}", 79, subsequent_indent="  ")


def base_config(overrides: list[str]) -> DictConfig:
    """Compose config.yaml with `overrides`, outside of `hydra.main`."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(ROOT), version_base="1.3"):
        return compose(config_name="config", overrides=overrides)


def _siblings(key: str, keys: list[str]) -> list[str]:
    """List what may stand where `key` stands: the keys of its section, else the sections."""
    section = key.rpartition(".")[0]
    return [k for k in keys if section and k.rpartition(".")[0] == section] or [
        k for k in keys if "." not in k
    ]
