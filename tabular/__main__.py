"""Run an entry point of the project in whose checkout one stands, or below it.

Nothing is listed here twice: commands, parameters and defaults are read out of the MLproject files.
Those of the root run in this Python, all others in the environment of their project, as by
`mlflow run`. This file imports nothing of the checkout: it may be installed for itself.
"""

import ast
import difflib
import os
import re
import shlex
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml

PROJECT = "TABULAR_PROJECT"  # names the checkout from elsewhere
MARKS = ("MLproject", "config.yaml", "pipeline", "util_lib")
TRACKING = "util_lib/tracking/__main__.py"
FIRST = (".", "serving", "monitoring", "data_analysis")  # projects, in the order of the help
MANAGERS = ("conda", "uv", "virtualenv", "local")


class Command(NamedTuple):
    """An entry point of an MLproject."""

    folder: str
    entry: str
    about: str
    parameters: dict[str, dict[str, Any]]
    line: str  # as MLproject has it


class Mistake(Exception):
    """What the user typed cannot be done; the message says why."""


def main(argv: list[str] | None = None) -> int:
    """Become the command that was typed, or show the help, or what is wrong in one sentence."""
    words = sys.argv[1:] if argv is None else argv
    try:
        root = project(Path.cwd())
        name, *rest = words or ["--help"]
        commands = read(root)
        if name in ("-h", "--help", "help"):
            print(overview(root, commands))
        elif name == "run":
            _become([sys.executable, str(root / "main.py"), *rest], root)
        elif name in tracking(root):
            _become([sys.executable, "-m", "util_lib.tracking", name, *rest], root)
        elif name not in commands:
            raise Mistake(_unknown("command", name, ["run", *commands, *tracking(root)]))
        elif {"-h", "--help"} & {*rest}:
            print(described(name, commands[name]))
        else:
            _become(words_of(root, name, commands[name], rest), root)
    except Mistake as mistake:
        print(f"tabular: {mistake}", file=sys.stderr)
        return 1
    return 0


def project(here: Path) -> Path:
    """Return the checkout around `here`, or the one that the environment names."""
    named = os.environ.get(PROJECT)
    for folder in [Path(named).absolute()] if named else [here, *here.parents]:
        if all((folder / mark).exists() for mark in MARKS):
            return folder
    if named:
        raise Mistake(
            f"{PROJECT}={named!r} is no checkout of tabular-pipeline: unset or correct it"
        )
    raise Mistake(
        f"there is no checkout of tabular-pipeline at {here} or above it: go to one "
        f"(git clone, then cd), or name it by {PROJECT}=/path/to/it"
    )


def read(root: Path) -> dict[str, Command]:
    """Return the entry points of the checkout by the word that runs them; the first of a name.

    A project's `main` is called by its folder; the root's is `run`, which takes words as main.py.
    """
    folders = [path.parent.name for path in sorted(root.glob("*/MLproject"))]
    found: dict[str, Command] = {}
    for folder in dict.fromkeys([*FIRST, *folders]):
        path = root / folder / "MLproject"
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        comments = dict(re.findall(r"^  # (.*)\n  (\w+):", text, re.MULTILINE))
        comments = {entry: comment for comment, entry in comments.items()}
        top = " ".join(re.findall(r"^# (.*)", text, re.MULTILINE))
        for entry, point in yaml.safe_load(text)["entry_points"].items():
            name = folder if entry == "main" else entry
            about = comments.get(entry, top if entry == "main" else "")
            about = about or _opening(path.parent, point["command"])
            command = Command(folder, entry, about, point.get("parameters") or {}, point["command"])
            found.setdefault(name, command)
    del found["."]
    return found


def _opening(folder: Path, command: str) -> str:
    """Return the first line of the script that a command starts."""
    script = re.search(r"python (\w+\.py)", command)
    text = (folder / script[1]).read_text(encoding="utf-8") if script else ""
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def tracking(root: Path) -> dict[str, str]:
    """Return the commands of util_lib.tracking, and what its parser says of them."""
    text = (root / TRACKING).read_text(encoding="utf-8")
    return dict(re.findall(r'add_parser\(\s*"(\w+)",\s*help="([^"]+)"', text))


