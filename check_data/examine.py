"""What is checked, and what was found: the two tables, and three ways to look at them."""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from check_data import table_schema
from check_data.columns_of_file import ColumnsOfFile
from util_lib import tracking
from util_lib.checks import drift, leakage
from util_lib.checks.drift import ColumnDrift
from util_lib.checks.findings import Finding
from util_lib.dataset import repeats
from util_lib.dataset.declaration import Data
from util_lib.processes import tasks
from util_lib.processes.tasks import Each
from util_lib.tables import large, reading
from util_lib.tracking.names import parse_reference

logger = logging.getLogger("check_data")

# The same words whether the sample is the reference or becomes it: a later run on the same data
# then makes the same log and report.
NOT_TESTED = "drift not tested: there is nothing but the sample itself to compare it with"
Table = pd.DataFrame | ColumnsOfFile
SORTED_BYTES = 16  # for each row: the numbers of a column of both tables, sorted
REPEATS = "repeats dropped"
FIRST_ALIAS = "reference"  # the only alias that the first good data get by themselves


class Inputs(NamedTuple):
    """What is checked. `reference` is None where `no_reference` says why there is none.

    `becomes_reference` is the alias that the sample gets once it has passed, or None.
    """

    sample: Table
    reference: Table | None
    no_reference: str = ""
    becomes_reference: str | None = None
    artifact: Any = None
    reference_artifact: Any = None


class Results(NamedTuple):
    """What was found. `comparisons` are empty where there is no reference."""

    faults: list[Finding]
    comparisons: list[ColumnDrift]
    leaks: list[Finding]


def load_inputs(run: Any, sample: str, reference: str, data: Data, directory: str) -> Inputs:
    """Fetch and read both tables.

    There may be no reference yet: then the sample is to become it, if it is a version of the
    same artifact and the alias asked for is `reference`. Any other missing reference is an error.
    """
    ours = run.use_artifact(sample)
    table = _opened(ours, Path(directory, "sample"), data)
    wanted = parse_reference(reference, run.project)
    same_artifact = (wanted.project, wanted.name) == tuple(parse_reference(sample, run.project))[:2]
    known = tracking.Api().artifact_exists(f"{wanted.project}/{wanted.name}:{wanted.alias}")
    if not known and wanted.alias == FIRST_ALIAS and same_artifact:
        logger.warning("there is no %s yet", reference)
        return Inputs(table, None, NOT_TESTED, FIRST_ALIAS, ours)
    theirs = run.use_artifact(reference)
    if theirs.id == ours.id:
        return Inputs(table, None, NOT_TESTED, None, ours)
    other = _opened(theirs, Path(directory, "reference"), data)
    return Inputs(table, other, "", None, ours, theirs)


def _opened(artifact: Any, folder: Path, data: Data) -> Table:
    """Fetch a table and read it; a large one is read a column at a time, when it is asked for."""
    path = Path(reading.fetch(artifact, folder))
    if reading.is_parquet(path) and large.is_large(reading.shape(path)[1], data.large_rows):
        large.check_room(folder, SORTED_BYTES * reading.shape(path)[1])
        return ColumnsOfFile(path, data.table_columns)
    return reading.read_own(path, data.table_columns)


def too_many_repeats(artifact: Any, data: Data) -> list[Finding]:
    """Return a fault where preprocess dropped a larger share of the rows than is declared."""
    how, share = repeats.declared(data), artifact.metadata.get(repeats.SHARE, 0.0)
    if how is None or share <= how.max_share:
        return []
    return [
        Finding(
            None,
            REPEATS,
            f"{share:.1%} of the rows were dropped because they repeat others, and "
            f"duplicates.max_share allows {how.max_share:.0%}: raise it if they are the same thing "
            "twice; else keep them (drop_duplicates: false), or name the columns that tell them "
            "apart (duplicates.columns)",
        )
    ]


def examine(
    sample: Table,
    reference: Table | None,
    data: Data,
    ks_alpha: float,
    each: Each = tasks.here,
) -> Results:
    """Look at the sample alone, at the sample beside the reference, and for leaks of the target.

    Columns with values of another type than declared have a fault, and are not looked at further.
    `each` looks at the columns of a large table, see `tasks`.
    """
    faults = table_schema.faults(sample, data, each)
    mistyped = [fault.column for fault in faults if fault.rule == "type"]
    sample = sample.drop(columns=mistyped)
    compared = []
    if reference is not None:
        compared = drift.compare(sample, reference, data, ks_alpha, each=each)
    for place, comparison in enumerate(compared):
        if comparison.column in mistyped:
            why = f"column {comparison.column!r} was not compared: some values are of another type"
            compared[place] = comparison._replace(sentence=why)
    return Results(faults, compared, leakage.find(sample, data))
