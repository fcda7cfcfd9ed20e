"""The contract on older genuine clients, each in an environment of its own, against the double.

    pytest -m environments tests/util_lib/tracking/test_older_clients.py

Steps run on the pinned client only. The older ones are here because they ask the service in other
words: what the double knows is then not merely what one release of the client happens to send.
"""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NEEDED = ("graphql-core", "matplotlib", "psutil", "pytest", "starlette", "uvicorn")

# What a release does otherwise than the pinned one, with the reason.
ANY_PATH = {  # it takes any path for a file of an artifact, even one that leads out of it
    "test_a_path_that_leads_out_of_the_artifact_is_refused[wandb-../out.txt]",
    "test_a_path_that_leads_out_of_the_artifact_is_refused[wandb-/abs.txt]",
    "test_a_path_that_leads_out_of_the_artifact_is_refused[wandb-.]",
}
OTHER_WORDS = {  # it refuses the same, in other words or by another kind of error
    "test_a_reserved_type_is_refused[wandb]",
    "test_only_dicts_with_names_are_logged[wandb]",
}
OLDER = {
    "0.23.0": ANY_PATH,  # the newest one on 2025-11-21
    "0.18.7": ANY_PATH | OTHER_WORDS,  # the newest one on 2024-11-21
}


def pins():
    lines = [(ROOT / f"requirements{kind}.txt").read_text() for kind in ("", "-dev")]
    return re.findall(rf"^(?:{'|'.join(NEEDED)})==\S+", "\n".join(lines), re.MULTILINE)


@pytest.fixture
def environment_with(tmp_path):
    """Give a function that makes an environment with one release of the client."""

    def make(release):
        uv = Path(sys.executable).parent / "uv"
        folder = tmp_path / f"wandb-{release}"
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True)
        python = folder / "bin" / "python"
        packages = [f"wandb=={release}", *pins()]
        subprocess.run([uv, "pip", "install", "-q", "--python", python, *packages], check=True)
        return python

    return make


@pytest.mark.environments
@pytest.mark.parametrize("release", OLDER)
def test_an_older_client_keeps_the_contract_but_for_named_cases(
    environment_with, release, tmp_path
):
    said = tmp_path / "cases.xml"
    contract = ROOT / "tests" / "util_lib" / "tracking" / "test_contract.py"
    python = environment_with(release)
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-k", "wandb", "-p", "no:cacheprovider", contract]
        + [f"--junit-xml={said}", f"--basetemp={tmp_path / 'cases'}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    cases = list(ElementTree.parse(said).iter("testcase"))
    amiss = {case.get("name") for case in cases if len(case)}  # failed, with an error, or skipped
    assert amiss == OLDER[release], done.stdout[-20_000:]
    assert len(cases) >= 55, "cases of the contract are missing"
    same = len(cases) - len(amiss)
    print(f"wandb {release}: {same} of {len(cases)} cases as with the pinned client")
