"""What was checked and found, for programs (report.json) and for readers (report.html).

Nothing in it depends on when or where it was made: the same tables, declaration and thresholds give
the same bytes. Rows are counted from 0.
"""

import json
from pathlib import Path
from typing import Any

from check_data import page, plots
from check_data.checks import Check
from check_data.examine import Inputs, Results
from util_lib.dataset.declaration import Data
from util_lib.tables import column_values

COLUMNS = ("rule", "column", "asks", "outcome", "says")  # of a check


def build(
    inputs: Inputs, results: Results, checks: list[Check], data: Data, ks_alpha: float
) -> dict[str, Any]:
    """Return the report as JSON can hold it."""
    failed = sum(check.outcome == "failed" for check in checks)
    return column_values.plain(
        {
            "verdict": "failed" if failed else "passed",
            "n_checks": sum(check.outcome != "skipped" for check in checks),
            "n_failed": failed,
            "sample": _table(inputs.artifact, inputs.sample),
            "reference": _table(inputs.reference_artifact, inputs.reference),
            "drift_not_tested": inputs.no_reference or None,
            "settings": {
                "ks_alpha": ks_alpha,
                "min_effect": data.min_effect,
                "kl_threshold": data.kl_threshold,
                "leakage": data.leakage,
                "target": data.target,
                "task": data.task,
            },
            "findings": [finding._asdict() for finding in results.faults],
            "drift": [comparison._asdict() for comparison in results.comparisons],
            "leakage": [finding._asdict() for finding in results.leaks],
            "checks": [dict(zip(COLUMNS, check, strict=False)) for check in checks],
        }
    )


def write(
    folder: Path, report: dict[str, Any], inputs: Inputs, results: Results, data: Data
) -> None:
    """Write report.json and report.html into `folder`."""
    drawn = {
        number: plots.draw(comparison, inputs.sample, inputs.reference, data)
        for number, comparison in enumerate(results.comparisons)
        if comparison.drifted and inputs.reference is not None
    }
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    for name, content in (("report.json", text + "\n"), ("report.html", page.html(report, drawn))):
        # A lone surrogate, which JSON and parquet may hold, has no UTF-8.
        (folder / name).write_text(
            content, encoding="utf-8", errors="backslashreplace", newline="\n"
        )


def _table(artifact: Any, frame: Any) -> dict[str, Any] | None:
    """Return what a table was: its digest names its content, whatever version it is called."""
    if frame is None:
        return None
    name = artifact.source_name.rpartition(":")[0].rpartition("/")[2]
    return {
        "artifact": name,
        "digest": artifact.digest,
        "rows": len(frame),
        "columns": len(frame.columns),
    }
