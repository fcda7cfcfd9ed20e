"""Files of the log: for their owner alone, there whole or not at all."""

import os
from pathlib import Path
from typing import IO

from util_lib import safe_files

WAY_OUT = "nothing is lost: free space there or correct its permissions, and run it again"


def make_folder(folder: Path) -> None:
    """Make a folder of the log, and those above it in the log."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def create(path: Path) -> IO[bytes]:
    """Open a file to write."""
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def write(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all; raises `UserError` where it can't be."""
    partial = path.with_name(f".{path.name}.partial")
    with safe_files.writing(path, WAY_OUT):
        try:
            with create(partial) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        os.replace(partial, path)
        safe_files.sync_directory(path.parent)
