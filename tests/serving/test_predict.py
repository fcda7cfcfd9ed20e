import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from step_support import make_songs, with_text

from serving import predict
from serving.model import served_model
from tests import warm
from util_lib.errors import UserError

SONGS = make_songs(250, seed=8)


def write(frame, path):
    path = Path(path)
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=path.suffix == ".jsonl", double_precision=15)
    return str(path)


def read(path):
    path = Path(path)
    readers = {".csv": pd.read_csv, ".parquet": pd.read_parquet}
    if path.suffix in readers:
        return readers[path.suffix](path)
    return pd.read_json(path, lines=path.suffix == ".jsonl", precise_float=True)


def run(*given, chunk="100"):
    predict.main([*given, "--chunk_rows", chunk])


def test_every_format_gets_the_answers_of_the_pipeline_whatever_the_size_of_chunks(exported):
    served = served_model.load("model_export:prod")
    labels, expected = served.predict(with_text(SONGS))
    for suffix in (".csv", ".parquet", ".json", ".jsonl"):
        source = write(SONGS.round(6), f"in/songs{suffix}")
        rounded = served.predict(with_text(SONGS.round(6)))
        for chunk in ("7", "1000"):
            run("--input", source, "--output", f"out/songs{suffix}", chunk=chunk)
            found = read(f"out/songs{suffix}")
            assert list(found.columns) == [
                "row",
                "prediction",
                *(f"probability_{name}" for name in served.classes),
            ]
            assert list(found["row"]) == list(range(len(SONGS)))
            assert list(found["prediction"]) == list(rounded[0])
            np.testing.assert_array_equal(found.filter(like="probability_"), rounded[1])
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "songs.csv",
        "songs.json",
        "songs.jsonl",
        "songs.parquet",
    ]
    assert len(labels) == len(expected) == len(SONGS)


@pytest.mark.slow
def test_two_processes_write_the_files_of_a_folder_as_one_does(exported, capsys, caplog):
    wrong = SONGS.head(40).assign(tempo=[-5.0, *SONGS["tempo"][1:40]])
    for place, (suffix, table) in enumerate(
        {".csv": SONGS, ".parquet": wrong, ".jsonl": SONGS.drop(columns="title")}.items()
    ):
        write(table, f"in/{place}{suffix}")
    said, logged = [], []
    for workers in ("null", "2"):
        caplog.clear()
        run("--input", "in", "--output", f"out{workers}", "--workers", workers)
        lines = capsys.readouterr().out.splitlines()
        said.append([line.replace(f"out{workers}", "out").split()[:-1] for line in lines[1:]])
        records = [r for r in caplog.records if r.levelname == "WARNING"]
        logged.append([r.getMessage().replace(f"out{workers}", "out") for r in records])
    assert said[0] == said[1] and len(said[0]) == 4
    assert logged[0] == logged[1] and any("1 rows are not predicted" in line for line in logged[0])
    files = [{p.name: p.read_bytes() for p in Path(f"out{w}").iterdir()} for w in ("null", "2")]
    assert files[0] == files[1] and len(files[0]) == 4


@pytest.mark.slow
def test_a_file_that_is_gone_is_named_and_the_others_are_whole(exported):
    write(SONGS, "in/a.csv")
    Path("in/b.csv").symlink_to("gone.csv")
    with pytest.raises(UserError, match="in/b.csv does not exist: expected a file"):
        run("--input", "in", "--output", "out", "--workers", "2")
    assert [path.name for path in Path("out").iterdir()] == ["a.csv"]
    assert len(read("out/a.csv")) == len(SONGS)


def test_rows_are_not_recorded_by_several(exported):
    write(SONGS, "in/a.csv")
    with pytest.raises(UserError, match="leave out workers, or capture"):
        run("--input", "in", "--output", "out", "--workers", "2", "--capture", "all")


