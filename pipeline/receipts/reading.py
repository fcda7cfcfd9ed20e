"""Reading a receipt, from a JSON file or the store; it is checked before anything is done."""

import json
import tempfile
from pathlib import Path
from typing import Any

from pipeline.receipts.writing import FILE, FORMAT, NAME
from util_lib import tracking, validation
from util_lib.errors import UserError
from util_lib.tracking.names import parse_reference
from util_lib.tracking.store.database import Store, open_store
from util_lib.tracking.store.places import has_store, store_directory
from util_lib.tracking.store.records import VersionRecord
from util_lib.validation import Section


class Code(Section):
    """What `receipt.code` wrote."""

    remote: str | None
    commit: str | None
    folder: str | None
    dirty: bool | None
    diff: str | None
    left_out: str | None
    other_changes: dict[str, str | None] = {}


class RecordedVersion(Section):
    """One version of an artifact; W&B may not have told the digest."""

    version: str
    digest: str | None


class OwnCode(Section):
    """A step's folder that lay where the user stood: a digest of it, and where it came from."""

    sha256: str
    remote: str | None
    commit: str | None


class RecordedStep(Section):
    """One step that the run reached; `ended` is finished, failed or stopped."""

    name: str
    ended: str
    conda_sha256: str | None
    parameters: dict[str, str]
    inputs: dict[str, RecordedVersion | None]
    outputs: dict[str, RecordedVersion]
    metrics: dict[str, Any]
    own_code: OwnCode | None = None


class Receipt(Section):
    """A receipt as `receipt.make` writes it."""

    format: int
    code: Code
    config: dict[str, Any]
    env_manager: str
    python: str
    steps: list[RecordedStep]

    @property
    def project(self) -> str:
        """The project whose artifacts the run made."""
        return self.config["main"]["project_name"]


def find(text: str, backend: str) -> Receipt:
    """Return the receipt that `text` names: a JSON file's path, or `project/name:alias`.

    A relative path starts where the user stands: here, or beside the store. `backend` has the
    artifacts, `local` or `wandb`.
    """
    for folder in (Path(), store_directory().parent):
        path = folder / Path(text).expanduser()
        if path.is_file():
            try:
                return read(path.read_bytes(), str(path))
            except OSError as error:
                raise UserError(
                    f"{path} cannot be read ({error.strerror}): expected a receipt"
                ) from error
    if ":" not in text:
        raise UserError(
            f"receipt={text} is neither a file nor an artifact's name with an alias: give a path "
            "of a JSON file, or a reference such as songs_demo/receipt:latest"
        )
    reference = parse_reference(text)
    if backend == "wandb" and (receipt := _fetched(text)):
        return receipt
    if not has_store(store_directory()):
        where = "at W&B, nor here" if backend == "wandb" else "here"
        raise UserError(
            f"receipt {text} is not {where}: there is no store at {store_directory()}; go to the "
            "directory where the run was started, or give the path of the receipt's JSON file"
        )
    store = open_store()
    version = store.version(reference)
    if version is None:
        raise store.missing(reference)
    _check_type(version.reference, version.type)
    return find_in(store, version)


def _fetched(text: str) -> Receipt | None:
    """Return a receipt that W&B has, None where it has none of this name."""
    from util_lib.tracking.online import client

    with tracking.whole_step(), tempfile.TemporaryDirectory() as folder:
        client.refuse_no_credentials()
        api = client.Api()
        if not api.artifact_exists(text):
            return None
        found = api.artifact(text)
        _check_type(found.source_name, found.type)
        content = Path(found.download(folder), FILE).read_bytes()
    return read(content, text)


def _check_type(reference: str, type: str) -> None:
    if type != NAME:
        raise UserError(
            f"{reference} is of type {type}, not a receipt: the last line of a "
            "run names its receipt, such as songs_demo/receipt:v3"
        )


def find_in(store: Store, version: VersionRecord) -> Receipt:
    """Return the receipt that a version of the store holds."""
    [file] = [file for file in store.version_files(version.id) if file.path == FILE]
    if damage := store.damage(version):
        raise UserError(f"receipt {version.reference}: {damage[0]}; take another version")
    return read(store.files.path(file.sha256).read_bytes(), version.reference)


def read(content: bytes, where: str) -> Receipt:
    """Check what a receipt says; `where` begins the sentence if it says something else."""
    try:
        told = json.loads(content)
    except ValueError as error:
        raise UserError(f"{where} is no receipt: it is not JSON ({error})") from None
    if not isinstance(told, dict) or "format" not in told:
        raise UserError(f"{where} is no receipt: expected a JSON object with the key 'format'")
    if told["format"] != FORMAT:
        raise UserError(
            f"{where} has format {told['format']!r}, and this checkout reads format {FORMAT}: use "
            "the checkout that wrote it"
        )
    receipt = validation.check(Receipt, told, where)
    for section, keys in {"main": ("project_name", "execute_steps"), "data": ("file_url",)}.items():
        for key in keys:
            if key not in receipt.config.get(section, {}):
                raise UserError(
                    f"{where}: config has no {section}.{key}, so it cannot be run again"
                )
    if not receipt.steps:
        raise UserError(f"{where} records no step: that run ended before its first one")
    return receipt
