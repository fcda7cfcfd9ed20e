"""Artifacts in the embedded store: contents, damage, references, and what is left behind."""

import gc
import os
from pathlib import Path

import pytest

from util_lib import tracking
from util_lib.errors import UserError


@pytest.fixture
def run():
    with tracking.init(project="songs") as run:
        yield run


def artifact_of(name="model", type="raw_data", **texts):
    artifact = tracking.Artifact(name, type=type)
    for path, text in texts.items():
        with artifact.new_file(path) as file:
            file.write(text)
    return artifact


def stored(store, artifact, path):
    """Return where the store keeps one file of an artifact."""
    return store.files.path(artifact.manifest.entries[path].sha256)


def overwrite(path, text):
    os.chmod(path, 0o644)
    path.write_text(text)


def test_a_corrupted_stored_file_is_found_on_use_and_named(run, store, tmp_path):
    artifact = run.log_artifact(artifact_of(**{"a.txt": "right"}))
    place = stored(store, artifact, "a.txt")
    overwrite(place, "wrong")
    with pytest.raises(UserError) as error:
        run.use_artifact("model:latest").file(tmp_path / "out")
    assert "file 'a.txt' of artifact 'songs/model:v0' is damaged" in str(error.value)
    assert str(place) in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_missing_stored_file_is_named(run, store, tmp_path):
    artifact = run.log_artifact(artifact_of(**{"a.txt": "right"}))
    place = stored(store, artifact, "a.txt")
    place.unlink()
    with pytest.raises(UserError) as error:
        run.use_artifact("model:latest").file(tmp_path / "out")
    assert "file 'a.txt' of artifact 'songs/model:v0' is missing" in str(error.value)
    assert str(place) in str(error.value) and "TRACKING_STORE_FILES" not in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_content_that_cannot_be_read_or_written_is_named_with_the_reason(run, store, tmp_path):
    artifact = run.log_artifact(artifact_of(a="right"))
    place, target = stored(store, artifact, "a"), tmp_path / "none" / "a"
    said = f"cannot read or write {target}: No such .*; free space there or name another directory"
    with pytest.raises(UserError, match=said):
        store.files.fetch(place.name, target, "file 'a'")
    place.unlink()
    place.mkdir()
    with pytest.raises(UserError, match=f"file 'a': cannot read {place}: Is a directory; log the"):
        store.files.fetch(place.name, target, "file 'a'")


def test_a_download_with_one_damaged_file_writes_none(run, store, tmp_path):
    artifact = run.log_artifact(artifact_of(a="one", b="two", c="three"))
    overwrite(stored(store, artifact, "b"), "bad")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("was here before")
    with pytest.raises(UserError, match="'b' of artifact 'songs/model:v0' is damaged"):
        artifact.download(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]
    assert (tmp_path / "out" / "a").read_text() == "was here before"


def test_logging_the_same_content_again_repairs_it(run, store, tmp_path):
    artifact = run.log_artifact(artifact_of(a="right"))
    overwrite(stored(store, artifact, "a"), "wrong")
    (record,) = store.versions("songs", "model")
    (line,) = store.damage(record)
    assert line.startswith("'a' is damaged")
    assert run.log_artifact(artifact_of(a="right")).version == "v0"
    assert store.damage(record) == []
    assert Path(artifact.file(tmp_path / "out")).read_text() == "right"


def test_equal_contents_are_kept_once(run, store):
    run.log_artifact(artifact_of("one", a="same", b="same"))
    run.log_artifact(artifact_of("two", c="same"))
    [kept] = [path for path in store.files.final.rglob("*") if path.is_file()]
    assert kept.stat().st_mode & 0o777 == 0o444


def test_nothing_is_left_in_tmp_after_logging_or_dropping_a_draft(store):
    with tracking.init(project="songs") as run:
        logged = run.log_artifact(artifact_of(a="one"))
    assert list(store.files.tmp.iterdir()) == []
    draft = artifact_of(a="never logged")
    assert len(list(store.files.tmp.iterdir())) == 1
    del draft
    gc.collect()
    assert list(store.files.tmp.iterdir()) == []
    assert logged.version == "v0"


