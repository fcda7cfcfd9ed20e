"""What a run records about where it runs: machine, program, git commit."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from util_lib.redaction import redacted

NOTEBOOK = (
    "WANDB_NOTEBOOK_NAME",
    "JPY_SESSION_NAME",
)  # of its file: as the user said it, Jupyter does


def describe() -> dict[str, Any]:
    """Return host, pid, python, program and, inside a git checkout, its commit."""
    main = sys.modules.get("__main__")
    program = getattr(main, "__file__", None) or next(
        filter(None, map(os.environ.get, NOTEBOOK)), None
    )
    return {
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "python": sys.version.split()[0],
        "program": program and os.path.abspath(program),
        "git": git(Path(program).absolute().parent if program else Path.cwd()),
    }


def git(directory: Path) -> dict[str, Any]:
    """Return `commit`, `remote` and `dirty` of the checkout around `directory`, {} without one.

    Dirty means that a tracked file was changed; the remote is given without credentials.
    """
    asked = ("status", "--porcelain=v2", "--branch", "--untracked-files=no")
    told = (ask(directory, *asked) or "").splitlines()
    commit = told[0].removeprefix("# branch.oid ") if told else "(initial)"
    if commit == "(initial)":  # no checkout, or nothing committed in it
        return {}
    dirty = any(not line.startswith("#") for line in told)
    remote = ask(directory, "config", "--get", "remote.origin.url")
    return {"commit": commit, "remote": redacted(remote or ""), "dirty": dirty}


def tag(directory: Path) -> str | None:
    """Return the tag that names the commit of the checkout around `directory`, if one does."""
    return ask(directory, "describe", "--exact-match", "--tags", "HEAD") or None


def commit_at(repository: str, version: str) -> str | None:
    """Return the commit that a tag, a branch or HEAD of a repository stands for at this moment.

    Asks the repository's server. None where it does not answer or has no such version.
    """
    told = ask(Path.cwd(), "ls-remote", repository, version, f"{version}^{{}}") or ""
    lines = [line.split("\t") for line in told.splitlines()]
    commits = {name: commit for commit, name in lines}
    for name in (f"refs/tags/{version}", f"refs/heads/{version}", version):
        if commit := commits.get(f"{name}^{{}}", commits.get(name)):  # of an annotated tag: its own
            return commit
    return None


def ask(directory: Path, *arguments: str) -> str | None:
    """Return what git answers in `directory`; None without git, or where it refuses or hangs."""
    try:
        answer = subprocess.run(
            ["git", *arguments],
            cwd=directory,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):  # no git, or one that hangs: not our business
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
