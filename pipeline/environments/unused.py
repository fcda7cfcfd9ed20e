"""The environments that lie on this machine, and which of them no step of this checkout needs.

Their folder is shared by all checkouts, and no environment says whose it is. Only one with our
marker is ever deleted: another may be MLflow's own, or be in the making.
"""

import fcntl
import json
import os
from pathlib import Path
from typing import NamedTuple

from pipeline.environments import making
from pipeline.environments.making import LOCK, MARKER
from util_lib import safe_files

PREFIX = "mlflow-"  # MLflow gives every environment such a name
# What the tools write when they begin, and nobody touches afterwards.
BEGINNINGS = ("pyvenv.cfg", "conda-meta/history")


class Found(NamedTuple):
    """One environment.

    `step` is the one it was made for first, None without our marker. `used_at` is when a pipeline
    needed it last. `size` is what its deletion gives back: not what hard links share with a cache.
    """

    path: Path
    manager: str
    step: str | None
    needed: bool
    made_at: float
    used_at: float | None
    size: int


def listed(root: Path) -> list[Found]:
    """Return all environments; `needed` are those of a project of the checkout at `root`."""
    places = ("MLproject", "*/MLproject", "tools/*/MLproject")
    projects = sorted(path.parent for place in places for path in root.glob(place))
    paths = {path: "uv" for path in _folder().glob(f"{PREFIX}*")}
    needed = {one.name for one in making.needed("uv", projects)}
    if making.executable("conda"):
        needed |= {one.name for one in making.needed("conda", projects)}
        paths |= {
            path: "conda" for name, path in making.conda_paths().items() if name.startswith(PREFIX)
        }
    return [
        _look_at(path, manager, path.name in needed)
        for path, manager in sorted(paths.items())
        if path.is_dir()
    ]


def delete(one: Found) -> bool:
    """Delete an environment with our marker; False where a pipeline is using it now."""
    marker = one.path / MARKER
    way_out = "what is left goes the next time"
    with safe_files.writing(one.path, way_out), safe_files.locked(_folder() / LOCK):
        descriptor = os.open(marker, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)  # whoever begins now waits for the folder's lock
        # Without its marker, what a kill leaves over is half-made: it is made again when needed.
        marker.unlink()
        making.remove(one.manager, one.path)
    return True


def _folder() -> Path:
    from mlflow.environment_variables import MLFLOW_ENV_ROOT

    return Path(MLFLOW_ENV_ROOT.get())


def _look_at(path: Path, manager: str, needed: bool) -> Found:
    marker, step = path / MARKER, None
    if marker.is_file():
        content = json.loads(marker.read_text())
        manager, step = content["manager"], content["step"]
    begun = [path / name for name in BEGINNINGS if (path / name).is_file()]
    made_at = (begun[0] if begun else path).stat().st_mtime
    used_at = marker.stat().st_mtime if step else None
    return Found(path, manager, step, needed, made_at, used_at, _size(path))


def _size(folder: Path) -> int:
    size = 0
    for inside, _, names in os.walk(folder):
        for name in names:
            status = os.lstat(os.path.join(inside, name))
            if status.st_nlink == 1:
                size += status.st_blocks * 512
    return size
