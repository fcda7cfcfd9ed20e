"""Deliveries of a table that grows, such as weeks: which of them are taken, which is the newest.

A partition is a file of a folder (several, where their names say the same week or day), or what
rows have in one column: the week of a date, else the value.
"""

import argparse
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from util_lib import cli
from util_lib.errors import UserError
from util_lib.folders import File

COLUMN = "_partition"  # of the cleaned table: which partition a row is of
SHARE, NEWEST = "share", "newest_partition"  # what `data.test` may be
DATED = re.compile(r"\d{4}-?W\d{2}|\d{4}-\d{2}-\d{2}|\d{4}-\d{2}")
FORMS = {
    "week": r"\d{4}-W(0[1-9]|[1-4]\d|5[0-3])",
    "week without hyphen": r"\d{4}W(0[1-9]|[1-4]\d|5[0-3])",
    "day": r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])",
    "month": r"\d{4}-(0[1-9]|1[0-2])",
    "number": r"-?\d+(\.\d+)?",
}


class Selection(Protocol):
    """What says which partitions are taken: `Parted`, and the section of the declaration."""

    @property
    def window(self) -> int | None:
        """How many of the newest; None = all."""

    @property
    def until(self) -> str | None:
        """The newest that is taken; None = the newest there is."""


class Parted(NamedTuple):
    """By what a table is parted, and which parts are taken."""

    by: str | None = None
    window: int | None = None
    until: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name what says which files are taken (`data.partition`)."""
    parser.add_argument(
        "--partition_by",
        default="null",
        choices=("null", "file", "column"),
        help="file = each file of the folder is a partition, of which the newest are taken",
    )
    parser.add_argument(
        "--partition_window",
        type=cli.number(1, whole=True, word="null"),
        default="null",
        help="how many of the newest partitions are taken; null = all",
    )
    parser.add_argument(
        "--partition_until",
        type=cli.optional,
        default="null",
        help="the newest partition that is taken; null = the newest there is",
    )


def rule(args: argparse.Namespace) -> Parted:
    """Return what `add_arguments` read."""
    return Parted(cli.optional(args.partition_by), args.partition_window, args.partition_until)


def of_file(name: str) -> str:
    """Return the partition of a file: the week, day or month in its name, else its stem."""
    stem = name.partition(".")[0]
    found = DATED.search(stem)
    return found.group() if found else stem


def taken(names: Iterable[str], how: Selection) -> list[str]:
    """Return the partitions that are taken, oldest first: in the order of numbers, or of texts."""
    known = sorted({*names}, key=order)
    if how.until is not None:
        _refuse_another_form(how.until, known)
    found = [name for name in known if how.until is None or order(name) <= order(how.until)]
    if not found:
        raise UserError(
            f"data.partition.until {how.until!r} leaves no partition of {len(known):,}: the oldest "
            f"is {known[0]!r}"
        )
    return found[-how.window :] if how.window else found


def _refuse_another_form(until: str, known: list[str]) -> None:
    """Names are compared as texts: among weeks, `2026-W2` would be later than `2026-W10`."""
    forms = {_form(name) for name in known}
    if None not in forms and _form(until) not in forms:
        raise UserError(
            f"data.partition.until must be a {' or '.join(sorted(filter(None, forms)))} as the "
            f"partitions are, such as {known[-1]!r}, found {until!r}"
        )


def _form(name: str) -> str | None:
    return next((form for form, rule in FORMS.items() if re.fullmatch(rule, name)), None)


def order(name: str) -> tuple[int, float, str]:
    """Return what partitions are ordered by."""
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)


def of_files(files: Sequence[File], how: Parted) -> Sequence[File]:
    """Return the files of the partitions that are taken; all where they are no partitions."""
    if how.by != "file":
        return files
    wanted = {*taken((of_file(file.name) for file in files), how)}
    return [file for file in files if of_file(file.name) in wanted]
