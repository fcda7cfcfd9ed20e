"""The monitoring log: what models answered, as it is written, and as the monitor reads it.

Lies beside the embedded store, or where `MONITORING_LOG` says, for its owner alone. A service or a
batch appends Arrow streams to `spool/<project>`; the monitor makes `rows/` of them, in parquet.
Of a column of the model there is what the dataset file allows (`monitor`), of others nothing.
"""

import datetime
import hashlib
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from util_lib import safe_files
from util_lib.dataset.columns import Monitored
from util_lib.errors import UserError
from util_lib.model.config import TEXT, Declaration
from util_lib.tracking.names import default_project
from util_lib.tracking.store.places import store_directory

if TYPE_CHECKING:
    import pyarrow as pa  # imported where it is used: who only looks for files has it not

PLACE = "MONITORING_LOG"
FOLDER = "monitoring_log"
SPOOL, ROWS, LABELS, WINDOWS, KEY = "spool", "rows", "labels", "windows.parquet", "key"
SUFFIX = ".arrows"
CHAMPION, CHALLENGER, SHADOW, BATCH = ROLES = ("champion", "challenger", "shadow", "batch")

SPOOL_SECONDS = 60.0  # a stream is closed after these, or as many bytes: then it can be compacted
SPOOL_BYTES = 8_000_000
END = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # of an Arrow stream


class About(NamedTuple):
    """What a stream says of all its rows; `monitor` names the recorded columns alone."""

    project: str
    model: str  # name:v3
    version: str  # project/name:v3, as in the column `version`
    task: str
    classes: list[str] | None
    monitor: dict[str, Monitored]
    declaration: dict[str, Any]


class Stream(NamedTuple):
    """What can be read of a spool: all of it, or, `torn`, up to where its writer was killed."""

    about: About
    batches: "list[pa.RecordBatch]"
    torn: bool


def folder() -> Path:
    """Return where the log lies, whether it is there or not."""
    if chosen := os.environ.get(PLACE):
        path = Path(chosen).expanduser().absolute()
        if path.is_file():
            raise UserError(f"{PLACE}={chosen!r} is a file: name a folder, or unset it")
        return path
    return store_directory().parent / FOLDER


def make(root: Path) -> None:
    """Make the log where it is not there, for its owner alone; `UserError` where it cannot be.

    The folder that it lies in must be there: else a volume is away, or its name is mistyped.
    """
    with safe_files.writing(root, f"set {PLACE} to a folder that is there, or leave out capture"):
        if not os.environ.get(PLACE):
            root.parent.mkdir(parents=True, exist_ok=True)
        root.mkdir(mode=0o700, exist_ok=True)
        key(root)


def key(root: Path) -> bytes:
    """Return what hashes of this log are made with; made once, at random."""
    path = root / KEY
    if not path.exists():
        draft = root / f"{KEY}-{os.getpid()}"
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        with suppress(FileExistsError):  # another process was faster
            os.link(draft, path)
        draft.unlink()
    return path.read_bytes()


def project_and_model(version: str) -> tuple[str, str]:
    """Return the project and `name:v3` of a version; a model directory counts to the default."""
    project, _, model = version.rpartition("/")
    is_artifact = bool(project.strip(".")) and "/" not in project and ":" in model
    return (project, model) if is_artifact else (default_project(), model)


def sampled(request: str, share: float) -> bool:
    """Say whether a request is recorded: by its id alone, so that anybody can tell afterwards.

    The hash is another than that of champion and challenger, which may go by the same id.
    """
    if share >= 1:
        return True
    found = hashlib.blake2b(request.encode(), digest_size=8, person=b"monitoring").digest()
    return int.from_bytes(found, "big") / 2**64 < share


