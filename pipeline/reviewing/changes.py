"""What is compared: this working tree, with the commit at which it left the base."""

import shutil
from pathlib import Path
from typing import NamedTuple

from util_lib import git_state
from util_lib.errors import UserError
from util_lib.project import ROOT

SHOWN = 10  # digits of a commit


class Change(NamedTuple):
    """What differs between `base` and the working tree, whose commit is `now`.

    `asked` is the base as it was asked for, `branch` None where no branch is checked out. `files`
    are those that differ, from the project's folder; `uncommitted` those of them that are in no
    commit; `folder` is where the project lies in its checkout.
    """

    asked: str
    base: str
    now: str
    branch: str | None
    files: list[str]
    uncommitted: list[str]
    folder: str

    @property
    def only_documents(self) -> bool:
        """Whether something differs, and all of it is for people to read."""
        return bool(self.files) and all(map(is_document, self.files))

    def described(self) -> str:
        """Say in words what is compared with what."""
        place = f"branch {self.branch}" if self.branch else "no branch is checked out"
        words = f"{self.now[:SHOWN]} ({place})"
        if self.uncommitted:
            words = f"the working tree, {words} and {_files(self.uncommitted)} not committed"
        base = f"{self.base[:SHOWN]}, where it left {self.asked}"
        if self.base == self.now:
            base = f"that commit ({self.asked})" if self.uncommitted else f"itself ({self.asked})"
        differ = "differs" if len(self.files) == 1 else "differ"
        return f"{words} with {base}: {_files(self.files)} {differ}"


def is_document(path: str) -> bool:
    """Say whether a file is for people to read: no step depends on it."""
    return path.endswith(".md") or path.startswith("docs/")


def found(base: str, report: Path) -> Change:
    """Find out what differs from `base`; the `report` itself is no change.

    Raises `UserError` where git does not know.
    """
    commit = _commit(base)
    fork = _ask("merge-base", commit, "HEAD")
    if not fork:
        if _ask("rev-parse", "--is-shallow-repository") == "true":
            raise UserError(
                f"this clone is shallow: where HEAD left base={base} is not in it; bring the "
                "history with git fetch --unshallow (actions/checkout: fetch-depth: 0)"
            )
        raise UserError(
            f"base={base} and HEAD have no commit in common, so nothing says what was changed: "
            "name a commit that HEAD comes from"
        )
    new = _listed("ls-files", "-z", "--others", "--exclude-standard")
    own = report.relative_to(ROOT).as_posix() if report.is_relative_to(ROOT) else ""
    differing, uncommitted = (
        sorted({*_listed("diff", "-z", "--name-only", "--no-renames", "--relative", since), *new})
        for since in (fork, "HEAD")
    )
    return Change(
        asked=base,
        base=fork,
        now=_ask("rev-parse", "HEAD") or "",
        branch=_ask("symbolic-ref", "--quiet", "--short", "HEAD"),
        files=[path for path in differing if path != own],
        uncommitted=[path for path in uncommitted if path != own],
        folder=_ask("rev-parse", "--show-prefix") or "",
    )


def _commit(base: str) -> str:
    """Return the full commit that `base` names."""
    if shutil.which("git") is None:
        raise UserError("git is not installed, and it knows what was changed: install it")
    if _ask("rev-parse", "--verify", "HEAD") is None:
        raise UserError(
            f"{ROOT} is no git checkout with a commit, so nothing says what was changed: review "
            "in a clone of the repository"
        )
    words = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}")
    if commit := _ask(*words):
        return commit
    raise UserError(
        f"base={base} is no commit of this clone: give a branch, a tag or a commit that "
        "git log shows, or bring it here first (git fetch origin)"
    )


def _ask(*words: str) -> str | None:
    return git_state.ask(ROOT, *words)


def _listed(*words: str) -> list[str]:
    told = _ask(*words)
    if told is None:
        raise UserError(f"git {words[0]} does not answer in {ROOT}: see what git status says")
    return [path for path in told.split("\0") if path]


def _files(paths: list[str]) -> str:
    return f"{len(paths)} file{'' if len(paths) == 1 else 's'}"
