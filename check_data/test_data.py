"""The data checks: one test for each check and column, each failure one sentence."""

import pytest


def applies_to(condition):
    """Let conftest make the test for the columns, or the declarations, that meet `condition`."""

    def mark(function):
        function.applies = condition
        return function

    return mark


def there(table, name):
    """Skip where the column is missing: that is the finding of `test_column_is_there`."""
    if name not in table.columns:
        pytest.skip(f"the sample has no column {name!r}")


def fail_with(findings):
    """Fail with the sentences of the findings, if there are any."""
    if findings:
        pytest.fail("; ".join(finding.message for finding in findings), pytrace=False)


def faults_of(results, rule, name=None):
    """Return the faults that pandera found by one rule, of one column or of all."""
    return [f for f in results.faults if f.rule == rule and name in (None, f.column)]


@pytest.mark.deterministic
def test_column_is_there(results, name):
    """Every declared column is in the table."""
    fail_with(faults_of(results, "column is there", name))


@pytest.mark.deterministic
def test_type(sample, results, name):
    """Its values are of the declared type."""
    there(sample, name)
    fail_with(faults_of(results, "type", name))


@pytest.mark.deterministic
@applies_to(lambda column: not column.nullable)
def test_no_nulls(sample, results, name):
    """Only nullable columns have nulls."""
    there(sample, name)
    fail_with(faults_of(results, "no nulls", name))


@pytest.mark.deterministic
@applies_to(lambda column: column.max_null_rate is not None)
def test_null_rate(sample, results, name):
    """No larger share of it is null than max_null_rate."""
    there(sample, name)
    fail_with(faults_of(results, "null rate", name))


@pytest.mark.deterministic
@applies_to(lambda column: column.min is not None or column.max is not None)
def test_range(sample, results, name):
    """Its values lie between min and max."""
    there(sample, name)
    fail_with(faults_of(results, "range", name))


@pytest.mark.deterministic
@applies_to(lambda column: column.allowed is not None)
def test_allowed_values(sample, results, name):
    """Its values are among those listed."""
    there(sample, name)
    fail_with(faults_of(results, "allowed values", name))


@pytest.mark.deterministic
@applies_to(lambda column: column.unique)
def test_unique(sample, results, name):
    """No value occurs twice."""
    there(sample, name)
    fail_with(faults_of(results, "unique", name))


@pytest.mark.deterministic
def test_row_count(results):
    """The table has min_rows to max_rows rows."""
    fail_with(faults_of(results, "row count"))


@pytest.mark.deterministic
@applies_to(lambda data: not data.checks.other_columns)
def test_no_other_columns(results):
    """No column is there that is not declared."""
    fail_with(faults_of(results, "no other columns"))


@pytest.mark.deterministic
@applies_to(lambda data: data.checks.column_order)
def test_column_order(results):
    """The columns come in the declared order."""
    fail_with(faults_of(results, "column order"))


@pytest.mark.deterministic
def test_target_varies(sample, declared, results):
    """The target has more than one value."""
    there(sample, declared.target)
    fail_with(faults_of(results, "target varies"))


@pytest.mark.deterministic
@applies_to(lambda data: data.checks.min_class_share is not None)
def test_class_share(sample, declared, results):
    """Each class has min_class_share of the rows."""
    there(sample, declared.target)
    fail_with(faults_of(results, "class share"))


@pytest.mark.leakage
@applies_to(lambda column: column.role not in ("target", "ignore"))
def test_no_leak(results, name):
    """It does not give the target away."""
    leaks = [leak for leak in results.leaks if leak.column == name]
    fail_with([leak for leak in leaks if leak.fatal])
    warn_of(leaks)


@pytest.mark.leakage
@applies_to(lambda data: data.leakage != "off")
def test_no_leak_of_the_table(results, declared):
    """Neither rows nor several columns together give the target away."""
    alone = [n for n, column in declared.columns.items() if column.role not in ("target", "ignore")]
    leaks = [leak for leak in results.leaks if leak.column not in alone]
    fail_with([leak for leak in leaks if leak.fatal])
    warn_of(leaks)


def warn_of(leaks):
    """Say in the log what stops nothing."""
    for leak in leaks:
        print(f"warning: {leak.message}")


@pytest.mark.drift
@applies_to(lambda column: column.role != "ignore")
def test_no_drift(compared, name):
    """It is distributed as in the reference."""
    judge(c for c in compared if c.column == name and c.kind != "null rate")


@pytest.mark.drift
@applies_to(lambda column: column.role != "ignore" and (column.nullable or column.role == "text"))
def test_no_null_rate_drift(compared, name):
    """As many of its values are null as in the reference."""
    judge(c for c in compared if c.column == name and c.kind == "null rate")


def judge(comparisons):
    """Fail with what drifted; skip where nothing could be compared."""
    comparisons = list(comparisons)
    if drifted := [comparison.sentence for comparison in comparisons if comparison.drifted]:
        pytest.fail("; ".join(drifted), pytrace=False)
    for comparison in comparisons:
        if not comparison.tested:
            pytest.skip(comparison.sentence)
