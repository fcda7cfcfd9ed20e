"""What is recorded of requests and files, and what happens where it cannot be."""

import ctypes
import resource
import shutil
import signal
import stat
import struct
import sys
import threading
import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from service_support import Command, Service, directory_of, running, until
from serving_support import export_model
from step_support import DECLARED, make_songs, with_text

from serving import predict, serve
from serving.capture import recorder, streams
from serving.capture.batches import Record
from serving.capture.recorder import Recorder
from serving.model import served_model
from util_lib import monitoring_log
from util_lib.errors import UserError

PERSON, TEMPO = "Zacharias Xylander", 173.123456789
ROW = {"energy": 0.4, "loudness": -8.5, "tempo": TEMPO, "key": 3, "text_feature": PERSON}
MONITOR = {"tempo": "drop", "key": "hash"}


def columns(names):
    declared = {name: dict(DECLARED["columns"][name]) for name in names}
    for name, mode in MONITOR.items():
        declared[name]["monitor"] = mode
    return declared


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model whose declaration drops one column, hashes another, and has text."""
    names = ("energy", "loudness", "tempo", "key", "title", "song_name")
    declaration = {"columns": columns(names), "text_feature": DECLARED["text_feature"]}
    return directory_of(
        lambda steps: export_model(steps, declaration=declaration), tmp_path_factory
    )


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    root = tmp_path_factory.mktemp("captured") / "monitoring_log"
    monitoring_log.make(root)
    return root


@pytest.fixture(scope="module")
def service(model, log):
    """A service with a champion and a shadow that records everything."""
    with running(model, model, capture=(log, 1.0)) as started:
        yield started


def recorded(root):
    """All rows of a log, those of open streams too."""
    found = []
    for path in sorted((root / "spool").rglob("*.arrows")):
        if stream := monitoring_log.read_spool(path):
            found += [row for batch in stream.batches for row in batch.to_pylist()]
    return found


def of_request(root, answer, n_rows):
    """The rows of one request, once they are there."""
    request = answer.headers["X-Request-Id"]
    until(lambda: len([r for r in recorded(root) if r["request"] == request]) >= n_rows)
    return [row for row in recorded(root) if row["request"] == request]


def counted(service, name):
    """What a metric has counted, by its label."""
    families = text_string_to_metric_families(service.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    return {next(iter(s.labels.values())): s.value for s in samples if s.name == name}


def dropped(service):
    return counted(service, "serving_capture_dropped_rows_total")


def test_what_is_answered_is_recorded_typed_and_by_who_predicted_it(service, model, log):
    rows = [ROW, {**ROW, "energy": 1, "loudness": None, "key": 3.0, "text_feature": "ä b"}]
    answer = service.post(
        "/predict", {"dataframe_records": rows}, headers={"X-Request-Id": "order:7-a"}
    )
    found = of_request(log, answer, 4)
    assert {(row["role"], row["row"]) for row in found} == {
        (role, number) for role in ("champion", "shadow") for number in (0, 1)
    }
    for row in found:
        given = answer.json()["predictions"][row["row"]]
        assert row["request"] == "order:7-a" and row["version"] == answer.headers["X-Model-Version"]
        assert row["prediction"] == given["label"] and row["rejected"] is None
        assert row["probabilities"] == pytest.approx([*given["probabilities"].values()], abs=1e-6)
        assert row["share"] == 1.0 and abs(row["time"].timestamp() - time.time()) < 60
    first, second = (row["inputs"] for row in found if row["role"] == "champion")
    code = first["key"]
    assert first == {"energy": 0.4, "loudness": -8.5, "key": code, "text_feature": len(PERSON)}
    assert second == {"energy": 1.0, "loudness": None, "key": code, "text_feature": 3}
    assert len(code) == 16 and int(code, 16)
    [path] = (log / "spool").rglob("*-champion.arrows")
    about = monitoring_log.read_spool(path).about
    assert about.classes == served_model.load(str(model)).classes.tolist()
    assert about.monitor == {
        "energy": "keep", "loudness": "keep", "key": "hash", "text_feature": "length",
    }  # fmt: skip
    assert counted(service, "serving_capture_rows_total")["shadow"] >= 2
    assert monitoring_log.spools(log, about.project) == []  # those that are being written are not


def test_what_is_undeclared_or_dropped_is_in_no_byte_of_the_log(service, log):
    answer = service.predict({**ROW, "patient": "undeclared-4711"})
    of_request(log, answer, 2)
    service.predict({**ROW, "tempo": 9_999.25, "patient": "undeclared-4711"})  # refused
    wanted = [PERSON, "undeclared-4711", "patient", "tempo", str(TEMPO), "9999.25", "9,999"]
    wanted = [text.encode() for text in wanted]
    wanted += [struct.pack("<d", value) for value in (TEMPO, 9_999.25)]
    files = [path for path in log.rglob("*") if path.is_file()]
    content = b"".join(path.read_bytes() for path in files)
    assert b"energy" in content and struct.pack("<d", ROW["energy"]) in content
    assert [text for text in wanted if text in content] == []
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    folders = [log, *(path for path in log.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}


def test_a_hostile_request_id_is_replaced_before_it_is_recorded(service, log):
    hostile = "../../x" + "A" * 500
    answer = service.predict(ROW, headers={"X-Request-Id": hostile})
    assert answer.headers["X-Request-Id"] != hostile
    assert {row["role"] for row in of_request(log, answer, 2)} == {"champion", "shadow"}
    assert not any(hostile[:8] in row["request"] for row in recorded(log))


@pytest.mark.parametrize(
    "body, rejected",
    [
        ({"dataframe_records": [ROW, {**ROW, "energy": 7}]}, [(1, "range")]),
        ({"dataframe_records": [{"energy": 0.5}]}, [(None, "column is there")]),
        ({"rows": "?"}, [(None, "unreadable")]),
    ],
)
def test_what_is_refused_is_recorded_as_rejected_without_its_values(service, log, body, rejected):
    answer = service.post("/invocations", body)
    assert answer.status_code in (400, 422)
    found = of_request(log, answer, len(rejected))
    assert [(row["row"], row["rejected"]) for row in found] == rejected
    assert {(row["inputs"], row["prediction"], row["probabilities"]) for row in found} == {
        (None, None, None)
    }


def test_a_share_is_drawn_by_the_id_of_the_request_whoever_draws():
    ids = [f"request-{number}" for number in range(4_000)]
    drawn = {name for name in ids if monitoring_log.sampled(name, 0.1)}
    assert 300 < len(drawn) < 500
    assert drawn < {name for name in ids if monitoring_log.sampled(name, 0.2)}
    assert all(monitoring_log.sampled(name, 1.0) for name in ids)


def test_a_log_that_is_removed_costs_no_answer_and_is_used_again_when_it_is_back(model, tmp_path):
    root = tmp_path / "log"
    monitoring_log.make(root)
    with running(model, capture=(root, 1.0)) as service:
        of_request(root, service.predict(ROW), 1)
        shutil.rmtree(root)
        for _ in range(20):
            assert service.predict(ROW).status_code == 200
        until(lambda: dropped(service).get("folder missing", 0) == 20)
        assert not root.exists()  # its disk may not be mounted: it is not made in its place
        root.mkdir(mode=0o700)
        of_request(root, service.predict(ROW), 1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_writer_that_is_killed_is_started_again(model, tmp_path):
    monitoring_log.make(tmp_path)
    before = {*threading.enumerate()}
    with running(model, capture=(tmp_path, 1.0)) as service:
        [victim] = [t for t in {*threading.enumerate()} - before if t.name == "capture"]
        kill = ctypes.pythonapi.PyThreadState_SetAsyncExc
        assert kill(ctypes.c_ulong(victim.ident), ctypes.py_object(SystemExit)) == 1
        victim.join(20)
        assert not victim.is_alive()
        first = service.predict(ROW)
        assert first.status_code == 200
        time.sleep(recorder.DEAD_SECONDS)
        assert len(of_request(tmp_path, service.predict(ROW), 1)) == 1
        assert len(of_request(tmp_path, first, 1)) == 1  # it had only waited
        assert dropped(service) == {}


def test_more_than_the_queue_holds_is_dropped_and_counted(model, tmp_path):
    served = served_model.load(str(model))
    monitoring_log.make(tmp_path)
    done, lost = Counter(), Counter()
    capture = Recorder(
        tmp_path, 1.0, lambda role, n: done.update({role: n}), lambda why, n: lost.update({why: n})
    )
    rows, labels = [ROW] * 15_000, ["techno"] * 15_000
    chances = np.full((15_000, 3), 1 / 3)
    record = Record(time.time(), "a", "champion", served, range(15_000), rows, labels, chances)
    capture.start()
    for _ in range(20):
        capture.add(record)
    capture.close()
    assert set(lost) == {streams.QUEUE_FULL}
    assert done.total() + lost.total() == 20 * 15_000
    assert done.total() == len(recorded(tmp_path)) >= 15_000


def test_a_full_disk_costs_no_answer_and_a_killed_service_at_most_a_second(model, tmp_path):
    root = tmp_path / "log"
    given = ("--model", str(model), "--capture", "all")
    command = Command(tmp_path, *given, python=sys.executable, MONITORING_LOG=str(root))
    try:
        with requests.Session() as session:
            service = Service(command.url(), [], session)
            of_request(root, service.predict(ROW), 1)
            [spool] = root.rglob("*.arrows")
            pid, kind = command.process.pid, resource.RLIMIT_FSIZE
            limits = resource.prlimit(pid, kind, (spool.stat().st_size + 700, -1))
            while not dropped(service):
                assert {service.predict(ROW).status_code for _ in range(20)} == {200}
            assert set(dropped(service)) == {streams.DISK_FULL}
            assert not any(monitoring_log.read_spool(path).torn for path in root.rglob("*.arrows"))
            resource.prlimit(pid, kind, limits)
            sent = []
            while not sent or time.time() - sent[0][0] < 2.5:
                sent.append((time.time(), service.predict(ROW).headers["X-Request-Id"]))
                time.sleep(0.02)
        command.process.kill()
        killed = time.time()
    finally:
        command.end(signal.SIGKILL)
    there = {row["request"] for row in recorded(root)}
    old = [request for at, request in sent if at < killed - 1]
    # The first may fall into the last look at the full disk.
    assert len(old) > 20 and [request for request in old[20:] if request not in there] == []
    last = max(root.rglob("*.arrows"))
    assert monitoring_log.spools(root, last.parent.name)[-1] == last  # its writer is gone
    whole = monitoring_log.read_spool(last)
    last.write_bytes(last.read_bytes()[:-50])
    torn = monitoring_log.read_spool(last)
    assert torn.torn and torn.batches == whole.batches[:-1] and not whole.torn


def test_the_rows_of_a_file_are_recorded_as_a_batch_the_refused_ones_too(
    model, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("TRACKING_STORE", str(tmp_path / "tracking_store"))
    monkeypatch.setenv("TRACKING_BACKEND", "local")
    monkeypatch.setenv("TRACKING_PUBLISH", "parent")
    caplog.set_level("INFO")
    songs = with_text(make_songs(300, seed=2))
    songs.loc[7, "energy"] = 3
    songs.to_parquet(tmp_path / "songs.parquet")
    given = ["--input", str(tmp_path / "songs.parquet"), "--model", str(model)]
    output = tmp_path / "answers.parquet"
    predict.main([*given, "--output", str(output), "--chunk_rows", "128", "--capture", "0.5"])
    rows = recorded(tmp_path / "monitoring_log")  # beside the store
    answers = pd.read_parquet(output).set_index("row")
    assert {row["role"] for row in rows} == {"batch"} and 100 < len(rows) < 200
    [request] = {row["request"] for row in rows}
    drawn = {n for n in range(300) if monitoring_log.sampled(f"{request}:{n}", 0.5)}
    assert {row["row"] for row in rows} == drawn
    for row in rows:
        if row["row"] == 7:
            assert row["rejected"] == "range" and row["inputs"] is None
        else:
            assert row["prediction"] == answers["prediction"][row["row"]]
            assert row["inputs"]["energy"] == songs["energy"][row["row"]]
            assert row["inputs"]["text_feature"] == len(songs["text_feature"][row["row"]])
    assert f"songs.parquet is request {request}" in caplog.text


def test_where_others_ask_the_log_must_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("TRACKING_STORE", str(tmp_path / "tracking_store"))
    assert serve.check_capture("0.0.0.0", 0) is None and not any(tmp_path.iterdir())
    assert serve.check_capture("127.0.0.1", 0.1) == (tmp_path / "monitoring_log", 0.1)
    with pytest.raises(UserError, match="can be reached by others.*set MONITORING_LOG"):
        serve.check_capture("0.0.0.0", 0.1)
    monkeypatch.setenv("MONITORING_LOG", str(tmp_path / "elsewhere"))
    assert serve.check_capture("0.0.0.0", 0.1) == (tmp_path / "elsewhere", 0.1)
