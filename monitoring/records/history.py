"""What was found in each closed window, one line for each test: `windows.parquet`.

Written whole, after all else is done: a window that stands in it was told. Nothing in it depends on
when it was judged, so that the same log gives the same bytes.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from monitoring.judging.records import Judgement, State, Window
from monitoring.judging.states import Key, states
from monitoring.records import private_files
from util_lib import monitoring_log
from util_lib.errors import UserError

UTC = pa.timestamp("us", "UTC")
KEY = [("project", pa.string()), ("model", pa.string()), ("kind", pa.string())]
WINDOW = [
    *(("window", pa.string()), ("start", UTC), ("end", UTC), ("promoted", pa.bool_())),
    *(("version", pa.string()), ("rows", pa.int64()), ("rate", pa.float64())),
    *(("labelled", pa.int64()), ("labels", pa.string()), ("state", pa.string())),
]
TEST = [
    *(("family", pa.string()), ("test", pa.string()), ("column", pa.string())),
    *(("test_state", pa.string()), ("outcome", pa.string()), ("reason", pa.string())),
    *((name, pa.float64()) for name in ("statistic", "effect", "p_value", "alpha", "threshold")),
    *((name, pa.float64()) for name in ("low", "high", "error")),
    *(("n", pa.int64()), ("shapes", pa.string())),
]
SCHEMA = pa.schema([*KEY, *WINDOW, *TEST])


@dataclass(frozen=True)
class Series:
    """Whose windows belong together."""

    project: str
    model: str
    kind: str


@dataclass(frozen=True)
class Judged:
    """One window as it was judged; `shapes` holds the two distributions of what moved.

    `rate` are its requests an hour, `labels` the newest file of labels that was looked at.
    """

    window: Window
    version: str
    tests: list[Judgement]
    rate: float
    labelled: int = 0
    labels: str = ""
    shapes: dict[Key, dict[str, Any]] = field(default_factory=dict)
    state: State = "not judged"
    test_states: dict[Key, State] = field(default_factory=dict)


History = dict[Series, list[Judged]]


def with_states(judged: list[Judged]) -> list[Judged]:
    """Return windows with their states, which follow from all that come before."""
    found = states((each.window, each.tests) for each in judged)
    return [
        replace(each, state=state.state, test_states=state.tests)
        for each, state in zip(judged, found, strict=True)
    ]


def load(folder: Path) -> History:
    """Return all windows that were judged, of every project, oldest first."""
    path = folder / monitoring_log.WINDOWS
    if not path.exists():
        return {}
    try:
        table = pq.read_table(path, schema=SCHEMA, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise UserError(
            f"{path} cannot be read ({reason}): remove it, and all windows whose rows are still "
            "there are judged again"
        ) from error
    found: History = {}
    rows = table.to_pylist()
    for row in rows:
        series = Series(row["project"], row["model"], row["kind"])
        windows = found.setdefault(series, [])
        if not windows or windows[-1].window.name != row["window"]:
            windows.append(_window(row))
        test = Judgement(**{key: row[key] for key in Judgement.__dataclass_fields__})
        windows[-1].tests.append(test)
        windows[-1].test_states[test.key] = row["test_state"]
        if row["shapes"]:
            windows[-1].shapes[test.key] = json.loads(row["shapes"])
    return found


def save(history: History, folder: Path) -> None:
    """Write all windows; the old file stays until the new one is whole."""
    lines = [
        line
        for series in sorted(history, key=lambda each: (each.project, each.model, each.kind))
        for judged in history[series]
        for line in _lines(series, judged)
    ]
    buffer = pa.BufferOutputStream()
    table = pa.Table.from_pylist(lines, SCHEMA)
    pq.write_table(table, buffer, compression="zstd")
    private_files.write(folder / monitoring_log.WINDOWS, buffer.getvalue().to_pybytes())


def _lines(series: Series, judged: Judged) -> Iterable[dict[str, Any]]:
    window = judged.window
    about = asdict(series) | {
        "window": window.name,
        "start": window.start.tz_localize("UTC"),
        "end": window.end.tz_localize("UTC"),
        "promoted": window.promoted,
        "version": judged.version,
        "rows": window.n,
        "rate": judged.rate,
        "labelled": judged.labelled,
        "labels": judged.labels,
        "state": judged.state,
    }
    for test in judged.tests:
        shapes = judged.shapes.get(test.key)
        yield (
            about
            | asdict(test)
            | {
                "test_state": judged.test_states.get(test.key, "not judged"),
                "shapes": json.dumps(shapes, sort_keys=True) if shapes else None,
            }
        )


def _window(row: dict[str, Any]) -> Judged:
    start, end = (pd.Timestamp(row[name]).tz_localize(None) for name in ("start", "end"))
    window = Window(row["window"], row["kind"], start, end, row["rows"], row["promoted"])
    return Judged(
        window, row["version"], [], row["rate"], row["labelled"], row["labels"], {}, row["state"]
    )
