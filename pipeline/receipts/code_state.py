"""What code a run ran: its commit, what was changed since, and what of that a receipt may hold.

A receipt is handed on. Of changes it holds the code, which is needed to run again; data, keys and
whatever looks like a secret are named with their digest and never held.
"""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pipeline.settings.overrides import GROUPS
from util_lib import git_state
from util_lib.redaction import looks_secret
from util_lib.safe_files import read_content

FILE_BYTES = 1_000_000  # a larger file is no code
DIFF_BYTES = 5_000_000  # more uncommitted changes than that are left out
HASHED_BYTES = 100_000_000  # of a larger file that is not held its size stands for its digest
LISTED = 200  # files that are not held; of more there is their number and one digest
GIT_TIMEOUT_S = 60
# What the project itself leaves where its user stands, which may be a folder inside the checkout.
LEFT_THERE = (
    *("tracking_store", "mlflow.db*", "mlruns", "mlartifacts", "outputs", "multirun", "wandb"),
    *("artifacts", "ml_pipeline.log", "serving_image", "conf/best", ".tracking_stores"),
    *("review_runs", "report.md"),
)
# Code of the project; the folders of steps, which have an MLproject, are code too.
CODE = ("conf/*", "pipeline/*", "util_lib/*", "hydra_plugins/*")
CODE_AT_TOP = ("*.py", "*.yaml", "*.yml", "*.toml", "MLproject", "requirements*.txt")
KEYS = (
    *(".env*", "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx"),
    *("*.gpg", "*.asc", "id_rsa*", "id_ed25519*", "id_ecdsa*", ".netrc", ".pgpass", ".htpasswd"),
    *("credentials*", "secrets.*", ".git-credentials", ".npmrc", ".pypirc"),
)
DATA = (
    *("*.csv", "*.tsv", "*.parquet", "*.feather", "*.arrow", "*.orc", "*.avro", "*.jsonl"),
    *("*.ndjson", "*.xls", "*.xlsx", "*.ods", "*.db", "*.sqlite*", "*.pkl", "*.pickle"),
    *("*.joblib", "*.npy", "*.npz", "*.h5", "*.hdf5", "*.dta", "*.sav", "*.sas7bdat"),
    *("*.zip", "*.gz", "*.tar", "*.tgz", "*.bz2", "*.xz", "*.zst", "*.7z", "*.dump", "*.sql"),
    *("*.skops", "*.onnx", "*.pt", "*.safetensors", "*.log"),
)


class _Change(NamedTuple):
    path: str  # from the top of the checkout
    inside: PurePosixPath  # from the project's folder
    is_new: bool


def describe(root: Path) -> dict[str, Any]:
    """Describe the checkout at `root`: remote, commit, and as a diff what is not in the commit.

    `folder` is where `root` lies inside the checkout. `other_changes` maps files whose content is
    not held to their digest, None for one that was deleted. What git ignores is not looked at.
    All is None where there is no checkout. `left_out` says why the code cannot be had again.
    """
    found = git_state.git(root)
    described = {
        "remote": found.get("remote") or None,
        "commit": found.get("commit"),
        "folder": None,
        "dirty": None,
        "diff": None,
        "left_out": None,
    }
    if not found:
        return described
    try:
        folder = _git(root, "rev-parse", "--show-prefix").decode().strip()
        described["folder"] = folder
        top = Path(os.fsdecode(_git(root, "rev-parse", "--show-toplevel").rstrip(b"\n")))
        changes = [*_changes(root, folder)]
        described["dirty"] = bool(changes)
        if changes:
            described |= _sorted_out(root, top, changes)
    except (OSError, subprocess.SubprocessError) as error:
        words = getattr(error, "stderr", None) or str(error).encode()
        said = " ".join(words.decode(errors="replace").split())
        described["dirty"], described["left_out"] = True, f"git could not tell the changes: {said}"
    return described


def why_not_again(code: dict[str, Any]) -> str | None:
    """Return why nobody can run this code again from a receipt; None where everybody can."""
    if code["commit"] is None:
        return "the project is not in a git checkout, so there is no commit to come back to"
    return code["left_out"] if code["dirty"] and code["diff"] is None else None


def _changes(root: Path, folder: str) -> Iterator[_Change]:
    home = Path(os.environ.get("PIPELINE_HOME", root)).resolve()
    where = ["."]
    if home.is_relative_to(root):
        left = [(home.relative_to(root) / name).as_posix() for name in LEFT_THERE]
        where += [f":(exclude){name}" for name in left]
    asked = ("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames")
    for line in _git(root, *asked, "--", *where).split(b"\0"):
        if path := os.fsdecode(line[3:]):
            inside, is_new = PurePosixPath(path.removeprefix(folder)), line.startswith(b"??")
            # What it says (a drafted dataset) is composed: the config of the receipt has it.
            if is_new and inside.match("conf/*/*.yaml") and inside.parts[1] in GROUPS:
                continue
            yield _Change(path, inside, is_new)


