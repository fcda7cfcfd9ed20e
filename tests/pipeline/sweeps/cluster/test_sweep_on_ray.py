"""A sweep on a Ray cluster of two machines, in namespaces that nothing outside can reach."""

import contextlib
import json
import os
import re
import secrets
import shlex
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.pipeline.sweeps.cluster import ray_cluster
from tests.pipeline.sweeps.cluster.ray_cluster import CODE, PYTHON, ROOT, Cluster

FOREST = "random_forest_pipeline.random_forest"
STEPS = "main.execute_steps=get_data,preprocess,segregate,train_random_forest"
NOTHING_SENT = "hydra.launcher.ray.init.runtime_env.working_dir=null"
LIMIT_S = 300
GONE_S = 60  # for a trial to end that has lost its head
WORKER = "train_random_forest/worker.py"
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
    return start(
        cluster,
        *(str(ROOT / "main.py"), "-m", "hydra/launcher=ray", STEPS),
        f"hydra.launcher.ray.init.address={cluster.address}",
        *("main.env_manager=local", "main.tracking=local", "sweep.name=far", *words),
        **environment,
    )


def start(cluster: Cluster, *words: str, **environment: str) -> subprocess.Popen:
    home = cluster.folder / "home"
    places = {
        "TRACKING_STORE": str(home / "tracking_store"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db",
    }
    return cluster.popen(PYTHON, *words, **places | environment)


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
        " for r in open_store().runs(group_name='far', job_type='train_random_forest')]))"
    )
    store = {"TRACKING_STORE": str(folder / "home" / "tracking_store"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([PYTHON, "-c", asked], env=store, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(process: subprocess.Popen) -> str:
    """Return what a sweep says that ends with exit code 1."""
    with limited(process):
        out, _ = process.communicate()
    assert process.returncode == 1, out
    return out


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


def test_a_lost_head_ends_the_sweep_with_the_command_to_go_on_and_what_was_finished(cluster):
    cluster.start()
    process = start_sweep(cluster, f"{FOREST}.n_estimators=2,400,410,420")
    lines = []
    with limited(process):
        for line in process.stdout:
            lines.append(line)
            if line.startswith("trial "):
                (server,) = cluster.processes(0, "gcs_server")
                server.kill()
                break
        lines += process.stdout
        assert process.wait() == 1, "".join(lines)
    out = "".join(lines)
    lost = r"^error: the head of the Ray cluster at .* was lost.* python (.*)"
    said = re.search(lost, out, re.M)
    assert said, out
    assert "GCS" not in out  # Ray's own lines
    finished = [overrides for _, overrides, state in runs(cluster.folder) if state == "finished"]
    assert finished and re.search(r"^ +\d .* finished +best", out, re.M), out
    with sqlite3.connect(cluster.folder / "home" / "mlflow.db") as db:
        shown = db.execute("SELECT count(*) FROM tags WHERE key = 'sweep'").fetchone()[0]
    assert shown == len(runs(cluster.folder))
    until = time.monotonic() + GONE_S
    while any(cluster.processes(number, WORKER) for number in (0, 1)):
        assert time.monotonic() < until, "a trial goes on although nobody waits for it"
        time.sleep(1)

    cluster.stop()
    again = Cluster(cluster.folder)
    try:
        again.start()
        process = start(again, *shlex.split(said[1]))
        with limited(process):
            out, _ = process.communicate()
    finally:
        again.stop()
    assert process.returncode == 0, out
    assert len(re.findall(r"^trial \d/4 .*, recorded earlier", out, re.M)) == len(finished), out
    assert len(re.findall(r"^trial \d/4 .*: val_roc_auc_ovo_macro 0", out, re.M)) == 4


def test_a_killed_training_process_is_repeated_three_times_in_all(cluster):
    cluster.start()
    process = start_sweep(cluster, f"{FOREST}.n_estimators=20,30,40")
    lines: list[str] = []
    with limited(process):
        reader = threading.Thread(target=lambda: lines.extend(process.stdout))
        reader.start()
        while process.poll() is None:
            if not any("as in 2 attempts before" in line for line in lines):
                for worker in cluster.processes(0, WORKER) + cluster.processes(1, WORKER):
                    with contextlib.suppress(psutil.Error):
                        worker.kill()
            time.sleep(0.2)
        reader.join()
    out = "".join(lines)
    again = r"^trial \d: .*ended \(signal 9\): too little memory .*; it is started again$"
    assert len(re.findall(again, out, re.M)) >= 2, out
    lost = r"^trial (\d)/3 .*: failed: .*signal 9.*, as in 2 attempts before"
    failed = re.findall(lost, out, re.M)
    assert failed, out
    assert process.returncode == 1, out
    done = [overrides for _, overrides, state in runs(cluster.folder) if state == "finished"]
    assert len(done) == 3 - len(set(failed))


def test_what_a_trial_asks_for_must_be_on_some_machine_and_is_used_there(cluster):
    cluster.start((), '--resources={"big": 1}')
    asked = "+hydra.launcher.ray.remote.resources"
    process = start_sweep(cluster, f"{FOREST}.n_estimators=2,3", f"{asked}.huge=1")
    out = refused(process)
    last = out.splitlines()[-1]
    assert last.startswith("error: no machine of the Ray cluster has what"), out
    assert "huge=1" in last and "[1/" not in out  # no step was begun for it
    process = start_sweep(cluster, f"{FOREST}.n_estimators=2,3", f"{asked}.big=1")
    with limited(process):
        out, _ = process.communicate()
    assert process.returncode == 0, out
    assert re.findall(r"^trial \d/2 .*\[(.*)\]$", out, re.M) == [cluster.addresses[1]] * 2


def test_a_machine_without_the_code_is_refused_where_none_is_sent(cluster):
    cluster.start(tuple(ROOT / name for name in CODE))
    process = start_sweep(cluster, f"{FOREST}.n_estimators=2,3", NOTHING_SENT)
    out = refused(process)
    last = out.splitlines()[-1]
    assert last.startswith(f"error: the machine {cluster.addresses[1]} of the Ray cluster"), out
    assert "pipeline" in last and runs(cluster.folder) == []


def test_a_machine_with_another_commit_is_refused_where_no_code_is_sent(cluster):
    path = ROOT / "train_random_forest" / "run.py"
    other = cluster.folder / "run.py"
    other.write_text(path.read_text() + "# of another commit\n")
    cluster.start(instead={path: other})
    process = start_sweep(cluster, f"{FOREST}.n_estimators=2,3", NOTHING_SENT)
    out = refused(process)
    last = out.splitlines()[-1]
    assert last.startswith(f"error: the code on {cluster.addresses[1]} ({ROOT}) is not"), out
    assert "bring both to the same commit" in last and runs(cluster.folder) == []


def test_another_services_port_is_one_sentence_before_the_first_step(tmp_path):
    if not ray_cluster.has("ray"):
        pytest.skip("needs ray: pip install -r requirements-cluster.txt")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        options = ("hydra/launcher=ray", f"hydra.launcher.ray.init.address={address}")
        done = subprocess.run(
            [PYTHON, str(ROOT / "main.py"), "-m", *options, f"{FOREST}.n_estimators=2,3"]
            + ["main.env_manager=local", "main.tracking=local"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
    assert done.returncode == 1, done.stdout
    last = (done.stdout + done.stderr).splitlines()[-1]
    assert last.startswith(f"error: what listens at {address} does not answer as the head"), last
    assert "[1/" not in done.stdout and "gcs" not in done.stderr


def test_a_machine_that_does_not_see_the_store_stops_the_sweep_before_any_trial(cluster):
    home = cluster.folder / "home"
    home.mkdir()
    cluster.start(hide=(home,))
    process = start_sweep(cluster, f"{FOREST}.n_estimators=2,3")
    out = refused(process)
    last = out.splitlines()[-1]
    assert last.startswith(f"error: {cluster.addresses[1]} does not see the store"), out
    assert "main.tracking=wandb" in last
    assert runs(cluster.folder) == []


def test_without_its_token_a_cluster_lets_nobody_in(cluster):
    cluster.start()
    process = start_sweep(cluster, f"{FOREST}.n_estimators=2,3", RAY_AUTH_MODE="disabled")
    out = refused(process)
    assert out.splitlines()[-1].startswith(f"error: the Ray cluster at {cluster.address} does not")
    assert "[1/" not in out  # no step was begun for it


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
