"""What a machine says of itself before it runs a trial."""

import dataclasses
import os
import shutil
import socket

import pytest

from pipeline.sweeps.cluster import node, ray_engine
from pipeline.sweeps.cluster.node import Surroundings, look
from util_lib import safe_files
from util_lib.errors import UserError
from util_lib.tracking.store.database import open_store


@pytest.fixture
def launched(tmp_path):
    """What a launching process on this machine hands over: a store, and a mark that it holds."""
    store = open_store(make=True)
    mark = store.files.tmp / "cluster-mark"
    lock = safe_files.hold(mark)
    variables = {"TRACKING_STORE": str(store.directory), "PIPELINE_HOME": str(tmp_path)}
    yield Surroundings(str(mark), node.kernel(), node.code(), variables)
    safe_files.release(lock)


def moved(launched: Surroundings, store) -> Surroundings:
    variables = launched.variables | {"TRACKING_STORE": str(store)}
    return dataclasses.replace(launched, mark=f"{store}/tmp/cluster-mark", variables=variables)


def test_a_machine_with_the_same_code_that_shares_the_store_runs_trials(launched):
    machine = look(launched)
    assert machine.refusal is None
    assert machine.kernel == launched.kernel


def test_a_machine_without_the_store_says_where_it_looked_and_what_to_do(launched, tmp_path):
    refusal = look(moved(launched, tmp_path / "elsewhere"), "node7").refusal
    assert refusal.startswith(f"node7 does not see the store {tmp_path}/elsewhere")
    assert "TRACKING_STORE=" in refusal and "main.tracking=wandb" in refusal


def test_a_copy_of_the_store_is_refused_although_everything_is_in_it(launched, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(os.environ["TRACKING_STORE"], copy)
    refusal = look(moved(launched, copy)).refusal
    assert "not the locks of the launching machine" in refusal


def test_other_code_is_refused(launched):
    refusal = look(dataclasses.replace(launched, code="0" * 64), "node7").refusal
    assert refusal.startswith("the code on node7 (")


def test_a_machine_without_credentials_for_wandb_is_refused(launched, monkeypatch):
    online = dataclasses.replace(launched, mark=None)
    assert "node7 has no credentials for it" in look(online, "node7").refusal
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert look(online).refusal is None


def test_what_runs_leave_goes_to_a_temporary_folder_where_the_launchers_does_not_exist(
    launched, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    variables = launched.variables | {"PIPELINE_HOME": "/no/such/folder"}
    look(dataclasses.replace(launched, variables=variables))
    assert os.environ["WANDB_DIR"] == os.environ["PIPELINE_HOME"]
    assert os.path.dirname(os.environ["PIPELINE_LOG"]) == os.environ["WANDB_DIR"]
    assert os.environ["WANDB_DIR"].startswith(str(tmp_path))


def test_a_store_with_a_write_ahead_log_is_for_one_machine_and_a_shared_one_is_for_all(launched):
    other = dataclasses.replace(launched, kernel="another machine's")
    job = node.Job(0, [], {}, None, other)
    answer = node.run(job)
    assert "has a write-ahead log, which works on one machine only" in answer.machine.refusal

    open_store(make=True).share()
    database = open_store(make=True).path
    assert not node.has_wal(database)
    assert node.refusal_of_journal(other, answer.machine) is None


def test_a_store_that_others_use_right_now_is_not_changed_under_their_hands(launched, monkeypatch):
    import sqlite3

    monkeypatch.setattr("util_lib.tracking.store.database.BUSY_TIMEOUT_S", 0.1)
    store = open_store(make=True)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store._connections.clear()  # the next one has the shorter patience
    with pytest.raises(UserError, match="another process uses it right now"):
        store.share()
    other.execute("ROLLBACK")
    other.close()
    assert node.has_wal(store.path)


@pytest.mark.parametrize("address", ["", "local"])
def test_ray_must_be_given_a_cluster_that_is_there(address):
    with pytest.raises(UserError, match="needs the address of a cluster"):
        ray_engine.refuse_address(address)


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:port", ":6379"])
def test_an_address_that_ray_would_puzzle_over_is_refused(address):
    with pytest.raises(UserError, match="must be <host>:<port> .*found"):
        ray_engine.refuse_address(address)


def test_a_head_that_does_not_answer_is_one_sentence_and_no_wait_of_minutes():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ray_engine.refuse_address(f"127.0.0.1:{port}")
    with pytest.raises(UserError, match=f"no Ray cluster answers at 127.0.0.1:{port}"):
        ray_engine.refuse_address(f"127.0.0.1:{port}")
