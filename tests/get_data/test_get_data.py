import gzip
import hashlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from step_support import ROOT

from get_data import run
from util_lib import downloads
from util_lib.errors import UserError
from util_lib.urls import file_name

BODY = b"PAR1 pretend this is parquet " * 5000
SECRETS = ("s3cret", "T0KEN", "zaphod")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, body=BODY, status=200, length=None, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _drip(self):
        """Send a byte now and then, for as long as the other side listens."""
        self.close_connection = True
        for _ in range(1000):
            self.wfile.write(b"1")
            self.wfile.flush()
            time.sleep(0.05)

    def do_GET(self):
        self.server.asked.append(self.path)
        path = self.path.partition("?")[0]
        count = self.server.counts[path] = self.server.counts.get(path, 0) + 1
        if path == "/songs.parquet":
            self.answer(ETag='"abc"', Last_Modified="Sat, 01 Jan 2022 00:00:00 GMT")
        elif path == "/gone.parquet":
            self.answer(b"gone", 404)
        elif path == "/private.parquet":
            self.answer(b"no", 403)
        elif path in ("/busy.parquet", "/limited.parquet") and count < 3:
            self.answer(b"busy", 500 if path == "/busy.parquet" else 429)
        elif path in ("/busy.parquet", "/limited.parquet"):
            self.answer()
        elif path == "/down.parquet":
            self.answer(b"down", 503)
        elif path == "/page.parquet":
            self.answer(b"hello", Content_Type="text/html; charset=utf-8")
        elif path == "/disguised.parquet":
            self.answer(b"\n <!DOCTYPE HTML><p>log in", Content_Type="application/octet-stream")
        elif path == "/page.html":
            self.answer(b"<html>data</html>", Content_Type="text/html")
        elif path == "/empty.parquet":
            self.answer(b"")
        elif path == "/truncated.parquet" or (path == "/mended.parquet" and count == 1):
            self.answer(BODY[:1000], length=len(BODY))
            self.close_connection = True
        elif path == "/mended.parquet":
            self.answer()
        elif path == "/moved.parquet":
            self.answer(b"", 302, Location="/songs.parquet?token=T0KEN")
        elif path == "/to_file.parquet":
            self.answer(b"", 302, Location="file:///etc/hosts")
        elif path == "/circle.parquet":
            self.answer(b"", 302, Location="/circle.parquet?token=T0KEN")
        elif path == "/silent.parquet":
            time.sleep(1)
        elif path == "/drips.csv":
            self.answer(b"", length=1000)
            self._drip()
        elif path == "/drips_headers.csv":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            self._drip()
        elif path == "/packed.csv":
            self.answer(gzip.compress(b"a,b\n1,2\n"), Content_Encoding="gzip")
        elif path == "/bomb.csv":
            self.answer(gzip.compress(bytes(10**7)), Content_Encoding="gzip")
        elif path == "/endless.csv":  # no length: the end of the connection is the end
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            for _ in range(1000):
                self.wfile.write(b"1,2\n" * 1000)
            self.close_connection = True
        else:
            self.answer(b"unknown", 404)


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setattr(downloads, "RETRY_WAITS_S", (0, 0, 0))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.counts, server.asked = {}, []
    server.handle_error = lambda *arguments: None  # clients that hang up are part of the tests
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


def get(url, *more, name="raw_data.parquet"):
    run.main(["--file_url", str(url), "--artifact_name", name, *more])


def test_a_file_is_logged_byte_for_byte_with_its_origin(web, steps):
    get(f"{web.url}/songs.parquet?raw=true#top")
    artifact = steps.artifact("raw_data.parquet:latest")
    assert steps.bytes("raw_data.parquet:latest") == BODY
    assert list(artifact.manifest.entries) == ["songs.parquet"]
    assert (artifact.type, artifact.description) == ("raw_data", "Data as downloaded")
    assert artifact.metadata == {
        "original_url": f"{web.url}/songs.parquet?raw=true",
        "sha256": hashlib.sha256(BODY).hexdigest(),
        "bytes": len(BODY),
        "etag": '"abc"',
        "last_modified": "Sat, 01 Jan 2022 00:00:00 GMT",
    }


def test_the_same_file_twice_is_one_version(web, steps):
    get(f"{web.url}/songs.parquet")
    get(f"{web.url}/songs.parquet")
    assert steps.artifact("raw_data.parquet:latest").version == "v0"


@pytest.mark.parametrize("path", ["busy", "limited", "mended"])
def test_a_passing_trouble_of_the_server_is_sat_out(web, steps, path):
    get(f"{web.url}/{path}.parquet")
    assert steps.bytes("raw_data.parquet:latest") == BODY


