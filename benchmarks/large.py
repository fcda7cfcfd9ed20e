"""What preprocess, check_data and segregate cost on a large table, in batches and in memory.

Makes a table of 17 columns (numbers, whole numbers, categories, texts, dates, with gaps, one row in
a thousand repeated) and lets the three steps work on it, each as a process of its own: above
`data.large_rows` (in batches), below (whole, by pandas), and with another version of the project,
which lies in a folder of its own. A second table of the same kind is the reference of check_data.
CPU is user + system time; memory is the peak of resident memory.

    python benchmarks/large.py [--rows 1000000] [--paths batches whole] [--other FOLDER]
        [--reference-rows 1000000]
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

ROOT = Path(__file__).resolve().parents[1]
PIECE_ROWS = 250_000
NAME = "preprocessed_data.parquet"
NUMBERS = [f"number_{place}" for place in range(8)]
COLUMNS: dict[str, dict[str, Any]] = {
    **{name: {"dtype": "float", "role": "numerical", "nullable": True} for name in NUMBERS},
    "count": {"dtype": "int", "role": "numerical", "min": 0},
    "age": {"dtype": "int", "role": "numerical", "nullable": True, "min": 0, "max": 120},
    "flag": {"dtype": "bool", "role": "categorical"},
    "city": {"dtype": "string", "role": "categorical"},
    "colour": {"dtype": "string", "role": "categorical", "nullable": True},
    "title": {"dtype": "string", "role": "text", "nullable": True},
    "when": {"dtype": "datetime", "role": "date"},
    "ratio": {"dtype": "float", "role": "numerical", "nullable": True},
    "class": {"dtype": "string", "role": "target"},
}
DATA = {
    "file_url": "raw.parquet",
    "target": "class",
    "columns": COLUMNS,
    "drop_duplicates": True,
    "derived": {"ratio": "number_0 / count"},
    "clean": {"keep_rows": {"number_1": {"min": -4.5, "nullable": True}}},
}


def make(path: Path, n_rows: int, seed: int) -> None:
    """Write a table of `n_rows`, a piece at a time."""
    rng = np.random.default_rng(seed)
    cities = np.array([f"city {place}" for place in range(300)])
    words = np.array(["blue", "night", "of", "the", "road", "la", "vida", "song", "remix", "live"])
    with tempfile.TemporaryDirectory():
        writer = None
        for start in range(0, n_rows, PIECE_ROWS):
            n = min(PIECE_ROWS, n_rows - start)
            piece: dict[str, Any] = {name: rng.normal(size=n) for name in NUMBERS}
            piece |= {"count": rng.integers(1, 10**6, n)}
            piece["age"] = pa.array(rng.integers(0, 99, n), mask=rng.random(n) < 0.05)
            piece |= {"flag": rng.random(n) < 0.3, "city": rng.choice(cities, n)}
            colours = rng.choice(["red", "green", "blue"], n)
            piece["colour"] = pa.array(colours, mask=rng.random(n) < 0.1)
            pairs = np.char.add(np.char.add(rng.choice(words, n), " "), rng.choice(words, n))
            piece["title"] = pa.array(pairs.tolist(), mask=rng.random(n) < 0.2)
            seconds = rng.integers(1_500_000_000, 1_700_000_000, n)
            piece["when"] = pa.array(seconds * 10**6, pa.timestamp("us"))
            piece["class"] = rng.choice(["a", "b", "c", "d"], n, p=[0.4, 0.3, 0.2, 0.1])
            table = pa.table(piece)
            places = np.arange(n)
            places[999::1000] = 0  # rows that repeat the first of their piece
            table = table.take(pa.array(places))
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
        if writer:
            writer.close()


def put(path: Path, root: Path, environment: dict[str, str]) -> None:
    """Log a file as an artifact of its own name."""
    code = (
        "import sys; from util_lib import tracking\n"
        "with tracking.init(job_type='put', config={}) as run:\n"
        "    artifact = tracking.Artifact(sys.argv[2], type='data')\n"
        "    artifact.add_file(sys.argv[1]); run.log_artifact(artifact).wait()"
    )
    command = [sys.executable, "-c", code, str(path), path.name]
    subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True)


def measured(
    script: Path, arguments: list[str], environment: dict[str, str]
) -> tuple[float, float]:
    """Run a step; return its CPU seconds and its peak of memory in MB."""
    command = [sys.executable, str(script), *arguments]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    says = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{script} failed: {says[-2000:]}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--paths", nargs="*", default=["batches", "whole"])
    parser.add_argument("--reference-rows", type=int, help="of check_data's; default: as many")
    parser.add_argument("--other", type=Path, help="folder with another version of the project")
    args = parser.parse_args()
    roots = dict.fromkeys(args.paths, ROOT) | ({"other": args.other} if args.other else {})
    totals = {}
    with tempfile.TemporaryDirectory() as tmp:
        raw, other = Path(tmp, "raw.parquet"), Path(tmp, "other.parquet")
        make(raw, args.rows, 1)
        make(other, args.reference_rows or args.rows, 2)
        print(f"{'':10}{'step':14}{'CPU s':>8}{'peak MB':>9}")
        for which, root in roots.items():
            environment = os.environ | {
                "TRACKING_STORE": str(Path(tmp, which)),
                "PYTHONPATH": str(root.resolve()),
                "WANDB_MODE": "",
                "TRACKING": "local",
            }
            large_rows = 1 if which == "batches" else 10**9
            config = Path(tmp, f"{which}.yaml")
            limits = {"large_rows": large_rows, "max_rows": 10**9}
            known = (root / "util_lib/tables/large.py").exists()  # older versions have no limits
            config.write_text(yaml.safe_dump(DATA | (limits if known else {})))
            declared = ["--dataset_config", str(config)]
            steps = {
                "reference": ("preprocess", ["--input_artifact", "other.parquet:latest"]),
                "preprocess": ("preprocess", ["--input_artifact", "raw.parquet:latest"]),
                "check_data": (
                    "check_data",
                    ["--sample_artifact", f"{NAME}:latest", "--ks_alpha", "0.05"]
                    + ["--reference_artifact", "reference.parquet:latest", *declared],
                ),
                "segregate": (
                    "segregate",
                    ["--input_artifact", f"{NAME}:latest", "--artifact_root", "data"]
                    + ["--test_size", "0.3", "--random_state", "42", "--stratify", "class"]
                    + (["--large_rows", str(large_rows)] if known else []),
                ),
            }
            put(other, root, environment)
            put(raw, root, environment)
            if which == [*roots][-1]:
                raw.unlink()  # a disk may not hold it once more
            sums = [0.0, 0.0]
            for name, (step, arguments) in steps.items():
                if step == "preprocess":
                    made = NAME if name == step else "reference.parquet"
                    arguments = [*arguments, "--artifact_name", made, *declared]
                cpu, memory = measured(root / step / "run.py", arguments, environment)
                if name == "reference":
                    continue
                sums = [sums[0] + cpu, max(sums[1], memory)]
                print(f"{which:10}{step:14}{cpu:8.1f}{memory:9.0f}", flush=True)
            print(f"{which:10}{'all':14}{sums[0]:8.1f}{sums[1]:9.0f}", flush=True)
            totals[which] = sums[0]
    for name in totals.keys() & {"whole", "other"} if "batches" in totals else ():
        print(f"CPU in batches / {name}: {totals['batches'] / totals[name]:.2f}")


if __name__ == "__main__":
    main()
