"""Readers see the old table or the new one, whenever a load is killed."""

import random
import subprocess
import sys
import time

import pandas as pd
import pytest
from step_support import ROOT

from util_lib.sql import loading

LOAD = """
import sys
from pathlib import Path
from util_lib.sql import loading
print("begins", flush=True)
loading.load(Path(sys.argv[1]), loading.Load(sys.argv[2], "songs"))
"""
N_ROWS, KILLS = 150_000, 50
SEEN = "SELECT count(*), min(version), max(version) FROM songs"


@pytest.mark.slow
def test_a_load_that_is_killed_at_any_moment_leaves_the_old_table_or_the_new_one(
    database, tmp_path
):
    def made(version):
        path = tmp_path / f"{version}.parquet"
        frame = pd.DataFrame({"id": range(N_ROWS), "version": version})
        frame.assign(text="some words").to_parquet(path, index=False)
        return path

    def begun(version):
        child = subprocess.Popen(
            [sys.executable, "-c", LOAD, made(version), database.address],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        assert child.stdout.readline() == b"begins\n"
        return child

    loading.load(made(0), loading.Load(database.address, "songs"))
    started = time.monotonic()
    assert begun(1).wait() == 0
    whole_s = time.monotonic() - started
    draw, now, ended = random.Random(7), 1, 0
    for version in range(2, KILLS + 2):
        child = begun(version)
        time.sleep(draw.uniform(0, whole_s))
        child.kill()
        ended += child.wait() == 0
        child.stdout.close()
        rows, low, high = database.rows(SEEN)[0]
        assert rows == N_ROWS and low == high and low in (now, version)
        now = low
    assert ended < KILLS  # else nothing was killed
    loading.load(made(99), loading.Load(database.address, "songs"))
    assert database.rows(SEEN) == [(N_ROWS, 99, 99)]
    assert database.tables() == {"songs", "pipeline_loads"}