def test_a_download_in_place_is_not_written_again(run, tmp_path):
    artifact = run.log_artifact(artifact_of(a="one"))
    before = os.stat(artifact.file(tmp_path)).st_ino
    assert os.stat(artifact.file(tmp_path)).st_ino == before
    (tmp_path / "a").write_text("edited")
    assert Path(artifact.file(tmp_path)).read_text() == "one"


def test_the_default_place_is_artifacts_name_and_version(run, monkeypatch, tmp_path):
    artifact = run.log_artifact(artifact_of(a="one"))
    assert Path(artifact.file()).resolve() == Path.cwd() / "artifacts" / "model:v0" / "a"
    assert artifact.download() == str(Path.cwd() / "artifacts" / "model:v0")
    monkeypatch.setenv("WANDB_ARTIFACT_DIR", str(tmp_path / "elsewhere"))
    assert artifact.file() == str(tmp_path / "elsewhere" / "model:v0" / "a")
    assert artifact.download() == str(tmp_path / "elsewhere" / "model:v0")


@pytest.mark.parametrize("name", ["model", "songs/model", "local/songs/model"])
def test_a_name_without_alias_is_refused_on_use(run, name):
    run.log_artifact(artifact_of(a="one"))
    text = r'Attempted to fetch artifact without alias \(e.g. "model:v3" or "model:latest"\)'
    with pytest.raises(UserError, match=text):
        run.use_artifact(name)
    with pytest.raises(UserError, match=text):
        tracking.Api().artifact(name)


def test_an_entity_is_accepted_and_ignored(run):
    run.log_artifact(artifact_of(a="one"))
    found = run.use_artifact("anybody/songs/model:latest")
    assert (found.entity, found.source_name) == ("local", "model:v0")


@pytest.mark.parametrize(
    "reference, hint",
    [
        ("model:v7", "it has v0 to v1, with the aliases latest (v1), prod (v0)"),
        ("model:best", "it has v0 to v1"),
        ("modle:latest", "the nearest name there is 'model'"),
        ("zzz:latest", "there are 'model'"),
        ("other/model:prod", "there is one in project 'songs': write 'songs/model:prod' for that"),
        ("other/model:best", "that project holds no artifacts"),
        ("other/model:v1", "there is one in project 'songs': write 'songs/model:v1' for that"),
        ("other/zzz:latest", "that project holds no artifacts"),
    ],
)
def test_an_unknown_artifact_is_an_error_that_says_what_there_is(run, store, reference, hint):
    run.log_artifact(artifact_of(a="one"), aliases=["prod"])
    run.log_artifact(artifact_of(a="two"))
    with pytest.raises(UserError) as error:
        run.use_artifact(reference)
    message = str(error.value)
    assert hint in message
    assert f"artifact '{reference.split('/')[-1]}' not found in project" in message
    assert "must have been already created and stored" in message
    assert str(store.directory) in message


