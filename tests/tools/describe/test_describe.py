"""The step `describe`: what it writes and logs, and what it refuses."""

import functools
import gzip
import http.server
import os
import shlex
import subprocess
import sys
import threading

import pandas as pd
import pytest
import yaml
from step_support import ROOT

from tools.describe import run
from util_lib import tracking
from util_lib.errors import UserError
from util_lib.tracking.__main__ import main as tracking_command
from util_lib.urls import table_name


@pytest.fixture
def server(drafts, monkeypatch):
    """A web server of the folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    handler = functools.partial(Quiet, directory=str(drafts.folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def written(drafts):
    return sorted(path.name for path in drafts.drafts.iterdir())


def test_the_draft_and_the_profile_are_artifacts_of_the_project(drafts, customers, capsys):
    drafts.describe(drafts.table(customers, "Kunden 2024.csv"))
    name = "Kunden_2024"
    assert written(drafts) == [f"{name}.yaml"]
    api = tracking.Api()
    draft = api.artifact(f"{name}/{name}_draft:latest")
    page = api.artifact(f"{name}/{name}_profile:latest")
    assert (page.type, draft.type) == ("profile", "dataset")
    copy = draft.file(str(drafts.folder / "copy"))
    assert open(copy, encoding="utf-8").read() == drafts.text(name)
    content = open(page.file(str(drafts.folder / "page")), encoding="utf-8").read()
    assert content.lower().count("<html") and "monthly" not in content and "fee" in content
    said = capsys.readouterr().out
    assert f'-P hydra_options="dataset={name}"' in said and "240 rows, 5 features" in said


def test_the_command_that_is_printed_fetches_the_profile(drafts, customers, capsys, monkeypatch):
    monkeypatch.setattr(run, "ROOT", drafts.folder)  # the draft lies in the project
    drafts.describe(drafts.table(customers, "customers.csv"))
    printed = next(line for line in capsys.readouterr().out.splitlines() if " download " in line)
    variable, command = shlex.split(printed)[0], shlex.split(printed)[4:]
    assert variable == f"TRACKING_STORE={os.environ['TRACKING_STORE']}"
    assert tracking_command(command) == 0
    page = drafts.folder / "customers_profile" / "customers_profile.html"
    assert page.stat().st_size > 10_000
    assert tracking_command(["download", "customers/nothing:latest", "x"]) == 1


def test_a_long_table_is_profiled_by_a_sample(drafts, customers, monkeypatch):
    monkeypatch.setattr(run, "PROFILED_ROWS", 50)
    drafts.describe(drafts.table(customers, "customers.csv"))
    page = tracking.Api().artifact("customers/customers_profile:latest")
    content = open(page.file(str(drafts.folder / "page")), encoding="utf-8").read()
    assert "50 rows of 240, drawn at random" in content


def test_an_existing_file_is_replaced_only_on_demand(drafts, customers):
    path = drafts.table(customers, "customers.csv")
    (drafts.drafts / "customers.yaml").write_text("mine")
    with pytest.raises(UserError, match="exists already.*overwrite=true"):
        drafts.describe(path)
    assert (drafts.text("customers"), written(drafts)) == ("mine", ["customers.yaml"])
    drafts.describe(path, "--overwrite", "true")
    assert drafts.text("customers").startswith("# @package _global_")
    assert written(drafts) == ["customers.yaml"]


def test_a_file_that_appears_meanwhile_stays(drafts, customers, monkeypatch):
    profile = run.profile

    def slow(*arguments):
        (drafts.drafts / "customers.yaml").write_text("theirs")
        profile(*arguments)

    monkeypatch.setattr(run, "profile", slow)
    with pytest.raises(UserError, match="exists already"):
        drafts.describe(drafts.table(customers, "customers.csv"))
    assert (drafts.text("customers"), written(drafts)) == ("theirs", ["customers.yaml"])


def test_a_folder_that_cannot_be_made_is_named(drafts, customers):
    path = drafts.table(customers, "customers.csv")
    (drafts.folder / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written to .*file/drafts"):
        run.main(["--file_url", str(path), "--folder", str(drafts.folder / "file" / "drafts")])


def test_a_table_of_the_project_is_named_by_its_place_in_it(drafts):
    drafts.describe("dataset/songs_demo.parquet", "--name", "mine")
    data = yaml.safe_load(drafts.text("mine"))["data"]
    assert data["file_url"] == "dataset/songs_demo.parquet"
    shipped = yaml.safe_load((ROOT / "conf/dataset/songs_demo.yaml").read_text())["data"]
    assert (data["sha256"], data["target"]) == (shipped["sha256"], "genre")
    assert drafts.composed("mine").main.project_name == "mine"


def test_a_table_may_come_from_the_web(drafts, customers, server):
    drafts.table(customers, "customers.csv")
    drafts.describe(f"http://{server}/customers.csv?raw=true")
    url = f"http://{server}/customers.csv?raw=true"
    assert drafts.composed("customers").data.file_url == url


def test_the_secrets_of_an_address_are_in_no_file(drafts, customers, server, monkeypatch, capsys):
    drafts.table(customers, "customers.csv")
    whole = f"http://zaphod:s3cret@{server}/customers.csv?token=T0KEN"
    monkeypatch.setenv("GET_DATA_URL", whole)
    drafts.describe(f"http://{server}/customers.csv?token=***")
    monkeypatch.setenv("CUSTOMERS_URL", whole)
    assert drafts.composed("customers").data.file_url == whole
    drafts.describe(whole, "--name", "again")
    kept = [path for path in drafts.folder.rglob("*") if path.is_file()]
    kept = b"".join(path.read_bytes() for path in kept) + capsys.readouterr().out.encode()
    assert b"customers" in kept
    assert not [secret for secret in (b"s3cret", b"T0KEN", b"zaphod") if secret in kept]


BAD_TABLES = {
    "empty": (b"", "is empty"),
    "blank": (b"\n\n \n", "no line with anything in it"),
    "header only": (b"a,b,left\n", "no rows"),
    "one column": (b"a\n1\n2\n", "one column, 'a'"),
    "binary": (bytes(range(256)) * 20, "neither a parquet file nor text"),
    "broken zip": (b"PK\x03\x04" + bytes(100), "no complete zip file"),
    "broken gzip": (gzip.compress(b"a,b,left\n1,2,x\n" * 30)[:-9], "no complete gzip file"),
    "broken JSON": (b'{"a": 1}\n{"a": ', "record 1, from 0: no JSON object"),
    "cut off": (b"a,b,left\n" + b"1,2,x\n" * 30 + b"1", "line 32 has 1 fields"),
    "broken parquet": (b"PAR1" + bytes(100), "no complete parquet file"),
    "web page": (b"<!DOCTYPE html><html>log in</html>", "HTML page"),
    "ragged": (b"a,b,c\n1,2,3\n1,2\n" * 30, "fields"),
    "the same name twice": (b"a,a,left\n" + b"1,2,x\n" * 30, "several columns called 'a'"),
    "nothing but nulls": (b"a,b,left\n" + b",,\n" * 30, "no usable value"),
    "nothing but the target": (
        "".join(["a,left\n", *(f"k{i},{'xy'[i % 2]}\n" for i in range(30))]).encode(),
        "no column that could be a feature",
    ),
    "few rows": (b"a,b,left\n1,2,x\n3,4,y\n", "2 rows that differ: expected at least 10"),
}


@pytest.mark.parametrize("fault", BAD_TABLES)
def test_what_is_no_table_to_learn_from_is_refused_and_nothing_is_written(drafts, fault):
    content, sentence = BAD_TABLES[fault]
    (drafts.folder / "table.csv").write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        drafts.describe(drafts.folder / "table.csv")
    assert written(drafts) == []
    assert not tracking.Api().artifact_exists("table/table_draft:latest")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--file_url", "nowhere/x.csv"], "does not exist"),
        (["--file_url", "http://127.0.0.1:9/x"], "cannot be reached"),
        (["--file_url", "x.csv", "--name", "a/b"], "name 'a/b' is not fit"),
        (["--file_url", "x.csv", "--name", "null"], "name 'null' is not fit"),
        (["--file_url", "x.csv", "--name", "1st"], "name '1st' is not fit"),
        (["--file_url", "x.csv", "--overwrite", "maybe"], "must be true or false"),
    ],
)
def test_arguments_that_lead_to_no_draft_are_refused(drafts, monkeypatch, arguments, sentence):
    monkeypatch.setattr("util_lib.downloads.RETRY_WAITS_S", (0, 0, 0))
    with pytest.raises(UserError, match=sentence):
        run.main([*arguments, "--folder", str(drafts.drafts)])
    assert written(drafts) == []


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("data/My Table (2).csv", "My_Table_2"),
        ("https://host/a/données.csv.gz?x=1", "donnees"),
        ("2024-sales.csv", "table_2024-sales"),
        ("https://host/", "table"),
        ("表.csv", "table"),
    ],
)
def test_a_dataset_is_named_after_the_file(url, name):
    assert table_name(url) == name


def test_the_script_alone_ends_with_one_sentence(drafts):
    page = drafts.table("a,b\n" + "".join(f"{i * i},{i}.5\n" for i in range(30)), "x.csv")
    done = subprocess.run(
        [sys.executable, "run.py", "--file_url", str(page), "--folder", str(drafts.drafts)],
        cwd=ROOT / "tools/describe",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("describe: the target cannot be guessed") and "Traceback" not in last


def test_arguments_can_come_from_a_file(drafts, customers):
    path = drafts.table(customers, "customers.csv")
    file = drafts.folder / "arguments.txt"
    file.write_text(f"--file_url {path}\n--folder {drafts.drafts}\n--target plan\n")
    run.main([f"@{file}"])
    assert yaml.safe_load(drafts.text("customers"))["data"]["target"] == "plan"


def test_the_same_table_gives_the_same_draft(drafts, customers):
    path = drafts.table(pd.concat([customers, customers]), "customers.parquet")
    texts = []
    for _ in range(2):
        drafts.describe(path, "--overwrite", "true")
        texts.append(drafts.text("customers"))
    assert texts[0] == texts[1]
