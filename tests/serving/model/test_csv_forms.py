"""A file that should be as a model's own was: what it lacks of that is seen, and no row lost."""

import pandas as pd
import pytest

from serving.model import csv_forms
from util_lib.dataset.columns import Column
from util_lib.dataset.declaration import Csv
from util_lib.tables import reading

NUMBER = Column(dtype="int", role="numerical")
WORD = Column(dtype="string", role="categorical", nullable=True)
FOOTED = {"footer_lines": 1}


@pytest.mark.parametrize(
    ("own", "content", "rows", "said"),
    [
        (FOOTED, "n,w\n1,a\n2,b\n* preliminary\n", [[1, "a"], [2, "b"]], ""),
        (FOOTED, "n,w\n1,a\n2,b\n", [[1, "a"], [2, "b"]], "has no lines below the table"),
        (FOOTED, "n,w\n1,a\nTotal,\n", [[1, "a"]], ""),
        (FOOTED, "n,w\n1,a\n,2\n", [[1, "a"]], ""),
        ({"trailing_separator": True}, "n,w\n1,a,\n2,b,\n", [[1, "a"], [2, "b"]], ""),
        ({"trailing_separator": True}, "n,w\n1,a\n", [[1, "a"]], "rows that end without"),
        (FOOTED | {"trailing_separator": True}, "n,w\n1,a,\n2,b,\n", [[1, "a"], [2, "b"]], "below"),
        ({"quote": "'"}, "n,w\n1,'a,b'\n", [[1, "a,b"]], ""),
        ({"quote": "'"}, 'n,w\n1,"a,b"\n', [[1, "a,b"]], 'has " around fields'),
        ({"escape": "\\"}, 'n,w\n1,"a \\"b\\", c"\n2,"a ""b"", c"\n', None, ""),
        ({"skip_lines": 1}, "made today\nn,w\n1,a\n", [[1, "a"]], ""),
        ({"skip_lines": 1}, "n,w\n1,a\n", [[1, "a"]], "begins with its header"),
        ({"separator": ";", "decimal": ","}, "n,w\n1,a\n", [[1, "a"]], "separated by commas"),
        ({"encoding": "latin-1"}, "n,w\n1,São\n", [[1, "São"]], ""),
        ({"encoding": "utf-16"}, "n,w\n1,São\n", [[1, "São"]], ""),
    ],
)
@pytest.mark.parametrize("as_bytes", [False, True])
def test_no_row_is_lost_and_what_differs_is_said(tmp_path, own, content, rows, said, as_bytes):
    path, columns = tmp_path / "rows.csv", {"n": NUMBER, "w": WORD}
    path.write_text(content, encoding="utf-8")
    found = csv_forms.of(path.read_bytes() if as_bytes else path, Csv(**own), columns)
    read = reading.read(path, found.columns, found.csv)
    expected = rows or [[1, 'a "b", c'], [2, 'a "b", c']]
    assert read.to_numpy().tolist() == expected
    assert said in found.differs and bool(found.differs) == bool(said)


def test_a_file_in_the_models_own_encoding_is_read_in_it(tmp_path):
    path = tmp_path / "rows.csv"
    for encoding in ("latin-1", "utf-16"):
        path.write_bytes("n,w\n1,São\n".encode(encoding))
        found = csv_forms.of(path, Csv(encoding=encoding), {"w": WORD})
        assert reading.read(path, found.columns, found.csv)["w"].tolist() == ["São"]


def test_a_note_below_a_single_column_of_words_is_no_row(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("n\n1\n2\n")
    assert csv_forms.of(path, Csv(**FOOTED), {"n": NUMBER}).csv.footer_lines == 0
    path.write_text("w\na\nas of last year\n")
    form = csv_forms.of(path, Csv(**FOOTED), {"w": WORD})
    pd.testing.assert_frame_equal(reading.read(path, csv=form.csv), pd.DataFrame({"w": ["a"]}))