def test_what_there_is_of_an_artifact_is_told_in_spans_and_with_the_way_to_an_alias(run, store):
    def said(reference: str) -> str:
        with pytest.raises(UserError) as error:
            run.use_artifact(reference)
        return str(error.value)

    for number, text in enumerate(("one", "two", "three")):
        run.log_artifact(artifact_of("forest", "model_export", a=text))
        span = f"v0 to v{number}" if number else "v0"
        assert f"it has {span}, with the aliases latest (v{number})." in said("forest:v7")
    assert "run the step that logs it first" in said("forest:v7")
    command = "mlflow run serving -e promote --env-manager uv -P alias=prod"
    promoted = f"stored: {command} gives a model its alias ("
    assert promoted in said("forest:prod")
    with store.transaction() as db:
        db.execute("UPDATE versions SET removed_at = 1 WHERE number = 1")
        db.execute("DELETE FROM aliases")
    assert "it has v0, v2, with the aliases none." in said("forest:v7")
    found = [store.all_versions(), store.all_versions(removed=True)]
    assert [[v.number for v in versions] for versions in found] == [[2, 0], [2, 1, 0]]
    assert "'songs/forest:v1' was removed by gc on 1970-01-01" in said("forest:v1")
    with store.transaction() as db:
        db.execute("UPDATE versions SET removed_at = iif(number = 0, 1, NULL)")
    assert "it has v1 to v2, with" in said("forest:v7")
    for name in ("fores", "forests", "zz", "yy"):
        run.log_artifact(artifact_of(name, a="one"))
    assert "found in project 'songs': the nearest name there is 'forest'." in said("forest_:latest")
    assert "there are 'fores', 'forest', 'forests', 'yy', 'zz'." in said("absent:latest")
    assert "first (looked in" in said("absent:latest")


@pytest.mark.parametrize("path", ["x" * 256, "ä" * 128, "deep/" * 300 + "x"])
def test_a_file_that_no_disk_could_take_when_it_is_fetched_is_refused_at_logging(tmp_path, path):
    source = tmp_path / "file"
    source.write_text("x")
    draft = tracking.Artifact("model", type="model")
    with pytest.raises(UserError, match="a name has at most 255 bytes, found"):
        draft.add_file(str(source), name=path)
    with pytest.raises(UserError, match="a name has at most 255 bytes, found"):
        with draft.new_file(path):
            pass
    draft.add_file(str(source), name="x" * 255)
    assert [*draft.manifest.entries] == ["x" * 255]


def test_a_draft_that_is_used_is_logged_and_used_and_one_that_is_logged_is_not_used(run, store):
    run.log_artifact(artifact_of("made", a="one"))
    run.use_artifact(artifact_of("both", a="two"))
    seen = store.run(run.id)
    assert [version.name for version in seen.logged_artifacts()] == ["made", "both"]
    assert [version.name for version in seen.used_artifacts()] == ["both"]


def test_an_error_leaves_no_lineage(run, store):
    with pytest.raises(UserError):
        run.use_artifact("absent:latest")
    assert store.run(run.id).used_artifacts() == []


@pytest.mark.parametrize("alias", ["v0", "v12", ""])
def test_an_alias_that_looks_like_a_version_is_refused(run, store, alias):
    with pytest.raises(ValueError, match="is not possible"):
        run.log_artifact(artifact_of(a="one"), aliases=[alias])
    assert store.versions("songs", "model") == []
    artifact = run.log_artifact(artifact_of(a="one"))
    artifact.aliases.append(alias)
    with pytest.raises(ValueError, match="is not possible"):
        artifact.save()


def test_saving_does_not_take_back_an_alias_that_has_moved_on(run):
    old = run.log_artifact(artifact_of(a="one"), aliases=["prod"])
    run.log_artifact(artifact_of(a="two"), aliases=["prod"])
    old.aliases = ["latest", "old"]  # `prod` is dropped here, but it is no longer this version's
    old.save()
    assert run.use_artifact("model:prod").version == "v1"
    assert run.use_artifact("model:old").version == "v0"


def test_the_type_is_checked_on_use(run, store):
    run.log_artifact(artifact_of(a="one"))
    assert store.versions("songs", "model", "b") == []
    assert len(store.versions("songs", "model", "raw_data")) == 1
    with pytest.raises(ValueError, match="type 'b' specified but this artifact is of type"):
        run.use_artifact("model:latest", type="b")


def test_a_logged_artifact_stays_in_its_project(run):
    artifact = run.log_artifact(artifact_of(a="one"))
    run.finish()
    with tracking.init(project="other") as other:
        with pytest.raises(ValueError, match="exists in project 'songs'; it can't be moved to"):
            other.log_artifact(artifact)


