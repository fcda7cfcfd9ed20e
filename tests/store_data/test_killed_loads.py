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
LOOK_S = 0.1  # between two looks of a reader, who else takes the time that the load needs
SEEN = "SELECT count(*), min(version), max(version) FROM songs"


@pytest.mark.slow
def test_a_load_that_is_killed_at_any_moment_leaves_the_old_table_or_the_new_one(
    database, tmp_path
):
    def made(version):
        path = tmp_path / f"{version}.parquet"
        frame = pd.DataFrame({"id": range(N_ROWS), "version": version})
        # Every other table has other columns than the one before, and is made anew.
        frame["text" if version % 4 < 2 else "words"] = "some words"
        frame.to_parquet(path, index=False)
        return path

    def begun(version):
        child = subprocess.Popen(
            [sys.executable, "-c", LOAD, made(version), database.address],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        assert child.stdout.readline() == b"begins\n"
        return child

    def seen(*versions):
        rows, low, high = database.rows(SEEN)[0]
        assert rows == N_ROWS and low == high and low in versions
        return low

    loading.load(made(0), loading.Load(database.address, "songs"))
    started = time.monotonic()
    assert begun(1).wait() == 0
    whole_s = time.monotonic() - started
    draw, now, ended, half_done, replaced = random.Random(7), 1, 0, 0, 0
    for version in range(2, KILLS + 2):
        child = begun(version)
        until = time.monotonic() + draw.uniform(0, whole_s)
        while database.kind != "duckdb" and time.monotonic() < until:  # it lets nobody else in
            seen(now, version)
            time.sleep(LOOK_S)
        time.sleep(max(0, until - time.monotonic()))
        child.kill()
        had_ended = child.wait() == 0
        whole_s *= 0.8 if had_ended else 1.05  # others use the machine too, now more and now less
        ended += had_ended
        child.stdout.close()
        before, now = now, seen(now, version)
        replaced += now != before
        half_done += any("__new_" in table for table in database.tables())
    print(f"{database.kind}: {half_done} left a part, {replaced} the new table, {ended} had ended")
    assert half_done and replaced and ended < KILLS  # else nothing was killed on the way
    loading.load(made(99), loading.Load(database.address, "songs"))
    assert database.rows(SEEN) == [(N_ROWS, 99, 99)]
    assert database.tables() == {"songs", "pipeline_loads"}
