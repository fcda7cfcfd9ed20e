"""A clone of this checkout at one commit that needs nothing else; its index knows no times."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pipeline.receipts.code_checkout import run_git
from util_lib import git_state
from util_lib.errors import UserError
from util_lib.project import ROOT

BRANCH = "bundled"


class Copied(NamedTuple):
    """What was copied: its commit, the tag or branch that was asked for, the project's folder."""

    commit: str
    version: str
    folder: str


def copy(version: str, commits: Iterable[str | None], target: Path) -> Copied:
    """Clone `version` (a tag, branch or commit) of this checkout to `target`, on a branch.

    Those of `commits` that are in this repository come along: receipts name them.
    """
    prefix = git_state.ask(ROOT, "rev-parse", "--show-prefix")
    if prefix is None:
        raise UserError(
            f"{ROOT} is not in a git checkout, and a bundle holds a commit: make it in a clone"
        )
    commit = git_state.ask(
        ROOT, "rev-parse", "--verify", "--end-of-options", f"{version}^{{commit}}"
    )
    if commit is None:
        raise UserError(f"commit={version} is no tag, branch or commit of the checkout {ROOT}")
    refs = [f"{commit}:refs/heads/{BRANCH}"]
    for other in {*filter(None, commits)}:
        if git_state.ask(ROOT, "cat-file", "-e", f"{other}^{{commit}}") is not None:
            refs.append(f"{other}:refs/receipts/{other}")
    tags = git_state.ask(ROOT, "tag", "--points-at", commit) or ""
    refs += [f"refs/tags/{tag}:refs/tags/{tag}" for tag in tags.split()]
    run_git(
        target.parent, "init", "--quiet", f"--initial-branch={BRANCH}", "--template=", target.name
    )
    for key, value in {
        "receive.shallowUpdate": "true",  # `mlflow run <address>` makes a shallow clone
        "receive.denyCurrentBranch": "ignore",
        "core.logAllRefUpdates": "false",
        "pack.threads": "1",  # the same commits, the same bytes
        "pack.writeReverseIndex": "false",
    }.items():
        run_git(target, "config", key, value)
    run_git(ROOT, "push", "--quiet", "--no-verify", target.absolute().as_uri(), *sorted(refs))
    run_git(target, "checkout", "--quiet", "--force", BRANCH)
    run_git(target, "repack", "-a", "-d", "-q")
    run_git(target, "prune-packed")
    (target / ".git" / "index").unlink()
    run_git(target, "read-tree", "HEAD")  # an index that knows no file's times
    run_git(target, "config", "--unset", "core.logAllRefUpdates")
    run_git(target, "config", "--remove-section", "receive")
    run_git(target, "config", "--remove-section", "pack")
    if remote := git_state.git(ROOT).get("remote"):
        run_git(target, "config", "remote.origin.url", remote)
        run_git(target, "config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    if link := next((path for path in target.rglob("*") if path.is_symlink()), None):
        raise UserError(
            f"{os.path.relpath(link, target)} is a symbolic link, and a bundle holds none: commit "
            "a file in its place"
        )
    return Copied(commit, version if version != "HEAD" else commit[:10], prefix)
