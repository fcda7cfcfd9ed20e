#!/usr/bin/env python
"""Say where two versions of an artifact first differ.

No step of the pipeline: `reproduce` starts it when something differs. Reads `<folder>/<artifact>/
before` and `now`; writes `<folder>/differences.json`, one sentence for each artifact.
"""

import argparse
import json
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

from tools.compare import models, tables
from util_lib import cli
from util_lib.errors import UserError

logger = logging.getLogger("compare")

MODEL_FILES = (".skops", ".pkl")  # what a pipeline is written as
LINE_LENGTH = 60  # characters shown of a line of text


def difference(before: Path, now: Path) -> str:
    """Return where two folders first differ; a model by what is in it, not by its names."""
    old, new = files(before), files(now)
    if len(old) == len(new) == 1 and old.keys() != new.keys():
        return _of_renamed(*old.values(), *new.values())
    for name in sorted({*old} ^ {*new}):
        return f"file {name} is {'new' if name in new else 'gone'}"
    changed = [name for name in sorted(old) if old[name].read_bytes() != new[name].read_bytes()]
    if not changed:
        return "no file differs"
    if models.is_model(before) and models.is_model(now):
        # The description repeats what the rest is, by digests of it: the cause comes first.
        changed.sort(key=lambda name: (not name.endswith(MODEL_FILES), name == "MLmodel", name))
    first = changed[0]
    shown = "" if len(old) == 1 else f"{first}: "
    if first.endswith(MODEL_FILES) and models.is_model(before) and models.is_model(now):
        return shown + models.difference(before, now)
    return shown + offiles(old[first], new[first])


def _of_renamed(before: Path, now: Path) -> str:
    renamed = f"file {before.name} -> {now.name}"
    same = before.read_bytes() == now.read_bytes()
    return f"{renamed}, the same content" if same else f"{renamed}; {offiles(before, now)}"


def offiles(before: Path, now: Path) -> str:
    """Return where two files first differ: as tables, as text, or by their bytes."""
    if tables.is_table(before) and tables.is_table(now):
        return tables.difference(before, now)
    old, new = before.read_bytes(), now.read_bytes()
    try:
        return _of_lines(old.decode(), new.decode())
    except UnicodeDecodeError:
        at = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), None)
        where = "one ends earlier" if at is None else f"byte {at:,} (counted from 0)"
        return f"{where}; {len(old):,} -> {len(new):,} bytes"


def _of_lines(before: str, now: str) -> str:
    old, new = before.split("\n"), now.split("\n")
    for number, (a, b) in enumerate(zip(old, new, strict=False), start=1):
        if a != b:
            at = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), 0)
            start = max(0, at - LINE_LENGTH // 2)
            a, b = (
                f"{'...' if start else ''}{line[start : start + LINE_LENGTH]}" for line in (a, b)
            )
            return f"line {number}: {a!r} -> {b!r}"
    return f"{len(old)} -> {len(new)} lines"


def files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by their paths in it."""
    return {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--folder", required=True, help="holds, for each artifact, the folders before and now"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Compare each pair and write down what was found; `argv` defaults to the command line."""
    folder = Path(build_parser().parse_args(argv).folder)
    pairs = sorted(path for path in folder.glob("*") if (path / "before").is_dir())
    if not pairs:
        raise UserError(f"{folder} holds nothing to compare: expected <artifact>/before and now")
    differences = {}
    for path in pairs:
        if (path / "now").is_dir():
            differences[path.name] = difference(path / "before", path / "now")
            logger.info("%s: %s", path.name, differences[path.name])
    text = json.dumps(differences, indent=1) + "\n"
    (folder / "differences.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
