"""Kills, no room, a lost disk, clocks that jump, a slow server: the end is that of a quiet run.

Two pipelines, gc and a service share one store, for minutes and by a seed. Then everything runs
once more in peace, and what stands there has to be what stands where nothing ever happened.

    CHAOS_MINUTES=30 CHAOS_SEED=1 pytest -s -m slow tests/serving/test_chaos.py
"""

import collections
import hashlib
import http.server
import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from service_support import ROW, Command

from pipeline.settings import temporary
from tests.pipeline.caching.test_reuse import make_place
from tests.pipeline.trivial_steps import STEPS
from util_lib.tracking.store.database import Store

PROJECTS = ("one", "two")
CLOCK = """
import os, time
_shift, _time, _time_ns = float(os.environ.get("CHAOS_CLOCK", 0)), time.time, time.time_ns
time.time = lambda: _time() + _shift
time.time_ns = lambda: _time_ns() + int(_shift * 10**9)
"""
FAULTS = ("none", "none", "kill", "kill main.py alone", "SIGINT", "SIGTERM", "no room", "clock")
LONGEST_S = 900  # of a run that is let alone; the machine may be busy


class Server:
    """Serves one text, and is slow or gone from time to time."""

    def __init__(self) -> None:
        self.mode = "quick"
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if outer.mode == "slow":
                    time.sleep(2)
                if outer.mode == "gone":
                    self.close_connection = True
                    return
                self.send_response(200)
                self.send_header("ETag", "one")
                self.send_header("Content-Length", "8")
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(b"a,b\n1,2\n")

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._served.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._served.server_port}/t.csv"


