"""Two versions side by side, as a page."""

import json

import pytest
from step_support import make_songs

from tools.compare import diff
from util_lib.tables import reading


@pytest.fixture
def page(tmp_path):
    """Write the page of two tables, or of two texts of JSON; return its path."""

    def write(before, now):
        facts = {}
        for side, content in (("before", before), ("now", now)):
            folder = tmp_path / side
            folder.mkdir()
            facts[side] = {"artifact": f"songs/{side}:v0", "rows": side, "same": "1"}
            if isinstance(content, str):
                (folder / "report.json").write_text(content)
            else:
                reading.write(content, folder / "songs.parquet")
        (tmp_path / "facts.json").write_text(json.dumps(facts))
        diff.main(["--folder", str(tmp_path), "--output", str(tmp_path / "page.html")])
        return tmp_path / "page.html"

    return write


def test_of_two_tables_each_column_is_told_and_what_moved_is_drawn(page, for_everybody):
    songs = make_songs()
    moved = songs.assign(tempo=songs["tempo"] + 20).drop(columns="key").assign(new="<b>")
    opened = for_everybody(page(songs, moved))
    columns = opened.locator("table", has_text="missing before")
    told = columns.locator("tr", has_text="tempo").inner_text().split()
    assert told[-1] == "300" and told[-3] == "300"  # all of them changed
    assert "int64" in columns.locator("tr", has_text="key").inner_text()
    assert opened.locator("figcaption").all_inner_texts() == ["tempo"]
    known = opened.locator("table", has_text="songs/before:v0").inner_text()
    assert "songs/now:v0" in known and "same" not in known


def test_of_two_reports_the_values_that_differ_are_told(page):
    text = page(
        '{"n": 1, "score": 0.123456, "near": 0.12345, "checks": [{"says": "a"}]}',
        '{"n": 1, "score": 0.654321, "near": 0.12346, "checks": [{"says": "b"}]}',
    ).read_text()
    assert "<td>0.1235</td><td>0.6543</td>" in text and "<td>0.12345</td><td>0.12346</td>" in text
    assert "checks.0.says" in text and "<td>a</td><td>b</td>" in text
    assert '<th scope="row">n</th>' not in text and "<td>n</td>" not in text