@pytest.mark.parametrize(
    ("path", "sentence", "attempts"),
    [
        ("gone.parquet", "answered 404", 1),
        ("private.parquet", "answered 403", 1),
        ("down.parquet", "answered 503 .* 4 times", 4),
        ("page.parquet", "an HTML page", 1),
        ("disguised.parquet", "an HTML page", 1),
        ("empty.parquet", "is empty", 1),
        ("truncated.parquet", "4 times", 4),
        ("to_file.parquet", "leads to, no valid http", 1),
        ("circle.parquet", "redirects without end", None),
    ],
)
def test_a_bad_answer_is_refused_and_nothing_is_logged(web, steps, path, sentence, attempts):
    with pytest.raises(UserError, match=sentence):
        get(f"{web.url}/{path}")
    assert not steps.exists("raw_data.parquet:latest")
    assert attempts in (None, web.counts[f"/{path}"])
    assert steps.run("get_data").state == "failed"


def test_a_silent_server_is_left_after_four_attempts(web, steps, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT_S", (0.2, 0.2))
    with pytest.raises(UserError, match="was silent .* 4 times"):
        get(f"{web.url}/silent.parquet")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [("drips", r"sent \d+ bytes in \d s, 4 times"), ("drips_headers", "had not answered after")],
)
def test_a_server_that_sends_a_byte_at_a_time_is_left(web, steps, monkeypatch, path, sentence):
    monkeypatch.setattr(downloads, "LOOK_S", 0.2)
    monkeypatch.setattr(downloads, "ANSWER_S", 0.2)
    with pytest.raises(UserError, match=sentence):
        get(f"{web.url}/{path}.csv")


def test_a_download_has_an_end_however_steadily_it_comes(web, steps, monkeypatch):
    monkeypatch.setattr(downloads, "MOST_S", 0.2)
    monkeypatch.setattr(downloads, "SLOWEST_BYTES_S", 0)
    with pytest.raises(UserError, match="still arriving after .* hours: fetch it in another way"):
        get(f"{web.url}/drips.csv")
    assert web.asked == ["/drips.csv"]


def test_nobody_listening_is_one_sentence(web, steps):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match="cannot be reached"):
        get(f"http://127.0.0.1:{port}/songs.parquet")


def test_html_is_data_where_html_was_asked_for(web, steps):
    get(f"{web.url}/page.html", name="page")
    assert steps.bytes("page:latest") == b"<html>data</html>"


def test_a_compressed_transfer_is_unpacked_and_its_length_still_checked(web, steps):
    get(f"{web.url}/packed.csv", name="raw_data.csv")
    assert steps.bytes("raw_data.csv:latest") == b"a,b\n1,2\n"


def test_a_redirect_is_followed_and_keeps_the_name_that_was_asked_for(web, steps):
    get(f"{web.url}/moved.parquet")
    artifact = steps.artifact("raw_data.parquet:latest")
    assert list(artifact.manifest.entries) == ["moved.parquet"]
    assert artifact.metadata["original_url"] == f"{web.url}/moved.parquet"


@pytest.mark.parametrize("path", ["songs.parquet", "bomb.csv", "endless.csv"])
def test_a_file_above_the_limit_is_refused(web, steps, path):
    with pytest.raises(UserError, match="more than the allowed 100,000 bytes"):
        get(f"{web.url}/{path}", "--max_bytes", "100000")
    assert not steps.exists("raw_data.parquet:latest")


def test_a_file_of_exactly_the_limit_passes(web, steps):
    get(f"{web.url}/songs.parquet", "--max_bytes", str(len(BODY)))


def test_another_content_than_the_expected_one_is_refused(web, steps):
    with pytest.raises(UserError, match="expected 000"):
        get(f"{web.url}/songs.parquet", "--sha256", "0" * 64)
    assert not steps.exists("raw_data.parquet:latest")


def test_the_expected_content_passes_in_capitals_too(web, steps):
    get(f"{web.url}/songs.parquet", "--sha256", hashlib.sha256(BODY).hexdigest().upper())


def test_a_malformed_sha256_is_refused(steps):
    with pytest.raises(UserError, match="--sha256: must be 64 hexadecimal digits or null"):
        get("x.csv", "--sha256", "abc")


@pytest.mark.parametrize("path", ["songs", "gone", "truncated", "page", "circle", "empty"])
def test_credentials_are_never_shown_or_stored(web, steps, caplog, path):
    address = f"127.0.0.1:{web.server_port}/{path}.parquet"
    try:
        get(f"http://zaphod:s3cret@{address}?token=T0KEN&X-Amz-Signature=T0KEN&raw=true")
    except UserError as error:
        said = str(error) + caplog.text
        assert error.__suppress_context__ or error.__context__ is None
    else:
        artifact = steps.artifact("raw_data.parquet:latest")
        said = caplog.text + repr(artifact.metadata)
        expected = f"http://{address}?token=***&X-Amz-Signature=***&raw=true"
        assert artifact.metadata["original_url"] == expected
    said += repr(steps.run("get_data").config)
    assert said and not [secret for secret in SECRETS if secret in said]