class World:
    """One folder of results that two pipelines, gc and a service use."""

    def __init__(self, folder: Path, server: Server, seed: int) -> None:
        self.random, self.server, self.findings = random.Random(seed), server, list[str]()
        self.counts: collections.Counter[str] = collections.Counter()
        self.places = {}
        for name in PROJECTS:
            (folder / name).mkdir(parents=True)
            place = self.places[name] = make_place(folder / name)
            place.home = folder / "home"
            for step in STEPS:
                place.edit(f"{step}/run.py", "import hashlib", "import urllib.request, hashlib")
                place.edit(
                    f"{step}/run.py",
                    "[file.read_text() for file in files]",
                    "[urllib.request.urlopen(value, timeout=30).read().decode()]",
                )
            (folder / name / "clock").mkdir()
            (folder / name / "clock" / "sitecustomize.py").write_text(CLOCK)
            place.environment |= {
                "PYTHONPATH": str(folder / name / "clock"),
                "TMPDIR": str(folder / "temporary"),
            }
        (folder / "home").mkdir()
        (folder / "temporary").mkdir()
        self.home, self.temporary = folder / "home", folder / "temporary"
        self.store, self.away = self.home / "tracking_store", self.home / "away"

    def start(
        self, name: str, *words: str, clock: float = 0, room: int | None = None
    ) -> subprocess.Popen:
        """Start main.py of a project, in a group of its own."""

        def limits() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if room is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

        place = self.places[name]
        given = [
            "main.env_manager=local",
            "data.sha256=null",
            f"data.file_url={self.server.address}",
            f"main.project_name={name}",
        ]
        return self._popen(
            [place.project / "main.py", *given, *words],
            {**place.environment, "CHAOS_CLOCK": str(clock)},
            limits,
        )

    def gc(self, keep: int) -> subprocess.Popen:
        place = self.places[PROJECTS[0]]
        words = ["-m", "pipeline.commands.gc", "--delete=true", f"--keep={keep}"]
        paths = os.pathsep.join([str(place.project), place.environment["PYTHONPATH"]])
        named = {"TRACKING_STORE": str(self.store), "PYTHONPATH": paths}
        named["MLFLOW_TRACKING_URI"] = f"sqlite:///{self.home / 'mlflow.db'}"
        return self._popen(words, {**place.environment, **named}, lambda: None)

    def _popen(self, words, environment, before) -> subprocess.Popen:
        said = (self.home.parent / f"said{time.monotonic_ns()}").open("w+")
        process = subprocess.Popen(
            [sys.executable, *map(str, words)],
            cwd=self.home,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=before,
        )
        process.said = said  # type: ignore[attr-defined]
        return process

    def ended(self, process: subprocess.Popen, what: str) -> tuple[int, str]:
        """Wait for the end of a process; return its code and what it said."""
        try:
            process.wait(LONGEST_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self.findings.append(f"{what}: did not end")
        process.said.seek(0)  # type: ignore[attr-defined]
        text = process.said.read()  # type: ignore[attr-defined]
        process.said.close()  # type: ignore[attr-defined]
        return process.returncode, text

    def round(self) -> None:
        """Let both pipelines run with a fault each, gc beside them, and the disk leave."""
        choose = self.random
        self.server.mode = choose.choice(["quick", "quick", "quick", "slow", "gone"])
        lost = choose.random() < 0.2 and self.store.exists()
        started = {name: self._begin(name) for name in PROJECTS}
        gc = self.gc(choose.choice([1, 10])) if choose.random() < 0.5 else None
        kill_gc = choose.random() < 0.3
        at = {name: choose.uniform(0.3, 12) for name in PROJECTS}
        if lost:
            at["disk"] = choose.uniform(0.3, 8)
        if gc and kill_gc:
            at["gc"] = choose.uniform(0.3, 6)
        begun = time.monotonic()
        for what, moment in sorted(at.items(), key=lambda item: item[1]):
            time.sleep(max(0.0, begun + moment - time.monotonic()))
            if what == "disk":
                self._lose_the_disk()
            elif what == "gc" and gc:
                gc.kill()
            else:
                self._strike(*started[what])
        quiet = not lost and self.server.mode != "gone"
        for name, (fault, process) in started.items():
            what = f"{name}, {fault}, server {self.server.mode}{', disk lost' if lost else ''}"
            code, said = self.ended(process, what)
            self.counts[f"{fault}: {code}"] += 1
            if quiet and fault in ("none", "clock") and code:
                self.findings.append(f"{what}: exit code {code}: {said[-2000:]}")
            own = "Traceback" in said and "urlopen" not in said  # a step's of this test
            if own and fault not in ("kill", "SIGINT", "SIGTERM"):
                self.findings.append(f"{what}: a traceback: {said[-3000:]}")
        if gc:
            code, said = self.ended(gc, "gc")
            self.counts[f"gc: {code}"] += 1
            if "Traceback" in said:
                self.findings.append(f"gc, {lost=}: a traceback: {said[-3000:]}")
        self.counts["disk lost"] += lost
        self.counts[f"server {self.server.mode}"] += 1

    def _begin(self, name: str) -> tuple[str, subprocess.Popen]:
        choose, place = self.random, self.places[name]
        step, fault = choose.choice(STEPS), choose.choice(FAULTS)
        path = place.project / step / "run.py"
        old = next(line for line in path.read_text().splitlines() if line.startswith("salt ="))
        place.edit(f"{step}/run.py", old, f'salt = "{choose.choice(["plain", "rock", "sea"])}"')
        words = [f"data.test_size={choose.choice([0.2, 0.3])}"]
        words += ["main.cache=false"] * (choose.random() < 0.2)
        clock = choose.choice([-86400, -5, 5, 86400]) if fault == "clock" else 0
        room = choose.choice([0, 4096, 100_000, 400_000]) if fault == "no room" else None
        return fault, self.start(name, *words, clock=clock, room=room)

    def _strike(self, fault: str, process: subprocess.Popen) -> None:
        if process.poll() is not None:
            return
        if fault == "kill main.py alone":
            process.kill()
        elif fault == "kill":
            os.killpg(process.pid, signal.SIGKILL)
        elif fault.startswith("SIG"):
            os.killpg(process.pid, signal.Signals[fault])

    def _lose_the_disk(self) -> None:
        """Take the store away, as a disk that is not mounted, and bring it back."""
        self.store.rename(self.away)
        time.sleep(self.random.uniform(0.5, 3))
        if self.store.exists():
            found = [str(path) for path in self.store.rglob("*")]
            self.findings.append(f"a store was made in the place of the lost one: {found}")
            self.store.rename(self.home.parent / f"made{time.monotonic_ns()}")
        self.away.rename(self.store)

    def in_peace(self) -> None:
        """Run both pipelines as nothing disturbs them; twice, the second time all is there."""
        self.server.mode = "quick"
        wait_until(lambda: not users_of(self.home))  # steps whose main.py was killed
        for name, place in self.places.items():
            for step in STEPS:
                path = place.project / step / "run.py"
                old = next(x for x in path.read_text().splitlines() if x.startswith("salt ="))
                place.edit(f"{step}/run.py", old, 'salt = "plain"')
            code, said = self.ended(self.start(name), name)
            assert code == 0, said
            code, said = self.ended(self.start(name, "--explain"), name)
            assert code == 0 and said.count(": cached") == len(STEPS), said
        code, said = self.ended(self.gc(1), "gc")
        assert code == 0, said

    def state(self) -> dict[str, list[str]]:
        """Return what the latest version of each artifact of the steps holds."""
        store, found = Store(self.store), {}
        for version in store.all_versions():
            if version.type == "text" and "latest" in version.aliases:
                assert not store.damage(version), version.reference
                files = store.version_files(version.id)
                found[version.reference.rpartition(":")[0]] = sorted(f.sha256 for f in files)
        return found

    def left(self) -> dict[str, list[str]]:
        """Return what should not be there any more."""
        with sqlite3.connect(self.home / "mlflow.db") as database:
            rows = database.execute("SELECT name FROM runs WHERE status = 'RUNNING'").fetchall()
            whole = database.execute("PRAGMA integrity_check").fetchall()
        store = Store(self.store, sweep=False)
        with sqlite3.connect(store.path) as database:
            whole += database.execute("PRAGMA integrity_check").fetchall()
        return {
            "MLflow runs": [name for (name,) in rows],
            "runs": [run.id for run in store.runs(state="running") if run.state == "running"],
            "folders": [path.name for path in self.temporary.glob(f"{temporary.PREFIX}*")],
            "of dead processes": [path.name for path in store.files.left_over()],
            "damage": [text for (text,) in whole if text != "ok"],
            "contents": [
                path.name
                for path in store.files.final.glob("??/*")
                if hashlib.sha256(path.read_bytes()).hexdigest() != path.name
            ],
        }


def users_of(home: Path) -> list[int]:
    """Return the processes that stand in a folder, or whose store lies in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{home}/tracking_store".encode() in (path / "environ").read_bytes():
                found.append(int(path.name))
    return found


def wait_until(condition) -> None:
    end = time.monotonic() + LONGEST_S
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)


@pytest.fixture
def service(model_directory, tmp_path) -> Iterator["Service"]:
    started = Service(model_directory, tmp_path / "service")
    yield started
    started.command.end(signal.SIGKILL)


class Service:
    """A service that logs into the shared store, and is killed and started again."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.model, self.folder, self.answer = model, folder, b""
        folder.mkdir()

    def start(self, world: World) -> None:
        named = {"TRACKING_STORE": str(world.store), "TRACKING_PUBLISH": "parent"}
        named["MLFLOW_TRACKING_URI"] = f"sqlite:///{world.home / 'mlflow.db'}"
        self.command = Command(self.folder, "--model", str(self.model), **named)
        wait_until(lambda: self.command.process.poll() is not None or self.command.lines)
        self.url = self.command.url()
        self.answer = self.answer or self.ask()

    def ask(self) -> bytes:
        body = json.dumps({"dataframe_records": [ROW]}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/invocations", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()


@pytest.mark.slow
def test_whatever_happens_the_end_is_that_of_a_run_that_nothing_disturbed(tmp_path, service):
    server, seed = Server(), int(os.environ.get("CHAOS_SEED", "1"))
    quiet = World(tmp_path / "quiet", server, seed)
    quiet.in_peace()
    world = World(tmp_path / "chaos", server, seed)
    for name in PROJECTS:
        world.ended(world.start(name), name)
    service.start(world)
    end = time.monotonic() + 60 * float(os.environ.get("CHAOS_MINUTES", "30"))
    rounds = 0
    while time.monotonic() < end:
        rounds += 1
        world.round()
        if service.ask() != service.answer:
            world.findings.append(f"round {rounds}: the service answers otherwise")
        if world.random.random() < 0.2:
            service.command.end(signal.SIGKILL)
            service.start(world)
    service.command.end(signal.SIGTERM)
    world.in_peace()
    print(f"\n{rounds} rounds: {dict(sorted(world.counts.items()))}")
    print(*world.findings, sep="\n----\n")
    assert not [*filter(None, world.left().values())], world.left()
    assert world.state() == quiet.state() and world.state()
    assert not world.findings
