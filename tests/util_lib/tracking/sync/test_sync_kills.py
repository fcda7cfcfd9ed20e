"""A sync that is killed (SIGKILL) at any moment is repeated, and nothing is there twice."""

import os
import random
import shutil
import signal
import time

import pytest

from tests.util_lib.tracking.sync_support import Plane, command, same

pytest.importorskip("wandb", reason="the genuine W&B client is not installed")


def kill_until_done(plane, choose, duration, n_kills):
    """Kill syncs of one store after random times until one gets to its end, or `n_kills`.

    Returns for each kill whether it hit work in progress: after the first run was begun.
    """
    hits = []
    while len(hits) < n_kills:
        process = command("sync", environment=plane.environment, folder=plane.folder)
        time.sleep(choose.uniform(0, duration))
        process.send_signal(signal.SIGKILL)
        said, _ = process.communicate()
        if process.returncode == 0:
            break
        hits.append("sending run" in said or "completing run" in said)
    return hits


@pytest.mark.slow
def test_twenty_killed_syncs_are_repeated_without_a_gap_or_a_double(
    local_history, direct, wandb_service, tmp_path
):
    choose, hits, n_stores = random.Random(3), [], 0
    duration = None
    while len(hits) < 20:
        folder = tmp_path / f"plane-{n_stores}"
        folder.mkdir()
        shutil.copytree(local_history / "store", folder / "store")
        plane = Plane(folder, wandb_service.account(folder))
        if duration is None:
            begun = time.monotonic()
        else:
            hits += kill_until_done(plane, choose, duration, 20 - len(hits))
        plane.sync()
        if duration is None:
            duration = time.monotonic() - begun
        n_stores += 1
        found = plane.snapshot()
        same(found, direct)
        assert found["ids"] == direct["ids"] and found["clocks"] == plane.clocks()
        assert os.listdir(folder / "store" / "tmp") == []
    print(f"{len(hits)} kills within {duration:.1f} s, {sum(hits)} hit work in progress")
    assert sum(hits) >= 8  # else the kills missed what they were meant to hit
