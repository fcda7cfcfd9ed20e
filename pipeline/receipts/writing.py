"""The receipt of a pipeline run: all that it takes to do it again, and what came of it.

JSON without a time, a run's id or a place on this machine (other than those that the configuration
itself holds), so that a run in which nothing changed has the very same receipt.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from pipeline.caching import fingerprint
from pipeline.planning.step import Outcome, Step
from pipeline.settings.overrides import GROUPS
from pipeline.settings.redacted import shown_config, shown_parameters
from pipeline.settings.schema import Settings
from pipeline.settings.surroundings import is_own, step_folder
from util_lib import git_state
from util_lib.errors import UserError
from util_lib.tracking.names import Reference, parse_reference

FORMAT = 1
NAME = "receipt"  # of the artifact, and its type
FILE = "receipt.json"
DIFF_BYTES = 5_000_000  # more uncommitted changes than that are left out
GIT_TIMEOUT_S = 60
# How a run is shown and what it may reuse: nothing that it makes depends on them.
NOT_KEPT = ("explain", "plan", "cache", "jobs")
# What a run leaves where its user stands, which may be a folder inside the checkout.
LEFT_THERE = (
    *("tracking_store", "mlflow.db*", "mlruns", "outputs", "multirun", "wandb", "artifacts"),
    "ml_pipeline.log",
)


def make(
    settings: Settings,
    steps: list[Step],
    outcomes: list[Outcome],
    code: dict[str, Any],
) -> str:
    """Return the receipt of a run as JSON text; steps that were not reached are not in it.

    `code` is what `code` returned before the first step ran: it may have changed since.
    """
    config = shown_config(settings)
    for key in NOT_KEPT:
        del config["main"][key]
    reached = [
        _step(step, outcome)
        for step, outcome in zip(steps, outcomes, strict=True)
        if outcome.outcome != "not run"
    ]
    content = {
        "format": FORMAT,
        "code": code,
        "config": config,
        "env_manager": settings.main.env_manager,
        "python": platform.python_version(),
        "steps": reached,
    }
    return json.dumps(content, indent=1) + "\n"


def keep(text: str, steps: list[str], failed: bool, **how: Any) -> str:
    """Store a receipt as an artifact, by a run of the type `pipeline`; return its full name.

    `how` is for `tracking.init`.
    """
    from util_lib import tracking

    run = tracking.init(job_type="pipeline", config={"execute_steps": steps}, **how)
    try:
        kept = artifact(text)
        run.log_artifact(kept).wait()
    finally:
        run.finish(exit_code=int(failed))
    return f"{run.project}/{kept.source_name}"


def artifact(text: str) -> Any:
    """Return a receipt as an artifact of the backend in use, not logged yet."""
    from util_lib import tracking

    draft = tracking.Artifact(
        NAME, type=NAME, description="How to make this run's artifacts again, byte for byte"
    )
    with draft.new_file(FILE) as file:
        file.write(text)
    return draft


def versions(text: str, project: str) -> tuple[set[Reference], set[Reference]]:
    """Return the versions that a receipt of a project names: made by its steps, read by them.

    Raises `ValueError` where `text` is no receipt.
    """
    try:
        steps = json.loads(text)["steps"]
        made = {
            Reference(project, name, found["version"])
            for step in steps
            for name, found in step["outputs"].items()
        }
        read = {
            parse_reference(reference, project)._replace(alias=found["version"])
            for step in steps
            for reference, found in step["inputs"].items()
            if found
        }
    except (KeyError, TypeError, AttributeError, UserError) as error:
        raise ValueError(f"no receipt: {error!r}") from error
    return made, read


def _step(step: Step, outcome: Outcome) -> dict[str, Any]:
    folder = step_folder(step.uri)
    environment = folder / "conda.yml"
    is_here = not step.version and environment.is_file()
    return {
        "name": step.name,
        "ended": "finished" if outcome.outcome in ("done", "cached") else outcome.outcome,
        "conda_sha256": hashlib.sha256(environment.read_bytes()).hexdigest() if is_here else None,
        "parameters": shown_parameters(step.parameters, step.source),
        "inputs": outcome.inputs,
        "outputs": dict(_output(logged, outcome) for logged in outcome.artifacts),
        "metrics": outcome.metrics,
        **({"own_code": _own_code(step.uri)} if is_own(step.uri) and folder.is_dir() else {}),
    }


def _own_code(uri: str) -> dict[str, str | None]:
    """Describe a step's folder that lies where the user stands, not in this project."""
    found = git_state.git(step_folder(uri))
    return {
        "sha256": fingerprint.digest(fingerprint.code_files(uri)),
        "remote": found.get("remote") or None,
        "commit": found.get("commit"),
    }


