"""What was worked out offline arrives at W&B as if it had been logged there."""

import shutil

import psutil
import pytest

from tests.util_lib.tracking.sync_support import play, run_command, snapshot

pytest.importorskip("wandb", reason="the genuine W&B client is not installed")


@pytest.fixture(scope="module")
def local_history(tmp_path_factory):
    """The folder of a store in which the history was played."""
    folder = tmp_path_factory.mktemp("offline")
    play(folder, {"TRACKING_BACKEND": "local", "TRACKING_STORE": str(folder / "store")})
    return folder


@pytest.fixture(scope="module")
def direct(tmp_path_factory, _wandb_double):
    """What W&B shows of the same history, logged directly."""
    folder = tmp_path_factory.mktemp("online")
    environment = _wandb_double.account(folder).environment
    play(folder, {"TRACKING_BACKEND": "wandb", **environment})
    return snapshot(environment)


@pytest.fixture
def offline(local_history, wandb_account, tmp_path):
    """A copy of that store, and an account where nothing is yet."""
    shutil.copytree(local_history / "store", tmp_path / "plane" / "store")
    return Plane(tmp_path / "plane", wandb_account)


class Plane:
    """A machine that was offline, with an account of the double."""

    def __init__(self, folder, account):
        self.folder, self.account = folder, account
        self.environment = {**account.environment, "TRACKING_STORE": str(folder / "store")}

    def command(self, *given, **more):
        return run_command(*given, environment={**self.environment, **more}, folder=self.folder)

    def sync(self, *given, **more):
        code, stdout, stderr = self.command("sync", *given, **more)
        assert code == 0, stdout + stderr
        assert not [p for p in psutil.process_iter() if self._is_mine(p)]
        return stdout

    def refused(self, *given, **more):
        code, stdout, stderr = self.command(*given, **more)
        assert code == 1 and stderr.count("\n") == 1, stdout + stderr
        assert self.account.api_key not in stdout + stderr
        assert not [p for p in psutil.process_iter() if self._is_mine(p)]
        return stderr

    def snapshot(self, *projects):
        return snapshot(self.account.environment, *([projects] if projects else []))

    def _is_mine(self, process):
        try:
            mark = process.environ().get("TRACKING_SYNC")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False
        return process.name() == "wandb-core" and mark == str(self.folder / "store")


def same(found, expected):
    for part in ("runs", "artifacts"):
        assert sorted(found[part]) == sorted(expected[part])
        for name in expected[part]:
            for key, value in expected[part][name].items():
                assert found[part][name][key] == value, (name, key)


def test_a_synced_history_is_the_same_as_one_that_was_logged_directly(offline, direct):
    offline.sync()
    found = offline.snapshot()
    same(found, direct)
    assert found["ids"] == direct["ids"]  # in the order of their starts
