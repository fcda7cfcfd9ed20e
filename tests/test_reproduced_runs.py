"""The six real steps, done again from their receipt: the same bytes, or the cell that differs."""

import json
import sqlite3
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.test_end_to_end import LOCAL, ROOT, run

pytestmark = pytest.mark.slow
REAL = "genres_mod.parquet"


@pytest.fixture(scope="module")
def checkouts(tmp_path_factory) -> tuple[Path, Path]:
    """Two clones of what is committed here."""
    folder = tmp_path_factory.mktemp("checkouts")
    found = (folder / "one", folder / "two")
    for clone in found:
        assert run(folder, "git", "clone", "--quiet", str(ROOT), str(clone)).returncode == 0
    return found


def recorded(checkout: Path, home: Path, *given: str, **more: str) -> Path:
    """Run the pipeline of a checkout; return its receipt, outside of any store."""
    home.mkdir()
    done = run(home, sys.executable, str(checkout / "main.py"), LOCAL, *given, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    store = home / "tracking_store"
    [(digest,)] = sqlite3.connect(store / "tracking.db").execute(
        "SELECT f.sha256 FROM version_files f JOIN versions v ON v.id = f.version_id"
        " JOIN collections c ON c.id = v.collection_id WHERE c.name = 'receipt'"
    )
    path = home / "receipt.json"
    path.write_bytes((store / "files" / digest[:2] / digest).read_bytes())
    return path


def reproduce(checkout: Path, home: Path, receipt: Path, *given: str):
    home.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pipeline.commands.reproduce", f"--receipt={receipt}", *given]
    return run(home, *command, PYTHONPATH=str(checkout))


def test_the_demo_is_reproduced_from_the_receipt_of_another_checkout(checkouts, tmp_path):
    one, two = checkouts
    receipt = recorded(one, tmp_path / "one")
    done = reproduce(two, tmp_path / "two", receipt)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "different" not in done.stdout
    model = json.loads(receipt.read_text())["steps"][4]["outputs"]["model_export"]["digest"]
    assert done.stdout.count(model[:12]) == 2


def test_the_real_songs_are_reproduced_and_a_changed_cell_is_named(checkouts, tmp_path, real_data):
    if not (real_data / REAL).is_file():
        pytest.skip(f"{real_data / REAL} is not there")
    one, two = checkouts
    home = tmp_path / "one"
    receipt = recorded(one, home, "dataset=music_genre", PIPELINE_DATA=str(real_data))
    done = reproduce(two, tmp_path / "two", receipt)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "different" not in done.stdout

    table = pq.read_table(real_data / REAL)
    at = table.schema.get_field_index("tempo")
    values = table.column("tempo").to_pylist()
    old, values[4321] = values[4321], 123.25
    column = pa.array(values, type=table.schema.field(at).type)
    pq.write_table(table.set_column(at, table.schema.field(at), column), tmp_path / REAL)
    done = reproduce(one, home, receipt, f"--file_url={tmp_path / REAL}")
    assert done.returncode == 1, done.stdout + done.stderr
    # The table breaks long lines; the line of `compare` is whole.
    [line] = [line for line in done.stdout.splitlines() if "compare: raw_data.parquet: " in line]
    assert line.endswith(f": row 4321, column 'tempo': {old!r} -> 123.25")
    assert "not reproduced" in done.stdout.splitlines()[-1]