def test_rows_that_are_wrong_go_to_a_file_beside_with_number_and_reason(exported):
    records = SONGS.head(30).astype(object).where(SONGS.notna(), None).to_dict("records")
    records[3]["tempo"] = "fast"
    records[17] |= {"tempo": 1000, "key": 12}
    records[29]["energy"] = None
    lines = [json.dumps(record) for record in records]
    lines[5] = '{"tempo": 1'
    Path("songs.jsonl").write_text("\n".join(lines))
    run("--input", "songs.jsonl", "--output", "out.jsonl", chunk="10")
    rejected = read("out.rejected.jsonl").set_index("row")
    assert list(rejected.index) == [3, 5, 17, 29]
    assert rejected["reason"][3] == "column 'tempo' must be of type float, found 'fast'"
    assert rejected["reason"][5] == "no JSON object"
    assert rejected["reason"][17].count(";") == 1 and "[0, 11], found 12" in rejected["reason"][17]
    assert json.loads(rejected["given"][17])["key"] == 12
    found = read("out.jsonl")
    assert not {3, 5, 17, 29} & {*found["row"]} and len(found) == 26
    write(SONGS.head(30), "songs.jsonl")
    run("--input", "songs.jsonl", "--output", "out.jsonl")
    assert not Path("out.rejected.jsonl").exists()


def test_a_csv_file_may_have_other_separators_gaps_and_lines_of_another_length(exported):
    text = SONGS.head(20).to_csv(index=False, sep=";").splitlines()
    text[4] += ";more"
    text[9] = text[9].replace(text[9].split(";")[2], "NA?")
    Path("songs.csv").write_text("\ufeff" + "\r\n".join(text) + "\r\n", encoding="utf-8")
    run("--input", "songs.csv", "--output", "out.csv", "--keep", "title, key", chunk="6")
    rejected = read("out.rejected.csv")
    assert list(rejected["row"]) == [3, 8]
    assert rejected["reason"][0] == "8 fields, its header has 7"
    assert "'tempo' must be of type float, found 'NA?'" in rejected["reason"][1]
    found = read("out.csv")
    assert len(found) == 18 and list(found["key"]) == list(SONGS.head(20)["key"].drop([3, 8]))


def test_columns_to_keep_have_their_types_also_with_gaps_in_some_chunks(exported):
    table = SONGS.head(40).assign(id=range(40), flag=True, day=pd.Timestamp("2020-01-01"))
    table["flag"] = table["flag"].astype("boolean")
    table.loc[35:, ["flag", "day"]] = None
    table["count"] = pd.array([1] * 10 + [None] * 30, dtype="Int64")
    source = write(table, "in/songs.parquet")
    run("--input", source, "--output", "out.parquet", "--keep", "id,flag,day,count", chunk="10")
    found = read("out.parquet")
    assert list(found["id"]) == list(range(40))
    assert found["flag"].isna().sum() == 5 and found["count"].sum() == 10
    assert found["day"].isna().sum() == 5


