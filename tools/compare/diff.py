#!/usr/bin/env python
"""Show how two versions of an artifact differ, as a page.

No step of the pipeline: `mlflow run . -e diff` starts it. Reads `<folder>/before`, `<folder>/now`
and `<folder>/facts.json`, what is known of both; writes one HTML file that needs nothing else.
"""

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

import pandas as pd

from tools.compare import models, tables
from tools.compare.run import difference, files
from util_lib import cli
from util_lib.checks.shapes import shapes
from util_lib.model import export
from util_lib.pages import page, pictures
from util_lib.pages.page import Number
from util_lib.tables.column_values import as_numbers

logger = logging.getLogger("compare")

Part = tuple[str, Sequence[str], list[tuple[str, ...]]]  # a heading, heads, rows
SIDES = ("before", "now")
MOST = 200  # rows of a table on the page
HEADS = ("type", "missing before", "now", "values before", "now", "mean before", "now", "changed")
LONGEST = 120  # letters of a value


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument("--folder", required=True, help="holds before, now and facts.json")
    parser.add_argument("--output", required=True, help="the page to write")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write the page and say the first difference; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    folder = Path(args.folder)
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    sides = (folder / "before", folder / "now")
    said = difference(*sides)
    known = [*_unequal(*(facts[side] for side in SIDES))]
    parts: list[Part] = [("What is known of them", SIDES, known)]
    parts.append(("Files", SIDES, [*_unequal(*map(_files, sides))]))
    drawn: list[tuple[str, str]] = []
    old, new = map(files, sides)
    both_models = all(map(models.is_model, sides))
    if both_models:
        parts.append(("Parameters of the model", SIDES, [*_unequal(*map(_parameters, sides))]))
    for name in sorted({*old} & {*new}):
        if name.endswith(".json") and not both_models:  # whose JSON are examples of rows
            contents = (_flat(json.loads(path[name].read_text("utf-8"))) for path in (old, new))
            parts.append((name, SIDES, [*_unequal(*map(dict, contents))]))
    if len(old) == len(new) == 1:
        [path], [other] = old.values(), new.values()
        if tables.is_table(path) and tables.is_table(other):
            frames = tables.read(path), tables.read(other)
            parts.append(("Columns", HEADS, [*_columns(*frames)]))
            drawn = [*_pictures(*frames)]
    parts = [part for part in parts if part[2]]
    text = page.render(
        Path(__file__).parent,
        "diff.html",
        title=f"{facts['before']['artifact']} and {facts['now']['artifact']}",
        said=said,
        parts=[(title, ("what", *heads), rows[:MOST], len(rows)) for title, heads, rows in parts],
        drawn=drawn,
    )
    Path(args.output).write_text(text, encoding="utf-8", errors="backslashreplace")
    logger.info("%s", said)


def _unequal(before: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Give what the two have not in common: its name, and what it is in each."""
    for name in {**before, **now}:
        old, new = before.get(name), now.get(name)
        if old != new:
            yield name, *_both(old, new)


def _both(old: Any, new: Any) -> tuple[str, str]:
    """Return two values as they are read: numbers by four decimals, where these tell them apart."""
    if isinstance(old, float) and isinstance(new, float) and f"{old:.4f}" != f"{new:.4f}":
        return f"{old:.4f}", f"{new:.4f}"
    return _shown(old), _shown(new)


def _shown(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return pictures.short(text, LONGEST)


def _files(folder: Path) -> dict[str, str]:
    return {name: f"{path.stat().st_size:,} bytes" for name, path in files(folder).items()}


def _parameters(folder: Path) -> dict[str, str]:
    """Return the parameters of a pipeline and its stages; a pickle is not opened."""
    try:
        pipeline, _ = export.load(folder)
    except export.PickleError:
        return {}
    found = pipeline.get_params(deep=True)
    found.pop("steps", None)  # which have their parameters beside it
    return {name: repr(value) for name, value in found.items() if not hasattr(value, "get_params")}


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Give each value of a JSON document, by the way to it."""
    if isinstance(value, dict | list) and value:
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in inner:
            yield from _flat(each, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _columns(old: pd.DataFrame, new: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    for name in [*old, *(column for column in new if column not in old)]:
        sides = [frame[name] if name in frame else None for frame in (old, new)]
        types = ["" if side is None else tables.type_of(side) for side in sides]
        changed = ""
        if name in old and name in new:
            n = min(len(old), len(new))
            differs = tables.differing(old[name].iloc[:n], new[name].iloc[:n])
            changed = f"{differs.sum():,} of {n:,}"
        yield (
            str(name),
            types[0] if types[0] == types[1] else f"{types[0]} → {types[1]}",
            *(Number("" if side is None else f"{side.isna().sum():,}") for side in sides),
            *(Number("" if side is None else f"{side.nunique():,}") for side in sides),
            *(Number(_mean(side)) for side in sides),
            Number(changed),
        )


def _mean(side: pd.Series | None) -> str:
    if side is None or not pd.api.types.is_numeric_dtype(side.dtype):
        return ""
    return pictures.number(float(as_numbers(side).mean()))


def _pictures(old: pd.DataFrame, new: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Draw the columns whose values are distributed otherwise."""
    for name in [column for column in old if column in new]:
        drawn = shapes(new[name], old[name], dates=False)
        if drawn["now"] != drawn["before"]:
            yield str(name), pictures.distributions(drawn, f"{name}, now and before")


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
