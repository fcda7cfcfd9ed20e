"""Two versions of the store are compared by a command, from where the results lie."""

import os
import subprocess
import sys

import pytest
from step_support import ROOT, make_songs, steps

__all__ = ["steps"]


@pytest.mark.slow
def test_two_versions_are_compared_as_a_page(steps):
    songs = make_songs()
    for table in (songs, songs.assign(tempo=songs["tempo"] + 1)):
        steps.put(table, "songs.parquet")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "util_lib.tracking", "diff", "songs.parquet:v0"),
            *("songs.parquet:v1", "--env_manager", "local", "--output", "two.html"),
        ],
        cwd=steps.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = (steps.folder / "two.html").read_text()
    assert "songs.parquet:v1" in text and "<figcaption>tempo</figcaption>" in text