def test_all_files_of_a_folder_and_an_artifact_are_predicted(exported, capsys):
    write(SONGS.head(20), "in/a.csv")
    write(SONGS.tail(30), "in/b.parquet")
    run("--input", "in", "--output", "out")
    assert len(read("out/a.csv")) == 20 and len(read("out/b.parquet")) == 30
    last = capsys.readouterr().out.splitlines()[-1].split()
    assert last[:4] == ["all", "50", "50", "0"]
    run("--input", "data_train.parquet:latest", "--output", "out/train.csv")
    done = exported.run("predict")
    assert len(read("out/train.csv")) == 300 and done.summary["predicted"] == 300
    assert {a.name for a in done.used_artifacts()} >= {"model_export:v0", "data_train.parquet:v0"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("gone.csv", "out.csv"), "is no file or folder at .*, and no artifact"),
        (("in", "out.csv"), "the input holds 2: name a folder"),
        (("in/a.csv", "out.xlsx"), "must end in .csv, .parquet, .jsonl, .json, or be a folder"),
        (("in/a.csv", "in/a.csv"), "is the input itself"),
        (("empty", "out"), "holds no file in"),
        (("none.csv", "out.csv"), r"is empty \(0 bytes\)"),
        (("headers.csv", "out.csv"), "has columns but no rows"),
        (("other.csv", "out.csv"), "column 'tempo' is missing; the nearest is 'temp'; .* takes"),
        (("twice.csv", "out.csv"), "several columns called 'tempo'"),
        (("cut.csv", "out.csv"), "no complete CSV file"),
        (("latin.csv", "out.csv"), "not UTF-8 text"),
        (("cut.parquet", "out.csv"), "no complete parquet file"),
        (("cut.json", "out.csv"), "no complete JSON array"),
        (("one.json", "out.csv"), "no complete JSON file"),
        (("wrong.csv", "out.csv"), "no row that can be predicted: none of 2 .*rejected.csv says"),
        (("nothing:latest", "out.csv"), "nothing:latest"),
    ],
)
def test_what_cannot_be_predicted_is_one_sentence_and_writes_nothing(exported, given, sentence):
    write(SONGS.head(20), "in/a.csv")
    write(SONGS.head(20), "in/b.csv")
    Path("empty").mkdir()
    Path("none.csv").touch()
    Path("headers.csv").write_text(",".join(SONGS.columns) + "\n")
    write(SONGS.head(3).rename(columns={"tempo": "temp"}), "other.csv")
    Path("twice.csv").write_text("tempo,tempo\n1,2\n")
    Path("cut.csv").write_text(SONGS.head(3).to_csv(index=False) + '0.5,"unended\n')
    Path("latin.csv").write_bytes(SONGS.head(3).to_csv(index=False).encode() + b"0,0,0,0,\xfc,,\n")
    Path("cut.parquet").write_bytes(Path(write(SONGS, "x.parquet")).read_bytes()[:-30])
    Path("cut.json").write_text(SONGS.to_json(orient="records")[:-40])
    Path("one.json").write_text('{"tempo": 3,')
    write(SONGS.head(2).assign(tempo=-1), "wrong.csv")
    with pytest.raises(UserError, match=sentence):
        run("--input", given[0], "--output", given[1])
    assert not Path("out.csv").exists() and not list(Path().glob(".*partial"))
    assert (Path("out.rejected.csv").exists()) == (given[0] == "wrong.csv")


def test_numbers_that_only_the_forest_refuses_are_rejected_alone(exported, monkeypatch):
    served = served_model.load("model_export:prod")
    free = {**served.columns, "energy": served.columns["energy"].model_copy(update={"max": None})}
    monkeypatch.setattr(served_model, "_declared", lambda *_: (free, served.sources))
    write(SONGS.head(50).assign(energy=lambda t: t["energy"].where(t.index != 30, 1e300)), "a.csv")
    run("--input", "a.csv", "--output", "out.csv")
    assert list(read("out.rejected.csv")["row"]) == [30] and len(read("out.csv")) == 49


def test_a_table_as_mlflow_writes_it_is_read(exported):
    given = with_text(SONGS.head(5))[["energy", "loudness", "tempo", "key", "text_feature"]]
    split = {"dataframe_split": json.loads(given.to_json(orient="split", index=False))}
    Path("a.json").write_text(json.dumps(split, indent=1))
    run("--input", "a.json", "--output", "out.csv")
    assert len(read("out.csv")) == 5


def test_a_job_that_is_killed_leaves_nothing_and_the_next_one_sweeps(exported, monkeypatch):
    write(pd.concat([SONGS] * 400, ignore_index=True), "many.parquet")
    monkeypatch.setenv("TRACKING_BACKEND", "local")
    words = ["--input", "many.parquet", "--output", "out.csv", "--chunk_rows", "500"]
    job = subprocess.Popen([warm.python(), predict.__file__, *words], env=dict(os.environ))
    for _ in range(600):
        if any(path.stat().st_size for path in Path().glob(".out.csv.*.partial")):
            break
        time.sleep(0.05)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert not Path("out.csv").exists() and list(Path().glob(".out*partial"))
    write(SONGS, "few.csv")
    run("--input", "few.csv", "--output", "out.csv")
    assert len(read("out.csv")) == len(SONGS) and not list(Path().glob(".out*partial"))


def test_a_full_disk_is_one_sentence_and_keeps_the_older_file(exported):
    write(SONGS, "a.csv")
    Path("out.csv").write_text("older")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    served = served_model.load("model_export:prod")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
        with pytest.raises(UserError, match="cannot read or write .*free space there"):
            predict.predict_file(served, Path("a.csv").resolve(), Path("out.csv").resolve(), [], 9)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert Path("out.csv").read_text() == "older" and not list(Path().glob(".out*partial"))
