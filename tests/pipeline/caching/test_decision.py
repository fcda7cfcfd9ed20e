"""Whether a step has to run: what it would read, what is recorded of it, and what is said of it."""

import hashlib
import http.server
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.caching import decision, fingerprint, record
from pipeline.caching.fingerprint import UnknownFingerprint
from pipeline.caching.versions import opened
from pipeline.planning.step import Outcome, Step
from pipeline.settings import overrides, resolvers, schema, wandb_trial
from util_lib import tracking
from util_lib.errors import UserError
from util_lib.tracking.store.database import open_store
from util_lib.urls import HIDDEN

ONE = hashlib.sha256(b"a\n1\n").hexdigest()


@pytest.fixture(scope="module")
def settings() -> schema.Settings:
    resolvers.register_resolvers()
    return schema.check(overrides.base_config(["main.project_name=caching"]))


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
    with pytest.raises(UnknownFingerprint, match="the server of https://.*/x does not say what"):
        known("https://127.0.0.1:9/x")
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


class Place:
    """A store, a step that joins songs with a reference, and what the cache says of it."""

    def __init__(self, folder: Path, settings: schema.Settings, versions) -> None:
        self.settings, self.versions = settings, versions
        self.project = settings.main.project_name
        (folder / "join").mkdir()
        (folder / "join" / "MLproject").write_text("entry_points: {main: {command: python run.py}}")
        (folder / "join" / "run.py").write_text("pass")
        self.step = self.with_n("1", folder / "join")

    def with_n(self, n: str, folder: Path | None = None) -> Step:
        reads, uri = ("songs:latest", "songs:reference"), str(folder or self.step.uri)
        given = dict(zip(("songs", "reference"), reads, strict=True)) | {"n": n}
        may, keys = reads[1:], {"n": "data.n"}
        return Step("join", given, reads, ("joined",), uri, may_be_absent=may, keys=keys)

    def log(self, name: str, text: str, *aliases: str) -> tuple[str, str]:
        """Log an artifact of one text; return its name with the version, and its digest."""
        with tracking.init(project=self.project, job_type="t") as run:
            draft = tracking.Artifact(name, type="t")
            with draft.new_file("text") as file:
                file.write(text)
            logged = run.log_artifact(draft, aliases=list(aliases) or None).wait()
        return logged.source_name, logged.digest

    def decide(self, step: Step | None = None, settings=None, **made: str):
        return decision.decide(step or self.step, settings or self.settings, self.versions, made)

    def finish(self, told: bool = True, refers: bool = False, **made: str) -> Outcome:
        """Do what the step does, and let it be recorded; with `refers` it makes the reference."""
        found = self.decide(**made)
        if refers:
            self.log("songs", "one", "reference")
        outcome = Outcome("join", metrics={"auc": 0.5}, seconds=3.0, told=told)
        name, digest = self.log("joined", "joined")
        if told:
            outcome.artifacts, outcome.digests = [name], {name: digest}
        decision.record(self.step, self.settings, self.versions, found, made, outcome)
        return outcome

    def has_passed(self, step: Step | None = None) -> bool:
        return decision.has_passed(step or self.step, self.settings, self.versions, {})


@pytest.fixture
def place(tmp_path, monkeypatch, settings):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACKING_PUBLISH", "parent")
    with opened("local", make=True) as versions:
        place = Place(tmp_path, settings, versions)
        place.log("songs", "one")
        yield place


def test_a_step_that_has_finished_is_used_again_with_what_it_made_and_measured(place):
    first = place.decide()
    assert (first.result, first.reason) == (None, "first time") and not place.has_passed()
    assert (
        first.inputs["songs:latest"]["version"] == "v0" and first.inputs["songs:reference"] is None
    )
    told = {"format", "project", record.PLACE, "machine", "data.n", "input songs", "join/run.py"}
    assert told < {*first.parts} and "songs" not in first.parts
    outcome = place.finish()
    assert outcome.inputs["songs:latest"] == first.inputs["songs:latest"]
    again = place.decide()
    assert (again.reason, again.parts) == ("", first.parts) and place.has_passed()
    assert (again.result.metrics, again.result.seconds) == ({"auc": 0.5}, 3.0)
    assert [output[:2] for output in again.result.outputs] == [("joined", 0)]
    assert place.log("joined", "other")[0] == "joined:v1"
    assert decision.take(place.settings, place.versions, again.result) == outcome.digests
    assert place.versions.find("joined:latest", place.project).number == 0


