"""A sample holds rows of the file as they stand there, the same ones each time."""

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tools.compare import sample
from util_lib.errors import UserError

CSV = {"separator": ";", "skip_lines": 1, "footer_lines": 1, "comment": "#"}


def drawn(tmp_path, source, rows, csv=None, format="auto"):
    form = tmp_path / "form.yaml"
    form.write_text(yaml.safe_dump({"format": format, "csv": csv or {}}))
    given = {"source": source, "target": tmp_path / "sample", "rows": rows, "form": form}
    sample.main([f"--{name}={value}" for name, value in given.items()])
    return tmp_path / "sample"


def test_rows_of_a_parquet_file_keep_their_types_and_their_order(tmp_path):
    table = pa.table({"n": pa.array(range(1000), pa.int16()), "t": [str(n) for n in range(1000)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=300)
    found = pq.read_table(drawn(tmp_path, tmp_path / "a.parquet", 50))
    numbers = found["n"].to_pylist()
    assert found.schema == table.schema and found["t"].to_pylist() == [str(n) for n in numbers]
    assert len({*numbers}) == 50 and numbers == sorted(numbers)
    again = pq.read_table(drawn(tmp_path, tmp_path / "a.parquet", 50))
    assert again.equals(found)
    assert pq.read_table(drawn(tmp_path, tmp_path / "a.parquet", 5000)).equals(table)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
def test_rows_of_a_csv_file_are_written_as_they_stand_between_header_and_footer(tmp_path, pack):
    rows = [f'{n};"a {n}\r\nin ""two"" lines"\r\n' for n in range(200)]
    text = "made by hand\r\nn;text\r\n# no row\r\n" + "".join(rows) + "200 rows\r\n"
    (tmp_path / "a.csv").write_bytes(pack(text.encode()))
    found = drawn(tmp_path, tmp_path / "a.csv", 20, CSV).read_bytes().decode()
    above, below = "made by hand\r\nn;text\r\n", "200 rows\r\n"
    assert found.startswith(above) and found.endswith(below)
    kept = found.removeprefix(above).removesuffix(below)
    chosen = [row for row in rows if row in kept]
    assert len(chosen) == 20 and kept == "".join(chosen)


def test_another_format_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "a.json").write_text('[{"n": 1}]')
    with pytest.raises(UserError, match="rows are drawn of parquet and CSV files: leave sample"):
        drawn(tmp_path, tmp_path / "a.json", 5)
