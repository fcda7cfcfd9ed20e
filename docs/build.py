"""Write docs/reference.md from the code, and build the site of these pages.

    python docs/build.py reference     # after a key, an entry point or a route was changed
    python docs/build.py site          # `make docs`: the folder .site/pages, links checked

The site's sources are the Markdown files of the repository in their places, with all that they link
to, so a page reads the same there and here.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import yaml

from util_lib.dataset import declaration

REFERENCE = ROOT / "docs" / "reference.md"
SITE = ROOT / ".site"
MKDOCS = ("uv", "tool", "run", "--quiet", "--from", "mkdocs==1.6.1")
LINK = re.compile(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)")
KEY = re.compile(r"^( *)(\w+):(?: (.*?))??(?: # (.*))?$")


def reference() -> str:
    """Return docs/reference.md."""
    parts = [
        "# Reference",
        "<!-- made by: python docs/build.py reference -->",
        "The keys of `config.yaml` and of a dataset file, the entry points of all MLprojects,\n"
        "and what the service answers.",
        _config_keys(),
        declaration.reference().rstrip(),
        *_entry_points(),
        _routes(),
    ]
    return "\n\n".join(parts) + "\n"


def _config_keys() -> str:
    """Return the keys of config.yaml with the comments above and behind them."""
    rows = ["## Keys of `config.yaml`", "| key | default | meaning |", "|---|---|---|"]
    inside: list[str] = []
    said: list[str] = []
    for line in (ROOT / "config.yaml").read_text(encoding="utf-8").splitlines():
        if line.startswith("hydra:"):  # its own keys
            break
        if line.strip().startswith("# "):
            said.append(line.strip()[2:])
        elif line.count("{") < line.count("}"):  # the end of a mapping that began above
            pass
        elif found := KEY.match(line):
            depth = len(found[1]) // 2
            inside = [*inside[:depth], found[2]]
            about = " ".join([*said, *filter(None, [found[4]])])
            value = found[3]
            if value and value.startswith("{") and "}" not in value:
                value = None
            if depth and (value or about):
                shown = f"`{value}`" if value and value != "???" else ""
                rows.append(f"| `{'.'.join(inside)}` | {_cell(shown)} | {_cell(about)} |")
            said = []
        else:
            said = []
    return "\n".join(rows)


def _entry_points() -> list[str]:
    """Return a table of the parameters of each entry point."""
    found = ["## Entry points"]
    for path in sorted(ROOT.glob("MLproject")) + sorted(_tracked("*/MLproject")):
        place = path.parent.relative_to(ROOT).as_posix()
        points = yaml.safe_load(path.read_text(encoding="utf-8"))["entry_points"]
        for name, point in points.items():
            entry = "" if name == "main" else f" -e {name}"
            rows = [
                f"### `mlflow run {place}{entry}`",
                "| parameter | default | meaning |",
                "|---|---|---|",
            ]
            for key, about in (point.get("parameters") or {}).items():
                default = about.get("default")
                shown = "required" if default is None else f"`{default}`" if default else "empty"
                rows.append(f"| `{key}` | {shown} | {_cell(about['description'])} |")
            found.append("\n".join(rows))
    return found


def _routes() -> str:
    """Return what the service answers, from the functions that do."""
    rows = ["## HTTP", "| request | answer |", "|---|---|"]
    tree = ast.parse((ROOT / "serving/service/app.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if not isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
            continue
        for call in node.decorator_list:
            if isinstance(call, ast.Call) and ast.unparse(call.func) in ("app.get", "app.post"):
                method = ast.unparse(call.func).removeprefix("app.").upper()
                about = (ast.get_docstring(node) or "The page to try the model.").splitlines()[0]
                rows.append(f"| `{method} {ast.literal_eval(call.args[0])}` | {_cell(about)} |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _tracked(*patterns: str) -> list[Path]:
    asked = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in asked.stdout.splitlines() if "{{" not in name]


def stage(folder: Path) -> None:
    """Lay the Markdown files of the repository into `folder`, with the files that they link to."""
    for page in _tracked("*.md"):
        text = page.read_text(encoding="utf-8")
        linked = {(page.parent / link).resolve() for link in LINK.findall(text)}
        for path in {page, *filter(Path.is_file, linked)}:
            target = folder / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def site() -> None:
    """Build the site; a link that leads nowhere ends it."""
    shutil.rmtree(SITE, ignore_errors=True)
    stage(SITE / "sources")
    for name in ("site.css", "site.js"):
        shutil.copyfile(ROOT / "docs" / name, SITE / "sources" / name)
    given = ["--with-requirements", str(ROOT / "requirements-docs.txt"), "mkdocs", "build"]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run([*MKDOCS, *given, "--strict", "--quiet"], cwd=ROOT, env=environment)
    if done.returncode:
        sys.exit(done.returncode)
    print(f"open {SITE / 'pages' / 'index.html'}")


if __name__ == "__main__":
    if sys.argv[1:] == ["reference"]:
        REFERENCE.write_text(reference(), encoding="utf-8")
    elif sys.argv[1:] == ["site"]:
        site()
    else:
        sys.exit("say what to make: reference or site")
