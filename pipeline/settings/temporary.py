"""Temporary folders that do not outlive their process: killed, the next one removes them.

All that is temporary below such a folder goes with it, also what processes started here make:
`TMPDIR` names it as long as it is there. A folder is locked by its process, and a file in it names
the store on whose behalf it is used; nobody removes what another store's runs left.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from util_lib.processes import living
from util_lib.safe_files import hold, is_held, release

PREFIX = "pipeline_"
_OWNER = ".owner"  # in the folder: process and store


@contextmanager
def folder(store: Path) -> Iterator[Path]:
    """Make a folder that goes at the end, after those that dead processes left for this `store`."""
    remove_left_behind(store)
    path = Path(tempfile.gettempdir(), f"{PREFIX}{os.urandom(8).hex()}")
    lock = hold(path, directory=True)
    before, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    try:
        path.chmod(0o700)
        (path / _OWNER).write_text(f"{living.mine()}\n{store}", encoding="utf-8")
        tempfile.tempdir = os.environ["TMPDIR"] = str(path)
        yield path
    finally:
        tempfile.tempdir = before
        os.environ.pop("TMPDIR")
        if variable is not None:
            os.environ["TMPDIR"] = variable
        shutil.rmtree(path, ignore_errors=True)
        release(lock)


def remove_left_behind(store: Path) -> None:
    """Remove what processes on this machine left for `store` when they were killed."""
    for left in left_behind(store):
        shutil.rmtree(left, ignore_errors=True)


def left_behind(store: Path) -> list[Path]:
    """Return the folders that processes on this machine left for `store` when they were killed.

    One that a process still uses, though its own has been killed, is not among them.
    """
    found = []
    places = {tempfile.gettempdir(), os.environ.get("TMPDIR") or tempfile.gettempdir()}
    for path in (path for place in places for path in Path(place).glob(f"{PREFIX}*")):
        with suppress(OSError, ValueError):  # gone meanwhile, another user's, or something else
            process, _, whose = (path / _OWNER).read_text(encoding="utf-8").partition("\n")
            if whose == str(store) and living.has_ended(process) and not is_held(path):
                found.append(path)
    used = living.with_variable("TMPDIR") if found else set()
    return [path for path in found if str(path) not in used]
