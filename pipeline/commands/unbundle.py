"""Unpack a bundle where there is no network: the checkout, its .venv, its artifacts.

    tar xf bundle.tar unbundle.py
    python3.11 unbundle.py --bundle=bundle.tar --folder=my_project

A bundle holds a copy of this file, which needs nothing but the standard library. The folder appears
whole or not at all (docs/airgapped.md).
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

FORMAT = 1
CHUNK_BYTES = 2**20
UNPACKING = ".unbundling-"  # in the name of a folder that is not whole yet; its process follows
# What every Python of .venv says to uv and pip, wherever the folder lies: nothing is downloaded.
# Its own programs come first, and the Python of which the environments are made is found.
SETTINGS = """import os, sys; found = os.path.join(sys.prefix, "wheels"); os.environ.update(\
UV_OFFLINE="1", UV_NO_INDEX="1", UV_FIND_LINKS=found, UV_PYTHON_DOWNLOADS="never", \
PIP_NO_INDEX="1", PIP_FIND_LINKS=found, PATH=os.pathsep.join([os.path.join(sys.prefix, "bin"), \
os.environ.get("PATH", os.defpath), os.path.dirname(sys._base_executable)]))
"""
# In the place of uv where this Python is another 3.11 than the one that environments ask for.
ANOTHER_PYTHON = """#!/bin/sh
for word; do
  shift
  [ "$word" = "--python={asked}" ] && word="--python={here}"
  set -- "$@" "$word"
done
exec "$(dirname "$0")/uv-itself" "$@"
"""


class Refused(Exception):
    """One sentence that says why a bundle is not unpacked."""


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; the entry point of the root's MLproject gives the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="bundle.tar", help="the file that -e bundle wrote")
    parser.add_argument("--folder", required=True, help="to make; the project is then in it")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Unpack, and return the exit code; an error is one sentence, and leaves nothing."""
    args = build_parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        _unpack(_where_the_user_stands(args.bundle), _where_the_user_stands(args.folder))
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: stopped; nothing was kept", file=sys.stderr)
        return 130
    return 0


