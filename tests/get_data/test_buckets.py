"""A file of a bucket is taken as one of the web is: whole, known by its ETag, without secrets."""

import asyncio
import hashlib
import os
import socket
import sys
import threading
from urllib.parse import quote

import asyncssh
import pytest
import requests
from bucket_support import SECRET
from step_support import ROOT, small_disk

from get_data import run
from pipeline.caching import decision, fingerprint
from pipeline.planning.step import Step
from util_lib import urls
from util_lib.buckets import remote
from util_lib.errors import UserError

BODY = b"a,b\n" + b"1,2\n" * 3_000_000  # some 12 MB: more than one chunk
RAW, PASSWORD = "raw_data", "s3cretBeeble"


def get(address: str, *more: str) -> None:
    run.main(["--file_url", address, "--artifact_name", RAW, *more])


def known(address: str, **given: str) -> str:
    parameters = {"file_url": address, **given}
    step = Step("get_data", parameters, (), (RAW,), "get_data", source="file_url")
    return decision.source(step, "file_url", None)


def test_a_file_of_a_bucket_arrives_byte_for_byte(bucket, steps):
    sha256 = hashlib.sha256(BODY).hexdigest()
    get(bucket.put("in/songs.csv", BODY), "--sha256", sha256)
    logged = steps.artifact(f"{RAW}:latest")
    assert logged.manifest.entries["songs.csv"].sha256 == sha256
    assert logged.metadata["etag"] == f'"{hashlib.md5(BODY).hexdigest()}"'
    assert logged.metadata["original_url"] == f"{bucket.address}/in/songs.csv"


@pytest.mark.parametrize("key", ["a#b.csv", "a%20b.csv", "ä [1]+.csv"])
def test_a_key_is_a_name_whatever_is_in_it(bucket, steps, key):
    bucket.put(quote(key), b"a\n1\n")
    get(f"{bucket.address}/{key}")
    assert [*steps.artifact(f"{RAW}:latest").manifest.entries] == [key]
    get(f"{bucket.address}/")
    assert [*steps.artifact(f"{RAW}:latest").manifest.entries] == [key]


def test_what_the_disk_does_not_take_is_said(bucket, steps):
    bucket.put("songs.csv", BODY)
    bucket.put(f"in/{'x' * 300}.csv", b"a\n1\n")
    with pytest.raises(UserError, match="File name too long; give the file a shorter name"):
        get(f"{bucket.address}/in/")
    with small_disk(2**20), pytest.raises(UserError, match="cannot read or write .*set TMPDIR"):
        get(f"{bucket.address}/songs.csv")


@pytest.mark.parametrize(
    ("content", "given", "says"),
    [
        (b"too long", ["--max_bytes", "7"], "more than the allowed 7 bytes"),
        (b"others", ["--sha256", "0" * 64], "its content has changed or is damaged"),
        (b"<html>log in</html>", [], "gave an HTML page"),
        (b"", [], "is empty"),
    ],
)
def test_limits_are_those_of_a_download(bucket, steps, content, given, says):
    with pytest.raises(UserError, match=says):
        get(bucket.put("songs.csv", content), *given)
    assert not steps.exists(f"{RAW}:latest")


WEEKS = {f"in/2026-W{week:02}.csv": b"a\n%d\n" % week for week in (9, 10, 11)}
NOTES = {"in/_SUCCESS": b"x", "in/.part": b"x", "in/old/2026-W01.csv": b"a\n0\n", "in/": b""}


@pytest.mark.parametrize("named", ["in/", "in", "in/*.csv", "i*/2026-W*"])
def test_the_files_of_a_folder_or_glob_are_one_table_in_the_order_of_their_names(
    bucket, steps, named
):
    namesake = {"in": b"a file of the folder's name"} if named == "in/" else {}
    for key, content in {**NOTES, **WEEKS, **namesake}.items():
        bucket.put(key, content)
    get(f"{bucket.address}/{named}")
    logged = steps.artifact(f"{RAW}:latest")
    digests = {path: entry.sha256 for path, entry in logged.manifest.entries.items()}
    sha256s = {key[3:]: hashlib.sha256(content).hexdigest() for key, content in WEEKS.items()}
    assert digests == sha256s
    listed = "".join(f"{sha256}  {name}\n" for name, sha256 in sha256s.items())
    assert logged.metadata["sha256"] == hashlib.sha256(listed.encode()).hexdigest()
    assert logged.metadata["n_files"] == 3
    get(f"{bucket.address}/{named}", "--partition_by", "file", "--partition_window", "2")
    newest = steps.artifact(f"{RAW}:latest")
    assert [*newest.manifest.entries] == ["2026-W10.csv", "2026-W11.csv"]


