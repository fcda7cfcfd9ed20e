import json
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from serving_support import export_model
from step_support import make_songs, with_text

from serving.model import served_model
from util_lib.errors import UserError
from util_lib.model import export


def test_a_model_is_loaded_by_alias_version_and_directory(exported):
    by_alias = served_model.load("model_export:prod")
    assert by_alias.version == "tests/model_export:v0"
    assert by_alias.digest == exported.artifact("model_export:prod").digest
    assert list(by_alias.columns) == ["energy", "loudness", "tempo", "key", "text_feature"]
    assert (by_alias.task, by_alias.target) == ("classification", "genre")
    directory = exported.artifact("model_export:v0").download(str(exported.folder / "model"))
    for reference in ("tests/model_export:v0", directory):
        same = served_model.load(reference)
        assert (same.reference, same.digest) == (reference, by_alias.digest)


def test_labels_and_probabilities_are_those_of_the_pipeline(exported):
    served = served_model.load("model_export:prod")
    rows = with_text(make_songs(40, seed=5))
    labels, probabilities = served.predict(rows)
    directory = exported.artifact("model_export:v0").download(str(exported.folder / "model"))
    pipeline, _ = export.load(directory)
    np.testing.assert_array_equal(probabilities, pipeline.predict_proba(rows))
    np.testing.assert_array_equal(labels, pipeline.predict(rows))


def test_a_model_that_is_not_there_is_one_sentence(exported):
    with pytest.raises(UserError, match="model_export:champion"):
        served_model.load("model_export:champion")


def change_a_file(steps, suffix, content):
    """Change a file of the model where the store keeps it."""
    artifact = steps.artifact("model_export:prod")
    (entry,) = (e for e in artifact.manifest.entries.values() if e.path.endswith(suffix))
    path = artifact._store.files.path(entry.sha256)
    path.chmod(0o644)
    path.write_bytes(content)


class Harm:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (Path(self.path), "ran")


def test_a_file_that_was_changed_is_refused_and_its_code_is_not_run(exported, tmp_path):
    harm = cloudpickle.dumps(Harm(str(tmp_path / "ran")))
    change_a_file(exported, "model.skops", harm)
    with pytest.raises(UserError, match="model.skops.* is damaged"):
        served_model.load("model_export:prod")
    assert not (tmp_path / "ran").exists()


def test_a_directory_is_held_to_the_digest_beside_it(exported, tmp_path):
    artifact = exported.artifact("model_export:prod")
    directory = Path(artifact.download(str(tmp_path / "model")))
    beside = tmp_path / "model.json"
    beside.write_text(json.dumps({"version": "tests/model_export:v0", "digest": artifact.digest}))
    assert served_model.load(str(directory)).version == "tests/model_export:v0"
    harm = cloudpickle.dumps(Harm(str(tmp_path / "ran")))
    (directory / "model.pkl").write_bytes(harm)
    described = (directory / "MLmodel").read_text()
    (directory / "MLmodel").write_text(
        described.replace("model.skops", "model.pkl").replace("format: skops", "format: pickle")
    )
    with pytest.raises(UserError, match="have the digest .*, not .*; nothing of it was loaded"):
        served_model.load(str(directory))
    assert not (tmp_path / "ran").exists()
    beside.write_text("{")
    with pytest.raises(UserError, match="model.json is no JSON"):
        served_model.load(str(directory))


def test_a_model_as_a_pickle_gives_the_same_answers_to_those_who_trust_it(steps):
    export_model(steps, export_format="cloudpickle")
    with pytest.raises(UserError, match="is a pickle, .* nothing of it was loaded; .*trust_pickle"):
        served_model.load("model_export:latest")
    as_pickle = served_model.load("model_export:latest", trust_pickle=True)
    export_model(steps)
    as_skops = served_model.load("model_export:latest")
    assert (as_pickle.version, as_skops.version)[1] == "tests/model_export:v1"
    rows = with_text(make_songs(40, seed=5))
    np.testing.assert_array_equal(as_pickle.predict(rows)[1], as_skops.predict(rows)[1])
