"""The pipeline etl: extract, transform, check, load; what writes to a database always runs."""

import pytest

from pipeline.caching import decision
from pipeline.caching.versions import opened
from pipeline.planning.plan import plan
from pipeline.settings import overrides, redacted, resolvers, schema
from util_lib.errors import UserError

STORED = ["pipeline=etl", "store.database=sqlite:///clean.db", "store.table=songs"]


def settings(*given):
    resolvers.register_resolvers()
    return schema.check(overrides.base_config(overrides.command_line(list(given))))


def test_etl_reads_cleans_checks_and_stores():
    steps = plan(settings(*STORED, "store.mode=upsert", "store.key='id, day'"))
    assert [step.name for step in steps] == ["get_data", "preprocess", "check_data", "store_data"]
    given = {"database": "sqlite:///clean.db", "table": "songs", "mode": "upsert", "key": "id, day"}
    assert steps[-1].parameters.items() >= given.items()
    assert "store_data" not in [step.name for step in plan(settings())]


def test_a_step_that_writes_to_a_database_is_never_taken_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen = settings(*STORED)
    step = plan(chosen)[-1]
    with opened("local", make=True) as versions:
        found = decision.decide(step, chosen, versions, {})
    assert found.parts is None and found.result is None
    assert found.reason == "it asks sqlite:///clean.db itself whether there is anything to do"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["pipeline=etl"], "store_data writes to a database, and store.database is null"),
        (["data.file_url=sqlite:///x.db", "data.sha256=null"], "give sql.table or sql.query"),
        (["data.sql.table=songs"], "sql belongs to a file_url that is a database"),
        (["data.file_url=sqlite:///x.db", "data.sql.table=songs"], "sha256 is that of a file"),
        ([*STORED, "+steps.store_data.source=database"], "has a source or a sink"),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_runs(given, says):
    with pytest.raises(UserError, match=says):
        plan(settings(*given))


def test_the_password_of_a_sink_is_in_nothing_that_is_recorded():
    whole = "postgresql://zaphod:s3cretBeeble@host/songs"
    chosen = settings("pipeline=etl", f"store.database='{whole}'", "store.table=songs")
    steps = plan(chosen)
    assert steps[-1].parameters["database"] == whole
    shown = redacted.shown_parameters(steps[-1].parameters, steps[-1].address)
    text = f"{redacted.shown_config(chosen)} {shown}"
    assert "postgresql://host/songs" in text
    assert "s3cretBeeble" not in text and "zaphod" not in text