def _where_the_user_stands(text: str) -> Path:
    """Return an absolute path: `mlflow run` starts this in the project's own folder."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    began = "MLFLOW_RUN_ID" in os.environ and uri.startswith("sqlite:////")
    base = Path(uri.removeprefix("sqlite:///")).parent if began else Path.cwd()
    return Path(os.path.normpath(base / Path(text).expanduser()))


def _unpack(bundle: Path, target: Path) -> None:
    if target.exists():
        raise Refused(f"{target} is there already: name a folder that is not")
    if not target.parent.is_dir():
        raise Refused(f"there is no folder {target.parent}: make it, or name another one")
    _remove_left_behind(target)
    work = target.with_name(f".{target.name}{UNPACKING}{os.getpid()}")
    try:
        work.mkdir()
        about = _extract(bundle, work)
        project = work / "code" / about["folder"]
        print(
            f"making {target.name}/.venv from {len([*work.glob('wheels/*')])} packages", flush=True
        )
        _make_venv(work, project, about["python"])
        if (work / "store").is_dir():
            (work / "store").rename(project / "tracking_store")
        for path in (work / "data").rglob("*"):
            if path.is_file():
                place = project / path.relative_to(work / "data")
                place.parent.mkdir(parents=True, exist_ok=True)
                path.rename(place)
        (work / "code").rename(target)
    except (ValueError, TypeError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise Refused(
            f"{bundle} was not made by this project, for what it holds cannot be used ({error}); "
            "nothing was kept"
        ) from error
    except OSError as error:
        if target.exists():
            raise Refused(f"{target} was made by another program meanwhile: look at it") from error
        place = error.filename or target
        raise Refused(
            f"cannot read or write {place}: {error.strerror or error}; nothing was kept"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _tell(about, target)


def _remove_left_behind(target: Path) -> None:
    for left in target.parent.glob(f".{target.name}{UNPACKING}*"):
        if not Path("/proc", left.name.rpartition("-")[2]).exists():  # its process was killed
            shutil.rmtree(left, ignore_errors=True)


def _extract(bundle: Path, work: Path) -> dict[str, Any]:
    """Write the members to `work`, each checked; return the manifest."""
    about: dict[str, Any] | None = None
    sums: dict[str, str] = {}
    try:
        with tarfile.open(bundle, "r:") as tar:
            for member in tar:
                _refuse_unsafe(member)
                if member.name == "unbundle.py":
                    continue
                content = tar.extractfile(member)
                assert content is not None  # a regular file
                if about is None:
                    about = _manifest(member.name, content.read())
                    sums = dict(about["members"])
                    continue
                if member.name not in sums:
                    raise Refused(
                        f"{bundle} holds {member.name!r}, which its manifest does not list"
                    )
                path = work / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                digest = hashlib.sha256()
                with open(path, "xb") as file:
                    while chunk := content.read(CHUNK_BYTES):
                        digest.update(chunk)
                        file.write(chunk)
                path.chmod(0o755 if member.mode & 0o100 else 0o644)
                if digest.hexdigest() != sums.pop(member.name):
                    raise Refused(f"{member.name} in {bundle} is damaged: copy the bundle again")
    except (tarfile.TarError, EOFError) as error:
        raise Refused(
            f"{bundle} is no bundle, or is cut off ({error}): copy it again; nothing was kept"
        ) from error
    if about is None or sums:
        lacks = f"{len(sums)} of its files are missing" if about else "it has no manifest"
        raise Refused(f"{bundle} is no bundle, or is cut off: {lacks}; copy it again")
    return about


def _refuse_unsafe(member: tarfile.TarInfo) -> None:
    """Let nothing through but plain files below the folder."""
    path = PurePosixPath(member.name)
    if not member.isreg() or path.is_absolute() or ".." in path.parts or str(path) != member.name:
        raise Refused(
            f"the bundle holds {member.name!r}, which is no plain file inside its folder: it was "
            "not made by this project, and nothing of it was kept"
        )


def _manifest(name: str, content: bytes) -> dict[str, Any]:
    """Return the manifest, if it is one, of a bundle for this machine."""
    try:
        about: dict[str, Any] = json.loads(content) if name == "manifest.json" else {}
        made = about["format"], about["python"], about["platform"], about["members"].items()
        inside = PurePosixPath(about["folder"])
        for told in (about["version"], *about["artifacts"], *about["receipts"]):
            str.isprintable(told)  # a text
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Refused("the file is no bundle: it does not begin with a manifest") from None
    if made[0] != FORMAT or inside.is_absolute() or ".." in inside.parts:
        raise Refused(f"the bundle has format {made[0]!r}: unpack it by the unbundle.py in it")
    here, there = platform.python_version(), made[1]
    if here.split(".")[:2] != there.split(".")[:2]:
        raise Refused(
            f"the bundle's packages are for Python {there}, and this is {here}: start it with "
            f"python{there.rpartition('.')[0]}"
        )
    if made[2] != sysconfig.get_platform():
        raise Refused(
            f"the bundle's packages are for {made[2]}, and this is {sysconfig.get_platform()}: "
            "make the bundle on a machine like this one"
        )
    glibc = [int(part) for part in platform.libc_ver()[1].split(".") if part.isdigit()]
    if glibc and glibc < about["glibc"]:
        raise Refused(
            f"the bundle's packages need glibc {'.'.join(map(str, about['glibc']))}, and here is "
            f"{'.'.join(map(str, glibc))}: make the bundle on a machine as old as this one"
        )
    return about


def _make_venv(work: Path, project: Path, asked: str) -> None:
    """Make .venv by the lock, with the uv and the packages of the bundle.

    `asked` is the Python that the environments of the steps ask uv for.
    """
    [wheel] = (work / "wheels").glob("uv-*.whl")
    uv = work / "uv"
    with zipfile.ZipFile(wheel) as packed:
        [inside] = [name for name in packed.namelist() if name.endswith(".data/scripts/uv")]
        uv.write_bytes(packed.read(inside))
    uv.chmod(0o755)
    venv = project / ".venv"
    python = getattr(sys, "_base_executable", sys.executable)  # not that of a .venv
    # Relocatable: it is made before its folder has its name.
    _run(uv, "venv", "--relocatable", "--python", python, str(venv))
    (work / "wheels").rename(venv / "wheels")
    given = ("--no-index", "--find-links", str(venv / "wheels"), "--require-hashes")
    pins = ("-c", str(project / "requirements.lock"), "-r", str(project / "requirements.txt"))
    into = ("--python", str(venv / "bin" / "python"), "--compile-bytecode")
    _run(uv, "pip", "install", *into, *given, *pins)
    [packages] = venv.glob("lib/python*/site-packages")
    (packages / "airgapped.pth").write_text(SETTINGS, encoding="utf-8")
    if asked != platform.python_version():
        print(f"environments ask for Python {asked}: they will have {platform.python_version()}")
        uv = (venv / "bin" / "uv").rename(venv / "bin" / "uv-itself")
        text = ANOTHER_PYTHON.format(asked=asked, here=python)
        uv.with_name("uv").write_text(text, encoding="utf-8")
        uv.with_name("uv").chmod(0o755)
    (venv / "run").touch()  # for `make run`


def _run(uv: Path, *arguments: str) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("UV_", "PIP_", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(uv), *arguments, "--offline", "--no-config", "--quiet"],
        env=kept | {"UV_PYTHON_DOWNLOADS": "never"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = " ".join(done.stderr.split())[-600:]
        raise Refused(f".venv could not be made: uv {arguments[0]}: {said}; nothing was kept")


def _tell(about: dict[str, Any], target: Path) -> None:
    project = target / about["folder"]
    print(f"{target} has {about['version']}, and {len(about['artifacts'])} versions of artifacts")
    print(f"  cd {project} && . .venv/bin/activate")
    # The environment of the project itself would bring a uv that asks for that very Python.
    is_same = about["python"] == platform.python_version()
    run = f"mlflow run . --env-manager {'uv' if is_same else 'local'}"
    print(f"  {run}" if is_same else f"  {run} -P hydra_options=main.env_manager=uv")
    for receipt in about["receipts"]:
        print(f"  {run} -e reproduce -P env_manager=uv -P receipt={receipt}")
    if any("/model_export:" in reference for reference in about["artifacts"]):
        print("  mlflow run serving --env-manager uv")


if __name__ == "__main__":
    sys.exit(main())
