"""A million rows into a database by store_data's code, and by pandas' to_sql: memory, CPU time.

    python benchmarks/databases.py                # a million rows of 17 columns
    python benchmarks/databases.py --rows 100000

Each way runs in a process of its own, from the same parquet file into an empty database; then
store_data's once more, with a tenth of the rows changed, as an upsert. store_data's has the
packages of its own environment, pandas' those it needs; uv installs both. PostgreSQL is left out
where it is not installed; what its server takes is counted for neither.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd

from tests.sql_support import Server, program
from util_lib.project import ROOT

PACKAGES = [f"{name}=={version(name)}" for name in ("pandas", "sqlalchemy", "pyarrow")]
PACKAGES += ["psycopg[binary]==3.3.9"]
LOCK = ROOT / "store_data" / "requirements.lock"

OURS = """
import sys
from pathlib import Path
from util_lib.sql import loading
key = tuple(sys.argv[4:])
loading.load(Path(sys.argv[1]), loading.Load(sys.argv[2], "songs", sys.argv[3], key))
"""
PANDAS = """
import sqlite3, sys
import pandas as pd, sqlalchemy
engine = {"engine": sqlalchemy.create_engine, "sqlite3": sqlite3.connect}[sys.argv[3]]
pd.read_parquet(sys.argv[1]).to_sql("songs", engine(sys.argv[2]), index=False)
"""
# The most memory that a process had; what `getrusage` says would be its parent's.
MEASURED = """
with open("/proc/self/status") as about:
    print(next(line.split()[1] for line in about if line.startswith("VmHWM")))
"""


def made(n_rows: int) -> pd.DataFrame:
    """Return rows like songs: an id, ten numbers, three whole numbers, three texts."""
    draw = np.random.default_rng(1)
    columns = {f"number_{n}": draw.normal(size=n_rows) for n in range(10)}
    columns |= {f"whole_{n}": draw.integers(0, 12, n_rows) for n in range(3)}
    words = np.array(["Emo", "Pop", "a song with a longer name", "techno"], dtype=object)
    columns |= {f"text_{n}": draw.choice(words, n_rows) for n in range(3)}
    return pd.DataFrame({"id": np.arange(n_rows), **columns})


def environment(folder: Path, *packages: str | Path) -> Path:
    """Make an environment, and return its Python."""
    python = folder / "bin" / "python"
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, folder], check=True)
    installed = ["uv", "pip", "install", "--quiet", "--python", python, *packages]
    subprocess.run(installed, check=True)
    return python


def run(what: str, python: Path, code: str, *words: str) -> float:
    """Run `code`, print what it took, and return its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [python, "-c", code + MEASURED, *words],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(getattr(after, k) - getattr(before, k) for k in ("ru_utime", "ru_stime"))
    print(f"{what:28} {cpu:8.1f} CPU s {int(done.stdout) / 1024:8.0f} MB", flush=True)
    return cpu


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    n_rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as made_here, ExitStack() as at_the_end:
        folder = Path(made_here)
        whole, part = (str(folder / name) for name in ("whole.parquet", "part.parquet"))
        frame = made(n_rows)
        frame.to_parquet(whole, index=False)
        frame.iloc[::10].assign(number_0=0.0).to_parquet(part, index=False)
        del frame
        pandas = environment(folder / "pandas", *PACKAGES)
        step = environment(folder / "step", "-r", LOCK)
        run("to_sql, Python's sqlite3", pandas, PANDAS, whole, str(folder / "plain.db"), "sqlite3")
        addresses = [f"{kind}:///{folder / kind}.db" for kind in ("sqlite", "duckdb")]
        theirs = [f"sqlite:///{folder / 'pandas.db'}"]
        if program("initdb"):
            server = Server(Path(at_the_end.enter_context(tempfile.TemporaryDirectory())))
            server.start()
            at_the_end.callback(server.stop)
            addresses.append(server.new_database())
            theirs.append(server.new_database().replace(":", "+psycopg:", 1))
        cpu = {}
        for address in theirs:
            kind = address.partition(":")[0].partition("+")[0]
            cpu[kind] = run(f"to_sql, {kind}", pandas, PANDAS, whole, address, "engine")
        for address in addresses:
            kind = address.partition(":")[0]
            ours = run(f"store_data, {kind}", step, OURS, whole, address, "replace")
            than = kind if kind in cpu else "sqlite"
            print(f"{'':28} {ours / cpu[than]:8.2f} of to_sql's into {than}")
            run(f"upsert of a tenth, {kind}", step, OURS, part, address, "upsert", "id")


if __name__ == "__main__":
    main()