@pytest.mark.parametrize(
    ("named", "given", "says"),
    [
        ("in/*.txt", [], r"names no files: looked for .*in/\*.txt"),
        (
            "in/",
            ["--max_bytes", "9"],
            r"\(3\) .* allowed 9 bytes together \(9 before 2026-W11",
        ),
        ("*/*", [], "several files called '2026-W09.csv'"),
        ("mixed/", [], r"files of several kinds \(.csv, .parquet\)"),
    ],
)
def test_files_of_a_bucket_that_are_no_table_are_refused(bucket, steps, named, given, says):
    others = {"out/2026-W09.csv": b"a\n1\n", "mixed/a.csv": b"a\n1\n", "mixed/b.parquet": b"P"}
    del others["mixed/b.parquet" if named == "*/*" else "out/2026-W09.csv"]
    for key, content in {**WEEKS, **others}.items():
        bucket.put(key, content)
    with pytest.raises(UserError, match=says):
        get(f"{bucket.address}/{named}", *given)
    assert not steps.exists(f"{RAW}:latest")


def test_the_cache_knows_a_folder_by_the_etags_of_the_files_that_are_taken(bucket):
    for key, content in WEEKS.items():
        bucket.put(key, content)
    folder = f"{bucket.address}/in/"
    whole, newest = known(folder), known(folder, partition_by="file", partition_window="1")
    assert whole != newest
    bucket.put("in/_SUCCESS", b"x")
    bucket.put("in/2026-W09.csv", WEEKS["in/2026-W09.csv"])  # the same again
    assert known(folder) == whole
    bucket.put("in/2026-W09.csv", b"a\n90\n")
    assert known(folder) != whole
    assert known(folder, partition_by="file", partition_window="1") == newest
    bucket.put("in/2026-W12.csv", b"a\n12\n")
    assert known(folder, partition_by="file", partition_window="1") != newest


def test_a_file_or_bucket_that_is_not_there_is_said(bucket, steps):
    bucket.put("in/songs.csv", BODY[:8])
    with pytest.raises(UserError, match=f"{bucket.address}/out does not exist"):
        get(f"{bucket.address}/out")
    with pytest.raises(UserError, match="s3://nobodys-bucket/songs.csv does not exist"):
        get("s3://nobodys-bucket/songs.csv")


def test_the_cache_knows_a_file_by_its_etag(bucket):
    address = bucket.put("songs.csv", b"a\n1\n")
    before = known(address)
    bucket.put("songs.csv", b"a\n2\n")
    changed = known(address)
    assert before != changed
    assert known(address) == changed
    with pytest.raises(fingerprint.UnknownFingerprint, match="does not exist"):
        known(f"{address}.gone")


def test_a_file_that_changes_while_it_is_read_is_refused(bucket, steps):
    address = bucket.put("songs.csv", BODY)
    with pytest.raises(UserError, match="changed while it was read"):
        with remote.reading(address) as (_, chunks):
            next(chunks)
            bucket.put("songs.csv", BODY[::-1])
            list(chunks)


def test_the_package_that_is_not_there_is_named_with_what_installs_it(bucket, steps, monkeypatch):
    address = bucket.put("songs.csv", b"a\n1\n")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    command = f"uv pip install --python {sys.executable} s3fs=="
    with pytest.raises(UserError, match=command):
        get(address)
    with pytest.raises(fingerprint.UnknownFingerprint, match=command):
        known(address)


def test_wrong_credentials_are_said_and_written_nowhere(bucket, steps, caplog, monkeypatch):
    address = bucket.put("songs.csv", b"a\n1\n")
    requests.post(f"{bucket.server}/moto-api/reset-auth", data=b"0").raise_for_status()
    try:
        with pytest.raises(UserError, match="refuses access .* needs AWS_ACCESS_KEY_ID"):
            get(address)
    finally:
        requests.post(f"{bucket.server}/moto-api/reset-auth", data=b"inf").raise_for_status()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UserError, match="refuses access"):
        get("s3://nobodys-bucket-either/songs.csv")
    written = [path.read_bytes() for path in steps.folder.rglob("*") if path.is_file()]
    assert SECRET not in caplog.text and not any(SECRET.encode() in one for one in written)


