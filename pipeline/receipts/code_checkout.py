"""The code of a receipt: its commit and its uncommitted changes, in a temporary folder."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.receipts.reading import Code
from util_lib.errors import UserError
from util_lib.project import ROOT
from util_lib.redaction import redacted

HASH = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@contextmanager
def checked_out(
    code: Code, repository: str, folder: Path, say: Callable[[str], None]
) -> Iterator[Path]:
    """Check the recorded code out into `folder`/code; yield the project's folder in it.

    From this checkout where it has the commit (a worktree, which is removed at the end), else from
    `repository`, else from the recorded remote. Raises `UserError` where there is no such code.
    """
    commit = _recorded_commit(code)
    target = folder / "code"
    is_here = _has(ROOT, commit)
    try:
        if is_here:
            say(f"checking out {commit[:10]} of this repository")
            run_git(ROOT, "worktree", "add", "--quiet", "--detach", str(target), commit)
        else:
            _clone(commit, repository or code.remote or "", target, say)
        if code.dirty:
            say(
                "the code had uncommitted changes when the receipt was made: they are in it, and "
                "are applied"
            )
            _apply(code, target)
        project = target / (code.folder or "")
        if not (project / "main.py").is_file():
            raise UserError(
                f"commit {commit[:10]} has no {code.folder or ''}main.py: the receipt is not one "
                "of this pipeline"
            )
        yield project
    finally:
        if is_here:
            _ask(ROOT, "worktree", "remove", "--force", str(target))
            shutil.rmtree(target, ignore_errors=True)
            _ask(ROOT, "worktree", "prune")


def _recorded_commit(code: Code) -> str:
    """Return the commit, unless nobody could come back to that code."""
    if code.commit is None:
        raise UserError(
            "the receipt names no commit, because the run was not in a git checkout: run the "
            "pipeline in a clone of the repository, and reproduce the receipt of that run"
        )
    if not HASH.fullmatch(code.commit):
        raise UserError(f"the receipt's commit must be a full git hash, found {code.commit!r}")
    if code.dirty and code.diff is None:
        raise UserError(
            f"the receipt cannot be reproduced, because {code.left_out or 'its diff is missing'}: "
            "commit the changes (or let git ignore the data among them), run again, and reproduce "
            "that receipt"
        )
    return code.commit


def _clone(commit: str, source: str, target: Path, say: Callable[[str], None]) -> None:
    if not source:
        raise UserError(
            f"commit {commit[:10]} is not in this repository and the receipt names no other: give "
            "one with repository=<address or path>"
        )
    shown = redacted(source)
    say(f"commit {commit[:10]} is not in this repository: cloning {shown}")
    if Path(source).expanduser().is_dir():
        source = str(Path(source).expanduser().resolve())
    try:
        run_git(target.parent, "clone", "--quiet", "--no-checkout", "--", source, str(target))
    except UserError as error:
        raise UserError(
            f"commit {commit[:10]} is not in this repository, and {shown} cannot be cloned: "
            f"{error}; give another with repository=<address or path>"
        ) from None
    if not _has(target, commit):  # on no branch: a service may still give it by name
        _ask(target, "fetch", "--quiet", "origin", commit)
    if not _has(target, commit):
        raise UserError(
            f"commit {commit} is neither in this repository nor in {shown}: push it there, or "
            "give another repository with repository=<address or path>"
        )
    run_git(target, "checkout", "--quiet", "--detach", commit)


def _apply(code: Code, target: Path) -> None:
    given = (code.diff or "").encode(errors="surrogateescape")
    try:
        run_git(target, "apply", "--whitespace=nowarn", "-", given=given)
    except UserError as error:
        raise UserError(
            f"the uncommitted changes of the receipt do not apply to its commit: {error}; the "
            "receipt was changed by hand, or its repository is another one"
        ) from None


def _has(repository: Path, commit: str) -> bool:
    return _ask(repository, "cat-file", "-e", f"{commit}^{{commit}}")


def _ask(folder: Path, *arguments: str) -> bool:
    """Say whether git does as it is told."""
    try:
        run_git(folder, *arguments)
    except UserError:
        return False
    return True


def run_git(folder: Path, *arguments: str, given: bytes = b"") -> None:
    """Run git, without hooks and questions; `UserError` with its own words if it fails."""
    try:
        done = subprocess.run(
            ["git", "-c", f"core.hooksPath={os.devnull}", *arguments],
            cwd=folder,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
            input=given,
            capture_output=True,
        )
    except FileNotFoundError:
        raise UserError("git is not installed, and a receipt's code is checked out by it") from None
    if done.returncode:
        said = redacted(" ".join(done.stderr.decode(errors="replace").split()))
        raise UserError(said or f"git {arguments[0]} ended with exit code {done.returncode}")
