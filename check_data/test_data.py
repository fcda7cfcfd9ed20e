"""The data checks: one test for each check and column, each failure one sentence."""

import pytest

from util_lib import checks


def applies_to(condition):
    """Let conftest make the test for the columns that meet `condition` only."""

    def mark(function):
        function.applies = condition
        return function

    return mark


def column_of(table, name, which):
    """Return one column, or skip: its absence is the finding of `test_column_is_there`."""
    if name not in table.columns:
        pytest.skip(f"the {which} has no column {name!r}")
    return table[name]


def fail_with(sentence):
    """Fail the test with the sentence of a check, if it has one."""
    if sentence:
        pytest.fail(sentence, pytrace=False)


@pytest.mark.deterministic
def test_column_is_there(sample, name):
    """Every declared column is in the table."""
    fail_with(checks.presence(sample, name))


@pytest.mark.deterministic
def test_type(sample, declared, name):
    """Its values are of the declared type."""
    column_of(sample, name, "sample")
    fail_with(checks.dtype(sample, name, declared.columns[name]))


@pytest.mark.deterministic
@applies_to(lambda column: not column.nullable)
def test_no_nulls(sample, declared, name):
    """Only nullable columns have nulls."""
    column_of(sample, name, "sample")
    fail_with(checks.nulls(sample, name, declared.columns[name]))


@pytest.mark.deterministic
@applies_to(lambda column: column.min is not None or column.max is not None)
def test_range(sample, declared, name):
    """Its values lie between min and max."""
    column_of(sample, name, "sample")
    fail_with(checks.value_range(sample, name, declared.columns[name]))


@pytest.mark.deterministic
@applies_to(lambda column: column.allowed is not None)
def test_allowed_values(sample, declared, name):
    """Its values are among those listed."""
    column_of(sample, name, "sample")
    fail_with(checks.allowed(sample, name, declared.columns[name]))


@pytest.mark.deterministic
@applies_to(lambda column: column.unique)
def test_unique(sample, name):
    """No value occurs twice."""
    column_of(sample, name, "sample")
    fail_with(checks.unique(sample, name))


@pytest.mark.drift
@applies_to(lambda column: column.role == "numerical")
def test_no_drift(sample, reference, declared, level, name):
    """It is distributed as in the reference."""
    ours = column_of(sample, name, "sample")
    theirs = column_of(reference, name, "reference")
    for values, which in ((ours, "sample"), (theirs, "reference")):
        if values.dtype.kind not in "iufb":
            pytest.skip(f"column {name!r} of the {which} holds other things than numbers")
    fail_with(checks.drift(ours, theirs, level, declared.columns[name].nullable))
