"""The checks that a declaration asks for, and how each of them ended on a table."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from check_data.examine import REPEATS, Inputs, Results
from util_lib.dataset import repeats
from util_lib.dataset.declaration import Data

FAULTS_OF_COLUMNS = {  # rule: what it asks, and of which columns
    "column is there": ("Every declared column is in the table.", lambda column: True),
    "type": ("Its values are of the declared type.", lambda column: True),
    "no nulls": ("Only nullable columns have nulls.", lambda column: not column.nullable),
    "null rate": (
        "No larger share of it is null than max_null_rate.",
        lambda column: column.max_null_rate is not None,
    ),
    "range": (
        "Its values lie between min and max.",
        lambda column: column.min is not None or column.max is not None,
    ),
    "allowed values": (
        "Its values are among those listed.",
        lambda column: column.allowed is not None,
    ),
    "unique": ("No value occurs twice.", lambda column: column.unique),
}
FAULTS_OF_THE_TABLE = {  # rule: what it asks, and under which declarations
    "row count": ("The table has min_rows to max_rows rows.", lambda data: True),
    "no other columns": (
        "No column is there that is not declared.",
        lambda data: not data.checks.other_columns,
    ),
    "column order": (
        "The columns come in the declared order.",
        lambda data: data.checks.column_order,
    ),
    "target varies": ("The target has more than one value.", lambda data: True),
    "class share": (
        "Each class has min_class_share of the rows.",
        lambda data: data.checks.min_class_share is not None,
    ),
    REPEATS: (
        "No more rows than duplicates.max_share were dropped as repeats.",
        lambda data: repeats.declared(data) is not None,
    ),
}
ABOUT_THE_TARGET = ("target varies", "class share")


class Check(NamedTuple):
    """One check and how it ended; `column` is None for a check of the whole table.

    `says` is why it failed or was skipped; `warnings` are what stops nothing.
    """

    rule: str
    column: str | None
    asks: str
    outcome: str = "passed"
    says: str = ""
    kind: str = "deterministic"
    warnings: tuple[str, ...] = ()

    @property
    def test(self) -> str:
        """Return what pytest calls it, in ASCII on every console."""
        name = f"test_{self.rule.replace(' ', '_')}"
        if self.column is None:
            return name
        return f"{name}[{self.column.encode('unicode_escape').decode('ascii')}]"

    def ended(self, failures: Iterable[str], skipped: str = "") -> "Check":
        """Return the check as it ended; one that is skipped has not looked for failures."""
        if skipped:
            return self._replace(outcome="skipped", says=skipped)
        says = "; ".join(failures).strip()
        return self._replace(outcome="failed", says=says) if says else self


def all_checks(inputs: Inputs, results: Results, data: Data) -> list[Check]:
    """Return each check that `data` asks for, in the order of the report."""
    checks = [*_faults(inputs, results, data)]
    if data.leakage != "off":
        checks += _leaks(results, data)
    return checks + [*_drift(inputs, results, data)]


def _faults(inputs: Inputs, results: Results, data: Data) -> Iterator[Check]:
    def missing(name: str) -> str:
        return "" if name in inputs.sample.columns else f"the sample has no column {name!r}"

    for rule, (asks, applies) in FAULTS_OF_COLUMNS.items():
        for name, column in data.columns.items():
            if applies(column):
                wrong = [f.message for f in results.faults if (f.rule, f.column) == (rule, name)]
                skipped = "" if rule == "column is there" else missing(name)
                yield Check(rule, name, asks).ended(wrong, skipped)
    for rule, (asks, applies) in FAULTS_OF_THE_TABLE.items():
        if applies(data):
            wrong = [fault.message for fault in results.faults if fault.rule == rule]
            skipped = missing(data.target) if rule in ABOUT_THE_TARGET else ""
            yield Check(rule, None, asks).ended(wrong, skipped)


def _leaks(results: Results, data: Data) -> Iterator[Check]:
    alone = [n for n, column in data.columns.items() if column.role not in ("target", "ignore")]
    checks = [Check("no leak", name, "It does not give the target away.") for name in alone]
    asks = "Neither rows nor several columns together give the target away."
    for check in [*checks, Check("no leak of the table", None, asks)]:
        leaks = [
            leak
            for leak in results.leaks
            if (leak.column if leak.column in alone else None) == check.column
        ]
        check = check._replace(kind="leakage").ended(leak.message for leak in leaks if leak.fatal)
        if check.outcome == "passed":
            check = check._replace(warnings=tuple(leak.message for leak in leaks))
        yield check


def _drift(inputs: Inputs, results: Results, data: Data) -> Iterator[Check]:
    compared = {name: c for name, c in data.columns.items() if c.role != "ignore"}
    with_nulls = [name for name, c in compared.items() if c.nullable or c.role == "text"]
    checks = [
        Check("no drift", name, "It is distributed as in the reference.") for name in compared
    ]
    asks = "As many of its values are null as in the reference."
    for check in [*checks, *(Check("no null rate drift", name, asks) for name in with_nulls)]:
        tests = [
            comparison
            for comparison in results.comparisons
            if comparison.column == check.column
            and (comparison.kind == "null rate") == (check.rule == "no null rate drift")
        ]
        drifted = [test.sentence for test in tests if test.drifted]
        untested = [test.sentence for test in tests if not test.tested]
        skipped = inputs.no_reference or (untested[0] if untested and not drifted else "")
        check = check._replace(kind="drift")
        if data.drift == "warn" and drifted:
            yield check._replace(warnings=tuple(drifted))
            continue
        yield check.ended(drifted, skipped)
