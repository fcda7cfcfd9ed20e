"""The tutorial's commands, typed one after the other by somebody with a fresh clone."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pandas as pd
import pytest

from tests.test_docs import ROOT

PAGE = ROOT / "docs" / "tutorial.md"
# Done before: the tests' own environment, without those of the steps.
NOT_TYPED = ("make ", "source ", "export ")


def lines() -> list[str]:
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    return [line for block in blocks for line in block.splitlines() if line]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=1):
            return True
    except OSError:
        return False


@pytest.mark.slow
def test_the_tutorial_leads_from_a_csv_file_to_a_watched_model(tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRACKING_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    environment = {**kept, "PATH": path, "WANDB_PROJECT": "my_songs"}
    port, said, service = free_port(), {}, None
    url = f"http://127.0.0.1:{port}"
    try:
        for line in (line for line in lines() if not line.startswith(NOT_TYPED)):
            typed = re.sub(r"env.manager[ =]uv", lambda found: found[0][:-2] + "local", line)
            typed = typed.replace("client.py", f"client.py --url {url}")
            if "-e serve" in line:
                command = ["bash", "-c", f"exec {typed} -P port={port}"]
                service = subprocess.Popen(
                    command, cwd=clone, env=environment, start_new_session=True
                )
                while not answers(url):
                    assert service.poll() is None
                    time.sleep(0.5)
                continue
            done = subprocess.run(
                ["bash", "-c", typed], cwd=clone, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            said[line] = done.stdout + done.stderr
    finally:
        if service is not None:
            os.killpg(service.pid, signal.SIGTERM)
            service.wait()
    assert (clone / "conf/dataset/my_songs.yaml").is_file()
    third = next(text for line, text in said.items() if "max_depth=8" in line)
    assert re.search(r"segregate +│ cached", third)
    predicted = pd.read_csv(clone / "answers.csv")
    assert len(predicted) == 2058 and "prediction" in predicted
    watched = next(text for line, text in said.items() if "monitoring" in line)
    assert "my_songs/model_export:v1" in watched and "is quiet" in watched
