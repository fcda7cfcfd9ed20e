"""What check_data costs on a large table, against the same checks by plain pandas and pandera.

Two tables of made songs (dataset/make_songs_demo.py), sample and reference, are checked in
processes of their own, in turn, several times:

    plain         read both, a pandera schema of ready-made parts, scipy's tests in a loop
    our checks    read both, and what the step does with them; no leakage, which plain has none of
    the step      `python check_data/run.py`: the same, and the artifact store, pytest, the report
    with leakage  the step with data.leakage=warn

Figures are medians; CPU is user + system time, memory is the peak of resident memory (which counts
what the process has mapped). The last line has ratios to plain.

    python benchmarks/check_data.py [--rows 1000000] [--repeats 3]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # instead of this folder, where `check_data` would be this file

NAME = "preprocessed_data.parquet"
REFERENCE = f"{NAME}:reference"


def plain(sample: str, reference: str, config: str) -> None:
    """Check as one would by hand."""
    import pandas as pd
    import pandera.pandas as pa
    from scipy import stats

    declared = yaml.safe_load(Path(config).read_text())["data"]["columns"]
    frame, other = pd.read_parquet(sample), pd.read_parquet(reference)
    columns = {}
    for name, column in declared.items():
        checks = []
        if "min" in column:
            checks.append(pa.Check.in_range(column["min"], column["max"]))
        if "allowed" in column:
            checks.append(pa.Check.isin(column["allowed"]))
        dtype = {"float": float, "int": int, "string": "str"}[column["dtype"]]
        columns[name] = pa.Column(dtype, checks, nullable=column.get("nullable", False))
    pa.DataFrameSchema(columns).validate(frame, lazy=True)

    level = 1 - 0.95 ** (1 / len(declared))
    for name, column in declared.items():
        one, two = frame[name], other[name]
        if column.get("nullable"):
            counts = [[one.isna().sum(), one.notna().sum()], [two.isna().sum(), two.notna().sum()]]
            judge(name, stats.chi2_contingency(counts).pvalue, level)
        one, two = one.dropna(), two.dropna()
        if column["role"] == "numerical":
            judge(name, stats.ks_2samp(one, two).pvalue, level)
        elif column["role"] in ("categorical", "target", "text"):
            if column["role"] == "text":
                edges = pd.concat([one, two]).str.len().quantile([i / 10 for i in range(11)])
                edges = edges.unique()
                one = pd.cut(one.str.len(), edges, include_lowest=True)
                two = pd.cut(two.str.len(), edges, include_lowest=True)
            counts = pd.concat([one.value_counts(), two.value_counts()], axis=1).fillna(0)
            judge(name, stats.chi2_contingency(counts).pvalue, level)


def judge(name: str, p: float, level: float) -> None:
    """Say what drifted; made tables of two seeds do not, up to chance."""
    if p < level:
        print(f"{name} drifts: p = {p:.2g}")


def ours(sample: str, reference: str, config: str) -> None:
    """Check as the step does, without the store, pytest and the report."""
    from check_data.examine import examine
    from util_lib.dataset import declaration
    from util_lib.tables import reading

    data = declaration.load(config)
    results = examine(reading.read(sample), reading.read(reference), data, 0.05)
    for message in [f.message for f in results.faults] + [
        c.sentence for c in results.comparisons if c.drifted
    ]:
        print(message)


def measure(command: list[str], folder: Path) -> tuple[float, float]:
    """Run `command`; return its CPU seconds and its peak of resident memory in MB."""
    environment = {
        **os.environ,
        "TRACKING_STORE": str(folder / "store"),
        "TRACKING_PUBLISH": "parent",
        "WANDB_PROJECT": "benchmark",
    }
    with (folder / "out.txt").open("w+") as out:
        child = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=environment, stdout=out, stderr=out
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            out.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{out.read()}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def prepare(folder: Path, rows: int) -> tuple[list[str], str]:
    """Make both tables and log them; return their paths and the declaration without leakage."""
    from dataset import make_songs_demo
    from util_lib import tracking

    paths = []
    for number, name in enumerate(("reference", "sample")):
        path = folder / name / NAME
        path.parent.mkdir()
        make_songs_demo.write(make_songs_demo.make_table(rows, seed=number + 1), path)
        with tracking.init(job_type="benchmark") as run:
            logged = run.log_artifact(str(path), name=NAME, type="data")
            if name == "reference":
                logged.aliases.append("reference")
                logged.save()
        paths.append(str(path))
    declared = yaml.safe_load((ROOT / "conf/dataset/songs_demo.yaml").read_text())
    declared["data"]["leakage"] = "off"
    config = folder / "songs.yaml"
    config.write_text(yaml.safe_dump(declared, sort_keys=False))
    return paths[::-1], str(config)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs=4, help=argparse.SUPPRESS)  # one way, in this process
    args = parser.parse_args()
    if args.only:
        {"plain": plain, "ours": ours}[args.only[0]](*args.only[1:])
        return
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        os.environ.update(
            TRACKING_STORE=str(folder / "store"),
            TRACKING_PUBLISH="parent",
            WANDB_PROJECT="benchmark",
        )
        tables, config = prepare(folder, args.rows)
        this = str(Path(__file__).resolve())
        step = ["check_data/run.py", "--ks_alpha", "0.05", "--sample_artifact", f"{NAME}:latest"]
        step += ["--reference_artifact", REFERENCE, "--dataset_config"]
        ways = {
            "plain": [this, "--only", "plain", *tables, config],
            "our checks": [this, "--only", "ours", *tables, config],
            "the step": [*step, config],
            "with leakage": [*step, "conf/dataset/songs_demo.yaml"],
        }
        measured = {name: [] for name in ways}
        for _ in range(args.repeats):
            for name, command in ways.items():
                measured[name].append(measure(command, folder))
    medians = {
        name: [statistics.median(values) for values in zip(*runs, strict=True)]
        for name, runs in measured.items()
    }
    print(f"{args.rows:,} rows in each of two tables, {args.repeats} runs each, medians")
    for name, (cpu, memory) in medians.items():
        cpu_ratio, memory_ratio = cpu / medians["plain"][0], memory / medians["plain"][1]
        print(
            f"{name:14} {cpu:6.1f} s CPU  {memory:7,.0f} MB   "
            f"{cpu_ratio:5.2f} x CPU  {memory_ratio:5.2f} x memory"
        )


if __name__ == "__main__":
    main()
