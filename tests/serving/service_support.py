"""A running service for tests: the real app in the real server, on a port of its own."""

import json
import os
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import uvicorn
from serving_support import export_model, export_office_model
from step_support import ROOT, Steps

from serving import serve
from serving.service import app, connection
from serving.service.champion_challenger import Routing
from serving.service.limits import ServiceLimits
from serving.service.slots import Slot
from tests import warm

ROW = {"energy": 0.4, "loudness": -8.5, "tempo": 120.0, "key": 3, "text_feature": "warehouse beats"}


class Service:
    """A service that answers at `url`."""

    def __init__(self, url: str, slots: list[Slot], session: requests.Session):
        self.url = url
        self.slots = slots
        self.session = session

    @property
    def model(self):
        return self.slots[0].loaded.model

    def get(self, path: str, **options):
        return self.session.get(self.url + path, timeout=30, **options)

    def post(self, path: str, json=None, data=None, kind="application/json", **options):
        headers = {"Content-Type": kind, **options.pop("headers", {})}
        return self.session.post(
            self.url + path, json=json, data=data, headers=headers, timeout=30, **options
        )

    def predict(self, *rows, **options):
        return self.post("/invocations", {"dataframe_records": list(rows)}, **options)


@contextmanager
def running(
    *references, share=None, key="X-Routing-Key", token=None, limits=None, poll=0.1, capture=None
):
    """Start a service in a thread, and stop it as a signal would."""
    roles = ("champion", "challenger")
    slots = [Slot(role, str(name)) for role, name in zip(roles, references, strict=False)]
    made = app.create(
        Routing(slots, share, key),
        limits or ServiceLimits(),
        token=token,
        only_loopback=token is None,
        poll_seconds=poll,
        capture=capture,
    )
    listener = serve.listen("127.0.0.1", 0)
    config = uvicorn.Config(made, log_config=None, **connection.options())
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    until(lambda: server.started)
    with requests.Session() as session:
        yield Service(f"http://127.0.0.1:{listener.getsockname()[1]}", slots, session)
    server.should_exit = True
    thread.join(40)
    assert not thread.is_alive()


def until(condition, seconds=120):
    """Wait until `condition()` is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


class Command:
    """`python serving/serve.py` on a free port; what it prints goes to files."""

    def __init__(self, folder: Path, *arguments, python=None, **variables):
        """`python` is for who has to do with the process itself: a warm one only stands for it."""
        self._out, self._err = folder / "out.txt", folder / "err.txt"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [
                    python or warm.python(),
                    str(ROOT / "serving" / "serve.py"),
                    "--port",
                    "0",
                    *arguments,
                ],
                stdout=out,
                stderr=err,
                env={**os.environ, "TRACKING_BACKEND": "local", **variables},
            )

    @property
    def lines(self) -> list[dict]:
        """What it logged."""
        return [json.loads(line) for line in self._out.read_text().splitlines()]

    @property
    def errors(self) -> str:
        return self._err.read_text()

    def url(self) -> str:
        """Wait until it serves, and return where."""
        until(lambda: '"url"' in self._out.read_text() or self.process.poll() is not None)
        return next(line["url"] for line in self.lines if "url" in line)

    def end(self, number: int | None = None) -> int:
        """Send a signal, if one is given, and return the exit code."""
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(timeout=120)


@pytest.fixture
def command(model_directory, tmp_path):
    """Start the command as often as a test wants; by default on the model of this session."""
    started = []

    def start(*arguments, **variables):
        arguments = ("--model", str(model_directory), *arguments)
        started.append(Command(tmp_path, *arguments, **variables))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def directory_of(export, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKING_STORE", str(folder / "tracking_store"))
        patch.setenv("TRACKING_BACKEND", "local")
        patch.setenv("TRACKING_PUBLISH", "parent")
        patch.setenv("WANDB_PROJECT", "tests")
        return Path(export(Steps(folder)).download(str(folder / "model")))


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory) -> Path:
    """One exported model as a directory, for all tests that need no store."""
    return directory_of(export_model, tmp_path_factory)


@pytest.fixture(scope="session")
def office_directory(tmp_path_factory) -> Path:
    """A model of an office's rows, as a directory."""
    return directory_of(export_office_model, tmp_path_factory)


@pytest.fixture(scope="session")
def service(model_directory):
    """A service that holds that model; tests that change it start their own."""
    with running(model_directory) as started:
        yield started
