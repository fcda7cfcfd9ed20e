"""Make one file that brings the project to a machine without network (docs/airgapped.md).

    python -m pipeline.commands.bundle --output=bundle.tar

Holds the checkout at a commit, the packages of all environments by the locks for this platform, uv,
and chosen artifacts with their receipts. `-e unbundle` and the unbundle.py in it unpack it.
"""

import argparse
import platform
import re
import sys
import sysconfig
from pathlib import Path

from pipeline.bundling import archive, chosen, code_copy, store_part, wheels
from pipeline.bundling.chosen import Chosen
from pipeline.commands import unbundle
from pipeline.running.exit_code import stoppable_exit_code
from pipeline.settings import temporary
from util_lib import cli, git_state, safe_files
from util_lib.errors import UserError
from util_lib.project import ROOT
from util_lib.tracking.store.database import open_store
from util_lib.tracking.store.places import store_directory


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; the entry point of the root's MLproject gives the same."""
    parser = cli.parser(__doc__)
    parser.add_argument("--output", default="bundle.tar", help="the file to write")
    parser.add_argument("--commit", default="HEAD", help="tag, branch or commit of the checkout")
    parser.add_argument(
        "--artifacts",
        default="",
        help="project/name:alias,... with all that their receipts name; empty = prod, or none",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Write the bundle; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    store = store_directory()
    output = store.parent / Path(args.output).expanduser()
    if not output.parent.is_dir() or output.is_dir():
        what = "is a folder" if output.is_dir() else "lies in no folder"
        raise UserError(f"output={output} {what}: name a file for the bundle")
    found = Chosen([], {}, {}, [])
    if args.artifacts != chosen.NONE:
        found = chosen.choose(open_store(store), args.artifacts)
    with (
        temporary.folder(store) as made,
        safe_files.writing(made, "set TMPDIR to a folder with space for the packages"),
    ):
        work = made.resolve()
        commits = [receipt.code.commit for receipt in found.receipts.values()]
        code = code_copy.copy(args.commit, commits, work / "code")
        project = work / "code" / code.folder
        python = _python_of(project)
        if git_state.git(ROOT).get("dirty"):
            _say(f"uncommitted changes are not in it: it is commit {code.commit[:10]}")
        _say("fetching the packages of all environments")
        count = wheels.fetch(project, work / "wheels")
        if found.versions:
            store_part.copy(open_store(store), found.versions, work / "store")
        members = {
            f"{top}/{path.relative_to(work / top).as_posix()}": path
            for top in ("code", "wheels", "store")
            for path in (work / top).rglob("*")
            if path.is_file()
        }
        in_git = {name.removeprefix(f"code/{code.folder}") for name in members}
        members |= {f"data/{k}": path for k, path in found.data.items() if k not in in_git}
        about = {
            "format": unbundle.FORMAT,
            "version": code.version,
            "commit": code.commit,
            "folder": code.folder,
            "python": python,
            "platform": sysconfig.get_platform(),
            "glibc": wheels.oldest_glibc(work / "wheels"),
            "artifacts": [version.reference for version in found.versions],
            "receipts": [*found.receipts],
        }
        way_in = {"unbundle.py": Path(unbundle.__file__).read_bytes()}
        size = archive.write(output, way_in, members, about)
    for line in found.lacking:
        _say(line)
    _say(f"{code.version}, {count} packages, {len(found.versions)} versions: {size / 1e6:,.0f} MB")
    _say(f"sha256 {safe_files.read_content(output).sha256}")
    print(output)
    return 0


def _python_of(project: Path) -> str:
    """Return the Python of the environments; the packages are fetched for the one that runs."""
    found = re.search(r"python=(\S+)", (project / "conda.yml").read_text(encoding="utf-8"))
    wanted, here = found[1] if found else "", platform.python_version()
    if wanted.split(".")[:2] != here.split(".")[:2]:
        raise UserError(
            f"the environments need Python {wanted} (conda.yml), and this is {here}, for which the "
            "packages would be fetched: use --env-manager uv, or a .venv of that Python"
        )
    return wanted


def _say(text: str) -> None:
    print(f"bundle: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(stoppable_exit_code(lambda: main(sys.argv[1:])))
