"""What steps may rely on, whichever backend keeps their runs and artifacts.

Only names and behaviour that the genuine W&B client has too: it runs here against a test double of
the service, and what the double merely assumes of the real service is marked `assumed`. One
difference is left out on purpose: a name without an alias (`use_artifact("x")`) is an error of the
local backend; the client sends the bare name to the service, which takes it for `x:latest`. Steps
refuse it on either backend, as their arguments are read.
"""

import math
from pathlib import Path

import pytest

# The rule is that of the local backend and of the double; the real service is believed to have it.
assumed = pytest.mark.assumed


@pytest.fixture
def run(tracking):
    with tracking.init(project="contract", job_type="get_data") as run:
        yield run


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def test_the_first_version_is_v0_and_changed_content_makes_v1(tracking, run, log_text):
    assert log_text(tracking, run, "songs", "one").version == "v0"
    assert log_text(tracking, run, "songs", "two").version == "v1"


@assumed
def test_the_same_content_makes_no_new_version(tracking, run, log_text):
    log_text(tracking, run, "songs", "one")
    assert log_text(tracking, run, "songs", "one").version == "v0"
    assert len(list(tracking.Api().artifacts("raw_data", "contract/songs"))) == 1


@assumed
def test_content_that_comes_back_gets_its_old_version_and_latest_moves_there(
    tracking, run, log_text
):
    log_text(tracking, run, "songs", "one")
    log_text(tracking, run, "songs", "two")
    assert log_text(tracking, run, "songs", "one").version == "v0"
    assert run.use_artifact("songs:latest").version == "v0"


def test_a_file_or_the_files_of_a_folder_are_logged_in_one_call(tracking, run, tmp_path):
    from util_lib.tracking import log_file

    for name, text in (("a.txt", "one"), ("b.txt", "two")):
        (tmp_path / name).write_text(text)
    logged = log_file(run, tmp_path / "a.txt", "songs", "raw_data", "one song", {"rows": 1})
    assert (logged.name, logged.type, logged.description) == ("songs:v0", "raw_data", "one song")
    assert dict(logged.metadata) == {"rows": 1}
    assert contents(logged.download(str(tmp_path / "got"))) == {"a.txt": "one"}
    folder = tmp_path / "both"
    folder.mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).rename(folder / name)
    log_file(run, folder, "songs", "raw_data", "two songs", aliases=["best"])
    both = run.use_artifact("songs:best")
    assert both.version == "v1"
    assert contents(both.download(str(tmp_path / "again"))) == {"a.txt": "one", "b.txt": "two"}


def test_an_alias_that_looks_like_a_version_and_a_run_that_is_to_go_on_are_refused(
    tracking, run, log_text
):
    from util_lib.errors import UserError

    with pytest.raises(UserError, match="Alias 'v7' is not possible"):
        log_text(tracking, run, "songs", "one", aliases=["v7"])
    logged = log_text(tracking, run, "songs", "one", aliases=["prod"])
    for found in (logged, tracking.Api().artifact("contract/songs:prod")):
        found.aliases.append("v7")
        with pytest.raises(UserError, match="Alias 'v7' is not possible"):
            found.save()
        found.aliases = ["prod", "best"]
        found.save()
    assert sorted(run.use_artifact("songs:best").aliases) == ["best", "prod"]
    for resume in ("allow", "must", True):
        with pytest.raises(UserError, match="a run is begun once"):
            tracking.init(project="songs", id="night1", resume=resume)


def test_other_aliases_move_only_when_asked(tracking, run, log_text):
    log_text(tracking, run, "songs", "one", aliases=["prod"])
    log_text(tracking, run, "songs", "two")
    assert run.use_artifact("songs:prod").version == "v0"
    assert run.use_artifact("songs:latest").version == "v1"
    log_text(tracking, run, "songs", "three", aliases=["prod", "reference"])
    assert run.use_artifact("songs:prod").version == "v2"
    assert run.use_artifact("songs:reference").version == "v2"


@assumed
def test_an_alias_has_one_holder(tracking, run, log_text):
    log_text(tracking, run, "songs", "one", aliases=["prod"])
    log_text(tracking, run, "songs", "two", aliases=["prod"])
    assert sorted(run.use_artifact("songs:v0").aliases) == []
    assert sorted(run.use_artifact("songs:v1").aliases) == ["latest", "prod"]


