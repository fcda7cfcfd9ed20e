"""From PostgreSQL to PostgreSQL by the commands of a user; the password is in no byte written."""

import subprocess
import sys

import pandas as pd
import pytest
from sql_support import Database, postgres
from step_support import ROOT

from util_lib.sql import loading

__all__ = ["postgres"]

PASSWORD = "s3cretBeeble"


@pytest.mark.slow
def test_the_demo_from_postgresql_to_postgresql(postgres, tmp_path):
    database = Database(postgres.new_database())
    songs = pd.read_parquet(ROOT / "dataset" / "songs_demo.parquet").reset_index(names="row_id")
    songs.assign(changed=1).to_parquet(tmp_path / "songs.parquet", index=False)
    loading.load(tmp_path / "songs.parquet", loading.Load(database.address, "songs"))
    (tmp_path / "songs.parquet").unlink()
    name = database.address.partition("///")[2].partition("?")[0]
    whole = f"postgresql://tester:{PASSWORD}@/{name}?host={postgres.folder}"
    words = [
        f"data.file_url='{whole}'",
        "data.sha256=null data.sql.table=songs data.sql.order_by=row_id",
        "data.sql.version_query='SELECT max(changed), count(*) FROM songs'",
        "main.env_manager=local random_forest_pipeline.random_forest.n_estimators=5",
    ]

    def run(*more):
        options = " ".join([*words, *more])
        done = subprocess.run(
            [sys.executable, ROOT / "main.py", f"--hydra_options={options}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        return done.stdout

    assert "│ evaluate            │ done" in run()
    assert "│ get_data            │ cached" in run()
    run("pipeline=etl", f"store.database='{whole}'", "store.table=clean")
    address = database.address
    tables = ["--input_table", "clean", "--output_table", "answers", "--keep", "row_id"]
    model = ["--model", "songs_demo/model_export:latest"]
    predicted = subprocess.run(
        [sys.executable, ROOT / "serving/predict.py", "--input", address, "--output", address]
        + [*tables, *model],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert predicted.returncode == 0, predicted.stderr
    found = database.rows("SELECT count(*), count(DISTINCT row_id), count(prediction) FROM answers")
    assert found == [(len(songs),) * 3]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 20
    assert [path for path in written if PASSWORD.encode() in path.read_bytes()] == []
