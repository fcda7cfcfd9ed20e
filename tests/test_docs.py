"""What the documents tell a reader to type works: commands are read as their programs read them."""

import importlib
import os
import re
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from docs import build
from pipeline.commands import (
    bundle,
    describe,
    diff,
    gc,
    leaderboard,
    new_step,
    reproduce,
    review,
    unbundle,
    update,
)
from pipeline.planning.plan import plan
from pipeline.running import preview
from pipeline.settings import overrides, resolvers, schema
from tests import warm
from util_lib import tracking
from util_lib.tracking import __main__ as tracking_commands

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not {".venv", ".site", ".pytest_cache", "node_modules"} & set(path.relative_to(ROOT).parts)
)
BESIDE = {
    "bundle": bundle,
    "describe": describe,
    "diff": diff,
    "gc": gc,
    "leaderboard": leaderboard,
    "new_step": new_step,
    "reproduce": reproduce,
    "review": review,
    "unbundle": unbundle,
    "update": update,
}  # entry points of the root
# Its blocks belong together: they are run one after the other, on either backend.
WALK = ROOT / "docs" / "artifacts.md"


def code_lines(document: Path) -> list[str]:
    """Lines of shell code: fenced as bash, or indented by four spaces; `\\` continues a line."""
    text = document.read_text(encoding="utf-8")
    fenced = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    indented = [line[4:] for line in rest.splitlines() if line.startswith("    ")]
    joined = "\n".join([*fenced, *indented]).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip()]


def commands() -> list:
    found = []
    for document in (document for document in DOCUMENTS if document != WALK):
        for line in code_lines(document):
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"\w+=.*", words[0]):  # WANDB_PROJECT=... before it
                words = words[1:]
            if words and words[0] in ("make", "mlflow", "python"):
                name = f"{document.relative_to(ROOT)}: {line}"
                found.append(pytest.param(document, words, id=name))
    return found


def options(words: list[str], *names: str) -> list[str]:
    return [value for name, value in zip(words, words[1:], strict=False) if name in names]


def composes(given: list[str], document: Path) -> None:
    """The overrides are read, composed and valid; a sweep by its first value.

    A dataset that the document itself tells the reader to write stands for the default one.
    """
    resolvers.register_resolvers()
    line = overrides.command_line(given)
    for number, word in enumerate(line):
        group, _, name = word.partition("=")
        if group in ("dataset", "pipeline") and name not in overrides.choices(group):
            assert f"conf/{group}/{name}.yaml" in document.read_text(encoding="utf-8")
            if group == "pipeline":  # its steps are known there only, where it is run for real
                return
            line[number] = "dataset=songs_demo"
    single = []
    for override in (word for word in line if not word.startswith("-")):
        found = OverridesParser.create().parse_override(override)
        if found.key_or_group == "best":  # written by a sweep
            continue
        if "-m" in line and found.is_discrete_sweep():
            override = f"{found.get_key_element()}={next(found.sweep_string_iterator())}"
        elif "-m" in line and found.is_interval_sweep():
            override = f"{found.get_key_element()}={found.value().start}"
        single.append(override)
    schema.check(overrides.base_config(single))


def step_command(step: str, script: str, given: list[str]) -> None:
    module = importlib.import_module(f"{step.replace('/', '.')}.{Path(script).stem}")
    module.build_parser().parse_args(given)


def mlproject_call(folder: str, words: list[str], document: Path) -> None:
    entry = (options(words, "-e", "--entry-point") or ["main"])[0]
    spec = yaml.safe_load((ROOT / folder / "MLproject").read_text())["entry_points"][entry]
    given = dict(pair.split("=", 1) for pair in options(words, "-P"))
    declared = spec.get("parameters", {})
    assert set(given) <= set(declared)
    missing = {name for name, value in declared.items() if value.get("default") is None}
    assert missing <= set(given)
    if folder == "." and entry in BESIDE:
        BESIDE[entry].build_parser().parse_args(
            [f"--{name}={value}" for name, value in given.items()]
        )
        return
    if folder == "." and entry != "main":
        values = {name: given.get(name, value.get("default")) for name, value in declared.items()}
        filled = spec["command"].format(**{name: shlex.quote(v) for name, v in values.items()})
        tracking_commands.build_parser().parse_args(shlex.split(filled)[3:])
        return
    if folder == ".":
        main_words = [f"--{name}={value}" for name, value in given.items()]
        composes(main_words, document)
        return
    values = {name: given.get(name, value.get("default")) for name, value in declared.items()}
    script = re.search(r"python (\w+\.py)", spec["command"])[1]
    step_command(folder, script, [f"--{name}={value}" for name, value in values.items()])