def test_credentials_are_not_in_any_file_of_the_store(web, steps):
    get(f"http://zaphod:s3cret@127.0.0.1:{web.server_port}/songs.parquet?sig=T0KEN")
    store = b"".join(
        (steps.folder / folder / name).read_bytes()
        for folder, _, names in os.walk(steps.folder)
        for name in names
    )
    assert not [secret for secret in SECRETS if secret.encode() in store]


def test_a_whole_address_may_come_by_the_environment(web, steps, monkeypatch):
    address = f"127.0.0.1:{web.server_port}/songs.parquet"
    monkeypatch.setenv("GET_DATA_URL", f"http://zaphod:s3cret@{address}?token=T0KEN")
    get(f"http://{address}?token=***")
    assert "token=T0KEN" in web.asked[-1]
    get(f"http://{address}?version=2")
    assert web.asked[-1].endswith("?version=2")


def test_a_local_page_of_html_is_refused_too(steps):
    page = steps.folder / "page.parquet"
    page.write_text("<!DOCTYPE html><html>log in</html>")
    with pytest.raises(UserError, match="HTML page"):
        get(page)
    assert not steps.exists("raw_data.parquet:latest")


def test_a_local_file_is_copied(steps):
    source = steps.folder / "my songs.csv"
    source.write_text("a\n1\n")
    for url in (source, f"file://{source}".replace(" ", "%20")):
        get(url, name="raw_data.csv")
        artifact = steps.artifact("raw_data.csv:latest")
        assert list(artifact.manifest.entries) == ["my songs.csv"]
        assert artifact.metadata["bytes"] == 4


def test_a_relative_path_starts_at_the_project_root(steps, tmp_path):
    path = os.path.relpath(tmp_path / "songs.csv", ROOT)
    (tmp_path / "songs.csv").write_text("a\n1\n")
    get(path)
    assert steps.exists("raw_data.parquet:latest")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nowhere/songs.csv", "does not exist"),
        (".", "files of several kinds"),
        ("ftp://host/songs.csv", "scheme 'ftp'"),
        ("file://otherhost/songs.csv", "names the host 'otherhost'"),
        ("http://", "valid http"),
        ("http://[::1/songs.csv", "valid http"),
    ],
)
def test_an_address_that_leads_to_no_file_is_refused(steps, url, sentence):
    with pytest.raises(UserError, match=sentence):
        get(url)
    assert not steps.exists("raw_data.parquet:latest")


def test_an_empty_local_file_is_refused(steps):
    (steps.folder / "empty.csv").touch()
    with pytest.raises(UserError, match="is empty"):
        get(steps.folder / "empty.csv")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://host/a/b.parquet?raw=true#x", "b.parquet"),
        ("https://host/a%20b.csv", "a b.csv"),
        ("https://host/", "default"),
        ("https://host", "default"),
        ("https://host/..", "default"),
        ("https://host/a%2Fb.csv", "b.csv"),
        ("dir/b.csv", "b.csv"),
    ],
)
def test_the_file_is_named_after_the_path_of_its_address(url, name):
    assert file_name(url, "default") == name


def test_a_long_download_says_how_far_it_is(web, steps, monkeypatch, caplog):
    monkeypatch.setattr(downloads, "PROGRESS_S", 0)
    get(f"{web.url}/songs.parquet")
    assert "0.1 of 0.1 MB received" in caplog.text


def test_arguments_can_come_from_a_file(web, steps):
    file = steps.folder / "arguments.txt"
    file.write_text(
        f"--file_url\n{web.url}/songs.parquet\n--artifact_name raw.parquet\n"
        "--artifact_description\nThe irises’ (Setosa, ...) table\n"
    )
    run.main([f"@{file}"])
    assert steps.artifact("raw.parquet:v0").description == "The irises’ (Setosa, ...) table"


def test_the_script_alone_ends_with_one_sentence(web, steps):
    done = subprocess.run(
        [sys.executable, "run.py", "--file_url", f"http://u:s3cret@127.0.0.1:{web.server_port}/gone",
         "--artifact_name", "raw"],
        cwd=ROOT / "get_data",
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("get_data: file_url http://127.0.0.1:") and "404" in last
    assert "s3cret" not in done.stdout + done.stderr and "Traceback" not in done.stderr