@pytest.mark.parametrize("reference", ["songs:latest", "songs:v0", "contract/songs:v0"])
def test_an_artifact_is_found_by_alias_version_and_project(tracking, run, log_text, reference):
    log_text(tracking, run, "songs", "one")
    artifact = run.use_artifact(reference)
    assert artifact.version == "v0"
    assert artifact.project == "contract"


def test_a_fetched_artifact_is_called_as_it_was_asked_for_and_knows_its_version(
    tracking, run, log_text
):
    log_text(tracking, run, "songs", "one", aliases=["prod"])
    found = run.use_artifact("songs:prod")
    assert (found.name, found.source_name, found.version) == ("songs:prod", "songs:v0", "v0")
    assert found.qualified_name.endswith("/contract/songs:prod")


def test_init_while_a_run_is_active_returns_that_run(tracking, run):
    assert tracking.active_run() is run
    assert tracking.init(project="other") is run
    run.finish()
    assert tracking.active_run() is None


def test_an_artifact_is_found_by_its_qualified_name(tracking, run, log_text):
    logged = log_text(tracking, run, "songs", "one")
    assert logged.qualified_name.endswith("/contract/songs:v0")
    assert run.use_artifact(logged.qualified_name).version == "v0"


def test_another_project_is_reached_by_naming_it(tracking, log_text):
    with tracking.init(project="contract") as run:
        log_text(tracking, run, "songs", "one")
    with tracking.init(project="other") as other:
        assert other.use_artifact("contract/songs:latest").version == "v0"
        with pytest.raises(Exception, match="songs:latest"):
            other.use_artifact("songs:latest")


def test_an_unknown_version_is_an_error_that_names_it(tracking, run, log_text):
    log_text(tracking, run, "songs", "one")
    with pytest.raises(Exception, match="songs:v7"):
        run.use_artifact("songs:v7")


def test_a_logged_artifact_knows_what_it_is(tracking, run, log_text):
    metadata = {"original_url": "https://example.test/a.csv", "rows": 3, "nested": {"a": [1, 2]}}
    logged = log_text(tracking, run, "songs", "one", description="As downloaded", metadata=metadata)
    for artifact in (logged, run.use_artifact("songs:v0")):
        assert artifact.type == "raw_data"
        assert artifact.description == "As downloaded"
        assert artifact.metadata == metadata
        assert artifact.size == 3
        assert artifact.state == "COMMITTED"
        assert list(artifact.manifest.entries) == ["data.txt"]
        assert artifact.digest == logged.digest
    assert logged.name == "songs:v0"


def test_one_file_comes_back_by_file(tracking, run, log_text, tmp_path):
    log_text(tracking, run, "songs", "one")
    path = run.use_artifact("songs:latest").file(str(tmp_path / "out"))
    assert path == str(tmp_path / "out" / "data.txt")
    assert Path(path).read_text() == "one"


def test_several_files_and_directories_come_back_by_download(tracking, run, tmp_path):
    folder = tmp_path / "export"
    (folder / "code").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors")
    (folder / "code" / "a.py").write_text("pass")
    (tmp_path / "notes.md").write_text("notes")
    artifact = tracking.Artifact("model", type="model_export")
    artifact.add_dir(str(folder))
    artifact.add_dir(str(folder / "code"), name="copy")
    artifact.add_file(str(tmp_path / "notes.md"), name="docs/readme.md")
    with artifact.new_file("made.txt") as file:
        file.write("here")
    run.log_artifact(artifact).wait()

    root = run.use_artifact("model:latest").download(root=str(tmp_path / "out"))

    assert root == str(tmp_path / "out")
    assert contents(root) == {
        "MLmodel": "flavors",
        "code/a.py": "pass",
        "copy/a.py": "pass",
        "docs/readme.md": "notes",
        "made.txt": "here",
    }


def test_file_refuses_an_artifact_of_several_files(tracking, run, tmp_path):
    artifact = tracking.Artifact("pair", type="raw_data")
    for name in "ab":
        with artifact.new_file(name) as file:
            file.write(name)
    run.log_artifact(artifact).wait()
    with pytest.raises(ValueError, match="This artifact contains more than one file"):
        artifact.file(str(tmp_path / "out"))


