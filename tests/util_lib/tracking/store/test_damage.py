"""A store whose database is damaged says that, in one sentence, and not that its disk is full."""

import random
import re
import sqlite3

import pytest

from util_lib import tracking
from util_lib.errors import UserError
from util_lib.tracking.names import Reference
from util_lib.tracking.store import database
from util_lib.tracking.store.database import Store


@pytest.fixture
def whole(tmp_path, monkeypatch) -> bytes:
    """The bytes of a store's database with a run and an artifact."""
    monkeypatch.setenv("TRACKING_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("TRACKING_PUBLISH", "parent")
    with tracking.init(project="p", config={"a": 1}) as run:
        draft = tracking.Artifact("n", type="t", metadata={"b": 2})
        with draft.new_file("x") as file:
            file.write("hello")
        run.log_artifact(draft).wait()
    with sqlite3.connect(tmp_path / "store" / "tracking.db") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return (tmp_path / "store" / "tracking.db").read_bytes()


def use(tmp_path, content: bytes) -> None:
    folder = tmp_path / f"copy{random.getrandbits(60):x}"
    folder.mkdir()
    (folder / "tracking.db").write_bytes(content)
    store = Store(folder)
    store.runs()
    store.versions("p", "n")
    store.version(Reference("p", "n", "latest"))
    store.lineage()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"number INTEGER NOT NULL", b"number INTEGER NOT NUL\xe4"),  # the schema's own text
        (b"group_name", b"group_nama"),
        (b'{"a":', b'{"a?:'),
        (b'{"b":', b'{"b?:'),
        (b"SQLite format 3", b"SQLite format 4"),
    ],
)
def test_damage_is_called_damage(whole, tmp_path, old, new):
    use(tmp_path, whole)
    variants = [(old, new), (old.replace(b'":', b'": '), new.replace(b"?:", b"?: "))]
    damaged = next(whole.replace(a, b) for a, b in variants if a in whole)
    with pytest.raises(UserError) as error:
        use(tmp_path, damaged)
    assert "is damaged" in str(error.value) and "free space" not in str(error.value)
    assert re.match(
        rf"cannot use the tracking store {tmp_path}/copy\w+/tracking.db: ", str(error.value)
    )


def test_damage_anywhere_is_a_sentence_or_does_no_harm(whole, tmp_path):
    chance = random.Random(5)
    places = [place for place, byte in enumerate(whole) if byte]
    told = 0
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(chance.choice([1, 3, 10])):
            content[chance.choice(places)] = chance.randrange(256)
        try:
            use(tmp_path, bytes(content))
        except UserError as error:
            assert "\n" not in str(error)
            told += 1
    assert told


def test_a_database_that_is_full_held_or_no_file_is_not_called_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.01)
    store = Store(tmp_path / "s")
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 9999) SELECT i"
    with pytest.raises(UserError, match="is full; nothing was recorded; free space there"):
        with store.transaction() as db:
            db.execute("PRAGMA max_page_count = 1")
            db.execute(f"CREATE TABLE large AS {many} FROM n")
    with sqlite3.connect(store.path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError, match="is locked; another process is writing for too long"):
            store.update_run("none", notes="words")
    (tmp_path / "t" / "tracking.db").mkdir(parents=True)
    with pytest.raises(UserError, match="unable to open .*; nothing was recorded; free space"):
        Store(tmp_path / "t")
