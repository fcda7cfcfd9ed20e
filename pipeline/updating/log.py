"""What ticks did: the artifact `update_log`, one entry for each tick that did something.

Nothing else is kept: what was refused, what is blocked and which model is watched follows from it.
"""

import datetime
import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from util_lib import tracking
from util_lib.errors import UserError
from util_lib.tracking import choice
from util_lib.tracking.store.places import has_store, store_directory

NAME, FILE = "update_log", "update_log.json"
FORMAT = 1
MOST = 2000  # ticks that are kept
TIME = "%Y-%m-%dT%H:%M:%SZ"
PROMOTED, UNCHANGED, CONFIRMED = "promoted", "unchanged", "confirmed"
DATA_REFUSED, MODEL_REFUSED, ROLLED_BACK = "data refused", "model refused", "rolled back"
CODES = {DATA_REFUSED: 2, MODEL_REFUSED: 3, ROLLED_BACK: 3}  # exit codes; 0 of all others


@dataclass(frozen=True)
class Tick:
    """One tick: why it ran, on what, and what came of it.

    `source` identifies the data, `code` the code and configuration of each step. `before` is the
    version that a promotion replaced, `labelled` what labels said of that one then.
    """

    at: str
    triggers: list[str]
    source: str | None
    newest: str | None
    code: dict[str, str]
    outcome: str
    reason: str
    word: str = ""  # the gate's, for programs
    candidate: str | None = None
    digest: str | None = None
    before: str | None = None
    labelled: dict[str, Any] = field(default_factory=dict)
    window: str | None = None  # of monitoring's verdict


def now() -> str:
    """Return the time, in UTC."""
    return datetime.datetime.now(datetime.UTC).strftime(TIME)


def age_s(tick: Tick) -> float:
    """Return how long ago a tick was, in seconds."""
    then = datetime.datetime.strptime(tick.at, TIME).replace(tzinfo=datetime.UTC)
    return (datetime.datetime.now(datetime.UTC) - then).total_seconds()


def is_there() -> bool:
    """Say whether there is anything to read from; who only looks makes no store."""
    return choice.choose().backend != "local" or has_store(store_directory())


def read(project: str) -> list[Tick]:
    """Return the ticks of a project, oldest first."""
    reference = f"{project}/{NAME}:latest"
    if not is_there() or not tracking.Api().artifact_exists(reference):
        return []
    content = read_json(tracking.Api().artifact(reference), FILE)
    try:
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        return [Tick(**tick) for tick in content["ticks"]]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{reference} cannot be read ({error}): it was written by another version of this "
            "project, or by something else"
        ) from None


def read_json(artifact: Any, file: str) -> Any:
    """Return what a JSON file of an artifact holds."""
    with tempfile.TemporaryDirectory() as folder:
        artifact.get_entry(file).download(folder)
        return json.loads(Path(folder, file).read_text(encoding="utf-8"))


def write(project: str, ticks: list[Tick], new: Tick, uses: list[str]) -> None:
    """Log the ticks with a new one, by a run whose tags say what triggered it and what came of it.

    `uses` are the versions that it was about.
    """
    about = {"update": True, **{k: v for k, v in asdict(new).items() if k not in ("code", "at")}}
    tags = ["update", *(f"trigger:{name}" for name in new.triggers), f"outcome:{new.outcome}"]
    os.environ.pop("TRACKING_PUBLISH", None)  # the run belongs to no other that would show it
    content = {"format": FORMAT, "ticks": [asdict(tick) for tick in [*ticks[-MOST + 1 :], new]]}
    with (
        tempfile.TemporaryDirectory() as folder,
        tracking.init(
            project=project,
            job_type="update",
            name=f"update: {new.outcome}",
            config=about,
            tags=tags,
        ) as run,
    ):
        for version in uses:
            run.use_artifact(version)
        path = Path(folder, FILE)
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        text = f"What updates did; the last: {new.outcome}"
        tracking.log_file(run, path, NAME, NAME, text)


def blocked(ticks: list[Tick]) -> dict[str, str]:
    """Return why models, by their digests, are not promoted again."""
    return {
        tick.digest: f"it was rolled back at {tick.at}: {tick.reason}"
        for tick in ticks
        if tick.outcome == ROLLED_BACK and tick.digest
    }


def watched(ticks: list[Tick]) -> Tick | None:
    """Return the promotion whose model is still compared with the one before it, None if none."""
    for tick in reversed(ticks):
        if tick.outcome in (CONFIRMED, ROLLED_BACK):
            return None
        if tick.outcome == PROMOTED:
            return tick if tick.before else None
    return None