def kept(values: "pa.Array", mode: Monitored, secret: bytes) -> "pa.Array":
    """Return what the log keeps of typed values: themselves, their lengths or their hashes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if mode == "length":
        return pc.utf8_length(values).cast(pa.int32())
    if mode != "hash":
        return values
    codes = values.cast(pa.string()).dictionary_encode()
    hashes = [
        hashlib.blake2b(text.encode(), digest_size=8, key=secret).hexdigest()
        for text in codes.dictionary.to_pylist()
    ]
    return pa.array(hashes, pa.string()).take(codes.indices)


def schema(
    version: str, task: str, classes: list[Any] | None, declaration: Declaration, names: list[str]
) -> "pa.Schema":
    """Return the schema of a stream of one model version; `names` are the model's columns.

    Nothing is there of columns that are not declared or that are to be dropped, not even a name.
    """
    import pyarrow as pa

    from util_lib.tables import typed

    modes = declaration.monitored(names)
    project, model = project_and_model(version)
    about = About(
        project=project,
        model=model,
        version=version,
        task=task,
        classes=None if classes is None else list(map(str, classes)),
        monitor=modes,
        declaration=_without_dropped(declaration),
    )
    columns = declaration.columns
    types = {"length": pa.int32(), "hash": pa.string()}
    inputs = [
        pa.field(name, types.get(mode) or typed.TYPES[columns.get(name, TEXT).dtype])
        for name, mode in modes.items()
    ]
    is_number = task == "regression"
    fields = [
        ("time", pa.timestamp("us", "UTC")),
        ("request", pa.string()),
        ("row", pa.int32()),
        ("role", pa.string()),
        ("version", pa.string()),
        ("share", pa.float64()),
        ("rejected", pa.string()),
        ("prediction", pa.float64() if is_number else pa.string()),
        ("probabilities", pa.list_(pa.float32())),
        ("inputs", pa.struct(inputs)),
    ]
    return pa.schema(fields, {name: json.dumps(value) for name, value in about._asdict().items()})


def _without_dropped(declaration: Declaration) -> dict[str, Any]:
    """Return a declaration as it travels with a model, of the recorded columns alone."""
    dropped = {name for name, mode in declaration.modes().items() if mode == "drop"}
    columns = {n: column for n, column in declaration.columns.items() if n not in dropped}
    made = {n: of for n, of in declaration.recipes().items() if not dropped & {n, *of}}
    text = declaration.text_feature
    changes = {
        "columns": columns,
        "derived": {n: how for n, how in declaration.derived.items() if n in made},
        "text_feature": text if text and text.name in made else None,
    }
    left = declaration.model_copy(update=changes)
    found: dict[str, Any] = left.model_dump(mode="json", exclude_defaults=True)
    return found


def about(of: "pa.Schema") -> About:
    """Return what a stream, or a parquet file made of it, says of all its rows."""
    metadata = of.metadata or {}
    return About(*(json.loads(metadata[name.encode()]) for name in About._fields))


class SpoolFile:
    """One stream that is being written; held, so that nobody takes it for finished.

    What was written is the operating system's at once: a killed process loses none of it. Errors
    are `OSError`, and leave the stream as it was before.
    """

    def __init__(self, root: Path, columns: "pa.Schema", role: str):
        """Begin a stream in `root`, which must be there: a log is never made in passing."""
        if not root.is_dir():
            raise FileNotFoundError(f"no folder {root}")
        directory = root / SPOOL / about(columns).project
        for part in (directory.parent, directory):
            part.mkdir(mode=0o700, exist_ok=True)
        self.begun = datetime.datetime.now(datetime.UTC)
        name = f"{self.begun:%Y%m%dT%H%M%S%f}-{os.getpid()}-{role}{SUFFIX}"
        self.path = directory / name
        self.schema = columns
        self._descriptor = safe_files.hold(self.path)
        self.size = 0
        try:
            os.fchmod(self._descriptor, 0o600)
            self._append(columns.serialize())
        except OSError:
            self.path.unlink(missing_ok=True)
            safe_files.release(self._descriptor)
            raise

    def write(self, batch: "pa.RecordBatch") -> None:
        """Append rows."""
        if not os.fstat(self._descriptor).st_nlink:
            raise FileNotFoundError(f"{self.path} was removed")
        self._append(batch.serialize())

    @property
    def is_full(self) -> bool:
        """Say whether it is time for the next stream."""
        age = datetime.datetime.now(datetime.UTC) - self.begun
        return self.size >= SPOOL_BYTES or age.total_seconds() >= SPOOL_SECONDS

    def close(self) -> None:
        """End the stream, as well as that can be done."""
        with suppress(OSError):
            self._append(END)
        safe_files.release(self._descriptor)

    def _append(self, content: Any) -> None:
        left = memoryview(content).cast("B")
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.size)
                os.lseek(self._descriptor, self.size, os.SEEK_SET)
            raise
        self.size += len(memoryview(content).cast("B"))


def projects(root: Path) -> list[str]:
    """Name the projects that have something in the log."""
    found = {path.name for path in (root / SPOOL).glob("*") if path.is_dir()}
    found |= {path.name.partition("=")[2] for path in (root / ROWS).glob("project=*")}
    return sorted(found)


def spools(root: Path, project: str) -> list[Path]:
    """Return the streams of a project that nobody writes any more, oldest first."""
    found = sorted((root / SPOOL / project).glob(f"*{SUFFIX}"))
    return [path for path in found if not safe_files.is_held(path)]


def read_spool(path: Path) -> Stream | None:
    """Return what can be read of a stream, at most about `SPOOL_BYTES`; None without its schema."""
    import pyarrow as pa

    content = path.read_bytes()
    batches: list[pa.RecordBatch] = []
    try:
        reader = pa.ipc.open_stream(content)
        says = about(reader.schema)
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError):
        return None
    try:
        for batch in reader:
            batch.validate(full=True)
            batches.append(batch)
    except (pa.ArrowException, OSError):
        return Stream(says, batches, torn=True)
    return Stream(says, batches, torn=False)
