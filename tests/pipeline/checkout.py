"""A git checkout of the project with trivial steps, for what depends on the commit."""

import json
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

from tests.pipeline.caching.test_reuse import Place
from tests.pipeline.trivial_steps import ROOT

GIT = ("git", "-c", "user.name=somebody", "-c", "user.email=somebody@example.org")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run([*GIT, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def commit(project: Path, words: str = "a change") -> str:
    """Commit all that is there and return the commit."""
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", words)
    return git(project, "rev-parse", "HEAD").strip()


def make_checkout(place: Place) -> str:
    """Turn the place's project into a checkout; return its commit."""
    shutil.copy(ROOT / ".gitignore", place.project)
    git(place.project, "init", "--quiet", "--initial-branch=main")
    return commit(place.project, "as it is")


def receipts(store: Path) -> list[dict[str, Any]]:
    """Return every version of the artifact `receipt` in a store, oldest first."""
    rows = sqlite3.connect(store / "tracking.db").execute(
        "SELECT f.sha256 FROM version_files f JOIN versions v ON v.id = f.version_id"
        " JOIN collections c ON c.id = v.collection_id WHERE c.name = 'receipt' ORDER BY v.number"
    )
    return [json.loads((store / "files" / digest[:2] / digest).read_text()) for (digest,) in rows]


def copy_place(template: Path, folder: Path) -> Place:
    shutil.copytree(template, folder, symlinks=True)
    assert os.path.isdir(folder / "project" / ".git")
    return Place(folder)