def overview(root: Path, commands: dict[str, Command]) -> str:
    """Return the help."""
    rows = [("run", "The pipeline: tabular run [key=value ...] [-m] [--plan]")]
    rows += [(name, command.about or f"{name} alone") for name, command in commands.items()]
    own = {name: f"{about[0].upper()}{about[1:]}." for name, about in tracking(root).items()}
    rows += [item for item in own.items() if item[0] not in commands]
    lines = [
        "usage: tabular COMMAND [--name VALUE ...]; COMMAND --help lists its names",
        "",
    ]
    for name, about in dict(rows).items():
        lines += textwrap.wrap(
            f"{name:25} {about}", 79, initial_indent="  ", subsequent_indent=" " * 28
        )
    return "\n".join([*lines, "", f"project: {root}"])


def described(name: str, command: Command) -> str:
    """Return what a command takes."""
    lines = [f"usage: tabular {name} [--name VALUE ...]", command.about, ""]
    managed = {"--env-manager": {"description": f"one of {', '.join(MANAGERS)}", "default": "auto"}}
    own = {f"--{key}": about for key, about in command.parameters.items()}
    for key, about in {**own, **({} if command.folder == "." else managed)}.items():
        default = about.get("default")
        said = "required" if default is None else f"default {default}" if default else "optional"
        lines += textwrap.wrap(
            f"{key:20} {about['description']} ({said})",
            79,
            initial_indent="  ",
            subsequent_indent=" " * 23,
        )
    return "\n".join(lines)


def words_of(root: Path, name: str, command: Command, rest: list[str]) -> list[str]:
    """Return the program and its arguments, as MLproject or `mlflow run` has them."""
    given = _given(name, command, rest)
    manager = given.pop("env-manager", None) or ("conda" if shutil.which("conda") else "uv")
    if command.folder != ".":
        pairs = [word for key, value in given.items() for word in ("-P", f"{key}={value}")]
        start = [sys.executable, "-m", "mlflow", "run", str(root / command.folder)]
        return [*start, "-e", command.entry, "--env-manager", manager, *pairs]
    values = {key: about.get("default") for key, about in command.parameters.items()} | given
    return [sys.executable, *(word.format(**values) for word in shlex.split(command.line)[1:])]


def _given(name: str, command: Command, rest: list[str]) -> dict[str, str]:
    """Return the parameters among `rest`: --name value, --name=value, or required ones in order."""
    known = [*command.parameters, *([] if command.folder == "." else ["env-manager"])]
    needed = [key for key, about in command.parameters.items() if about.get("default") is None]
    given: dict[str, str] = {}
    words = list(rest)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            if not (open_ := [key for key in needed if key not in given]):
                raise Mistake(f"{name}: {word!r} belongs to no parameter: write --name {word}")
            given[open_[0]] = word
            continue
        key, equals, value = word.removeprefix("--").partition("=")
        key = key if key == "env-manager" else key.replace("-", "_")
        if key not in known:
            raise Mistake(f"{name}: {_unknown('parameter', f'--{key}', [f'--{k}' for k in known])}")
        if not equals:
            if not words:
                raise Mistake(f"{name}: --{key} stands without a value: write --{key} VALUE")
            value = words.pop(0)
        given[key] = value
    if missing := [key for key in needed if key not in given]:
        raise Mistake(
            f"{name} needs --{missing[0]}: {command.parameters[missing[0]]['description']}"
        )
    if given.get("env-manager", "uv") not in MANAGERS:
        raise Mistake(f"{name}: {_unknown('env-manager', given['env-manager'], [*MANAGERS])}")
    return given


def _unknown(kind: str, name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"the nearest is {near[0]!r}; " if near else ""
    return f"unknown {kind} {name!r}: {hint}choose from {', '.join(dict.fromkeys(names))}"


def _become(words: list[str], root: Path) -> NoReturn:
    """Replace this process: signals and the exit code are the command's own."""
    environment = dict(os.environ)
    paths = [str(root), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    here = str(Path(sys.executable).parent)  # uv and mlflow lie beside this Python
    environment["PATH"] = os.pathsep.join([here, environment.get("PATH", os.defpath)])
    sys.stdout.flush()
    os.execve(words[0], words, environment)


if __name__ == "__main__":
    sys.exit(main())
