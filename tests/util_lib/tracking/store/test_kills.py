"""A writer that is killed (SIGKILL) at any moment leaves a whole version or none.

One child logs versions without pause; the parent kills it after a random delay, looks at the
store, and starts the next child. Each version has a file of its own and a larger one that is the
same in all: putting that in place once more must not harm the versions that share it.
"""

import random
import sqlite3
import time

import pytest

from util_lib import tracking
from util_lib.tracking.store.database import Store

WRITER = """
import sys
from util_lib import tracking
child = sys.argv[1]
with tracking.init(project="p", name=child) as run:
    print("ready", flush=True)
    for number in range(10**6):
        artifact = tracking.Artifact("killed", type="t")
        with artifact.new_file("small.txt") as file:
            file.write(f"{child} {number}")
        with artifact.new_file("shared.bin", mode="xb") as file:
            file.write(bytes(1_000_000))
        run.log_artifact(artifact, aliases=["mine"])
"""


def kill_and_look(python, store_directory, n_kills, seed):
    """Return how many versions came to be and how many kills hit work in progress."""
    choose = random.Random(seed)
    n_versions = n_interrupted = 0
    for child in range(n_kills):
        process = python(WRITER, f"child-{child}")
        assert process.stdout.readline() == "ready\n"
        # From before the first file to well into the second or third version.
        time.sleep(choose.uniform(0, 0.03))
        process.kill()
        process.communicate()

        left = [path.name for path in (store_directory / "tmp").iterdir()]
        n_interrupted += any(name.startswith("work-") for name in left)
        store = Store(store_directory)
        assert list(store.files.tmp.iterdir()) == []
        versions = store.versions("p", "killed")
        assert [version.number for version in versions] == [*reversed(range(len(versions)))]
        for version in versions[: len(versions) - n_versions]:
            paths = [file.path for file in store.version_files(version.id)]
            assert paths == ["shared.bin", "small.txt"]
            assert store.damage(version) == []
            assert store.run(version.logged_by).name == f"child-{child}"
            assert store.run(version.logged_by).state == "crashed"
        if versions:
            assert store.damage(versions[-1]) == []
            assert versions[0].aliases == ["latest", "mine"]
            assert all(version.aliases == [] for version in versions[1:])
        n_versions = len(versions)
    with sqlite3.connect(store_directory / "tracking.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    with tracking.init(project="p") as run:
        artifact = tracking.Artifact("killed", type="t")
        with artifact.new_file("after.txt") as file:
            file.write("the store still works")
        assert run.log_artifact(artifact).version == f"v{n_versions}"
    return n_versions, n_interrupted


def test_killed_writers_leave_whole_versions_only(python, store):
    kill_and_look(python, store.directory, n_kills=15, seed=1)


@pytest.mark.slow
def test_two_hundred_killed_writers_leave_whole_versions_only(python, store):
    n_versions, n_interrupted = kill_and_look(python, store.directory, n_kills=200, seed=2)
    print(f"200 kills: {n_versions} versions, {n_interrupted} kills hit work in progress")
    assert n_versions > 0
    assert n_interrupted > 50  # else the kills missed what they were meant to hit
