"""The files of a folder, cleaned on a cluster, are the table that one process writes."""

import json
import os
import re
import subprocess

import pytest
from test_by_several import DECLARED, frame

from tests.pipeline.sweeps.cluster import ray_cluster
from tests.pipeline.sweeps.cluster.ray_cluster import PYTHON, ROOT

pytestmark = pytest.mark.slow
SCRIPT = """
import hashlib, json, sys
from pathlib import Path
from preprocess import in_batches
from util_lib import cli
from util_lib.dataset.declaration import Data
from util_lib.processes import tasks

def clean():
    data = Data.model_validate(json.loads(Path("declared.json").read_text()))
    for number, workers in enumerate((None, sys.argv[1])):
        folder = Path(f"work{number}").resolve()
        folder.mkdir()
        with tasks.team(workers, [folder]) as each:
            target = folder / "out.parquet"
            in_batches.clean(Path("raw").resolve(), data, target, folder, each)
        print(hashlib.sha256(target.read_bytes()).hexdigest(), flush=True)

if __name__ == "__main__":
    sys.exit(cli.exit_code(clean))
"""


@pytest.fixture
def folder(tmp_path):
    """Raw files, of which two have other types than the first, and a script that cleans them."""
    (tmp_path / "raw").mkdir()
    tables = [frame(0), frame(1).assign(other=0.5), frame(2).assign(level="high"), frame(3)]
    for number, table in enumerate(tables):
        table.to_csv(tmp_path / "raw" / f"{number}.csv", index=False)
    (tmp_path / "declared.json").write_text(json.dumps(DECLARED))
    (tmp_path / "clean.py").write_text(SCRIPT)
    return tmp_path


def test_jobs_of_submitit_write_the_same_bytes(folder):
    if not ray_cluster.has("submitit"):
        pytest.skip("needs submitit: pip install -r requirements-cluster.txt")
    done = subprocess.run(
        [PYTHON, "clean.py", "submitit_local:2"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    one, several = re.findall(r"^[0-9a-f]{64}$", done.stdout, re.M)
    assert one == several


@pytest.fixture
def cluster(folder):
    """Two machines with one core each."""
    if why := ray_cluster.missing():
        pytest.skip(why)
    made = ray_cluster.Cluster(folder)
    yield made
    made.stop()


def cleaned(cluster):
    process = cluster.popen(PYTHON, "clean.py", f"ray:{cluster.address}", PYTHONPATH=str(ROOT))
    out, _ = process.communicate(timeout=600)
    return process.returncode, out


def test_machines_of_a_ray_cluster_write_the_same_bytes(cluster):
    cluster.start()
    code, out = cleaned(cluster)
    assert code == 0, out
    one, several = re.findall("^[0-9a-f]{64}$", out, re.M)
    assert one == several


def test_a_machine_that_does_not_see_the_files_says_so(cluster, folder):
    cluster.start(hide=(folder,))
    code, out = cleaned(cluster)
    assert code == 1
    assert "does not see" in out.splitlines()[-1] and "work1" in out.splitlines()[-1], out