def test_a_logged_artifact_can_be_logged_again(run):
    artifact = run.log_artifact(artifact_of(a="one"))
    run.log_artifact(artifact_of(a="two"))
    assert run.log_artifact(artifact, aliases=["back"]).version == "v0"
    assert run.use_artifact("model:back").version == "v0"
    assert run.use_artifact("model:latest").version == "v0"


def test_a_draft_filled_before_the_store_moved_is_logged_in_full(monkeypatch, tmp_path):
    artifact = artifact_of(a="one")
    monkeypatch.setenv("TRACKING_STORE", str(tmp_path / "second" / "tracking_store"))
    with tracking.init(project="songs") as run:
        run.log_artifact(artifact)
        assert Path(artifact.file(tmp_path / "out")).read_text() == "one"


def test_files_are_removed_from_a_draft(run):
    artifact = artifact_of(**{"a": "one", "sub/b": "two", "sub/c": "three"})
    artifact.remove("sub")
    assert list(artifact.manifest.entries) == ["a"]
    with pytest.raises(FileNotFoundError, match="No such file or directory: sub"):
        artifact.remove("sub")


def test_a_single_entry_is_downloaded(run, tmp_path):
    artifact = run.log_artifact(artifact_of(**{"a": "one", "sub/b": "two"}))
    path = artifact.get_entry("sub/b").download(str(tmp_path / "out"))
    assert Path(path).read_text() == "two"
    assert artifact.download(tmp_path / "part", path_prefix="sub") == str(tmp_path / "part")
    assert [p.name for p in (tmp_path / "part").iterdir()] == ["sub"]
    with pytest.raises(KeyError, match="Path not contained in artifact: absent"):
        artifact.get_entry("absent")


def test_an_artifact_without_files_can_be_logged_but_gives_no_file(run):
    artifact = run.log_artifact(tracking.Artifact("empty", type="raw_data"))
    assert artifact.version == "v0"
    with pytest.raises(ValueError, match="contains no file"):
        artifact.file()


def test_a_full_disk_is_an_error_with_the_path_and_nothing_is_visible(answer, store, tmp_path):
    # A limit on the size of one file stands in for the disk: the write fails in the same place.
    (tmp_path / "big.bin").write_bytes(bytes(3 * 2**20))
    code, _, stderr = answer(
        """
import resource, sys
from util_lib import tracking
with tracking.init(project="songs") as run:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
    run.log_artifact(sys.argv[1], name="big", type="raw_data")
""",
        tmp_path / "big.bin",
    )
    assert code == 1
    assert "UserError: cannot read or write " in stderr
    assert f"{store.files.tmp}" in stderr
    assert "File too large; nothing was recorded; free space there" in stderr
    assert store.versions("songs", "big") == []
    assert [path for path in store.files.final.rglob("*") if path.is_file()] == []
    assert [run.state for run in store.runs()] == ["failed"]


def test_logging_is_tried_again_after_the_database_refused(run, store, monkeypatch, tmp_path):
    artifact = artifact_of(a="one", b="two")

    def full(*_, **__):
        raise UserError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "add_version", full)
        with pytest.raises(UserError, match="disk is full"):
            run.log_artifact(artifact)
    assert artifact.is_draft()
    assert store.versions("songs", "model") == []
    assert run.log_artifact(artifact).version == "v0"
    assert sorted(os.listdir(artifact.download(tmp_path / "out"))) == ["a", "b"]


def test_a_store_that_cannot_be_made_is_an_error_with_the_path(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TRACKING_STORE", str(tmp_path / "file" / "tracking_store"))
    with pytest.raises(UserError, match=f"cannot read or write {tmp_path}/file/tracking_store"):
        tracking.init(project="songs")


def test_a_download_to_an_impossible_place_is_an_error_with_the_path(run, tmp_path):
    artifact = run.log_artifact(artifact_of(a="one"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=f"cannot read or write {tmp_path}/file"):
        artifact.file(tmp_path / "file")
