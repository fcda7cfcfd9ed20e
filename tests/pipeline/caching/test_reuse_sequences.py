"""Whatever is edited, moved, deleted, killed and run again: a run has what one from scratch makes.

The same random sequences are played on the embedded store and, through the genuine client, on the
double of W&B, in both readings of who is credited with a content that was logged before.

    REUSE_SEQUENCES=200 pytest -m slow tests/pipeline/caching/test_reuse_sequences.py

plays 200 on each; REUSE_FIRST is the number of the first one.
"""

import hashlib
import os
import random
import shutil
import tempfile
import uuid
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pipeline.caching import fingerprint, imports
from pipeline.caching.versions import Versions
from pipeline.caching.versions_in_store import Local
from pipeline.housekeeping import removal
from pipeline.planning.plan import plan
from pipeline.planning.step import Outcome, Step
from pipeline.running import step_process
from pipeline.running.scheduler import Work, walk
from pipeline.settings import overrides, resolvers, schema, surroundings
from util_lib import folders, project, tracking
from util_lib.tracking.names import parse_reference
from util_lib.tracking.store.database import open_store

FIRST = int(os.environ.get("REUSE_FIRST", "0"))
MOVES = 6
OVERRIDES = {
    "data.test_size": ("0.3", "0.2"),
    "data.ks_alpha": ("0.05", "0.1"),
    "data.drop_duplicates": ("true", "false"),
    "random_forest_pipeline.random_forest.max_depth": ("13", "3"),
}
# What the client does by itself with every run, to no purpose here: together most of its time.
IDLE = {"WANDB__SAVE_REQUIREMENTS": "false", "WANDB__DISABLE_META": "true"}
IDLE |= {"WANDB__DISABLE_STATS": "true", "WANDB_DISABLE_GIT": "true", "WANDB_CONSOLE": "off"}


def sequences(usual: int) -> range:
    return range(FIRST, FIRST + int(os.environ.get("REUSE_SEQUENCES", usual)))


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


class Checkout:
    """A project of trivial steps, a table and a configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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

    def settings(self, project: str, reuses: bool) -> schema.Settings:
        found = planned(tuple(self.chosen))[0]
        main = found.main.model_copy(update={"project_name": project, "cache": reuses})
        return found.model_copy(update={"main": main})

    def texts(self, step: Step, inputs: list[str]) -> dict[str, str]:
        """What a step makes, and under its own name what it measures.

        That depends on the first line of its code, its parameters and its inputs.
        """
        salt = (self.folder / step.name / "run.py").read_text().splitlines()[0]
        table = (self.folder / "table.csv").read_text() if step.name == "get_data" else ""
        parts = [salt, table, str(sorted(step.parameters.items())), str(step.files), *inputs]
        return {
            name: hashlib.sha256("|".join([name, *parts]).encode()).hexdigest()
            for name in (*step.outputs, step.name)
        }

    def from_scratch(self) -> dict[str, str]:
        made: dict[str, str] = {}
        for step in self.steps:
            made |= self.texts(step, [made[name] for name in read_by(step)])
        return made


def number(text: str) -> int:
    return int(text[:8], 16)


def read_by(step: Step) -> list[str]:
    return [
        parse_reference(reference, "p").name
        for reference in step.inputs
        if reference.endswith(":latest")
    ]


class InStore:
    """The embedded store, which the checkouts share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def environment(self, checkout: Checkout) -> dict[str, str]:
        return {"TRACKING_BACKEND": "local", "TRACKING_STORE": str(self.folder / "tracking_store")}

    def versions(self) -> Versions:
        return Local(open_store(make=True))

    def all(self, project: str, name: str) -> list[Any]:
        found = open_store(make=True).versions(project, name)
        return [tracking.Api().artifact(f"{project}/{name}:v{each.number}") for each in found]

    def fill_in(self, run_id: str, reports: Path, outcome: Outcome) -> None:
        step_process.read_records(run_id, outcome)

    def end(self) -> None: ...

    def text(self, reference: str) -> str:
        return _fetched(reference)

    def delete(self, artifact: Any) -> None:
        store = open_store()
        version = store.version(parse_reference(f"{artifact.project}/{artifact.source_name}"))
        with store.transaction() as db:
            removal.mark(db, [version])

    def damage(self, chance: random.Random) -> None:
        files = self.folder / "tracking_store" / "files"
        if kept := sorted(path for path in files.rglob("*") if path.is_file()):
            chance.choice(kept).unlink()


