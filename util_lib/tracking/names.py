"""Names: of projects, artifacts, aliases, tags and runs, and references to artifacts.

The rules and the texts are those of the W&B client, so that a name that works here works there.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import NamedTuple

from util_lib.errors import UserError, UserValueError
from util_lib.urls import LONGEST

DEFAULT_PROJECT = "songs_demo"
ENTITY = "local"  # the embedded store has one owner; an entity in a reference is ignored
MAX_LENGTH = 128
MAX_METADATA_KEYS = 100

ADJECTIVES = (
    "amber bold brisk bright calm clear cosmic crisp daring deep eager early fine fresh gentle "
    "golden grand happy honest icy jolly kind light lively lucky mellow misty neat noble polar "
    "proud quiet quick rare robust rosy serene sharp silver smooth snowy solar stellar still "
    "sunny swift tidy vivid warm wise young"
).split()
NOUNS = (
    "aurora bird brook canyon cloud comet coral dawn dew dream dune eagle ember feather field "
    "fire flower forest frost galaxy glade grass harbor hill lake leaf lion meadow moon mountain "
    "night oasis ocean paper pine planet pond rain ridge river sea sky smoke snow sound spring "
    "star stone sun surf thunder tree valley violet voice water wave wind wood"
).split()


LONGEST_PATH = 1024  # bytes inside an artifact; a folder that it is fetched to comes before it


class Reference(NamedTuple):
    """One version of one artifact, as a user names it; `alias` is an alias or `v<N>`."""

    project: str
    name: str
    alias: str

    def __str__(self) -> str:
        """Return `project/name:alias`."""
        return f"{self.project}/{self.name}:{self.alias}"


def default_project() -> str:
    """Return the project of whoever names none: `WANDB_PROJECT`, else the demo's."""
    return os.environ.get("WANDB_PROJECT") or DEFAULT_PROJECT


def parse_reference(text: str, project: str | None = None) -> Reference:
    """Read `name:alias`, `project/name:alias` or `entity/project/name:alias`.

    `project` is taken where the text names none. Raises `UserError` without an alias.
    """
    path, separator, alias = text.partition(":")
    parts = path.split("/")
    if len(parts) > 3 or not all(parts):
        raise UserValueError(
            f"Invalid artifact path: {text!r}; write 'name:alias' or 'project/name:alias'"
        )
    name = parts[-1]
    if not separator or not alias:
        raise UserError(
            "Attempted to fetch artifact without alias "
            f'(e.g. "{name}:v3" or "{name}:latest"): got {text!r}'
        )
    found = parts[-2] if len(parts) > 1 else project or default_project()
    return Reference(found, name, alias)


def check_project(name: str) -> str:
    """Return `name` if it can name a project."""
    if not name:
        raise UserValueError("Project name cannot be empty")
    if len(name) > MAX_LENGTH:
        raise UserValueError(
            f"Invalid project name {name!r}, must be {MAX_LENGTH} characters or less"
        )
    if invalid := set("/\\#?%:\r\n").intersection(name):
        raise UserValueError(
            f"Invalid project/registry name {name!r}, cannot contain characters: "
            f"{', '.join(map(repr, sorted(invalid)))}"
        )
    return name


def check_artifact_name(name: str) -> str:
    """Return `name` if it can name an artifact."""
    if not re.match(r"^[a-zA-Z0-9_\-.]+$", name):
        raise UserValueError(
            "Artifact name may only contain alphanumeric characters, dashes, "
            f"underscores, and dots. Invalid name: {name!r}"
        )
    if len(name) > MAX_LENGTH:
        raise UserValueError(
            f"Artifact name is longer than {MAX_LENGTH} characters: {f'{name[:MAX_LENGTH]} ...'!r}"
        )
    return name


def check_artifact_type(type: str, name: str) -> str:
    """Return `type` if an artifact called `name` may have it; W&B keeps some for itself."""
    reserved = {"job": "", "run_table": "run-", "code": "source-"}.get(type)
    if type.startswith("wandb-") or (reserved is not None and name.startswith(reserved)):
        raise UserValueError(
            f"Artifact type {type!r} is reserved for internal use. Please use a different type."
        )
    if set("/:").intersection(type):
        raise UserValueError(
            "Artifact types must not contain any of the following characters: '/', ':'"
        )
    if len(type) > MAX_LENGTH:
        raise UserValueError(
            f"Artifact types must be less than or equal to {MAX_LENGTH} characters"
        )
    return type