def _sorted_out(root: Path, top: Path, changes: list[_Change]) -> dict[str, Any]:
    """Return `diff`, `left_out` and `other_changes`."""
    held, others, reasons = [], [], []
    for change in changes:
        is_code = _is_code(change.inside, root)
        why = _why_never(top / change.path)
        if why is None and (is_code or not change.is_new):
            held.append(change)
            continue
        others.append(change.path)
        if why and is_code:
            reasons.append(f"{change.path} {why}")
    parts = []
    for change, part in _diffs(root, top, held):
        if looks_secret(_text(part, top / change.path)):
            others.append(change.path)
            reasons.append(f"{change.path} holds what looks like a secret")
        else:
            parts.append(part)
    diff = b"".join(parts)
    if len(diff) > DIFF_BYTES:
        reasons.append(f"the uncommitted changes are larger than {DIFF_BYTES:,} bytes")
    more = f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else ""
    found: dict[str, Any] = {
        "diff": None if reasons else diff.decode(errors="surrogateescape"),
        "left_out": f"{'; '.join(reasons[:3])}{more}" if reasons else None,
    }
    return found | ({"other_changes": _named(top, others)} if others else {})


def _is_code(inside: PurePosixPath, root: Path) -> bool:
    """Say whether a run may need the file: in a step's folder, or code of the project itself."""
    if len(inside.parts) == 1:
        return any(fnmatch(inside.name, pattern) for pattern in CODE_AT_TOP)
    if any(fnmatch(inside.as_posix(), pattern) for pattern in CODE):
        return True
    return any((root / folder / "MLproject").is_file() for folder in list(inside.parents)[:-1])


def _why_never(path: Path) -> str | None:
    """Return why the content of a file is in no receipt."""
    name = path.name.lower()
    if any(fnmatch(name, pattern) for pattern in KEYS):
        return "may hold keys"
    if any(fnmatch(name, pattern) for pattern in DATA):
        return "is a data file"
    if path.is_dir() and not path.is_symlink():
        return "is a repository of its own"
    if path.is_symlink() or not path.exists():  # deleted
        return None
    return f"is larger than {FILE_BYTES:,} bytes" if path.stat().st_size > FILE_BYTES else None


def _diffs(root: Path, top: Path, changes: list[_Change]) -> Iterator[tuple[_Change, bytes]]:
    """Return the diff of each file; the checkout's own index and objects stay as they are."""
    if not changes:
        return
    asked = ("rev-parse", "--path-format=absolute", "--git-path", "objects")
    with tempfile.TemporaryDirectory(prefix="receipt_") as folder:
        scratch = {
            "GIT_INDEX_FILE": str(Path(folder, "index")),
            "GIT_OBJECT_DIRECTORY": str(Path(folder, "objects")),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.fsdecode(_git(root, *asked).rstrip(b"\n")),
        }
        Path(folder, "objects").mkdir()
        _git(top, "read-tree", "HEAD", environment=scratch)
        # By name: `git add` refuses patterns that exclude what is ignored anyway.
        paths = b"\0".join(os.fsencode(change.path) for change in changes)
        named = ("--pathspec-from-file=-", "--pathspec-file-nul")
        _git(top, "--literal-pathspecs", "add", "--all", *named, given=paths, environment=scratch)
        for change in changes:
            yield (
                change,
                _git(
                    root,
                    *("--literal-pathspecs", "diff", "--cached", "--binary", "--full-index"),
                    *("--no-renames", "--no-color", "--no-ext-diff", "--no-textconv"),
                    *("--src-prefix=a/", "--dst-prefix=b/", "HEAD", "--", str(top / change.path)),
                    environment=scratch,
                ),
            )


def _text(part: bytes, path: Path) -> str:
    """Return what is to be looked through: a diff of texts, of another file its bytes."""
    is_binary = b"\nGIT binary patch\n" in part
    return (path.read_bytes() if is_binary and path.is_file() else part).decode("latin-1")


def _named(top: Path, paths: list[str]) -> dict[str, str | None]:
    found = {path: _digest(top / path) for path in sorted(paths)}
    if len(found) <= LISTED:
        return found
    text = "\n".join(f"{path} {digest}" for path, digest in found.items())
    return {f"{len(found)} files": hashlib.sha256(os.fsencode(text)).hexdigest()}


def _digest(path: Path) -> str | None:
    try:
        size = path.lstat().st_size
        return f"{size} bytes" if size > HASHED_BYTES else read_content(path).sha256
    except OSError:
        return None


def _git(
    root: Path, *arguments: str, given: bytes = b"", environment: dict[str, str] | None = None
) -> bytes:
    return subprocess.run(
        ["git", *arguments],
        cwd=root,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", **(environment or {})},
        input=given,
        capture_output=True,
        timeout=GIT_TIMEOUT_S,
        check=True,
    ).stdout