def _output(logged: str, outcome: Outcome) -> tuple[str, dict[str, str | None]]:
    name, _, version = logged.rpartition(":")
    return name, {"version": version, "digest": outcome.digests.get(logged)}


def code(root: Path) -> dict[str, Any]:
    """Describe the checkout at `root`: remote, commit, and as a diff what is not in the commit.

    `folder` is where `root` lies inside the checkout. New files count as changes, other than
    datasets and the like in `conf`; what git ignores does not. All is None where there is no
    checkout. `left_out` says why there is no diff of a dirty tree.
    """
    found = git_state.git(root)
    described = {
        "remote": found.get("remote") or None,
        "commit": found.get("commit"),
        "folder": None,
        "dirty": None,
        "diff": None,
        "left_out": None,
    }
    if not found:
        return described
    where = [".", *_not_code(root)]
    try:
        described["folder"] = _git(root, "rev-parse", "--show-prefix").decode().strip()
        asked = ("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames")
        # New files of these, such as a drafted dataset, say what is composed: `config` holds that.
        top = described["folder"]
        composed = tuple(b"?? " + os.fsencode(f"{top}conf/{group}/") for group in GROUPS)
        told = _git(root, *asked, "--", *where).split(b"\0")
        changed = [line for line in told if line and not line.startswith(composed)]
        described["dirty"] = bool(changed)
        if changed:
            described["diff"], described["left_out"] = _diff(root, where, changed)
    except (OSError, subprocess.SubprocessError) as error:
        words = getattr(error, "stderr", None) or str(error).encode()
        said = " ".join(words.decode(errors="replace").split())
        described["dirty"], described["left_out"] = True, f"git could not tell the changes: {said}"
    return described


def _not_code(root: Path) -> list[str]:
    """Return patterns that exclude what runs leave in the folder in which the user stands."""
    home = Path(os.environ.get("PIPELINE_HOME", root)).resolve()
    if not home.is_relative_to(root):
        return []
    inside = home.relative_to(root)
    return [f":(exclude){(inside / name).as_posix()}" for name in LEFT_THERE]


def _diff(root: Path, where: list[str], changed: list[bytes]) -> tuple[str | None, str | None]:
    """Return the diff, or why there is none; the checkout's own index and objects stay as they are.

    Bytes that are no UTF-8 are kept as surrogates, as Python does with file names.
    """
    top = Path(os.fsdecode(_git(root, "rev-parse", "--show-toplevel").rstrip(b"\n")))
    too_much = f"the uncommitted changes are larger than {DIFF_BYTES:,} bytes"
    new = [os.fsdecode(line[3:]) for line in changed if line.startswith(b"??")]
    if sum(os.lstat(top / path).st_size for path in new) > DIFF_BYTES:
        return None, too_much
    asked = ("rev-parse", "--path-format=absolute", "--git-path")
    index, objects = (
        os.fsdecode(_git(root, *asked, name).rstrip(b"\n")) for name in ("index", "objects")
    )
    with tempfile.TemporaryDirectory(prefix="receipt_") as folder:
        scratch = {
            "GIT_INDEX_FILE": str(Path(folder, "index")),
            "GIT_OBJECT_DIRECTORY": str(Path(folder, "objects")),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
        }
        Path(folder, "objects").mkdir()
        if Path(index).exists():
            shutil.copy(index, scratch["GIT_INDEX_FILE"])
        # By name: `git add` refuses patterns that exclude what is ignored anyway.
        paths = b"\0".join(line[3:] for line in changed)
        named = ("--pathspec-from-file=-", "--pathspec-file-nul")
        _git(top, "--literal-pathspecs", "add", "--all", *named, given=paths, environment=scratch)
        made = _git(
            root,
            *("diff", "--cached", "--binary", "--full-index", "--no-renames", "--no-color"),
            *("--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/", "HEAD"),
            *("--", *where),
            environment=scratch,
        )
    if len(made) > DIFF_BYTES:
        return None, too_much
    return made.decode(errors="surrogateescape"), None


def _git(
    root: Path, *arguments: str, given: bytes = b"", environment: dict[str, str] | None = None
) -> bytes:
    return subprocess.run(
        ["git", *arguments],
        cwd=root,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", **(environment or {})},
        input=given,
        capture_output=True,
        timeout=GIT_TIMEOUT_S,
        check=True,
    ).stdout
