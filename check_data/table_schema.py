"""A declaration as a pandera schema, and what a table has against it, as findings.

`build` gives the schema, for whoever wants pandera itself. `faults` validates lazily, in one pass,
and turns each failure into one sentence with the number of rows and the first of them. Rows are
counted from 0.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from util_lib import partitions
from util_lib.checks import rules as checks
from util_lib.checks import sentences
from util_lib.checks.findings import Finding
from util_lib.dataset.columns import Column
from util_lib.dataset.declaration import Data
from util_lib.processes import tasks
from util_lib.processes.tasks import Each

if TYPE_CHECKING:
    import pandera.pandas as pa
    from pandera.errors import SchemaError


def build(data: Data) -> "pa.DataFrameSchema":
    """Return the pandera schema of a table after `preprocess`.

    The joined text feature may be there: `preprocess` adds it.
    """
    pa = _pandera()
    columns = {name: _column(pa, column) for name, column in data.columns.items()}
    return _of_table(pa, columns, data, _whole(pa, data))


def _of_table(pa: Any, columns: dict[str, Any], data: Data, checks: list[Any]) -> Any:
    if data.text_feature:
        columns[data.text_feature.name] = pa.Column(nullable=True, required=False)
    if data.test == partitions.NEWEST:
        columns[partitions.COLUMN] = pa.Column(required=False)
    asked = data.checks
    return pa.DataFrameSchema(
        columns, checks=checks, strict=not asked.other_columns, ordered=asked.column_order
    )


def _whole(pa: Any, data: Data) -> list[Any]:
    """Return the checks of the table as a whole."""
    rules = {
        "row count": checks.rows_are_enough,
        "target varies": checks.target_varies,
        "class share": checks.classes_are_large,
    }
    return [_check(pa, rule, judge, data=data) for rule, judge in rules.items()]


def faults(frame: Any, data: Data, each: Each = tasks.here) -> list[Finding]:
    """Return what is wrong with `frame`: the columns as declared, then the table as a whole.

    One column at a time is looked at, and no other needs to be in memory. Of a large table it is
    looked at in pieces first, by `each`: only where something is wrong, the whole column is needed.
    """
    pa = _pandera()
    found: dict[tuple[str, str | None], Finding] = {}

    def look(schema: Any, part: pd.DataFrame) -> None:
        for finding in _found(schema, part, data):
            found.setdefault((finding.rule, finding.column), finding)

    there = [name for name in data.columns if name in frame.columns]
    header = pd.DataFrame({name: [] for name in frame.columns}, dtype=object)
    look(_of_table(pa, {n: pa.Column(nullable=True) for n in data.columns}, data, []), header)
    in_memory = isinstance(frame, pd.DataFrame)
    right = [] if in_memory else each(partial(_is_right, frame, data), there)
    for name, is_right in zip_longest(there, right):
        if not is_right:
            schema = pa.DataFrameSchema({name: _column(pa, data.columns[name])})
            look(schema, _plain(frame[name]))
    rows = pd.DataFrame(index=pd.RangeIndex(len(frame)))
    target = _target(frame, data) if data.target in there else rows
    look(pa.DataFrameSchema(checks=_whole(pa, data)), target)
    order = [*data.columns, None]
    return sorted(found.values(), key=lambda finding: order.index(finding.column))


def _is_right(table: Any, data: Data, name: str) -> bool:
    """Say whether nothing is wrong with any piece of a column, and so not with all of it."""
    column = data.columns[name]
    if column.unique:  # which no piece can tell
        return False
    rules = _rules(column).values()
    return all(
        (column.nullable or not values.isna().any())
        and all(np.all(judge(values, column)) for judge in rules)
        for values in table.pieces(name)
    )


def _target(table: Any, data: Data) -> pd.DataFrame:
    """Return the target; of a large table in a byte or two for each row.

    Of numbers to predict only two are told apart, which is all that the rules ask.
    """
    if isinstance(table, pd.DataFrame):
        return _plain(table[data.target])
    try:
        return _narrow_target(table, data)
    except (TypeError, ValueError):  # lists and records: another type than any target has
        return _plain(table[data.target])


def _narrow_target(table: Any, data: Data) -> pd.DataFrame:
    known: dict[Any, int] = {}
    codes = []
    for values in table.pieces(data.target):
        if data.task == "regression":
            present = values.dropna()
            known = known or {value: 0 for value in present.iloc[:1]}
            others = present[present != next(iter(known), None)].iloc[:1]
            known |= {value: 1 for value in others if len(known) == 1}
            codes.append(np.where(values.isna(), -1, values != next(iter(known), None)))
        else:
            places, found = pd.factorize(values)
            own = np.array([*(known.setdefault(value, len(known)) for value in found), -1])
            codes.append(own[places])
        codes[-1] = codes[-1].astype(np.min_scalar_type(-len(known) - 1))
    narrow = pd.Categorical.from_codes(np.concatenate(codes), pd.Index([*known]))
    return pd.DataFrame({data.target: narrow})


def _found(schema: Any, frame: pd.DataFrame, data: Data) -> Iterator[Finding]:
    from pandera.errors import SchemaErrors

    try:
        # In place: pandera changes nothing here, and would copy the table otherwise.
        schema.validate(frame, lazy=True, inplace=True)
    except SchemaErrors as errors:
        for error in _without_echoes(errors.schema_errors):
            yield _finding(frame, data, error)


def _without_echoes(errors: "list[SchemaError]") -> "Iterator[SchemaError]":
    """Yield the failures that do more than repeat that values are of another type.

    A value of another type is out of every range and in no list: one fault, one sentence.
    """
    right = {e.column_name: e.check_output for e in errors if _rule(e) == "type"}
    for error in errors:
        repeats = _rule(error) in ("range", "exact", "allowed values", "unique")
        if repeats and error.column_name in right:
            others = right[error.column_name]
            if isinstance(others, bool) or not (~error.check_output & others).any():
                continue
        yield error


def _rule(error: "SchemaError") -> str | None:
    return None if isinstance(error.check, str) or error.check is None else error.check.name


def _finding(frame: pd.DataFrame, data: Data, error: "SchemaError") -> Finding:
    """Return one failure of the schema in our words."""
    from pandera.errors import SchemaErrorReason as Reason

    if error.reason_code == Reason.CHECK_ERROR:
        raise RuntimeError(f"check {error.check.name!r} could not run: {error}") from error
    if error.reason_code == Reason.COLUMN_NOT_IN_DATAFRAME:
        return sentences.missing(frame, str(error.failure_cases))
    if error.reason_code == Reason.COLUMN_NOT_ORDERED:
        return sentences.order(frame, data)
    if error.reason_code == Reason.COLUMN_NOT_IN_SCHEMA:
        return sentences.others(frame, data)
    if error.column_name is None:
        return sentences.of_table(frame, data, error.check.name)
    name = error.column_name
    if error.reason_code == Reason.SERIES_CONTAINS_NULLS:
        return sentences.nulls(frame[name], name)
    wrong = None if isinstance(error.check_output, bool) else ~error.check_output
    return sentences.of_column(frame[name], name, data.columns[name], error.check.name, wrong)


def _pandera() -> Any:
    """Import pandera as it is: PANDERA_* variables of the machine could switch all checks off."""
    for name in [name for name in os.environ if name.startswith("PANDERA_")]:
        del os.environ[name]
    import pandera.pandas

    return pandera.pandas


def _plain(values: pd.Series) -> pd.DataFrame:
    """Return a column with its rows counted from 0 and categories as the values they stand for."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    return values.reset_index(drop=True).to_frame()


def _rules(column: Column) -> dict[str, Callable]:
    rules: dict[str, Callable] = {"type": checks.right_type}
    if column.min is not None or column.max is not None:
        rules["range"] = checks.in_range
    if column.allowed is not None:
        rules["allowed values"] = checks.is_allowed
    if column.dtype == "int" and column.role in checks.USED:
        rules["exact"] = checks.is_exact
    if column.unique:
        rules["unique"] = checks.is_unique
    if column.max_null_rate is not None:
        rules["null rate"] = checks.null_rate_is_low
    return rules


def _column(pa: Any, column: Column) -> "pa.Column":
    rules = _rules(column)
    listed = [_check(pa, rule, judge, column=column) for rule, judge in rules.items()]
    return pa.Column(nullable=column.nullable, checks=listed)


def _check(pa: Any, rule: str, judge: Callable, **declared: Any) -> "pa.Check":
    # pandera would list every wrong value; what a sentence shows is taken from the mask instead.
    # A partial has no name: by its name pandera would take `in_range` for its own.
    return pa.Check(partial(judge, **declared), name=rule, ignore_na=False, n_failure_cases=1)
