"""Digests, names and metadata, compared with the genuine W&B client where it is installed."""

import pytest

from util_lib import tracking
from util_lib.tracking import names
from util_lib.tracking.store import values


@pytest.fixture
def wandb(monkeypatch, tmp_path):
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb"))
    return pytest.importorskip(
        "wandb", reason="the genuine client is not installed to compare with"
    )


def fill(artifact, folder):
    artifact.add_dir(str(folder))
    artifact.add_dir(str(folder), name="twice")
    artifact.add_file(str(folder / "b.bin"), name="renamed/ü b.bin")
    with artifact.new_file("made/later.txt") as file:
        file.write("later")
    return artifact


def test_digests_are_those_of_wandb(wandb, tmp_path):
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("hello")
    (folder / "b.bin").write_bytes(bytes(range(256)) * 20_000)
    (folder / "sub" / "empty").write_bytes(b"")
    ours = fill(tracking.Artifact("x", type="t"), folder)
    theirs = fill(wandb.Artifact("x", type="t"), folder)
    assert ours.digest == theirs.digest
    assert ours.size == theirs.size
    assert {path: entry.digest for path, entry in ours.manifest.entries.items()} == {
        path: entry.digest for path, entry in theirs.manifest.entries.items()
    }


def test_an_empty_artifact_has_the_digest_of_wandb(wandb):
    ours, theirs = tracking.Artifact("x", type="t"), wandb.Artifact("x", type="t")
    assert ours.digest == theirs.digest


def test_a_known_digest_does_not_change():
    artifact = tracking.Artifact("x", type="t")
    with artifact.new_file("x.txt") as file:
        file.write("hello")
    assert artifact.manifest.entries["x.txt"].digest == "XUFAKrxLKna5cZ2REBfFkg=="
    assert artifact.digest == "863244898d432037ae3026ae926a7e48"


@pytest.mark.parametrize(
    "name, type",
    [
        ("a/b", "t"),
        ("", "t"),
        ("x" * 129, "t"),
        ("x", "job"),
        ("run-1", "run_table"),
        ("source-a", "code"),
        ("x", "wandb-history"),
    ],
)
def test_what_wandb_refuses_is_refused_in_the_same_words(wandb, name, type):
    with pytest.raises(ValueError) as theirs:
        wandb.Artifact(name, type=type)
    with pytest.raises(ValueError) as ours:
        tracking.Artifact(name, type=type)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("project", ["", "a/b", "a:b?", "x" * 129])
def test_projects_are_refused_in_the_words_of_wandb(wandb, project):
    from wandb.sdk.artifacts._validators import validate_project_name

    with pytest.raises(ValueError) as theirs:
        validate_project_name(project)
    with pytest.raises(ValueError) as ours:
        names.check_project(project)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("aliases", [["a/b"], ["ok", "c:d"], "e/f"])
def test_aliases_are_refused_in_the_words_of_wandb(wandb, aliases):
    from wandb.sdk.artifacts._validators import validate_aliases

    with pytest.raises(ValueError) as theirs:
        validate_aliases(aliases)
    with pytest.raises(ValueError) as ours:
        names.check_aliases(aliases)
    # The client lists the characters in the order of a set, which differs from run to run.
    assert sorted(str(ours.value)) == sorted(str(theirs.value))


def test_metadata_is_what_wandb_makes_of_it(wandb):
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    metadata = {
        "n": numpy.int64(3),
        "share": numpy.float64(0.5),
        "names": ("a", "b"),
        "nested": {"flag": True, "none": None},
        "nan": float("nan"),
    }
    ours, theirs = (
        make("x", type="t", metadata=metadata) for make in (tracking.Artifact, wandb.Artifact)
    )
    assert ours.metadata == theirs.metadata


def test_metadata_has_at_most_100_keys(wandb):
    metadata = {str(number): number for number in range(101)}
    with pytest.raises(ValueError) as theirs:
        wandb.Artifact("x", type="t", metadata=metadata)
    with pytest.raises(ValueError) as ours:
        tracking.Artifact("x", type="t", metadata=metadata)
    assert str(ours.value) == str(theirs.value)


def test_infinite_metadata_is_refused():
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        values.check_metadata({"a": [float("inf")]})