@pytest.mark.parametrize(
    "address", ["s3://zaphod:s3cretBeeble@songs/x.csv", "az://c/x?sig=s3cretB"]
)
def test_a_secret_is_refused_on_the_command_line(steps, caplog, address):
    with pytest.raises(UserError, match="came with a secret on the command line") as refused:
        get(address)
    assert "s3cret" not in f"{refused.value} {caplog.text}"


def test_a_server_that_is_away_or_silent_is_said_soon(bucket, steps, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(UserError, match="s3://nowhere/away.csv cannot be reached"):
        get("s3://nowhere/away.csv")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setattr(remote, "ANSWER_S", 0.5)
        with pytest.raises(UserError, match="did not answer"):
            get("s3://silence/silent.csv")


class OneUser(asyncssh.SSHServer):
    """A server of SFTP that lets in who has the right password."""

    def password_auth_supported(self):
        return True

    def validate_password(self, username, password):
        return (username, password) == ("zaphod", PASSWORD)


@pytest.fixture
def sftp(tmp_path):
    """Give the port and the key of a server whose files lie in `tmp_path`/there."""
    (tmp_path / "there").mkdir()
    loop, key = asyncio.new_event_loop(), asyncssh.generate_private_key("ssh-ed25519")
    listening = asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=OneUser,
        server_host_keys=[key],
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(tmp_path / "there")),
    )
    server = loop.run_until_complete(listening)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield server.get_port(), key.export_public_key().decode()

    async def ended():  # or what is destroyed later says so on another test's stderr
        server.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(ended(), loop).result(timeout=60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_server_of_sftp_must_be_known_and_its_file_is_known_by_its_date(
    sftp, steps, tmp_path, monkeypatch, caplog
):
    port, key = sftp
    file = tmp_path / "there/songs.csv"
    file.write_bytes(BODY)
    shown = f"sftp://127.0.0.1:{port}/songs.csv"
    monkeypatch.setenv("GET_DATA_URL", f"sftp://zaphod:{PASSWORD}@127.0.0.1:{port}/songs.csv")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match="refuses access .* needs .*known_hosts"):
        get(shown)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{port} {key}")
    get(shown, "--sha256", hashlib.sha256(BODY).hexdigest())
    before = known(shown)
    os.utime(file, (1, 1))
    assert known(shown) != before
    written = [path.read_bytes() for path in steps.folder.rglob("*") if path.is_file()]
    assert PASSWORD not in caplog.text and not any(PASSWORD.encode() in one for one in written)


def test_the_files_that_links_of_a_server_lead_to_are_part_of_a_folder(
    sftp, steps, tmp_path, monkeypatch
):
    port, key = sftp
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{port} {key}")
    for named in ("in/", "in/*.csv"):
        whole = f"sftp://zaphod:{PASSWORD}@127.0.0.1:{port}/{named}"
        monkeypatch.setenv("GET_DATA_URL", whole)
        shown = whole.replace(f"zaphod:{PASSWORD}@", "")
        folder = tmp_path / "there/in"
        (folder / "sub.csv").mkdir(parents=True, exist_ok=True)
        (folder / "a.csv").write_bytes(b"a\n1\n")
        (folder / "b.csv").unlink(missing_ok=True)
        (folder / "b.csv").symlink_to("../kept")
        with pytest.raises(UserError, match="in/b.csv does not exist"):
            get(shown)
        (tmp_path / "there/kept").write_bytes(b"a\n2\n")
        get(shown)
        logged = steps.artifact(f"{RAW}:latest")
        assert [*logged.manifest.entries] == ["a.csv", "b.csv"]
        (tmp_path / "there/kept").unlink()


def test_the_packages_that_are_named_are_those_that_are_tested_and_documented():
    pins = (ROOT / "requirements-dev.txt").read_text().splitlines()
    named = {access.package for access in remote.KINDS.values()}
    assert {pin for pin in pins if pin.startswith(("s3fs", "sshfs"))} <= named
    documented = (ROOT / "docs/buckets.md").read_text()
    assert [package for package in named if f"`{package}`" not in documented] == []


def test_the_key_of_a_bucket_is_shown_whole_and_of_a_page_what_comes_before_the_mark():
    assert urls.without_secrets("s3://data/x#y.csv") == "s3://data/x#y.csv"
    assert urls.without_secrets("https://host/x.csv#y") == "https://host/x.csv"
