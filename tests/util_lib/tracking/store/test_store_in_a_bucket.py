"""The contents of a store in a bucket: shared, checked by their digests, removed by gc."""

import hashlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from pipeline.caching.version import Version
from pipeline.caching.versions_in_store import Local
from pipeline.housekeeping import unneeded
from pipeline.receipts import store_copy
from tests import warm
from util_lib import tracking
from util_lib.errors import UserError
from util_lib.tracking.store.database import Store, open_store

N_VERSIONS = 3
WRITER = f"""
import sys
from tests import warm
from util_lib import tracking
sys.stdin.readline()
with tracking.init(project="p", job_type="write") as run:
    for number in range({N_VERSIONS}):
        artifact = tracking.Artifact("shared", type="t")
        for name, text in {{"a.txt": f"{{sys.argv[1]}} {{number}}", "same.txt": "same"}}.items():
            with artifact.new_file(name) as file:
                file.write(text)
        run.log_artifact(artifact)
"""


@pytest.fixture
def there(bucket, monkeypatch):
    """Give the bucket in which from now on the contents of stores lie."""
    monkeypatch.setenv("TRACKING_STORE_FILES", f"{bucket.address}/team/")
    return bucket


def log(text: str, name: str = "data.txt") -> None:
    with tracking.init(project="p", job_type="t") as run:
        artifact = tracking.Artifact(name, type="t")
        with artifact.new_file(name) as file:
            file.write(text)
        run.log_artifact(artifact).wait()


def read(reference: str = "p/data.txt:latest") -> str:
    shutil.rmtree("artifacts", ignore_errors=True)
    return Path(tracking.Api().artifact(reference).file()).read_text()


def forget_here(store: Store) -> None:
    """Take away what lies on this disk."""
    for folder in store.files.final.glob("??"):
        shutil.rmtree(folder)


def contents(bucket) -> list[str]:
    return [key for key in bucket.keys() if key.startswith("team/files/")]


def test_what_one_machine_logged_another_reads_with_a_copy_of_the_database(
    there, tmp_path, monkeypatch
):
    log("beautiful")
    digest = hashlib.sha256(b"beautiful").hexdigest()
    assert contents(there) == [f"team/files/{digest[:2]}/{digest}"]
    colleague = tmp_path / "colleague"
    colleague.mkdir()
    with sqlite3.connect(open_store().path) as db:
        db.execute(f"VACUUM INTO '{colleague / 'tracking.db'}'")
    monkeypatch.setenv("TRACKING_STORE", str(colleague))
    assert read() == "beautiful"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert read() == "beautiful"  # from now on it is here


def test_a_content_that_is_damaged_in_the_bucket_is_refused_and_healed_by_logging_it_again(there):
    log("beautiful")
    store = open_store()
    [key] = contents(there)
    there.put(key, b"ugly, and as long"[:9])
    assert read() == "beautiful"
    forget_here(store)
    [version] = store.all_versions()
    assert "is damaged: the sha256 of s3://" in store.damage(version)[0]
    with pytest.raises(UserError, match="is damaged: .* log the same content again"):
        read()
    log("beautiful")
    forget_here(store)
    assert store.damage(version) == [] and read() == "beautiful"


def test_a_content_that_is_gone_there_is_said_or_put_there_again(there):
    log("beautiful")
    store = open_store()
    [version], [key] = store.all_versions(), contents(there)
    there.delete(key)
    assert Local(store).damage("p", Version("data.txt", 0, version.digest)) is None
    assert contents(there) == [key]
    there.put(key, b"beaut")
    assert Local(store).damage("p", Version("data.txt", 0, version.digest)) is None
    assert there.get(key) == b"beautiful"
    there.delete(key)
    forget_here(store)
    damage = Local(store).damage("p", Version("data.txt", 0, version.digest))
    assert "is missing: there is no s3://" in damage
    with pytest.raises(UserError, match="is missing: there is no s3://.* log the same content"):
        read()


def test_a_content_that_is_damaged_here_is_fetched_again(there):
    log("beautiful")
    store = open_store()
    [path] = store.files.final.glob("??/*")
    path.chmod(0o644)
    path.write_text("ugly")
    assert read() == "beautiful"


def test_what_lies_in_the_bucket_alone_can_be_logged_again_until_it_is_gone_there_too(there):
    log("beautiful")
    artifact, [key] = tracking.Api().artifact("p/data.txt:latest"), contents(there)
    with tracking.init(project="p", job_type="t") as run:
        forget_here(open_store())
        assert run.log_artifact(artifact).version == "v0" and read() == "beautiful"
        forget_here(open_store())
        there.delete(key)
        with pytest.raises(
            UserError, match="'data.txt' of artifact .* is not in the store any more"
        ):
            run.log_artifact(artifact)


def test_two_writers_at_once_lose_nothing(there, python):
    processes = [python(WRITER, name, program=warm.python()) for name in "ab"]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [(process.communicate()[1], process.returncode) for process in processes] == [
        ("", 0)
    ] * 2
    store = open_store()
    forget_here(store)
    versions = store.all_versions()
    assert len(versions) == 2 * N_VERSIONS and len(contents(there)) == 2 * N_VERSIONS + 1
    assert [store.damage(version) for version in versions] == [[]] * len(versions)
    assert len([key for key in there.keys() if key.startswith("team/stores/")]) == 1


def test_gc_removes_there_too_unless_another_store_uses_it(there, tmp_path, monkeypatch):
    log("old")
    log("new")
    store = open_store()
    forget_here(store)
    assert len(contents(there)) == 2 and unneeded.clean(store, 10, delete=False)
    unneeded.clean(store, 10, delete=True)
    assert len(contents(there)) == 1 and read() == "new"
    monkeypatch.setenv("TRACKING_STORE", str(tmp_path / "another"))
    log("another")
    assert len(store.files.others()) == 1
    log("newest")
    unneeded.clean(open_store(), 10, delete=True)
    assert len(contents(there)) == 3 and len([*open_store().files.final.glob("??/*")]) == 1


def test_a_copied_store_only_reads_the_bucket(there, tmp_path, monkeypatch):
    log("beautiful")
    store = open_store()
    forget_here(store)
    copied = store_copy.copy(store.directory, tmp_path / "copy")
    assert copied.damage(copied.all_versions()[0]) == []
    monkeypatch.setenv("TRACKING_STORE", str(copied.directory))
    before = there.keys()
    log("of a run that is only tried")
    assert there.keys() == before


def test_a_bucket_that_is_away_is_said_and_nothing_is_recorded(there, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(UserError, match="cannot be reached"):
        log("beautiful")
    assert open_store().all_versions() == []


def test_a_store_that_was_in_a_bucket_says_so_without_it(there, monkeypatch):
    log("beautiful")
    forget_here(open_store())
    monkeypatch.delenv("TRACKING_STORE_FILES")
    fresh = Store(open_store().directory)
    with pytest.raises(UserError, match="set TRACKING_STORE_FILES as it was"):
        fresh.files.fetch(fresh.version_files(1)[0].sha256, Path("x"), "file 'data.txt'")


@pytest.mark.parametrize("address", ["bucket", "sftp://host/x", "s3://me:s3cretBeeble@bucket/x"])
def test_an_address_that_cannot_hold_a_store_is_refused(monkeypatch, address):
    monkeypatch.setenv("TRACKING_STORE_FILES", address)
    with pytest.raises(UserError, match="expected s3://BUCKET/FOLDER") as refused:
        open_store(make=True)
    assert "s3cret" not in str(refused.value)