class OnWandb:
    """An account of W&B; each checkout has its own record of what was run."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def environment(self, checkout: Checkout) -> dict[str, str]:
        store = str(checkout.folder / "tracking_store")
        return {"TRACKING_BACKEND": "wandb", "TRACKING_STORE": store, **IDLE}

    def versions(self) -> Versions:
        from pipeline.caching.versions_on_wandb import Online

        return Online()

    def all(self, project: str, name: str) -> list[Any]:
        api = tracking.Api()
        if not api.artifact_exists(f"{project}/{name}:v0"):
            return []  # or it was deleted
        return [*api.artifacts("text", f"{project}/{name}")]

    def fill_in(self, run_id: str, reports: Path, outcome: Outcome) -> None:
        tracking.backend().report()
        step_process.read_reports(reports / run_id, outcome)

    def end(self) -> None:
        tracking.backend().forget_runs()

    def text(self, reference: str) -> str:
        """A version never changes: each is fetched once."""
        if reference.endswith(":latest"):
            artifact = tracking.Api().artifact(reference)
            reference = f"{reference.partition('/')[0]}/{artifact.source_name}"
        if reference not in self.known:
            self.known[reference] = _fetched(reference)
        return self.known[reference]

    def delete(self, artifact: Any) -> None:
        artifact.delete(delete_aliases=True)

    def damage(self, chance: random.Random) -> None: ...


def _fetched(reference: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return Path(tracking.Api().artifact(reference).file(folder)).read_text()


class World:
    """Two checkouts of one project, and the backend that has what earlier runs made."""

    def __init__(
        self, folder: Path, seed: int, backend: InStore | OnWandb, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.random, self.seed = random.Random(seed), seed
        self.folder, self.backend, self.monkeypatch = folder, backend, monkeypatch
        self.project = f"sequence{seed}"
        self.checkouts = [Checkout(folder / name) for name in ("one", "two")]
        self.done: list[str] = []
        monkeypatch.setenv("TRACKING_PUBLISH", "parent")  # not to MLflow
        monkeypatch.setenv("TRACKING_RUNS", str(folder))

    def enter(self, checkout: Checkout) -> None:
        for module in (fingerprint, surroundings, folders, project):
            self.monkeypatch.setattr(module, "ROOT", checkout.folder)
        for name, value in self.backend.environment(checkout).items():
            self.monkeypatch.setenv(name, value)
        for module in (fingerprint, imports):  # every run of main.py is a new process
            for member in vars(module).values():
                if hasattr(member, "cache_clear"):
                    member.cache_clear()

    def run(
        self, checkout: Checkout, dies: bool = False, meets: bool = False, reuses: bool = True
    ) -> list[Outcome]:
        """Walk through the steps and compare what there is then with a run from scratch.

        One that `dies` stops at some moment of some step. One that `meets` another has the other
        checkout's whole run between two of its steps.
        """
        self.done.append(f"run {checkout.folder.name} {dies=} {meets=} {reuses=}")
        self.enter(checkout)
        steps = checkout.steps
        deadline = self.random.randrange(3 * len(steps)) if dies else None
        meeting = self.random.randrange(len(steps)) if meets else None
        moments, begun = iter(range(10**6)), iter(range(10**6))

        def moment() -> None:
            if next(moments) == deadline:
                raise Killed

        def execute(step: Step, outcome: Outcome, made: dict[str, str]) -> Work:
            if next(begun) == meeting:
                [other] = [each for each in self.checkouts if each is not checkout]
                self.run(other)
                self.enter(checkout)
            moment()
            outcome.outcome = "done"
            run_id = uuid.uuid4().hex
            self.monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
            with tracking.init(project=self.project, job_type=step.name) as run:
                names = [made.get(name, f"{name}:latest") for name in read_by(step)]
                used = [run.use_artifact(name) for name in names]
                with tempfile.TemporaryDirectory() as folder:
                    inputs = [Path(a.file(f"{folder}/{a.name}")).read_text() for a in used]
                texts = checkout.texts(step, inputs)
                run.summary["measured"] = number(texts.pop(step.name))
                for name, text in texts.items():
                    artifact = tracking.Artifact(name, type="text")
                    with artifact.new_file("text") as file:
                        file.write(text)
                    run.log_artifact(artifact).wait()
                    moment()
            self.backend.fill_in(run_id, self.folder, outcome)
            assert not step_process.missing_outputs(step, outcome), self.done
            self.backend.end()
            moment()
            ended: Future[None] = Future()
            ended.set_result(None)
            return Work(ended, lambda stopped: None)

        outcomes = [Outcome(step.name) for step in steps]
        try:
            walk(
                checkout.settings(self.project, reuses),
                list(steps),
                outcomes,
                self.backend.versions(),
                lambda text: None,
                execute,
            )
        except Killed:
            assert dies
            self.backend.end()
        else:
            self.compare(checkout, outcomes, alone=not meets)
        return outcomes

    def compare(self, checkout: Checkout, outcomes: list[Outcome], alone: bool) -> None:
        made = [name for outcome in outcomes for name in outcome.artifacts]
        had = {name.partition(":")[0]: name for name in made}
        expected = checkout.from_scratch()
        for outcome in outcomes:
            measured = {"measured": number(expected.pop(outcome.step))}
            assert outcome.metrics == measured, f"{self.seed}: {outcome.step}: {self.done}"
        assert had.keys() == expected.keys(), self.done
        for name, text in expected.items():
            said = f"{self.seed}: {name} is not what a run from scratch makes: {self.done}"
            assert self.backend.text(f"{self.project}/{had[name]}") == text, said
            if alone:
                assert self.backend.text(f"{self.project}/{name}:latest") == text, said

    def move(self) -> None:
        """Do one thing that a user, a disk or another program might do."""
        checkout = self.random.choice(self.checkouts)
        self.enter(checkout)
        step = self.random.choice(checkout.steps)
        code = checkout.folder / step.name / "run.py"
        kind = self.random.randrange(10)
        self.done.append(f"{kind} {checkout.folder.name} {step.name}")
        match kind:
            case 0:
                code.write_text(f"salt {self.random.randrange(3)}\n")
            case 1:
                code.write_text(code.read_text() + "# a remark\n")
            case 2:
                shared = checkout.folder / "util_lib" / "shared.py"
                shared.write_text(shared.read_text() + "# a remark\n")
            case 3:
                (checkout.folder / "table.csv").write_text(str(self.random.randrange(3)))
            case 4:
                position = self.random.randrange(len(OVERRIDES))
                checkout.chosen[position] = self.random.choice([*OVERRIDES.values()][position])
            case 5:
                self.backend.damage(self.random)
            case 6:
                self.move_alias()
            case 7:
                self.delete()
            case 8:
                self.run(checkout, dies=True)
            case 9:
                self.run(checkout, reuses=False)

    def some_version(self) -> Any:
        names = [name for step in self.checkouts[0].steps for name in step.outputs]
        found = self.backend.all(self.project, self.random.choice(names))
        return self.random.choice(found) if found else None

    def move_alias(self) -> None:
        if version := self.some_version():
            alias = self.random.choice(["latest", "reference"])
            kept = [each for each in version.aliases if each != alias]
            version.aliases = kept if alias in version.aliases else [*kept, alias]
            version.save()

    def delete(self) -> None:
        if version := self.some_version():
            self.backend.delete(version)


def play(folder: Path, seed: int, backend: InStore | OnWandb, patch: pytest.MonkeyPatch) -> None:
    world = World(folder, seed, backend, patch)
    world.run(world.checkouts[0])
    for _ in range(MOVES):
        world.move()
        if world.random.random() < 0.5:
            how = world.random.randrange(4)
            world.run(world.random.choice(world.checkouts), dies=how == 0, meets=how == 1)
    for checkout in world.checkouts:
        world.run(checkout)
    again = world.run(world.checkouts[-1])
    assert {outcome.outcome for outcome in again} == {"cached"}, f"{seed}: {world.done}"


@pytest.mark.slow
def test_in_the_store_any_sequence_has_what_a_run_from_scratch_makes(tmp_path, monkeypatch):
    for seed in sequences(200):
        folder = tmp_path / str(seed)
        play(folder, seed, InStore(folder), monkeypatch)
        shutil.rmtree(folder)


@pytest.fixture(params=[False, True], ids=["credited_first", "credited_again"])
def on_wandb(request, tmp_path, wandb_service, wandb_account, monkeypatch):
    """W&B in one reading of who is credited with a content that was logged before."""
    pytest.importorskip("wandb", reason="the genuine W&B client is not installed")
    wandb_service.ask("credits", request.param)
    for name, value in wandb_account.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    yield OnWandb()
    monkeypatch.setenv("TRACKING_BACKEND", "wandb")
    tracking.backend().close(failed=True)
    wandb_service.ask("credits", False)


@pytest.mark.slow
@pytest.mark.assumed
def test_on_wandb_any_sequence_has_what_a_run_from_scratch_makes(on_wandb, tmp_path, monkeypatch):
    for seed in sequences(4):
        play(tmp_path / str(seed), seed, on_wandb, monkeypatch)
        shutil.rmtree(tmp_path / str(seed))


@pytest.mark.slow
@pytest.mark.assumed
def test_on_wandb_a_content_that_was_logged_before_belongs_to_the_later_run_too(
    on_wandb, tmp_path, monkeypatch
):
    world = World(tmp_path / "world", 0, on_wandb, monkeypatch)
    checkout = world.checkouts[0]
    for test_size, reuses in (("0.3", 1), ("0.8", 1), ("0.3", 0), ("0.8", 1), ("0.3", 1)):
        checkout.chosen[0] = test_size
        outcomes = world.run(checkout, reuses=bool(reuses))
    assert {outcome.outcome for outcome in outcomes} == {"cached"}
