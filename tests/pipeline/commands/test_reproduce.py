"""A receipt leads back to the same bytes, or to the first difference."""

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from pipeline.commands import reproduce
from pipeline.receipts import reading, store_copy
from pipeline.receipts.code_checkout import checked_out
from pipeline.receipts.reading import Code, RecordedVersion
from tests import warm
from tests.pipeline.caching.test_reuse import Place
from tests.pipeline.checkout import commit, copy_place, git, receipts
from tests.pipeline.trivial_steps import STEPS
from util_lib import tracking
from util_lib.errors import UserError
from util_lib.tracking.names import parse_reference
from util_lib.tracking.store.database import open_store

LATEST = "songs_demo/receipt:latest"


@pytest.fixture
def place(recorded_run, tmp_path) -> Place:
    return copy_place(recorded_run, tmp_path / "place")


class Scratch:
    """Runs reproduce with a folder of its own for temporary files, empty again afterwards."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place, self.folder = place, folder
        folder.mkdir()

    def start(self, python: str, receipt: str, *given: str) -> subprocess.Popen:
        Path(self.place.environment["RAN"]).write_text("")
        environment = {"PYTHONPATH": str(self.place.project), "TMPDIR": str(self.folder)}
        return subprocess.Popen(
            [python, "-m", "pipeline.commands.reproduce", f"--receipt={receipt}", *given],
            cwd=self.place.home,
            env={**self.place.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, receipt: str, *given: str) -> SimpleNamespace:
        process = self.start(warm.python(), receipt, *given)
        out, err = process.communicate(timeout=300)
        return SimpleNamespace(code=process.returncode, out=out, err=err)

    def is_clean(self) -> bool:
        listed = git(self.place.project, "worktree", "list").splitlines()
        return len(listed) == 1 and not list(self.folder.iterdir())


@pytest.fixture
def scratch(place, tmp_path) -> Scratch:
    return Scratch(place, tmp_path / "temporary")


def contents(folder: Path) -> dict[str, object]:
    """Size and time of every file; of a database what it holds: readers may tidy up its files."""
    found: dict[str, object] = {}
    for path in folder.rglob("*"):
        if path.suffix == ".db":
            with closing(sqlite3.connect(path)) as db:
                found[str(path)] = list(db.iterdump())
        elif path.is_file() and not path.name.endswith(("-shm", "-wal")):
            found[str(path)] = (path.stat().st_size, path.stat().st_mtime)
    return found


def test_a_receipt_of_another_checkout_is_reproduced_from_its_remote(place, tmp_path):
    [told] = receipts(place.store)
    told["code"]["remote"] = str(place.project)
    path = tmp_path / "from_a_colleague.json"
    path.write_text(json.dumps(told))
    mine = Place(tmp_path / "mine")
    git(tmp_path, "clone", "--quiet", str(place.project), str(tmp_path / "mine" / "project"))
    (mine.project / "README.md").write_text("Mine.\n")
    git(mine.project, "checkout", "--quiet", "--orphan", "other")
    commit(mine.project)
    git(mine.project, "branch", "--delete", "--force", "main")
    git(mine.project, "remote", "remove", "origin")
    git(mine.project, "reflog", "expire", "--expire=now", "--all")
    git(mine.project, "gc", "--quiet", "--prune=now")
    mine.home.mkdir()
    scratch = Scratch(mine, tmp_path / "temporary")
    done = scratch.run(str(path))
    assert done.code == 0, done.out + done.err
    ran = Path(mine.environment["RAN"]).read_text().split()
    assert ran == list(STEPS)
    assert f"cloning {place.project}" in done.out
    assert "reproduced: 7 of 7 artifacts and 6 of 6 metrics are the same" in done.out
    assert scratch.is_clean() and list(mine.home.iterdir()) == []


def test_uncommitted_changes_are_part_of_a_receipt_and_the_users_store_stays_as_it_is(
    place, scratch
):
    place.edit("segregate/run.py", 'salt = "plain"', 'salt = "rock"')
    assert place.ran("data.test_size=0.2") == ["segregate", "train_random_forest", "evaluate"]
    place.edit("segregate/run.py", 'salt = "rock"', 'salt = "sea"')
    before = contents(place.home)
    done = scratch.run("songs_demo/receipt:v1")
    assert done.code == 0, done.out + done.err
    assert "the code had uncommitted changes" in done.out
    assert "7 of 7 artifacts" in done.out
    assert contents(place.home) == before
    assert scratch.is_clean() and 'salt = "sea"' in (place.project / "segregate/run.py").read_text()


@pytest.mark.slow
def test_another_input_is_named_with_all_that_came_of_it(place, scratch, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,3\n")
    done = scratch.run(LATEST, f"--file_url={other}")
    assert done.code == 1, done.out + done.err
    assert "not reproduced: 0 of 7 artifacts and 6 of 6 metrics are the same" in done.out
    rows = [line for line in done.out.splitlines() if "different" in line]
    assert len(rows) == 7 and all("line 1:" in row for row in rows)
    assert scratch.is_clean()


@pytest.mark.slow
def test_stopped_it_leaves_nothing_behind(place, scratch):
    process = scratch.start(sys.executable, LATEST)
    ran = Path(place.environment["RAN"])
    deadline = time.monotonic() + 120
    while not ran.read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 130, out + err
    assert err.splitlines()[-1] == "error: stopped by SIGINT"
    assert scratch.is_clean()


# What cannot be reproduced is said in one sentence, before anything runs.


@pytest.fixture
def told(recorded_run) -> dict:
    return receipts(recorded_run / "home" / "tracking_store")[0]


def refused(*given: str, capsys) -> str:
    assert reproduce.main([*given]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_what_is_no_receipt_is_refused(told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACKING_PUBLISH", "parent")
    assert "neither a file nor" in refused("--receipt=mine.json", capsys=capsys)
    assert "no store at" in refused(f"--receipt={LATEST}", capsys=capsys)
    with tracking.init(project="songs_demo") as run:
        for name, type in (("receipt", "receipt"), ("model_export", "model_export")):
            artifact = tracking.Artifact(name, type=type)
            with artifact.new_file("receipt.json") as file:
                file.write("[]")
            run.log_artifact(artifact)
    assert "the nearest name there is 'receipt'" in refused(
        "--receipt=songs_demo/recipt:latest", capsys=capsys
    )
    assert "not a receipt" in refused("--receipt=songs_demo/model_export:v0", capsys=capsys)
    assert "expected a JSON object" in refused(f"--receipt={LATEST}", capsys=capsys)
    (tmp_path / "broken.json").write_text('{"format": 1,')
    assert "not JSON" in refused("--receipt=broken.json", capsys=capsys)
    (tmp_path / "new.json").write_text('{"format": 99}')
    assert "has format 99, and this checkout reads format 1" in refused(
        "--receipt=new.json", capsys=capsys
    )
    (tmp_path / "empty.json").write_text(json.dumps({**told, "steps": []}))
    assert "records no step" in refused("--receipt=empty.json", capsys=capsys)
    (tmp_path / "bare.json").write_text('{"format": 1}')
    assert "bare.json: key 'code' is required" in refused("--receipt=bare.json", capsys=capsys)
    assert "the nearest is 'conda'" in refused("--receipt=x", "--env_manager=conde", capsys=capsys)


def check_out(code: dict, folder: Path, repository: str = "") -> None:
    with checked_out(Code(**code), repository, folder, print):
        pass


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"commit": None}, "not in a git checkout"),
        ({"commit": "main"}, "must be a full git hash"),
        ({"commit": "0" * 40}, "the receipt names no other"),
        ({"commit": "0" * 40, "remote": "/nowhere/repo"}, "/nowhere/repo cannot be cloned"),
        ({"dirty": True, "left_out": "it is too large"}, "because it is too large"),
    ],
)
def test_code_that_nobody_can_come_back_to_is_refused(told, tmp_path, change, says):
    code = {**told["code"], **change}
    with pytest.raises(UserError, match=says):
        check_out(code, tmp_path)
    assert not (tmp_path / "code").exists()


def test_a_commit_or_a_diff_that_is_not_of_the_repository_is_refused(place, told, tmp_path):
    (tmp_path / "two").mkdir()
    absent = {**told["code"], "commit": "0" * 40}
    with pytest.raises(UserError, match="push it there"):
        check_out(absent, tmp_path, str(place.project))
    diff = "--- a/main.py\n+++ b/main.py\n@@ -1 +1 @@\n-never there\n+new\n"
    with pytest.raises(UserError, match="do not apply to its commit"):
        check_out(
            {**told["code"], "dirty": True, "diff": diff}, tmp_path / "two", str(place.project)
        )


def test_an_address_whose_secrets_are_not_in_the_receipt_is_asked_for(told, tmp_path):
    told["config"]["data"]["file_url"] = "https://example.org/t.csv?sig=***"
    receipt = reading.read(json.dumps(told).encode(), "it")
    with pytest.raises(UserError, match="give the whole address with file_url="):
        reproduce.runnable(receipt, tmp_path, "", "")
    whole = "https://example.org/t.csv?sig=secret"
    assert reproduce.runnable(receipt, tmp_path, whole, "")["data"]["file_url"] == whole


def test_values_that_look_like_references_of_hydra_stay_as_they_are():
    config = {"a": "${x} and \\${y} and \\\\${z}", "b": [{"c": "C:\\new"}], "d": None, "e": "${"}
    told = OmegaConf.create(reproduce.literal(config))
    assert OmegaConf.to_container(told, resolve=True) == config


# The copy of the store in which a run is done again.


@pytest.fixture
def logged(monkeypatch, tmp_path):
    """A store with three versions of one artifact; returns what makes receipts of one step."""
    monkeypatch.setenv("TRACKING_PUBLISH", "parent")
    with tracking.init(project="p") as run:
        for text in ("0", "1", "2"):
            artifact = tracking.Artifact("data", type="text")
            with artifact.new_file("text") as file:
                file.write(text)
            run.log_artifact(artifact, aliases=["reference"] if text == "2" else [])
    digests = [version.digest for version in reversed(open_store().versions("p", "data"))]

    def receipt(**inputs: int | None) -> SimpleNamespace:
        found = {
            f"data:{alias}": None
            if n is None
            else RecordedVersion(version=f"v{n}", digest=digests[n])
            for alias, n in inputs.items()
        }
        step = SimpleNamespace(name="train", inputs=found, outputs={})
        return SimpleNamespace(project="p", steps=[step])

    return receipt


@pytest.mark.parametrize("disk", ["same", "another"])
def test_aliases_lead_where_they_led_in_a_copy_and_stay_in_the_store(
    logged, tmp_path, monkeypatch, disk
):
    def no_link(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    if disk == "another":
        monkeypatch.setattr(os, "link", no_link)
    store = open_store()
    copy = store_copy.copy(store.directory, tmp_path / "copy")
    store_copy.put_back(copy, logged(latest=1, reference=0))
    assert copy.version(parse_reference("data:latest", "p")).number == 1
    assert copy.version(parse_reference("data:reference", "p")).number == 0
    assert copy.damage(copy.version(parse_reference("data:v2", "p"))) == []
    assert store.version(parse_reference("data:latest", "p")).number == 2
    store_copy.put_back(copy, logged(reference=None))
    assert copy.version(parse_reference("data:reference", "p")) is None


def test_an_input_that_is_not_here_is_named_before_anything_runs(logged, tmp_path):
    empty = store_copy.copy(tmp_path / "none", tmp_path / "copy")
    with pytest.raises(UserError, match="step train read p/data:latest .v1, digest .*not in the"):
        store_copy.put_back(empty, logged(latest=1))
    assert not os.path.exists(tmp_path / "none")