def test_a_file_is_taken_as_it_was_when_it_was_added(tracking, run, tmp_path):
    path = tmp_path / "data.txt"
    path.write_text("as added")
    artifact = tracking.Artifact("songs", type="raw_data")
    artifact.add_file(str(path))
    path.unlink()
    run.log_artifact(artifact).wait()
    assert Path(artifact.file(str(tmp_path / "out"))).read_text() == "as added"


def test_a_path_is_logged_without_an_artifact_object(tracking, run, tmp_path):
    (tmp_path / "data.txt").write_text("one")
    artifact = run.log_artifact(str(tmp_path / "data.txt"), name="songs", type="raw_data").wait()
    assert (artifact.name, artifact.type) == ("songs:v0", "raw_data")


def test_a_draft_has_no_version_yet(tracking):
    artifact = tracking.Artifact("songs", type="raw_data")
    assert artifact.name == "songs"
    assert artifact.state == "PENDING"
    for ask in (
        lambda: artifact.version,
        lambda: artifact.aliases,
        lambda: artifact.project,
        artifact.wait,
        artifact.file,
        artifact.download,
        artifact.logged_by,
        artifact.used_by,
    ):
        with pytest.raises(AttributeError, match="used prior to logging artifact"):
            ask()


def test_a_logged_artifact_cannot_be_changed(tracking, run, log_text, tmp_path):
    artifact = log_text(tracking, run, "songs", "one")
    with pytest.raises(AttributeError, match="Can't modify finalized artifact"):
        artifact.add_file(str(tmp_path / "data.txt"))
    with pytest.raises(AttributeError, match="Can't modify finalized artifact"):
        artifact.add_dir(str(tmp_path))
    with pytest.raises(AttributeError, match="Can't modify finalized artifact"):
        with artifact.new_file("more.txt"):
            pass
    with pytest.raises(AttributeError, match="Can't modify finalized artifact"):
        artifact.remove("data.txt")


def test_an_artifact_keeps_its_type(tracking, run, log_text):
    log_text(tracking, run, "songs", "one", type="raw_data")
    text = "Artifact songs already exists with type 'raw_data'; cannot create another with type"
    with pytest.raises(ValueError, match=text):
        log_text(tracking, run, "songs", "two", type="other")


@pytest.mark.parametrize("name", ["a/b", "a b", "a:b", "", "é"])
def test_an_impossible_artifact_name_is_refused(tracking, name):
    with pytest.raises(ValueError, match="Artifact name may only contain alphanumeric"):
        tracking.Artifact(name, type="raw_data")


def test_a_reserved_type_is_refused(tracking):
    with pytest.raises(ValueError, match="Artifact type 'job' is reserved for internal use"):
        tracking.Artifact("songs", type="job")


@pytest.mark.parametrize("alias", ["a/b", "a:b"])
def test_an_impossible_alias_is_refused(tracking, run, log_text, alias):
    with pytest.raises(ValueError, match="Aliases must not contain any of the following"):
        log_text(tracking, run, "songs", "one", aliases=[alias])


@pytest.mark.parametrize("path", ["../out.txt", "/abs.txt", "."])
def test_a_path_that_leads_out_of_the_artifact_is_refused(tracking, tmp_path, path):
    (tmp_path / "data.txt").write_text("one")
    artifact = tracking.Artifact("songs", type="raw_data")
    with pytest.raises(ValueError, match="Invalid artifact path"):
        artifact.add_file(str(tmp_path / "data.txt"), name=path)


def test_one_path_cannot_hold_two_contents(tracking, tmp_path):
    artifact = tracking.Artifact("songs", type="raw_data")
    for text in ("one", "two"):
        (tmp_path / text).write_text(text)
    artifact.add_file(str(tmp_path / "one"), name="data.txt")
    with pytest.raises(ValueError, match="Cannot add the same path twice: 'data.txt'"):
        artifact.add_file(str(tmp_path / "two"), name="data.txt")


def test_what_is_not_there_cannot_be_added(tracking, tmp_path):
    artifact = tracking.Artifact("songs", type="raw_data")
    with pytest.raises(ValueError, match="Path is not a file"):
        artifact.add_file(str(tmp_path / "absent"))
    with pytest.raises(ValueError, match="Path is not a directory"):
        artifact.add_dir(str(tmp_path / "absent"))


