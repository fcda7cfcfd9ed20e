"""What a step would read is known by its content, or by what a server says, and without secrets."""

import hashlib
import http.server
import sqlite3
import threading
from pathlib import Path

import pytest

from pipeline.caching import decision
from pipeline.caching.fingerprint import UnknownFingerprint
from pipeline.planning.step import Step
from pipeline.settings import overrides, resolvers, schema
from util_lib.urls import HIDDEN

ONE = hashlib.sha256(b"a\n1\n").hexdigest()


@pytest.fixture(scope="module")
def settings() -> schema.Settings:
    resolvers.register_resolvers()
    return schema.check(overrides.base_config([]))


@pytest.fixture
def known(settings):
    """Return what identifies a source."""

    def _known(address: object, chosen: schema.Settings = settings, **parameters: str) -> str:
        given = {"file_url": str(address), "sha256": "null", **parameters}
        step = Step("get_data", given, (), (), "get_data", source="file_url")
        return decision.source(step, "file_url", chosen)

    return _known


@pytest.fixture
def table(tmp_path) -> Path:
    path = tmp_path / "a b.csv"
    path.write_text("a\n1\n")
    return path


class Answers(http.server.BaseHTTPRequestHandler):
    """Says of every file what `said` holds, and of a path /moved where it lies now."""

    said: dict[str, str]

    def do_HEAD(self) -> None:
        moved = self.path == "/moved"
        self.send_response(302 if moved else 404 if self.path == "/gone" else 200)
        for name, value in ({"Location": "/table"} if moved else self.said).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as answering:
        threading.Thread(target=answering.serve_forever, daemon=True).start()
        yield f"http://me:s3cretBeeble@127.0.0.1:{answering.server_port}"
        answering.shutdown()


def test_a_file_here_is_known_by_its_content_whatever_its_address_looks_like(known, table):
    assert known(table) == f"{table} sha256 {ONE}"
    assert known(table.as_uri()) == f"{table.as_uri()} sha256 {ONE}"
    table.write_text("a\n2\n")
    assert known(table).startswith(f"{table} sha256 ") and ONE not in known(table)


def test_a_folder_is_known_by_the_names_and_contents_of_its_files(known, table):
    one = known(table.parent)
    assert one.startswith(f"{table.parent} sha256 ") and known(table.parent) == one
    other = table.rename(table.with_name("b.csv"))
    renamed = known(other.parent)
    other.write_text("a\n2\n")
    assert len({one, renamed, known(other.parent)}) == 3


def test_what_cannot_be_read_says_why(known, tmp_path):
    (tmp_path / "empty").mkdir()
    for address, said in {
        tmp_path / "gone.csv": r"gone.csv cannot be read \(No such file or directory\)$",
        "file://elsewhere/x.csv": "^file://elsewhere/x.csv names no file here$",
        tmp_path / "empty": "names no files",
    }.items():
        with pytest.raises(UnknownFingerprint, match=said):
            known(address)


@pytest.mark.parametrize("name", ["ETag", "Last-Modified"])
def test_a_file_of_a_server_is_known_by_its_tag_or_its_date(known, server, name):
    found = []
    for said in ({name: "one"}, {name: "two"}, {name: "two", "Content-Length": "7"}):
        Answers.said = said
        found += [known(f"{server}/table"), known(f"{server}/table")]
    assert found[::2] == found[1::2] and len({*found}) == 3
    Answers.said = {name: "one"}
    assert found[0] not in (known(f"{server}/other"), known(f"{server}/moved"))
    assert "s3cret" not in "".join(found)


def test_a_server_that_does_not_say_enough_is_named_without_its_secrets(known, server):
    Answers.said = {"Content-Length": "7"}
    for path, said in {
        "table": "gives neither ETag nor date$",
        "gone": "does not say what",
    }.items():
        with pytest.raises(UnknownFingerprint, match=f"the server of http.*/{path} {said}") as why:
            known(f"{server}/{path}")
        assert "s3cret" not in str(why.value)


def test_who_gives_the_digest_of_a_file_is_believed_and_no_server_is_asked(known):
    address = "http://127.0.0.1:9/table.csv"
    assert known(address, sha256=ONE.upper()) == f"{address} sha256 {ONE}"


def test_a_plan_without_secrets_says_that_they_are_missing(known, settings):
    planning = settings.model_copy(update={"main": settings.main.model_copy(update={"plan": True})})
    address = f"http://me:{HIDDEN}@127.0.0.1:9/table.csv"
    with pytest.raises(UnknownFingerprint, match="^the secrets of its address are not set here$"):
        known(address, planning)
    assert (
        known("http://127.0.0.1:9/x", planning, sha256=ONE) == f"http://127.0.0.1:9/x sha256 {ONE}"
    )


def test_the_rows_of_a_database_are_known_by_the_answer_to_a_query(known, tmp_path):
    address = f"sqlite:///{tmp_path}/songs.db"
    with sqlite3.connect(tmp_path / "songs.db") as db:
        db.execute("CREATE TABLE songs (id INTEGER)")
        db.execute("INSERT INTO songs VALUES (1)")
    count = "SELECT count(*) FROM songs"
    one = known(address, sql_version_query=count)
    assert one.startswith(f"{address} sha256 ") and known(address, sql_version_query=count) == one
    with sqlite3.connect(tmp_path / "songs.db") as db:
        db.execute("INSERT INTO songs VALUES (2)")
    assert known(address, sql_version_query=count) != one
    for query, said in {"null": "nobody knows whether .*version_query", "SELECT x": "x"}.items():
        with pytest.raises(UnknownFingerprint, match=said):
            known(address, sql_version_query=query)
