import json
import re
from html.parser import HTMLParser

import pytest
from check_data_support import songs

from check_data import accept_reference, examine
from util_lib.errors import UserError

EVIL = "<script>alert('x')</script> & \x00"


@pytest.fixture
def reported(steps, tmp_path):
    """The last report: what is in its JSON, and the page."""

    def read(version="latest"):
        folder = steps.artifact(f"check_data_report:{version}").download(str(tmp_path / "report"))
        files = {name: open(f"{folder}/report.{name}", "rb").read() for name in ("json", "html")}
        return json.loads(files["json"]), files["html"].decode()

    return read


class Page(HTMLParser):
    """Reads a page; an element that is not closed, or closed without being open, is an error."""

    VOID = {"meta", "br", "img", "rect", "polyline"}

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.text, self.sources = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_a_report_of_good_data_holds_every_check_and_comparison(check, reported, steps):
    check(songs())
    first, page = reported()
    assert first["drift"] == [] and first["reference"] is None
    assert first["drift_not_tested"] == examine.NOT_TESTED
    assert first["drift_not_tested"] in page
    check(songs(seed=2))
    report, page = reported()
    assert (report["verdict"], report["n_failed"], report["findings"]) == ("passed", 0, [])
    assert report["n_checks"] == steps.run("check_data").summary["n_checks"]
    compared = {(each["column"], each["kind"]): each for each in report["drift"]}
    assert compared["energy", "numerical"]["p"] > compared["energy", "numerical"]["level"]
    assert {("genre", "target"), ("key", "categorical")} <= set(compared)
    asked = {(each["rule"], each["column"]): each["outcome"] for each in report["checks"]}
    assert asked["range", "tempo"] == asked["no drift", "loudness"] == "passed"
    assert asked["row count", None] == "passed"
    assert {leak["column"] for leak in report["leakage"]} >= {"title"}
    assert report["sample"]["rows"] == 300 and re.fullmatch(
        "[0-9a-f]{32}", report["sample"]["digest"]
    )
    assert "all" in page and "svg" not in Page(page).seen


def test_a_report_of_bad_data_is_kept_and_shows_rows_and_pictures_of_what_drifted(check, reported):
    check(songs())
    table = songs(seed=2).assign(energy=lambda t: (t["energy"] + 0.2).clip(0, 1), key=3)
    table.loc[[5, 17, 203, 204], "tempo"] = [9999.0, float("inf"), 1.0, 2.0]
    table.loc[2:130, "loudness"] = None
    table.loc[7, "genre"] = EVIL
    with pytest.raises(UserError):
        check(table)
    report, page = reported()
    assert report["verdict"] == "failed"
    (tempo,) = [f for f in report["findings"] if (f["column"], f["rule"]) == ("tempo", "range")]
    assert (tempo["count"], tempo["examples"][0]) == (4, {"row": 5, "value": 9999.0})
    assert tempo["examples"][1] == {"row": 17, "value": "inf"}
    drifted = {(each["column"], each["kind"]) for each in report["drift"] if each["drifted"]}
    assert drifted >= {("energy", "numerical"), ("key", "categorical"), ("loudness", "null rate")}
    read = Page(page)
    assert read.seen.count("svg") == len(drifted) and "script" not in read.seen
    assert read.sources == []  # nothing is fetched
    assert any("5: 9999.0, 17: 'inf', 203: 1.0, 204: 2.0" in text for text in read.text)
    assert "Rows are counted from 0." in page
    assert EVIL not in page


def test_what_drifted_in_dates_text_and_a_number_to_predict_is_drawn(check, reported):
    columns = {
        "when": {"dtype": "datetime", "role": "date"},
        "title": {"dtype": "string", "role": "text", "nullable": True},
        "genre": {"dtype": "string", "role": "ignore"},
        "price": {"dtype": "float", "role": "target"},
    }
    keys = {"target": "price", "task": "regression", "stratify": None}
    table = songs().assign(when="2024-01-31T10:00:00", price=lambda t: t["tempo"])
    table.loc[::2, "when"] = "2023-06-30"
    check(table, keys=keys, **columns)
    later = table.assign(
        when="2025-01-31", price=table["price"] + 50, title=table["title"] + " and more"
    )
    with pytest.raises(UserError):
        check(later, keys=keys, **columns)
    report, page = reported()
    drifted = {(each["column"], each["kind"]) for each in report["drift"] if each["drifted"]}
    assert drifted >= {("when", "numerical"), ("price", "target"), ("title", "text length")}
    assert Page(page).seen.count("svg") == len(drifted)
    assert ">2023-06-30<" in page and "characters<" in page


def test_the_same_data_give_the_same_report_byte_for_byte(check, steps):
    bad = songs(seed=2).assign(energy=0.9)
    check(songs())
    for table in (bad, songs(seed=3), bad):  # reports of three runs, under other versions
        steps.put(table, "preprocessed_data.parquet")
        try:
            check()
        except UserError:
            pass
    # v0 had no reference; the last report is v1 again, and so no new version.
    assert steps.artifact("check_data_report:latest").version == "v1"


def test_a_table_of_one_row_can_be_reported(check, reported):
    check(songs())
    with pytest.raises(UserError, match="at least two classes"):
        check(songs(seed=2).head(1))
    Page(reported()[1])


def test_a_reference_that_was_accepted_is_the_one_reported(check, reported):
    check(songs())
    table = songs(seed=2).assign(energy=0.5)
    with pytest.raises(UserError):
        check(table)
    accept_reference.main(["--sample_artifact", "preprocessed_data.parquet:latest"])
    drifted_digest = reported()[0]["sample"]["digest"]
    with pytest.raises(UserError):
        check(songs(seed=3))
    assert reported()[0]["reference"]["digest"] == drifted_digest