def test_what_was_removed_just_now_is_not_taken(place):
    place.finish()
    result = place.decide().result
    gone = result._replace(outputs=[result.outputs[0]._replace(number=9)])
    assert decision.take(place.settings, place.versions, gone) is None


def test_what_is_taken_keeps_its_words_and_is_made_again_if_it_goes_meanwhile(place, monkeypatch):
    place.finish()
    version = tracking.Api().artifact(f"{place.project}/joined:v0")
    version.description, version.metadata = "words", {"rows": 2}
    version.save()
    result, store = place.decide().result, open_store()
    place.log("joined", "other")
    assert decision.take(place.settings, place.versions, result)
    kept = tracking.Api().artifact(f"{place.project}/joined:latest")
    assert (kept.version, kept.description, kept.metadata) == ("v0", "words", {"rows": 2})
    place.log("joined", "other")

    def removed_first(version, *changes):
        with store.transaction() as db:
            db.execute("UPDATE versions SET removed_at = 1 WHERE id = ?", (version.id,))
        store.refuse_removed(version.id)

    def full(*changes):
        raise UserError("the disk is full")

    monkeypatch.setattr(store, "update_version", full)
    with pytest.raises(UserError, match="is full"):
        decision.take(place.settings, place.versions, result)
    monkeypatch.setattr(store, "update_version", removed_first)
    assert decision.take(place.settings, place.versions, result) is None


def test_another_parameter_or_input_is_the_reason_and_what_this_run_made_is_what_counts(place):
    place.finish()
    other = place.with_n("2")
    assert place.decide(other).reason == "data.n 1 -> 2" and not place.has_passed(other)
    place.log("songs", "two")
    assert place.decide().reason == "input songs v0 -> v1"
    assert place.decide(songs="songs:v0").result is not None


def test_the_reason_compares_with_what_was_used_last(place):
    place.finish()
    result = place.decide().result
    place.step = place.with_n("2")
    place.finish()
    assert place.decide(place.with_n("3")).reason == "data.n 2 -> 3"
    decision.take(place.settings, place.versions, result)
    assert place.decide(place.with_n("3")).reason == "data.n 1 -> 3"


def test_an_output_that_is_damaged_or_gone_is_the_reason(place):
    [output] = place.finish().artifacts
    store = open_store()
    version = store.versions(place.project, "joined")[0]
    kept = store.files.path(store.version_files(version.id)[0].sha256)
    kept.unlink()
    found = place.decide()
    assert found.reason.startswith(f"output {output}: 'text' is missing (")
    assert found.parts and found.inputs["songs:latest"]["version"] == "v0"
    place.log("joined", "joined")
    assert place.decide().result is not None
    with store.transaction() as db:
        db.execute("UPDATE versions SET removed_at = 1 WHERE id = ?", (version.id,))
    assert place.decide().reason == f"output {output}: was removed by gc on 1970-01-01"
    with store.transaction() as db:
        db.execute("UPDATE versions SET digest = 'another' WHERE id = ?", (version.id,))
    assert place.decide().reason == f"output {output} is gone"


def test_a_reference_that_was_first_made_of_an_input_does_not_run_the_step_again(place):
    outcome = place.finish(refers=True)
    assert outcome.inputs["songs:reference"] == outcome.inputs["songs:latest"]
    assert place.decide().result is not None  # with the reference, and as it was before
    with open_store().transaction() as db:
        db.execute("DELETE FROM aliases WHERE alias = 'reference'")
    assert place.decide().result is not None
    place.log("songs", "two", "reference")
    assert place.decide().reason == "input songs v0 -> v1, input songs:reference v0 -> v1"


def test_what_a_step_that_says_nothing_has_made_are_the_newest_versions(place):
    outcome = place.finish(told=False)
    assert outcome.told and outcome.artifacts == ["joined:v0"]
    assert outcome.digests == {"joined:v0": place.decide().result.outputs[0].digest}
    nothing = Outcome("join", told=False)
    step = replace(place.with_n("2"), outputs=("joined", "never logged"))
    decision.record(step, place.settings, place.versions, place.decide(step), {}, nothing)
    assert not nothing.told and place.decide(step).result is None