def test_aliases_are_edited_and_saved(tracking, run, log_text):
    log_text(tracking, run, "songs", "one", aliases=["prod"])
    newer = log_text(tracking, run, "songs", "two")
    newer.aliases.append("prod")
    newer.save()
    assert run.use_artifact("songs:prod").version == "v1"
    newer.aliases.remove("prod")
    newer.save()
    with pytest.raises(Exception, match="songs:prod"):
        run.use_artifact("songs:prod")


def test_description_and_metadata_are_edited_and_saved(tracking, run, log_text):
    artifact = log_text(tracking, run, "songs", "one", metadata={"rows": 1})
    artifact.description = "Better words"
    artifact.metadata["rows"] = 2
    artifact.save()
    again = tracking.Api().artifact("contract/songs:v0")
    assert again.description == "Better words"
    assert again.metadata == {"rows": 2}


def test_lineage_says_which_run_made_an_artifact_and_which_used_it(tracking, log_text):
    with tracking.init(project="contract", job_type="get_data") as maker:
        log_text(tracking, maker, "songs", "one")
    with tracking.init(project="contract", job_type="preprocess") as user:
        used = user.use_artifact("songs:latest")
        log_text(tracking, user, "clean", "two")
    assert used.logged_by().id == maker.id
    assert [run.id for run in used.used_by()] == [user.id]
    seen = tracking.Api().run(f"contract/{user.id}")
    assert [artifact.name for artifact in seen.logged_artifacts()] == ["clean:v0"]
    assert [artifact.name for artifact in seen.used_artifacts()] == ["songs:v0"]


def test_a_draft_can_be_used_right_away(tracking, run):
    artifact = tracking.Artifact("songs", type="raw_data")
    with artifact.new_file("a.txt") as file:
        file.write("one")
    assert run.use_artifact(artifact).version == "v0"


def test_the_api_lists_versions_newest_first_and_knows_what_exists(tracking, run, log_text):
    for text in ("one", "two", "three"):
        log_text(tracking, run, "songs", text)
    api = tracking.Api()
    found = [artifact.version for artifact in api.artifacts("raw_data", "contract/songs")]
    assert found == ["v2", "v1", "v0"]
    assert api.artifact("contract/songs:latest").version == "v2"
    assert api.artifact_exists("contract/songs:v1")
    assert not api.artifact_exists("contract/songs:v9")


def test_a_run_has_its_name_project_group_and_job_type(tracking):
    with tracking.init(
        project="contract", group="experiment", job_type="train", name="my-run", tags=["a", "b"]
    ) as run:
        assert (run.project, run.group, run.job_type) == ("contract", "experiment", "train")
        assert run.name == "my-run"
        assert run.path.endswith(f"contract/{run.id}")
        assert run.tags == ("a", "b")
    seen = tracking.Api().run(f"contract/{run.id}")
    assert (seen.name, seen.group, seen.job_type) == ("my-run", "experiment", "train")
    assert list(seen.tags) == ["a", "b"]


def test_the_config_takes_nested_dicts_and_updates(tracking):
    with tracking.init(project="contract", config={"seed": 42}) as run:
        run.config.update({"forest": {"max_depth": 13, "criterion": "gini"}})
        run.config["stratify"] = None
        run.config.names = ["a", "b"]
        assert run.config.seed == 42
        assert run.config["forest"]["max_depth"] == 13
    assert tracking.Api().run(f"contract/{run.id}").config == {
        "seed": 42,
        "forest": {"max_depth": 13, "criterion": "gini"},
        "stratify": None,
        "names": ["a", "b"],
    }


def test_a_config_value_is_changed_only_on_purpose(tracking, run):
    run.config.update({"seed": 1})
    with pytest.raises(Exception, match='Attempted to change value of key "seed" from 1 to 2'):
        run.config.update({"seed": 2})
    run.config.update({"seed": 2}, allow_val_change=True)
    assert run.config["seed"] == 2


def test_metrics_go_to_the_history_and_their_last_values_to_the_summary(tracking):
    with tracking.init(project="contract") as run:
        for epoch in range(3):
            run.log({"epoch": epoch, "loss": 1 / (epoch + 1), "accuracy": epoch / 4})
        run.summary["test_accuracy"] = 0.9
    seen = tracking.Api().run(f"contract/{run.id}")
    rows = list(seen.scan_history())
    assert [row["_step"] for row in rows] == [0, 1, 2]
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert [row["loss"] for row in rows] == [1, 1 / 2, 1 / 3]
    assert seen.summary["loss"] == 1 / 3
    assert seen.summary["accuracy"] == 0.5
    assert seen.summary["test_accuracy"] == 0.9


