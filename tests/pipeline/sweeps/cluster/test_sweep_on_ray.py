"""A sweep on a Ray cluster of two machines, in namespaces that nothing outside can reach."""

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.pipeline.sweeps.cluster import ray_cluster
from tests.pipeline.sweeps.cluster.ray_cluster import CODE, PYTHON, ROOT, Cluster

FOREST = "random_forest_pipeline.random_forest"
STEPS = "main.execute_steps=get_data,preprocess,segregate,train_random_forest"
LIMIT_S = 300
IN_THE_MIDDLE_S = 1.0  # after a trial: its machine fits the next one, which takes longer

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(tmp_path):
    if why := ray_cluster.missing():
        pytest.skip(f"a Ray cluster {why}")
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.stop()


def start_sweep(cluster: Cluster, *words: str, **environment: str) -> subprocess.Popen:
    return cluster.popen(
        *(PYTHON, str(ROOT / "main.py"), "-m", "hydra/launcher=ray", STEPS),
        f"hydra.launcher.ray.init.address={cluster.address}",
        *("main.env_manager=local", "main.tracking=local", "sweep.name=far", *words),
        **{
            "TRACKING_STORE": str(cluster.folder / "home" / "tracking_store"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{cluster.folder}/home/mlflow.db",
        }
        | environment,
    )


@contextlib.contextmanager
def limited(process: subprocess.Popen):
    """End a program that takes too long, and at the end in any case."""
    timer = threading.Timer(LIMIT_S, lambda: os.killpg(process.pid, signal.SIGKILL))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def runs(folder: Path) -> list[tuple[str, dict, str]]:
    """Return name, swept values and state of every trial's run in the store."""
    asked = (
        "import json; from util_lib.tracking.store.database import open_store;"
        "print(json.dumps([(r.name, r.config['sweep']['overrides'], r.state)"
        " for r in open_store().runs(group='far', job_type='train_random_forest')]))"
    )
    store = {"TRACKING_STORE": str(folder / "home" / "tracking_store"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([PYTHON, "-c", asked], env=store, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_sweep_on_two_machines_is_complete_although_one_is_lost_in_the_middle(cluster):
    cluster.start(hide=tuple(ROOT / name for name in CODE))
    sizes = f"{FOREST}.n_estimators=400,410,420,430,440,450"
    process = start_sweep(cluster, sizes)
    lines = []
    with limited(process):
        for line in process.stdout:
            lines.append(line)
            if cluster.nodes[1].poll() is None and f"[{cluster.addresses[1]}]" in line:
                time.sleep(IN_THE_MIDDLE_S)
                cluster.kill(1)
        assert process.wait() == 0, "".join(lines)

    out = "".join(lines)
    (cluster.folder / "out.txt").write_text(out)
    places = re.findall(r"^trial \d/6 .*\[(.*)\]$", out, re.M)
    assert set(places) == set(cluster.addresses), out
    assert re.search(r"^trial \d: its machine .*was lost.*; it is started again$", out, re.M)
    finished = [overrides for _, overrides, state in runs(cluster.folder) if state == "finished"]
    assert sorted(one[f"{FOREST}.n_estimators"] for one in finished) == [*range(400, 460, 10)]
    assert "running" not in {state for _, _, state in runs(cluster.folder)}
    assert re.search(r"winner: trial \d", out)


def test_a_machine_that_does_not_see_the_store_stops_the_sweep_before_any_trial(cluster):
    home = cluster.folder / "home"
    home.mkdir()
    cluster.start(hide=(home,))
    process = start_sweep(cluster, f"{FOREST}.n_estimators=2,3")
    with limited(process):
        out, _ = process.communicate()
    assert process.returncode == 1, out
    last = out.splitlines()[-1]
    assert last.startswith(f"error: {cluster.addresses[1]} does not see the store"), out
    assert "main.tracking=wandb" in last
    assert runs(cluster.folder) == []


def test_without_its_token_a_cluster_lets_nobody_in(cluster):
    cluster.start()
    process = start_sweep(cluster, f"{FOREST}.n_estimators=2,3", RAY_AUTH_MODE="disabled")
    with limited(process):
        out, _ = process.communicate()
    assert process.returncode == 1, out
    assert out.splitlines()[-1].startswith(f"error: the Ray cluster at {cluster.address} does not")
    assert runs(cluster.folder) == []


def test_on_wandb_two_machines_need_neither_disk_nor_code_in_common(cluster):
    key = secrets.token_hex(20)
    files = {"HOME": str(cluster.folder), "WANDB_CONFIG_DIR": str(cluster.folder / "none")}
    cluster.more = files | {"WANDB_API_KEY": key, "NO_PROXY": "*", "no_proxy": "*"}
    cluster.more |= {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
    home = cluster.folder / "home"
    home.mkdir()
    cluster.start(hide=(home, *(ROOT / name for name in CODE)))
    url = cluster.start_wandb()
    account = json.dumps({"entity": "far", "api_key": key})
    asked = f"import urllib.request as u; u.urlopen('{url}/double/accounts', {account.encode()!r})"
    assert cluster.popen(PYTHON, "-c", asked).wait() == 0

    sizes = f"{FOREST}.n_estimators=20,30,40,50"
    process = start_sweep(cluster, sizes, "main.tracking=wandb", WANDB_BASE_URL=url)
    with limited(process):
        out, _ = process.communicate()
    assert process.returncode == 0, out
    places = re.findall(r"^trial \d/4 .*: val_roc_auc_ovo_macro 0.* \[(.*)\]$", out, re.M)
    assert len(places) == 4, out
    assert set(places) == set(cluster.addresses), out
    assert re.search(r"winner: trial \d, .*model_export:v0", out)
    assert not (home / "tracking_store" / "tracking.db").exists()
