"""What a step's outcome depends on, part by part: the same parts, the same outcome.

The parts are a flat mapping of names that people know ("segment/run.py", "data.test_size",
"input raw_data.parquet") to short texts, so that two of them can be compared in words.
"""

import functools
import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.caching import imports, record
from pipeline.caching.record import PLACE
from pipeline.planning.step import Step
from pipeline.settings.schema import Settings
from pipeline.settings.surroundings import step_folder
from util_lib import git_state
from util_lib.project import ROOT
from util_lib.redaction import redacted
from util_lib.tracking.store.places import store_directory
from util_lib.tracking.store.values import flatten

FORMAT = "1"  # another number makes all earlier fingerprints unknown
# What a step's folder holds beside its code: words for people, and what programs leave there.
NO_CODE = (".md", ".pyc", ".log")
LEFT_THERE = ("__pycache__", "artifacts", "mlruns", "multirun", "outputs", "wandb")
COMMIT = re.compile(r"[0-9a-f]{40}")


class UnknownFingerprint(Exception):
    """A part cannot be told without running the step; the text says why."""


def parts(
    step: Step, settings: Settings, place: str, inputs: dict[str, str], source: str
) -> dict[str, str]:
    """Return all that the outcome of `step` depends on.

    `place` says where artifacts go; `inputs` maps each input artifact's name to its version and
    digest; `source` identifies what the step would download, and is empty where it downloads
    nothing. Raises `UnknownFingerprint` for a step whose code lies where it can change unseen.
    """
    found = {"format": FORMAT, "project": settings.main.project_name, PLACE: place}
    found |= _code(step)
    found |= _environment(settings.main.env_manager)
    found |= settings_of(step)
    if step.source and source:
        found[step.keys.get(step.source, step.source)] = source
    return found | {f"input {name}": version for name, version in inputs.items()}


def settings_of(step: Step) -> dict[str, str]:
    """Return what `parts` has of the configuration, by its keys."""
    found = {}
    for name, value in step.parameters.items():
        if value not in step.inputs and name != step.source:
            found[step.keys.get(name, name)] = value
    for name, content in step.files.items():
        for key, value in flatten(content).items():
            found[_config_key(step, f"{name}.{key}")] = json.dumps(value, default=str)
    return found


def digest(found: dict[str, str]) -> str:
    """Return the fingerprint of `parts`: 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def code_files(*rooms: str) -> dict[str, str]:
    """Return the digest of every file of folders of this project that is code, by its path."""
    return {k: found for room in rooms for k, found in _files(step_folder(room), room).items()}


def difference(before: dict[str, str] | None, now: dict[str, str]) -> str:
    """Say in words what changed between two runs of a step; at most three parts are named."""
    if before is None:
        return "first time"
    said = []
    for name in sorted({*before, *now}, key=_importance):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if _is_code(name):
            what = "is new" if old is None else "is gone" if new is None else "changed"
            said.append(f"{name} {what}")
        elif (shown := _shown(old)) != _shown(new):
            said.append(f"{name} {shown} -> {_shown(new)}")
        else:
            has_content = " sha256 " in str(old)
            said.append(
                f"the content of {name} ({shown}) changed" if has_content else f"{name} changed"
            )
    if not said:
        return "its outcome is no longer recorded"
    more = f" and {len(said) - 3} more" if len(said) > 3 else ""
    return ", ".join(said[:3]) + more


def _code(step: Step) -> dict[str, str]:
    """Digest every file of the step, and those of util_lib that it imports, however indirectly."""
    folder = step_folder(step.uri)
    if not folder.is_dir() or step.version:
        return {"code": f"{step.uri} {_commit(step.uri, step.version or 'HEAD')}"}
    return {**_files(folder, step.name), **_shared(folder)}


@functools.cache
def _commit(uri: str, version: str) -> str:
    """Return the commit of a repository's version: tags and branches can move."""
    if COMMIT.fullmatch(version):
        return version
    repository = uri.partition("#")[0]
    if commit := git_state.commit_at(repository, version):
        return commit
    raise UnknownFingerprint(
        f"its code comes from {redacted(repository)}, which does not say what its "
        f"version {version} is now"
    )


@functools.cache
def _shared(folder: Path) -> dict[str, str]:
    known = len(_known())
    files = [folder / name.partition("/")[2] for name in _files(folder, "")]
    modules = _modules()
    reached = [modules[name] for name in sorted(imports.reached(files, modules, _imported))]
    reached += [path for module in reached for path in _beside().get(module, ())]
    found = {path.relative_to(ROOT).as_posix(): _sha256(path) for path in reached}
    if len(_known()) > known:
        record.add_imports(store_directory(), _known())
    return found


@functools.cache
def _modules() -> dict[str, Path]:
    return imports.modules(ROOT)


@functools.cache
def _beside() -> dict[Path, list[Path]]:
    return imports.beside(ROOT)


@functools.cache
def _imported(path: Path, module: str) -> frozenset[str]:
    return imports.imported_by(path, module, _modules(), _mentioned)


def _mentioned(path: Path) -> list[str]:
    """Return what `imports.read` does; reading is slow, so each content is read once for all."""
    key = f"{_sha256(Path(imports.__file__))} {_sha256(path)}"
    if key not in _known():
        _known()[key] = imports.read(path.read_bytes())
    return _known()[key]


@functools.cache
def _known() -> dict[str, list[str]]:
    return record.imports(store_directory())


def _config_key(step: Step, path: str) -> str:
    """Return the key of the configuration from which a value of one of the step's files comes."""
    start, rest = path, ""
    while start:
        if start in step.keys:
            return step.keys[start] + rest
        start, dot, last = start.rpartition(".")
        rest = dot + last + rest
    return path


@functools.cache
def _files(folder: Path, name: str) -> dict[str, str]:
    return {
        f"{name}/{path.relative_to(folder).as_posix()}": _sha256(path)
        for path in sorted(_walk(folder, LEFT_THERE, ()))
    }


def _walk(folder: Path, left_out: tuple[str, ...], above: tuple[Path, ...]) -> Iterator[Path]:
    """Give the files of a folder that are code; a link to a folder counts as that folder."""
    real = folder.resolve()
    if real in above:
        return
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name in left_out:
            continue
        if path.is_dir():
            yield from _walk(path, ("__pycache__",), (*above, real))
        elif path.is_file() and path.suffix not in NO_CODE:
            yield path


@functools.cache
def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UnknownFingerprint(f"{path} cannot be read ({error.strerror})") from None


@functools.cache
def _environment(manager: str) -> dict[str, str]:
    """Tell environments apart beyond conda.yml, which is one of the step's files."""
    machine = f"{sys.platform} {platform.machine()}"
    if manager != "local":
        return {"machine": machine}
    # Their folders' names hold name and version; reading 200 metadata files takes far longer.
    installed = sorted(
        name
        for folder in sys.path
        if os.path.isdir(folder)
        for name in os.listdir(folder)
        if name.endswith((".dist-info", ".egg-info"))
    )
    packages = hashlib.sha256("\n".join(installed).encode()).hexdigest()
    return {"machine": machine, "python": platform.python_version(), "packages": packages}


def _is_code(name: str) -> bool:
    return "/" in name and not name.startswith("input ")


def _importance(name: str) -> tuple[int, str]:
    return (0 if name.startswith("input ") else 2 if _is_code(name) else 1, name)


def _shown(value: Any) -> str:
    if value is None:
        return "(none)"
    text = str(value).partition(" sha256 ")[0].partition(" digest ")[0]
    return text if len(text) <= 60 else f"{text[:57]}..."