def test_steps_can_be_given_and_left_open(tracking):
    with tracking.init(project="contract") as run:
        run.log({"loss": 3.0}, step=5)
        run.log({"accuracy": 0.5}, step=5)
        run.log({"loss": 2.0}, step=7)
        run.log({"epoch": 1}, commit=False)
        run.log({"accuracy": 0.75})
        run.log({"loss": 1.0})
    rows = list(tracking.Api().run(f"contract/{run.id}").scan_history())
    stored = [
        {key: row[key] for key in row if key in METRICS and row[key] is not None} for row in rows
    ]
    assert stored == [
        {"loss": 3.0, "accuracy": 0.5, "_step": 5},
        {"loss": 2.0, "epoch": 1, "accuracy": 0.75, "_step": 7},
        {"loss": 1.0, "_step": 8},
    ]


METRICS = ("loss", "accuracy", "epoch", "_step")


def test_nan_is_still_nan_when_it_is_read(tracking):
    with tracking.init(project="contract") as run:
        run.log({"loss": float("nan")})
    (row,) = tracking.Api().run(f"contract/{run.id}").scan_history()
    assert math.isnan(float(row["loss"]))


def test_only_dicts_with_names_are_logged(tracking, run):
    with pytest.raises(TypeError, match="must be passed a dictionary"):
        run.log([1, 2])
    with pytest.raises(TypeError, match="must be strings"):
        run.log({1: 2})


def test_a_figure_is_kept_as_an_image(tracking):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    figure.add_subplot().plot([1, 2, 3])
    with tracking.init(project="contract") as run:
        run.log({"confusion_matrix": tracking.Image(figure, caption="test")})
    image = tracking.Api().run(f"contract/{run.id}").summary["confusion_matrix"]
    assert image["_type"] == "image-file"
    assert image["path"].startswith("media/images/confusion_matrix")
    assert image["caption"] == "test"


@assumed
def test_a_run_that_ends_well_has_finished_and_one_that_raises_has_failed(tracking):
    with tracking.init(project="contract") as good:
        pass
    with pytest.raises(RuntimeError, match="as expected"):
        with tracking.init(project="contract") as bad:
            raise RuntimeError("as expected")
    with tracking.init(project="contract") as told:
        told.finish(exit_code=3)
    api = tracking.Api()
    assert api.run(f"contract/{good.id}").state == "finished"
    assert api.run(f"contract/{bad.id}").state == "failed"
    assert api.run(f"contract/{told.id}").state == "failed"


def test_a_finished_run_takes_nothing_more(tracking, log_text):
    run = tracking.init(project="contract")
    run.finish()
    run.finish()
    for use in (
        lambda: run.log({"loss": 1}),
        lambda: run.use_artifact("songs:latest"),
        lambda: log_text(tracking, run, "songs", "one"),
    ):
        with pytest.raises(Exception, match=rf"Run \({run.id}\) is finished"):
            use()


def test_several_runs_are_possible_in_one_process(tracking, log_text):
    ids = set()
    for number in range(3):
        with tracking.init(project="contract") as run:
            ids.add(run.id)
            log_text(tracking, run, "songs", str(number))
    assert len(ids) == 3
    assert len(list(tracking.Api().artifacts("raw_data", "contract/songs"))) == 3


def test_runs_are_listed_with_what_they_were_about(tracking):
    for depth in (3, 5):
        with tracking.init(
            project="contract", group="sweep", job_type="train", config={"max_depth": depth}
        ) as run:
            run.summary["auc"] = depth / 10
    found = list(tracking.Api().runs("contract"))
    assert [run.config["max_depth"] for run in found] == [3, 5]
    assert [run.summary["auc"] for run in found] == [0.3, 0.5]
    assert {run.group for run in found} == {"sweep"}
    assert {run.job_type for run in found} == {"train"}


def test_project_and_group_come_from_the_environment(tracking, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "from_environment")
    monkeypatch.setenv("WANDB_RUN_GROUP", "experiment_7")
    with tracking.init(job_type="get_data") as run:
        assert (run.project, run.group) == ("from_environment", "experiment_7")
    with tracking.init(project="given", group="also_given") as run:
        assert (run.project, run.group) == ("given", "also_given")
