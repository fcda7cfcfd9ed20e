"""A conda that records its calls, for machines without conda; a checkout with trivial steps."""

import json
import os
import sys
from pathlib import Path

import pytest

CONDA = """#!{python}
import json, os, shutil, sys
home = {home!r}
with open(os.path.join(home, "calls.jsonl"), "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
words = sys.argv[1:]
envs = os.path.join(home, "envs")
if words[:2] == ["env", "list"]:
    print(json.dumps({{"envs": [os.path.join(envs, name) for name in os.listdir(envs)]}}))
elif words[:2] == ["env", "create"]:
    os.makedirs(os.path.join(envs, words[words.index("-n") + 1]))
elif words[:2] == ["env", "remove"]:
    shutil.rmtree(os.path.join(envs, words[words.index("--name") + 1]))
"""


class StandInConda:
    """What the tests ask of it: its calls, and the environments it "made"."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environments = home / "envs"

    def calls(self) -> list[list[str]]:
        lines = (self.home / "calls.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def stand_in_conda(tmp_path, monkeypatch) -> StandInConda:
    home = tmp_path / "conda"
    for folder in ("bin", "envs", "etc/profile.d"):
        (home / folder).mkdir(parents=True)
    program = home / "bin" / "conda"
    program.write_text(CONDA.format(python=sys.executable, home=str(home)))
    program.chmod(0o755)
    # `conda activate NAME` is a shell function; it records the call as the program does
    (home / "etc/profile.d/conda.sh").write_text(f'conda() {{ "{program}" "$@"; }}\n')
    monkeypatch.setenv("MLFLOW_CONDA_HOME", str(home))
    return StandInConda(home)


@pytest.fixture(scope="session")
def recorded_run(tmp_path_factory) -> Path:
    """A checkout in which the pipeline has run twice; what was printed is in out1.txt, out2.txt."""
    from tests.pipeline.caching.test_reuse import make_place
    from tests.pipeline.checkout import make_checkout

    folder = tmp_path_factory.mktemp("recorded")
    place = make_place(folder)
    make_checkout(place)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("TRACKING_", "MLFLOW_"))]:
            patch.delenv(name)
        for number in (1, 2):
            done = place.run()
            assert done.returncode == 0, done.stdout + done.stderr
            (folder / f"out{number}.txt").write_text(done.stdout)
    # Now: MLflow writes what the runs of copies of this folder log into this one too.
    shown = (place.home / "mlruns").rglob("receipt.json")
    (folder / "shown.txt").write_text("\n".join(map(str, shown)))
    return folder
