"""The monitoring log: what it keeps of columns, and what can be read of it after a crash."""

import datetime
import json

import pyarrow as pa
import pytest

from util_lib import monitoring_log
from util_lib.errors import UserError
from util_lib.model.config import Declaration
from util_lib.monitoring_log import SpoolFile

COLUMNS = {
    "age": {"dtype": "int", "role": "numerical"},
    "land": {"dtype": "string", "role": "categorical"},
    "city": {"dtype": "string", "role": "categorical", "monitor": "drop"},
    "name": {"dtype": "string", "role": "text"},
    "mail": {"dtype": "string", "role": "text", "monitor": "hash"},
    "older": {"dtype": "float", "role": "numerical"},
    "oldest": {"dtype": "float", "role": "numerical"},
    "born": {"dtype": "int", "role": "ignore", "monitor": "drop"},
}


def declared(text=("name",), **derived) -> Declaration:
    feature = {"name": "words", "columns": list(text)}
    return Declaration.model_validate(
        {"columns": COLUMNS, "text_feature": feature, "derived": derived}
    )


def test_texts_are_kept_by_length_and_others_whole_unless_it_is_declared():
    found = declared().monitored(["age", "land", "city", "name", "mail", "unknown"])
    assert found == {"age": "keep", "land": "keep", "name": "length", "mail": "hash"}


@pytest.mark.parametrize(
    ("text", "mode"), [(["name"], "length"), (["name", "mail"], "hash"), (["name", "city"], None)]
)
def test_a_joined_text_shows_no_more_than_its_parts(text, mode):
    assert declared(text).monitored(["words"]).get("words") == mode


def test_what_is_derived_shows_no_more_than_its_sources_however_far_away():
    found = declared(oldest="older + 1", older="2 * born").monitored(["older", "oldest"])
    assert found == {}
    assert declared(older="2 * age").monitored(["older"]) == {"older": "keep"}


def test_the_schema_does_not_name_what_is_dropped():
    made = declared(["name", "city"], older="age - born")
    schema = monitoring_log.schema("p/m:v1", "regression", None, made, [*COLUMNS, "words"])
    content = schema.serialize().to_pybytes()
    assert not any(name in content for name in (b"city", b"born", b"older", b"words"))
    about = monitoring_log.about(schema)
    kept = ["age", "land", "name", "mail", "oldest"]
    assert [*about.monitor] == [*about.declaration["columns"]] == kept
    assert (about.project, about.model, about.version) == ("p", "m:v1", "p/m:v1")
    assert schema.field("prediction").type == pa.float64()


@pytest.mark.parametrize(
    ("version", "project"), [("p/m:v1", "p"), ("../m:v1", "songs_demo"), ("/a/m", "songs_demo")]
)
def test_a_project_that_could_lead_out_of_the_log_is_none(version, project, monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    assert monitoring_log.project_and_model(version)[0] == project


def test_a_stream_is_read_up_to_the_tear_wherever_it_is(tmp_path):
    monitoring_log.make(tmp_path)
    schema = monitoring_log.schema("p/m:v1", "classification", ["a"], declared(), ["age"])
    row = {"time": datetime.datetime.now(datetime.UTC), "request": "r", "inputs": {"age": 3}}
    batch = pa.RecordBatch.from_pylist([row], schema=schema)
    spool = SpoolFile(tmp_path, schema, "champion")
    begin = spool.size
    spool.write(batch)
    middle = spool.size
    spool.write(batch)
    end = spool.size
    assert monitoring_log.spools(tmp_path, "p") == []
    spool.close()
    [path] = monitoring_log.spools(tmp_path, "p")
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        found = monitoring_log.read_spool(path)
        if length < begin:
            assert found is None
            continue
        assert len(found.batches) == (length >= middle) + (length >= end)
        assert all(one.equals(batch) for one in found.batches)
        # Up to four bytes of what follows look like an end.
        assert found.torn or min(length - at for at in (begin, middle, end) if length >= at) <= 8


def test_an_earlier_declaration_that_travels_in_a_stream_is_read_again():
    schema = monitoring_log.schema("p/m:v1", "regression", None, declared(), ["age"])
    left = Declaration.model_validate(json.loads(json.dumps(monitoring_log.about(schema)[-1])))
    assert left.columns["age"].dtype == "int" and left.text_feature.columns == ["name"]


def test_a_named_folder_is_not_made_where_a_volume_is_away(tmp_path, monkeypatch):
    monkeypatch.setenv("MONITORING_LOG", str(tmp_path / "volume" / "log"))
    with pytest.raises(UserError, match="cannot read or write .*volume/log: No such file"):
        monitoring_log.make(monitoring_log.folder())
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "volume").mkdir()
    monitoring_log.make(monitoring_log.folder())
    assert (tmp_path / "volume" / "log" / "key").exists()