def test_the_documents_hold_commands():
    assert len(commands()) > 20


@pytest.mark.parametrize(("document", "words"), commands())
def test_a_command_in_the_documents_is_one_that_works(document, words):
    home = document.parent.name if document.parent != ROOT else "."
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
    elif words[:2] == ["mlflow", "run"]:
        place = words[2]
        if "://" in place:
            mlproject_call(".", words, document)
        else:
            here = home if (ROOT / home / "MLproject").is_file() else "."
            folder = here if place == "." else place.removeprefix("./").rstrip("/")
            mlproject_call(folder, words, document)
    elif words[:2] == ["python", "main.py"]:
        if not any(word.startswith("--") for word in words):
            composes(words[2:], document)
    elif words[0] == "python" and Path(words[1]).name == "run.py":
        step = Path(words[1]).parent.name or home
        step_command(step, words[1], words[2:])
    elif words[0] == "python" and words[1].endswith(".py"):
        folder = Path() if (ROOT / words[1]).exists() else Path(home)
        assert (ROOT / folder / words[1]).is_file()
        assert answers_help(str(ROOT / folder / words[1]))
    elif words[:2] == ["python", "-m"] and words[2].startswith(("util_lib", "pipeline")):
        assert answers_help("-m", words[2])


@cache
def answers_help(*program: str) -> bool:
    asked = subprocess.run([warm.python(), *program, "--help"], cwd=ROOT, capture_output=True)
    return asked.returncode == 0


def python_blocks() -> list:
    found = []
    for document in (document for document in DOCUMENTS if document != WALK):
        text = document.read_text(encoding="utf-8")
        # What stands below the path of a file is that file: it runs in its place.
        text = re.sub(
            r"^`\S+/\S+`:\n\n```python\n.*?^```", "", text, flags=re.DOTALL | re.MULTILINE
        )
        blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        for number, block in enumerate(blocks):
            found.append(pytest.param(block, id=f"{document.relative_to(ROOT)} {number}"))
    return found


@pytest.mark.parametrize("block", python_blocks())
def test_a_python_block_in_the_documents_runs(block, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TRACKING_PUBLISH": "parent"}
    with tracking.init(project="songs_demo"):
        pass  # who only looks makes no store
    done = subprocess.run(
        [warm.python(), "-c", block],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def walk() -> tuple[str, list[list[str]]]:
    """The page's blocks as one script that prints a mark where an output is shown, and these."""
    script, shown = ["set -e"], []
    text = WALK.read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if language == "python":
            block = f"python - <<'END_OF_BLOCK'\n{block}END_OF_BLOCK\n"
        if language:
            script.append(block)
        else:
            script.append("echo = output shown =")
            shown.append(block.splitlines())
    return "\n".join(script), shown


@pytest.mark.parametrize("backend", ["local", pytest.param("wandb", marks=pytest.mark.slow)])
def test_the_walk_through_versions_and_lineage_prints_what_it_shows(backend, tmp_path, request):
    shutil.copytree(ROOT / "exercises", tmp_path / "walk" / "exercises")
    (tmp_path / "walk" / "util_lib").symlink_to(ROOT / "util_lib")
    environment = {**os.environ, "TRACKING_PUBLISH": "parent"}
    del environment["TRACKING_STORE"]
    environment = warm.first_on_path(environment)
    expected = {path.name for path in (ROOT / "exercises").iterdir()} - {"__pycache__"}
    if backend == "wandb":
        pytest.importorskip("wandb", reason="the genuine W&B client is not installed")
        account = request.getfixturevalue("wandb_account")
        environment |= {**account.environment, "WANDB_DIR": str(tmp_path / "walk" / "exercises")}
        # the client makes a folder of this name where it reads runs
        expected.add(account.entity)
    script, shown = walk()
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path / "walk",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sections = done.stdout.split("= output shown =\n")
    assert len(shown) > 5 and len(sections) == len(shown) + 1
    for section, lines in zip(sections, shown, strict=False):
        for line in lines:
            assert line in section, f"{line!r} is not in {section}"
    assert "Attempted to fetch artifact without alias" in done.stderr
    left = {path.name for path in (tmp_path / "walk" / "exercises").iterdir()}
    assert left - {"__pycache__"} == expected


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_the_documents_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in link:
            assert (document.parent / link).exists(), link


def test_the_reference_is_what_the_code_says():
    assert build.REFERENCE.read_text(encoding="utf-8") == build.reference(), (
        "run python docs/build.py reference"
    )


def test_every_document_is_a_page_of_the_site_that_its_menu_leads_to(tmp_path):
    build.stage(tmp_path)
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r": (\S+\.md)$", menu, re.MULTILINE))
    assert all((tmp_path / name).is_file() for name in named)
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= named


