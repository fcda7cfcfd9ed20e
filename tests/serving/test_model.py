import numpy as np
import pytest
from step_support import make_songs, with_text

from serving import model
from util_lib import model_export
from util_lib.errors import UserError


def test_a_model_is_loaded_by_alias_version_and_directory(exported):
    by_alias = model.load("model_export:prod")
    assert by_alias.version == "tests/model_export:v0"
    assert by_alias.digest == exported.artifact("model_export:prod").digest
    assert list(by_alias.columns) == ["energy", "loudness", "tempo", "key", "text_feature"]
    assert (by_alias.task, by_alias.target) == ("classification", "genre")
    directory = exported.artifact("model_export:v0").download(str(exported.folder / "model"))
    for reference in ("tests/model_export:v0", directory):
        same = model.load(reference)
        assert (same.reference, same.digest) == (reference, by_alias.digest)


def test_labels_and_probabilities_are_those_of_the_pipeline(exported):
    served = model.load("model_export:prod")
    rows = with_text(make_songs(40, seed=5))
    labels, probabilities = served.predict(rows)
    directory = exported.artifact("model_export:v0").download(str(exported.folder / "model"))
    pipeline, _ = model_export.load(directory)
    np.testing.assert_array_equal(probabilities, pipeline.predict_proba(rows))
    np.testing.assert_array_equal(labels, pipeline.predict(rows))


def test_a_model_that_is_not_there_is_one_sentence(exported):
    with pytest.raises(UserError, match="model_export:champion"):
        model.load("model_export:champion")
