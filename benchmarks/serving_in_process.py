"""How fast a model answers without a network: one row, and a file, beside the bare pipeline.

    one row       `ServedModel.predict`, and `pipeline.predict_proba` (scikit-learn's own way)
    a file        `predict` (read, check every row, predict, write), and reading the same chunks and
                  `predict_proba` alone, without checks and without writing anything

Both sides take turns in one process, so that what else the machine does falls on both; figures are
medians over the turns; CPU is what all threads used. The answers are compared first, to the bit.

    python benchmarks/serving_in_process.py [--model model_export:latest]
        [--rows data_test.parquet:latest] [--times 16] [--rounds 5]

Run it where the model's store is. `--times` repeats the rows to make a larger file.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # instead of this folder

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from serving import predict
from serving.model import served_model

SINGLE = 200  # rows asked one by one in each turn
CHUNK_ROWS = 20_000


def main() -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="model_export:latest", help="an artifact")
    parser.add_argument("--rows", default="data_test.parquet:latest", help="an artifact")
    parser.add_argument("--times", type=int, default=16, help="how often the rows are repeated")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    args = parser.parse_args()
    served = served_model.load(args.model)
    with tempfile.TemporaryDirectory() as tmp:
        table = pd.read_parquet(served_model.find(args.rows).file(tmp))
        frame = table[list(served.columns)]
        ask = served.pipeline.predict if served.classes is None else served.pipeline.predict_proba
        found = served.predict(frame)[0 if served.classes is None else 1]
        if not np.array_equal(found, ask(frame)):
            sys.exit("the answers differ")
        print(f"{served.version}, direct path: {served.direct is not None}; answers are equal")
        one_row(served.predict, ask, frame, args.rounds)
        source = Path(tmp, "many.parquet")
        pd.concat([table] * args.times, ignore_index=True).to_parquet(source, index=False)
        a_file(served, ask, source, args.rounds)


def one_row(ours: Callable, bare: Callable, frame: pd.DataFrame, rounds: int) -> None:
    """Ask for one row at a time."""
    rows = [frame.iloc[[place]] for place in range(min(SINGLE, len(frame)))]
    times: dict[str, list[float]] = {"ServedModel.predict": [], "pipeline": []}
    for _ in range(rounds):
        for name, ask in zip(times, (ours, bare), strict=True):
            times[name] += [seconds(lambda row=row, ask=ask: ask(row)) for row in rows]
    print(f"\n{'one row':30} {'p50 ms':>9} {'p99 ms':>9}")
    for name, taken in times.items():
        p50, p99 = np.percentile(taken, [50, 99]) * 1000
        print(f"{name:30} {p50:9.2f} {p99:9.2f}")


def a_file(served: served_model.ServedModel, bare: Callable, source: Path, rounds: int) -> None:
    """Predict a file."""
    n_rows = pq.ParquetFile(source).metadata.num_rows
    output = source.with_name("predictions.parquet")
    columns = list(served.columns)

    def by_hand() -> None:
        for batch in pq.ParquetFile(source).iter_batches(CHUNK_ROWS, columns=columns):
            bare(batch.to_pandas())

    sides = {
        "predict": lambda: predict.predict_file(served, source, output, [], CHUNK_ROWS),
        "read and predict_proba": by_hand,
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    used: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            before = time.process_time()
            times[name].append(seconds(side))
            used[name].append(time.process_time() - before)
    print(f"\n{f'{n_rows:,} rows':30} {'seconds':>9} {'rows/s':>9} {'CPU s':>9}")
    for name, taken in times.items():
        middle, cpu = statistics.median(taken), statistics.median(used[name])
        print(f"{name:30} {middle:9.2f} {n_rows / middle:9,.0f} {cpu:9.2f}")
    ours, theirs = (statistics.median(taken) for taken in times.values())
    print(f"{'rows/s beside the bare pipeline':30} {theirs / ours:8.2f}x")


def seconds(call: Callable) -> float:
    """Return how long a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
