"""Do a recorded run again and say, artifact by artifact, whether the same came of it.

    python -m pipeline.commands.reproduce --receipt=songs_demo/receipt:latest

Checks out the recorded commit, runs its main.py on the recorded inputs in a folder of its own, and
compares. Exit code 0 only if all artifacts and metrics are the same; nothing stays behind.
"""

import argparse
import copy
import os
import platform
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, get_args

import yaml

from pipeline.caching import fingerprint
from pipeline.receipts import differences, reading, store_copy
from pipeline.receipts.code_checkout import checked_out
from pipeline.receipts.reading import OwnCode, Receipt
from pipeline.running import run_elsewhere
from pipeline.running.exit_code import stoppable_exit_code
from pipeline.running.screen import Screen
from pipeline.settings import temporary
from pipeline.settings.schema import EnvManager
from pipeline.settings.surroundings import step_folder
from util_lib import safe_files, validation
from util_lib.errors import UserError
from util_lib.project import ROOT
from util_lib.tracking import choice
from util_lib.tracking.store.database import Store, open_store
from util_lib.tracking.store.places import has_store, store_directory
from util_lib.urls import HIDDEN

WAY_OUT = "free space there, or set TMPDIR to another directory"


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0 if all is the same, 1 if not or on an error."""
    args = build_parser().parse_args(argv)
    return stoppable_exit_code(lambda: int(not reproduce(args, Screen())))


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; the entry point of the root's MLproject gives the same."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.commands.reproduce", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--receipt", required=True, help="project/name:alias, or the path of a receipt's JSON file"
    )
    parser.add_argument(
        "--repository", default="", help="where the commit is, if neither here nor at its remote"
    )
    parser.add_argument(
        "--file_url", default="", help="where the raw data are, if no longer where they were"
    )
    parser.add_argument(
        "--env_manager", default="", help="who makes the environments, if not as recorded"
    )
    parser.add_argument(
        "--tracking", default="auto", help="where the receipt is, if no file: as main.tracking"
    )
    return parser


def reproduce(args: argparse.Namespace, screen: Screen) -> bool:
    """Do the run again, print the comparison, and say whether all is the same."""
    managers = get_args(EnvManager)
    if args.env_manager and args.env_manager not in managers:
        raise UserError(validation.choose("env_manager", args.env_manager, list(managers)))
    chosen = choice.choose(args.tracking)
    receipt = reading.find(args.receipt, chosen.backend)
    user_store = store_directory()
    os.environ["PIPELINE_HOME"] = str(user_store.parent)
    if receipt.python != platform.python_version():
        screen.say(f"the run had Python {receipt.python}, here is {platform.python_version()}")
    with (
        safe_files.writing(tempfile.gettempdir(), WAY_OUT),
        temporary.folder(user_store) as made,
    ):
        folder = made.resolve()
        with checked_out(receipt.code, args.repository, folder, screen.say) as project:
            config = runnable(receipt, project, args.file_url, args.env_manager)
            store = store_copy.copy(user_store, folder / "home" / "tracking_store")
            store_copy.put_back(store, receipt)
            screen.say("running it in a folder of its own, which is removed at the end")
            again = run_again(config, project, folder / "home", store)
        rows = differences.rows(receipt, again)
        differing = [row for row in rows if not row.same]
        if differing:
            before = open_store(user_store) if has_store(user_store) else None
            manager = config["main"]["env_manager"]
            rows = differences.explained(rows, receipt.project, before, store, manager, folder)
        screen.show(differences.table(rows))
    screen.say(differences.verdict(rows))
    return not differing


def runnable(receipt: Receipt, project: Path, file_url: str, env_manager: str) -> dict[str, Any]:
    """Return the recorded configuration so that it runs here, every step of it."""
    config = copy.deepcopy(receipt.config)
    main, data = config["main"], config["data"]
    main |= {"cache": False, "explain": False, "plan": False, "tracking": "local"}
    main["env_manager"] = env_manager or receipt.env_manager
    data["sha256"] = None  # another content is to be compared, not refused
    if any("file_url" in step.parameters for step in receipt.steps):
        data["file_url"] = file_url or _address(data["file_url"], project)
    # What a run has put into a database may be newer by now.
    main["execute_steps"] = [
        name for name in main["execute_steps"] if not (config["steps"].get(name) or {}).get("sink")
    ]
    for name in main["execute_steps"]:
        entry = config["steps"].get(name) or {}  # of old receipts the code knows its steps itself
        source = entry.get("source")
        if own := next((s.own_code for s in receipt.steps if s.name == name), None):
            entry["uri"] = str(_as_it_was(name, entry["uri"], own))
        if source and "${" not in entry["parameters"][source]:
            entry["parameters"][source] = file_url or _address(entry["parameters"][source], project)
    return config


def _as_it_was(step: str, uri: str, own: OwnCode) -> Path:
    """Return the folder of a step of the user's own, which must be what it was."""
    folder = step_folder(uri)
    if not folder.is_dir() or fingerprint.digest(fingerprint.code_files(uri)) != own.sha256:
        commit = f" (commit {own.commit[:10]} of its repository)" if own.commit else ""
        raise UserError(
            f"the code of step {step} in {folder} is not what that run had{commit}: bring the "
            "folder back to it, and reproduce again"
        )
    return folder


def _address(recorded_url: str, project: Path) -> str:
    if HIDDEN in recorded_url:
        raise UserError(
            f"the receipt does not hold the secrets of {recorded_url}: give the whole address with "
            "file_url=<address>"
        )
    if "://" in recorded_url or Path(recorded_url).is_absolute():
        return recorded_url
    if not (project / recorded_url).exists() and (ROOT / recorded_url).exists():
        return str(ROOT / recorded_url)  # data that git ignores
    return recorded_url


def run_again(config: dict[str, Any], project: Path, home: Path, store: Store) -> Receipt:
    """Run the project's own main.py in `home` and return the receipt that it writes."""
    settings = home / "config"
    settings.mkdir()
    hydra = {"run": {"dir": str(home / "outputs")}}
    defaults = ["_self_", {"override hydra/job_logging": "disabled"}]
    content = {"defaults": defaults, "hydra": hydra, **literal(config), "steps": config["steps"]}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    (settings / "receipt.yaml").write_text(text, encoding="utf-8")
    chosen = ["--config-path", str(settings), "--config-name", "receipt"]
    ended, receipt = run_elsewhere.run(project, home, chosen, store)
    if receipt is None:
        why = f"the recorded code ended with exit code {ended.code} before it left a receipt: "
        if lacks := re.search(r"No module named '(\w+)", ended.last_words):
            raise UserError(
                f"{why}its launch needs the package {lacks[1]}, which this Python lacks: uv pip "
                f"install --python {sys.executable} {lacks[1]}, and reproduce it again"
            )
        raise UserError(f"{why}what it said last stands above")
    return receipt


def literal(value: Any) -> Any:
    """Hide from Hydra what looks like one of its own `${...}`: the values are final."""
    if isinstance(value, dict):
        return {key: literal(each) for key, each in value.items()}
    if isinstance(value, list):
        return [literal(each) for each in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


if __name__ == "__main__":
    sys.exit(main())