def test_a_command_in_the_documents_needs_no_conda():
    lacking = [
        f"{document.relative_to(ROOT)}: {line}"
        for document in DOCUMENTS
        for line in code_lines(document)
        if line.startswith("mlflow run ") and "--env-manager" not in line
    ]
    assert lacking == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_column_of_a_table_has_a_name(document):
    text = document.read_text(encoding="utf-8")
    headers = re.findall(r"^ *\|(.*)\| *\n *\|[-:| ]+\|$", text, re.MULTILINE)
    assert [header for header in headers if "" in map(str.strip, header.split("|"))] == []


@pytest.mark.slow
def test_the_pipeline_of_the_document_runs_as_it_says(tmp_path):
    """The files that docs/pipelines.md shows are written, and its commands run beside them."""
    text = (ROOT / "docs" / "pipelines.md").read_text(encoding="utf-8")
    files = re.findall(r"^`(\S+/\S+)`:\n\n```\w+\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(files) == 3
    for name, content in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    shutil.copy(ROOT / "segregate" / "conda.yml", tmp_path / "count_letters")
    ours = ("TRACKING_", "MLFLOW_", "PIPELINE_", "WANDB_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    said = []
    for line in code_lines(ROOT / "docs" / "pipelines.md"):
        if "pipeline=mine" in line:
            given = dict(p.split("=", 1) for p in options(shlex.split(line), "-P"))["hydra_options"]
            command = [warm.python(), str(ROOT / "main.py"), "main.env_manager=local"]
            done = subprocess.run(
                [*command, f"--hydra_options={given}"],
                cwd=tmp_path,
                env=kept,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            said.append(done.stdout)
    assert "count_letters: done" in said[0]
    assert "count_letters: cached" in said[1]
    assert "count_letters: runs, because: at_least 3 -> 4" in said[2]


def test_the_documented_graph_is_the_one_that_the_plan_makes():
    resolvers.register_resolvers()
    steps = plan(schema.check(overrides.base_config([])))
    text = (ROOT / "docs" / "pipeline.md").read_text(encoding="utf-8")
    assert text.partition("```mermaid\n")[2].partition("```")[0] == preview.mermaid(steps)


def test_make_clean_removes_all_that_git_ignores_at_the_root(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    left = re.findall(
        r"^/?([\w.*-]+(?:/[\w-]+)?)/?$", (ROOT / ".gitignore").read_text(), re.MULTILINE
    )
    names = [name.replace("*.log", "ml_pipeline.log").replace("*", "one") for name in left]
    for name in names:
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    for name in ("conf/dataset", "exercises"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    subprocess.run(["make", "clean"], cwd=tmp_path, capture_output=True, check=True)
    assert len(names) > 15
    assert {path.name for path in tmp_path.iterdir()} == {"Makefile", "conf", "exercises"}