def test_what_cannot_be_told_runs_and_is_not_recorded(place):
    place.finish()
    place.step = replace(
        place.step, source="url", parameters={"url": "gone.csv", **place.step.parameters}
    )
    found = place.decide()
    assert found.parts is None and "gone.csv cannot be read" in found.reason
    assert not place.has_passed() and found.inputs["songs:latest"]["version"] == "v0"
    place.finish()
    assert len(record.entries(place.versions.directory)) == 1


def test_what_a_step_downloads_counts_by_the_key_that_names_it(place, table):
    parameters = {**place.step.parameters, "url": str(table)}
    keys = {**place.step.keys, "url": "data.file_url"}
    place.step = replace(place.step, source="url", parameters=parameters, keys=keys)
    place.finish()
    assert place.decide().result is not None and place.has_passed()
    table.write_text("a\n2\n")
    said = f"the content of data.file_url ({str(table)[:57]}"
    assert place.decide().reason.startswith(said) and not place.has_passed()


def test_a_plan_without_the_secrets_of_an_address_says_that_the_step_would_run(place):
    parameters = {**place.step.parameters, "url": f"http://me:{HIDDEN}@127.0.0.1:9/x"}
    step = replace(place.step, source="url", parameters=parameters)
    main = place.settings.main.model_copy(update={"plan": True})
    planned = place.settings.model_copy(update={"main": main})
    found = place.decide(step, planned)
    assert found.parts is None and found.reason == "the secrets of its address are not set here"
    assert not decision.has_passed(step, planned, place.versions, {})


def test_another_project_place_or_environment_is_another_outcome(place):
    found = place.decide().parts
    settings = place.settings
    for key, value, more in (
        ("project_name", "another", set()),
        ("env_manager", "local", {"python", "packages"}),
    ):
        main = settings.main.model_copy(update={key: value})
        other = place.decide(settings=settings.model_copy(update={"main": main})).parts
        assert other != found and {*other} - {*found} == more
    texts = {"songs": "v0 digest x"}
    places = [fingerprint.parts(place.step, settings, where, texts, "") for where in ("a", "b")]
    assert places[0] != places[1]
    step, told = replace(place.step, source="url"), "x.csv sha256 1"
    assert fingerprint.parts(step, settings, "a", texts, told)["url"] == told


def test_a_trial_of_a_sweep_and_a_run_without_cache_use_nothing_again(place, monkeypatch):
    place.finish()
    chosen = place.settings.main.model_copy(update={"cache": False})
    found = place.decide(settings=place.settings.model_copy(update={"main": chosen}))
    assert (found.result, found.reason) == (None, "main.cache is false")
    assert found.parts and found.inputs == place.decide().inputs
    trial = replace(place.step, name=place.settings.sweep.step)
    monkeypatch.setenv(wandb_trial.VARIABLE, '{"WANDB_RUN_ID": "x", "WANDB_SWEEP_ID": "y"}')
    found = place.decide(trial)
    assert found.reason == "it is a trial of W&B's sweep, a run of its own"
    assert found.parts and found.inputs == place.decide().inputs
    assert place.decide().result is not None  # of another step


def test_a_step_that_writes_to_a_database_asks_that_itself(place):
    place.finish()
    address = "postgresql://me:s3cretBeeble@host/songs"
    writes = replace(place.step, sink="to", parameters={**place.step.parameters, "to": address})
    found = place.decide(writes)
    assert found.parts is found.result is None and found.inputs == place.decide().inputs
    assert found.reason.startswith("it asks postgresql://") and "s3cret" not in found.reason
    assert found.reason.endswith("host/songs itself whether there is anything to do")


def test_a_verdict_is_kept_of_what_was_looked_at_and_not_of_what_it_was_compared_with(place):
    place.log("songs", "one", "reference")
    place.log("songs", "two")

    def why() -> list[str | None]:
        given = (place.project, "join", place.versions.place)
        digests = [found["digest"] for found in place.decide().inputs.values()]
        names = [f"songs {digest}" for digest in digests]
        return [record.refusal(place.versions.directory, *given, name) for name in names]

    for verdict in ("too old", None):
        found = place.decide()
        decision.remember_verdict(place.step, place.settings, place.versions, found, verdict)
        assert why() == [verdict, None]
