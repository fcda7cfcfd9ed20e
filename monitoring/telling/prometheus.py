"""The last windows as Prometheus text, for a textfile collector."""

from collections.abc import Iterable
from pathlib import Path

from monitoring.records import private_files
from monitoring.records.history import History, Judged, Series

FILE = "monitoring.prom"
STATES = {"not judged": -1, "quiet": 0, "watch": 1, "alarm": 2}
METRICS = {
    "monitoring_state": "State of the last window: -1 not judged, 0 quiet, 1 watch, 2 alarm",
    "monitoring_window_end_seconds": "End of the last window that was judged, as a Unix time",
    "monitoring_rows": "Rows of the last window",
    "monitoring_labelled_rows": "Rows of the last window that have a label",
    "monitoring_test_state": "State of a test in the last window, as monitoring_state",
    "monitoring_test_statistic": "What a test measured in the last window",
}
ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": "", "\0": ""})


def write(history: History, folder: Path) -> None:
    """Write the last window of each series; the file is there whole or not at all."""
    private_files.write(folder / FILE, as_text(history).encode("utf-8", "backslashreplace"))


def as_text(history: History) -> str:
    """Return the metrics in the text format."""
    found: dict[str, list[str]] = {name: [] for name in METRICS}
    for series in sorted(history, key=lambda each: (each.project, each.model, each.kind)):
        for name, labels, value in _of(series, history[series][-1]):
            inside = ",".join(f'{key}="{text.translate(ESCAPED)}"' for key, text in labels.items())
            found[name].append(f"{name}{{{inside}}} {value!r}")
    lines = []
    for name, words in METRICS.items():
        lines += [f"# HELP {name} {words}", f"# TYPE {name} gauge", *found[name]]
    return "\n".join(lines) + "\n"


def _of(series: Series, judged: Judged) -> Iterable[tuple[str, dict[str, str], float]]:
    which = {"project": series.project, "model": series.model, "window": series.kind}
    about = which | {"version": judged.version}
    yield "monitoring_state", about, STATES[judged.state]
    yield "monitoring_window_end_seconds", which, judged.window.end.timestamp()
    yield "monitoring_rows", which, judged.window.n
    yield "monitoring_labelled_rows", which, judged.labelled
    for test in judged.tests:
        labels = which | {"family": test.family, "test": test.test, "column": test.column or ""}
        yield "monitoring_test_state", labels, STATES[judged.test_states[test.key]]
        if test.statistic is not None:
            yield "monitoring_test_statistic", labels, float(test.statistic)
