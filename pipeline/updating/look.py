"""What a tick looks at before it does anything: data, code, monitoring's verdict. Changes nothing.

Reading is all it does, and it imports nothing slow: most ticks end here.
"""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.caching import decision, fingerprint
from pipeline.planning.step import Step
from pipeline.settings.schema import Settings
from pipeline.updating import log
from util_lib import folders, partitions, tracking
from util_lib.buckets import remote
from util_lib.errors import UserError
from util_lib.tracking import choice
from util_lib.urls import is_bucket, is_database, whole_address

REPORT, VERDICT = "monitoring_report", "verdict.json"  # of monitoring
SETTLED_S = 60  # a file that was changed more recently may still grow
# Not part of the code: which data are taken is told by the data, what `update` sets by itself.
NOT_CODE = ("data.sha256", "data.partition.until", "data.drift")


class Look(NamedTuple):
    """What was found.

    `source` identifies the data, None where only reading them tells; `sha256` is what may be
    taken, None where it is not known before; `newest` the newest partition of files. `waits` says
    why it is too early, or is empty. `model` is the version that has the alias, `verdict`
    monitoring's on it, or None.
    """

    source: str | None
    sha256: str | None
    newest: str | None
    code: dict[str, str]
    waits: str
    model: Any | None
    verdict: dict[str, Any] | None


def look(settings: Settings, steps: list[Step]) -> Look:
    """Look at what the pipeline would read, at its code, and at the model in use."""
    source, files = source_of(settings, steps), files_of(settings)
    names = partitions_of(settings, files)
    model = holder(settings)
    return Look(
        source,
        source.partition(" sha256 ")[2][:64] if source and _on_disk(files) else None,
        names[-1] if names else None,
        {step.name: _code(step, settings) for step in steps},
        _waits(settings, files, names),
        model,
        _verdict(settings, model),
    )


def source_of(settings: Settings, steps: list[Step]) -> str | None:
    """Identify the data by their content or by what the server says of them."""
    step = next((step for step in steps if step.source), None)
    if step is None or step.source is None:
        return None
    try:
        found = decision.source(step, step.source, settings)
    except fingerprint.UnknownFingerprint:
        return None
    how = settings.data.partition
    return f"{found} until {how.until}" if how.by == "column" and how.until else found


def files_of(settings: Settings) -> Sequence[folders.Named]:
    """Return the files that are taken; none where the data are one address, or rows of a table."""
    url = settings.data.file_url
    if (files := all_files_of(settings)) is not None:
        how = settings.data.partition
        return partitions.of_files(files, partitions.Parted(how.by, how.window, how.until))
    if is_bucket(url):
        remote.look(whole_address(url))  # says what is wrong, where nothing is there
        return []
    if (path := folders.path_at(url)) is None:
        return []
    if not path.is_file():  # a disk that is away, perhaps: no fault of the data
        raise UserError(f"data.file_url {url!r} does not exist: looked for {path}")
    return [path]


def all_files_of(settings: Settings) -> Sequence[folders.Named] | None:
    """Return the files of the folder or glob that the data are, also those that are not taken."""
    address = whole_address(settings.data.file_url)
    return None if is_database(address) else remote.files_at(address)


def _on_disk(files: Sequence[folders.Named]) -> list[Path]:
    """Return those files whose content is known here, and that may still grow."""
    return [file for file in files if isinstance(file, Path)]


def partitions_of(settings: Settings, files: Sequence[folders.Named]) -> list[str]:
    """Return the partitions that files are, oldest first; none where they are no partitions."""
    if settings.data.partition.by != "file":
        return []
    return sorted({partitions.of_file(file.name) for file in files}, key=partitions.order)


def export_name(settings: Settings) -> str:
    """Return the name of the artifact that the pipeline trains."""
    section = settings.gradient_boosting_pipeline or settings.random_forest_pipeline
    return str(section.export_artifact)


def holder(settings: Settings) -> Any | None:
    """Return the version that is prod, None if none is."""
    reference = f"{settings.main.project_name}/{export_name(settings)}:prod"
    if not log.is_there() or not tracking.Api().artifact_exists(reference):
        return None
    return tracking.Api().artifact(reference)


def full_name(artifact: Any) -> str:
    """Return `project/name:vN`."""
    return f"{artifact.project}/{artifact.source_name}"


def _code(step: Step, settings: Settings) -> str:
    """Digest all that a step's outcome depends on beside its inputs."""
    try:
        parts = fingerprint.parts(step, settings, choice.choose().backend, {}, "")
    except fingerprint.UnknownFingerprint as unknown:
        return hashlib.sha256(str(unknown).encode()).hexdigest()[:16]
    return fingerprint.digest({k: v for k, v in parts.items() if k not in NOT_CODE})[:16]


def _waits(settings: Settings, files: Sequence[folders.Named], names: list[str]) -> str:
    for file in _on_disk(files):
        age = time.time() - file.stat().st_mtime
        if 0 <= age < SETTLED_S:
            return f"{file.name} was changed {age:.0f} s ago and may still grow"
    if settings.data.test == partitions.NEWEST and len(names) == 1:
        return f"{names[0]} is the only partition, and the newest is kept for the test"
    return ""


def _verdict(settings: Settings, model: Any | None) -> dict[str, Any] | None:
    """Return monitoring's last verdict on the model in use, of windows up to `until`."""
    if model is None:
        return None
    name = f"{settings.main.project_name}/{REPORT}"
    if not tracking.Api().artifact_exists(f"{name}:latest"):
        return None
    until = settings.data.partition.until
    for report in tracking.Api().artifacts("report", name):
        found = log.read_json(report, VERDICT)
        if until is None or str(found.get("window")) <= until:
            about_it = str(found.get("version")).rpartition(":")[2] == model.version
            return found if about_it else None
    return None
