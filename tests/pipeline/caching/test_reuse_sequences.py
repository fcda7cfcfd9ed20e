"""Whatever is edited, killed and run again: in the end stands what a run from scratch makes."""

import hashlib
import random
import shutil
from concurrent.futures import Future
from functools import cache
from pathlib import Path

import pytest

from pipeline.caching import fingerprint
from pipeline.caching.versions_in_store import Local
from pipeline.planning.plan import plan
from pipeline.planning.step import Outcome, Step
from pipeline.running.scheduler import Work, walk
from pipeline.settings import overrides, resolvers, schema
from util_lib import tracking
from util_lib.tracking.names import parse_reference
from util_lib.tracking.store.database import open_store

SEQUENCES, MOVES = 200, 6
OVERRIDES = {
    "data.test_size": ("0.3", "0.2"),
    "data.ks_alpha": ("0.05", "0.1"),
    "data.drop_duplicates": ("true", "false"),
    "random_forest_pipeline.random_forest.max_depth": ("13", "3"),
}


class Killed(BaseException):
    """Stands for a kill at some point of a run."""


@cache
def planned(chosen: tuple[str, ...]) -> tuple[schema.Settings, tuple[Step, ...]]:
    resolvers.register_resolvers()
    given = [f"{key}={value}" for key, value in zip(OVERRIDES, chosen, strict=True)]
    checked = schema.check(
        overrides.base_config([*given, "data.file_url=table.csv", "data.sha256=null"])
    )
    return checked, tuple(plan(checked))


class World:
    """A project of trivial steps, a table, a configuration, and the store of earlier runs."""

    def __init__(self, folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        monkeypatch.setenv("TRACKING_STORE", str(folder / "tracking_store"))
        monkeypatch.setenv("TRACKING_PUBLISH", "parent")  # not to MLflow
        monkeypatch.setattr(fingerprint, "ROOT", folder)
        monkeypatch.setattr("pipeline.settings.surroundings.ROOT", folder)
        monkeypatch.setattr("util_lib.project.ROOT", folder)
        self.chosen = [values[0] for values in OVERRIDES.values()]
        (folder / "util_lib").mkdir(parents=True)
        (folder / "util_lib" / "shared.py").write_text("shared\n")
        (folder / "table.csv").write_text("0")
        for step in self.steps:
            (folder / step.name).mkdir()
            (folder / step.name / "run.py").write_text("salt\n")

    @property
    def steps(self) -> tuple[Step, ...]:
        return planned(tuple(self.chosen))[1]

    def texts(self, step: Step, inputs: list[str]) -> dict[str, str]:
        """What a step makes: of the first line of its code, its parameters and its inputs."""
        salt = (self.folder / step.name / "run.py").read_text().splitlines()[0]
        table = (self.folder / "table.csv").read_text() if step.name == "get_data" else ""
        parts = [salt, table, str(sorted(step.parameters.items())), str(step.files), *inputs]
        return {
            name: hashlib.sha256("|".join([name, *parts]).encode()).hexdigest()
            for name in step.outputs
        }

    def from_scratch(self) -> dict[str, str]:
        made: dict[str, str] = {}
        for step in self.steps:
            made |= self.texts(step, [made[name] for name in self.inputs(step)])
        return made

    def inputs(self, step: Step) -> list[str]:
        return [
            parse_reference(reference, "p").name
            for reference in step.inputs
            if reference.endswith(":latest")
        ]

    def run(self, killed: bool) -> None:
        """Walk through the steps; `killed` stops at some moment of some step."""
        for kept in ("_files", "_shared", "_modules", "_mentioned", "_sha256", "_known"):
            getattr(fingerprint, kept).cache_clear()  # every run of main.py is a new process
        checked, steps = planned(tuple(self.chosen))
        deadline = self.random.randrange(3 * len(steps)) if killed else None
        moments = iter(range(10**6))

        def moment() -> None:
            if next(moments) == deadline:
                raise Killed

        def execute(step: Step, outcome: Outcome, made: dict[str, str]) -> Work:
            moment()
            with tracking.init(project=checked.main.project_name, job_type=step.name) as run:
                names = [made.get(name, f"{name}:latest") for name in self.inputs(step)]
                used = [run.use_artifact(name) for name in names]
                inputs = [
                    Path(a.file(str(self.folder / "used" / a.name))).read_text() for a in used
                ]
                for name, text in self.texts(step, inputs).items():
                    artifact = tracking.Artifact(name, type="text")
                    with artifact.new_file("text") as file:
                        file.write(text)
                    logged = run.log_artifact(artifact)
                    outcome.artifacts.append(logged.name)
                    outcome.digests[logged.name] = logged.digest
                    moment()
            shutil.rmtree(self.folder / "used", ignore_errors=True)
            moment()
            ended: Future[None] = Future()
            ended.set_result(None)
            return Work(ended, lambda stopped: None)

        outcomes = [Outcome(step.name) for step in steps]
        try:
            walk(
                checked,
                list(steps),
                outcomes,
                Local(open_store(make=True)),
                lambda text: None,
                execute,
            )
        except Killed:
            assert killed

    def move(self) -> None:
        """Do one thing that a user, a disk or another program might do."""
        step = self.random.choice(self.steps)
        code = self.folder / step.name / "run.py"
        match self.random.randrange(8):
            case 0:
                code.write_text(f"salt {self.random.randrange(3)}\n")
            case 1:
                code.write_text(code.read_text() + "# a remark\n")
            case 2:
                shared = self.folder / "util_lib" / "shared.py"
                shared.write_text(shared.read_text() + "# a remark\n")
            case 3:
                (self.folder / "table.csv").write_text(str(self.random.randrange(3)))
            case 4:
                position = self.random.randrange(len(OVERRIDES))
                self.chosen[position] = self.random.choice([*OVERRIDES.values()][position])
            case 5:
                kept = [path for path in (self.files).rglob("*") if path.is_file()]
                if kept:
                    self.random.choice(sorted(kept)).unlink()
            case 6:
                self.move_latest()
            case 7:
                self.run(killed=True)

    @property
    def files(self) -> Path:
        return self.folder / "tracking_store" / "files"

    def move_latest(self) -> None:
        store, project = open_store(make=True), planned(tuple(self.chosen))[0].main.project_name
        name = self.random.choice([name for step in self.steps for name in step.outputs])
        if versions := store.versions(project, name):
            version = self.random.choice(versions)
            store.update_version(version, {"latest"}, set(), None, {})


@pytest.mark.slow
def test_any_sequence_ends_with_what_a_run_from_scratch_makes(tmp_path, monkeypatch):
    for seed in range(SEQUENCES):
        world = World(tmp_path / str(seed), seed, monkeypatch)
        world.run(killed=False)
        for _ in range(MOVES):
            world.move()
            if world.random.random() < 0.5:
                world.run(killed=world.random.random() < 0.5)
        world.run(killed=False)
        store, project = open_store(make=True), planned(tuple(world.chosen))[0].main.project_name
        for name, text in world.from_scratch().items():
            version = store.version(parse_reference(f"{name}:latest", project))
            (file,) = store.version_files(version.id)
            held = store.files.path(file.sha256).read_text()
            assert held == text, f"sequence {seed}: {name} is not what a run from scratch makes"
        shutil.rmtree(tmp_path / str(seed))