def check_aliases(aliases: Iterable[str] | str | None) -> list[str]:
    """Return the aliases as a list without repetitions."""
    aliases = [aliases] if isinstance(aliases, str) else list(aliases or [])
    if any(set("/:").intersection(alias) for alias in aliases):
        raise UserValueError("Aliases must not contain any of the following characters: '/', ':'")
    return list(dict.fromkeys(aliases))


def aliases_to_log(aliases: Iterable[str] | str | None) -> list[str]:
    """Return the aliases that a version is to have when it is logged."""
    found = check_aliases(aliases)
    check_new_aliases(found)
    return found


def check_new_aliases(aliases: Iterable[str]) -> None:
    """Refuse aliases that could be taken for a version or that name nothing."""
    for alias in aliases:
        if not alias or re.fullmatch(r"v\d+", alias):
            raise UserValueError(
                f"Alias {alias!r} is not possible: v0, v1, ... are given to versions as they are "
                "logged; choose a word such as 'prod'"
            )


def refuse_resume(resume: object) -> None:
    """Raise `UserError` where a run is to go on that has ended."""
    if resume not in (None, False, "never"):
        raise UserError(
            f"init(resume={resume!r}) is not possible, a run is begun once: begin a new one, in "
            "the same group"
        )


def check_tags(tags: Iterable[str] | str | None) -> list[str]:
    """Return the tags of a run as a list without repetitions."""
    tags = [tags] if isinstance(tags, str) else [str(tag) for tag in tags or []]
    for position, tag in enumerate(tags):
        if not tag:
            raise UserValueError(
                f"Tag at index {position} is empty. Tags must be between 1 and 64 characters"
            )
        if len(tag) > 64:
            raise UserValueError(
                f"Tag '{tag[:20]}...{tag[-20:]}' is {len(tag)} characters. "
                "Tags must be between 1 and 64 characters"
            )
    return list(dict.fromkeys(tags))


def check_run_id(run_id: str) -> str:
    """Return `run_id` if it can identify a run."""
    if not run_id.strip():
        raise UserValueError("Run ID cannot be empty")
    if run_id != run_id.strip():
        raise UserValueError("Run ID cannot start or end with whitespace")
    if set(":;,#?/'").intersection(run_id):
        raise UserValueError("Run ID cannot contain the characters: :;,#?/'")
    return run_id


def check_path(path: str | os.PathLike) -> str:
    """Return a path inside an artifact in its canonical form; it can't lead out of the artifact."""
    text = PurePosixPath(os.fspath(path)).as_posix()
    windows = PureWindowsPath(os.fspath(path))
    parts = {*PurePosixPath(text).parts, *windows.parts}
    if text == "." or text.startswith("/") or windows.anchor or ".." in parts:
        raise UserValueError(f"Invalid artifact path: {os.fspath(path)!r}")
    return text


def check_new_path(path: str | os.PathLike) -> str:
    """Return the path of a file that is to be logged, which must also be possible to fetch."""
    text = check_path(path)
    parts = [os.fsencode(part) for part in text.split("/")]
    if max(map(len, parts)) > LONGEST or len(os.fsencode(text)) > LONGEST_PATH:
        shown = f"{text[:40]}...{text[-20:]}"
        raise UserValueError(
            f"Invalid artifact path {shown!r}: a name has at most {LONGEST} bytes, found "
            f"{max(map(len, parts))}, and a path {LONGEST_PATH}, found {len(os.fsencode(text))}, "
            "because no disk could take it when it is fetched: use a shorter one"
        )
    return text


def new_run_id() -> str:
    """Return eight random lower-case letters and digits; `random.seed` has no say in it."""
    return "".join(_choose("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(8))


def new_run_name(number: int) -> str:
    """Return a name such as `sunny-spring-21` for the 21st run of a project."""
    return f"{_choose(ADJECTIVES)}-{_choose(NOUNS)}-{number}"


def _choose(words: Sequence[str]) -> str:
    return words[int.from_bytes(os.urandom(4), "big") % len(words)]
