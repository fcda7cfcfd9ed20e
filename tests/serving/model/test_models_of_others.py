"""A model that somebody else has made: what it says of itself is never what decides."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
import yaml
from step_support import ROOT, make_songs, with_text

from evaluate import run as evaluate
from serving import image, predict, promote, serve
from serving.model import served_model
from util_lib import tracking
from util_lib.errors import UserError


class Harm:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (Path(self.path), "ran")


@pytest.fixture
def copy(model_directory, tmp_path):
    """A model directory of somebody else, to be changed."""
    return Path(shutil.copytree(model_directory, tmp_path / "model"))


def describe(directory, change):
    """Change what the MLmodel file of a directory says."""
    path = directory / "MLmodel"
    described = yaml.safe_load(path.read_text())
    change(described)
    path.write_text(yaml.safe_dump(described))


def as_pickle(directory):
    """Make a model a pickle that writes the file `ran` beside it when it is loaded."""
    ran = directory.with_name("ran")
    (directory / "model.pkl").write_bytes(cloudpickle.dumps(Harm(str(ran))))
    pickled = {"serialization_format": "pickle", "pickled_model": "model.pkl"}
    describe(directory, lambda said: said["flavors"]["sklearn"].update(pickled))
    return ran


ROWS = "songs.parquet:latest"
LOADERS = {
    "predict": (predict.main, ["--input", ROWS, "--output", "out.csv"]),
    "promote": (promote.main, ["--alias", "staging", "--test_data", ROWS]),
    "image": (image.main, ["--build", "false"]),
    "serve": (serve.main, ["--port", "0"]),
    "evaluate": (evaluate.main, ["--test_data", ROWS]),
}


@pytest.mark.parametrize("entry", LOADERS)
def test_a_pickle_is_loaded_by_nobody_who_does_not_say_so(copy, steps, entry):
    ran = as_pickle(copy)
    artifact = tracking.Artifact("model_export", type="model_export")
    artifact.add_dir(str(copy))
    with tracking.init(job_type="test") as run:
        run.log_artifact(artifact, aliases=["prod"])
    steps.put(with_text(make_songs(40)), "songs.parquet")
    main, given = LOADERS[entry]
    model = ["--model_export" if entry == "evaluate" else "--model", "model_export:prod"]
    with pytest.raises(UserError, match="is a pickle, which runs whatever is in it"):
        main([*model, *given])
    assert not ran.exists()
    with pytest.raises(Exception) as trusted:  # what came of it is no pipeline
        main([*model, *given, "--trust_pickle", "true"])
    assert ran.exists() and "is a pickle" not in str(trusted.value)


def test_a_pickle_that_is_called_skops_is_not_run(copy):
    ran = as_pickle(copy)
    describe(copy, lambda said: said["flavors"]["sklearn"].update(serialization_format="skops"))
    with pytest.raises(UserError, match="model.pkl is no whole skops file"):
        served_model.load(str(copy), trust_pickle=True)
    assert not ran.exists()


def test_no_module_and_no_code_that_a_model_names_is_used(copy, tmp_path):
    ran = tmp_path / "ran"
    for path in (copy / "code" / "util_lib" / "transformers.py", copy / "code" / "harm.py"):
        path.write_text(f"open({str(ran)!r}, 'w').close()\n\n\ndef _load_pyfunc(*_): ...\n")
    describe(
        copy, lambda said: said["flavors"]["python_function"].update(loader_module="harm", env=7)
    )
    code = (
        "import sys; from serving.model import served_model; "
        "print(served_model.load(sys.argv[1]).columns.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(copy)], cwd=ROOT, capture_output=True, text=True
    )
    assert "energy" in done.stdout, done.stderr
    assert not ran.exists()


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("name", ["../other.skops", "{outside}", "link.skops", "code/../../x"])
def test_a_path_that_leads_out_of_a_model_is_not_followed(copy, tmp_path, name, trust):
    outside = tmp_path / "other.skops"
    shutil.copy(copy / "model.skops", outside)
    if name == "link.skops":
        (copy / name).symlink_to(outside)
    path = name.format(outside=outside)
    describe(copy, lambda said: said["flavors"]["sklearn"].update(pickled_model=path))
    with pytest.raises(UserError, match="lies outside of it"):
        served_model.load(str(copy), trust_pickle=trust)


def test_a_file_of_a_model_that_is_a_link_out_of_it_is_not_read(copy, tmp_path):
    secret = tmp_path / "secret.json"
    shutil.move(copy / "input_example.json", secret)
    (copy / "input_example.json").symlink_to(secret)
    with pytest.raises(UserError, match="'input_example.json', which lies outside of it"):
        served_model.load(str(copy))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"declaration": {"derived": {"a": "__import__('os')"}}}, "a: .*__import__"),
        ({"declaration": {"derived": {"a": 7}}}, "declaration.derived.a must be a valid string"),
        ({"declaration": {"columns": {"energy": {"dtype": "code", "role": "text"}}}}, "'float'"),
        ({"declaration": {"loader": "os.system"}}, "unknown key 'declaration.loader'"),
        ({"features": {"numerical": ["energy"] * 2, "categorical": [], "nlp": []}}, "named twice"),
        ({"features": {"numerical": "energy", "categorical": [], "nlp": []}}, "a valid list"),
        ({"target": ["genre"]}, "target must be a valid string"),
        ({"task": "shell"}, "task must be 'classification' or 'regression'"),
    ],
)
def test_what_a_model_says_of_its_columns_is_checked_like_a_strangers_file(copy, change, sentence):
    describe(copy, lambda said: said["metadata"].update(change))
    with pytest.raises(UserError, match=sentence):
        served_model.load(str(copy))


BOMB = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 9)}]" for n in range(30))
RECURSIVE = "metadata: &a {a: *a}"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "a: [", "metadata: 7", "flavors: {sklearn: 7}", "\0", BOMB, RECURSIVE, "[" * 9_000],
)
def test_an_mlmodel_file_that_describes_no_model_is_one_sentence(copy, text):
    (copy / "MLmodel").write_text(text)
    with pytest.raises(UserError, match="describes no scikit-learn model"):
        served_model.load(str(copy))


def test_a_model_that_does_not_answer_its_own_example_is_damaged(copy):
    path = copy / "input_example.json"
    example = json.loads(path.read_text())
    example["dataframe_split"]["columns"] = [f"x{n}" for n in range(5)]
    path.write_text(json.dumps(example))
    with pytest.raises(UserError, match="does not answer its own example .*: it is damaged"):
        served_model.load(str(copy))


def test_a_model_with_any_bit_changed_is_loaded_or_refused_in_one_sentence(copy):
    content = (copy / "model.skops").read_bytes()
    chance, refused = np.random.default_rng(3), 0
    for place in chance.integers(0, len(content), 40):
        changed = bytearray(content)
        changed[place] ^= 1 << int(chance.integers(8))
        (copy / "model.skops").write_bytes(changed)
        try:
            assert served_model.load(str(copy)).columns
        except UserError as error:
            refused += 1
            assert "model.skops" in str(error) or "damaged" in str(error)
    assert refused
