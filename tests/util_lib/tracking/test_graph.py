"""What the command line says of versions: which there are, what each was made of, what followed."""

import pytest

from util_lib import tracking
from util_lib.tracking import __main__ as command

NAMES = ("get_data", "raw.csv:v0", "clean.csv:v0", "train", "model:v0")
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def chain(store, tmp_path):
    """A raw table, a clean one made of it, a model made of that, each by a run of its own."""
    made = None
    for step, name in (("get_data", "raw.csv"), ("clean", "clean.csv"), ("train", "model")):
        path = tmp_path / name
        path.write_text(step)
        with tracking.init(project="songs", job_type=step) as run:
            if made:
                run.use_artifact(f"{made}:latest")
            tracking.log_file(run, path, name, step, HOSTILE, {"rows": 4802})
        made = name


def said(capsys, *given: str) -> str:
    assert command.main([*given]) == 0
    return capsys.readouterr().out


def test_versions_are_listed_with_aliases_and_sizes(chain, capsys):
    lines = said(capsys, "list", "--project", "songs").splitlines()
    assert [line.split()[0] for line in lines] == [
        "songs/clean.csv:v0",
        "songs/model:v0",
        "songs/raw.csv:v0",
    ]
    assert all("bytes" in line and line.endswith("[latest]") for line in lines)


def test_a_version_says_who_made_it_of_what_and_who_used_it(chain, capsys):
    text = said(capsys, "show", "songs/clean.csv:latest")
    facts = {line[:13].strip(): line[13:] for line in text.splitlines()}
    assert facts["artifact"] == "songs/clean.csv:v0" and facts["of"] == "raw.csv:v0"
    assert "by clean " in facts["made"] and facts["used by"].startswith("train ")


def test_lineage_goes_back_to_the_first_data_and_on_to_the_last_model(chain, capsys):
    text = said(capsys, "lineage", "songs/clean.csv:v0")
    back, on = text.split("\nclean.csv:v0")
    assert back.index("made by clean") < back.index("raw.csv:v0") < back.index("made by get_data")
    assert on.index("used by train") < on.index("model:v0") and "4,802 rows" in on


def test_lineage_as_a_page_escapes_what_it_shows(chain, capsys, tmp_path, store):
    with tracking.init(project="songs", job_type=HOSTILE) as run:
        run.use_artifact("model:latest")
    page = tmp_path / "page.html"
    said(capsys, "lineage", "songs/model:v0", "--output", str(page))
    text = page.read_text()
    assert "<script" not in text and "&lt;script&gt;" in text
    assert all(name in text for name in ("raw.csv:v0", "clean.csv:v0", "model:v0", "get_data"))


def test_the_page_is_a_graph_whose_boxes_lead_to_facts(chain, capsys, tmp_path, for_everybody):
    said(capsys, "lineage", "songs/clean.csv:v0", "--output", str(tmp_path / "page.html"))
    page = for_everybody(tmp_path / "page.html")
    above = [page.locator("svg a", has_text=name).last.bounding_box()["y"] for name in NAMES]
    assert above == sorted(above)
    page.locator("svg a.artifact", has_text="model:v0").click()
    assert "4,802 rows" in page.locator(":target").inner_text()


def test_what_is_written_in_a_box_stays_in_it(chain, capsys, tmp_path, for_everybody):
    name = "sweep-20261130-172240-14697-winner"
    with tracking.init(project="songs", job_type="sweep", name=name) as run:
        run.use_artifact("model:latest")
    said(capsys, "lineage", "songs/clean.csv:v0", "--output", str(tmp_path / "page.html"))
    page = for_everybody(tmp_path / "page.html")
    for box in page.locator("svg a").all():
        inside = box.locator("rect").bounding_box()
        for words in box.locator("text").all():
            around = words.bounding_box()
            assert inside["x"] <= around["x"]
            assert around["x"] + around["width"] <= inside["x"] + inside["width"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["list", "--project", "none"], "there are no versions of project 'none' in"),
        (["show", "songs/nothing:v0"], "artifact 'nothing:v0' not found in project 'songs'"),
        (["lineage", "songs/model:v7"], "'model:v7' not found"),
    ],
)
def test_what_is_not_there_is_one_sentence(chain, capsys, given, sentence):
    assert command.main(given) == 1
    assert sentence in capsys.readouterr().err
