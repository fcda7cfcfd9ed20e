"""The page in a real browser: without the internet, on a phone, by keyboard, for everybody."""

import pytest
from log_support import MONDAY, WEEK, record, songs

from monitoring import page, run


@pytest.fixture
def written(watched):
    """Write the page of two usual weeks and of what comes after, which it is given."""

    def write(*later, **about):
        for week, shift in enumerate((0, 0, *later)):
            record(songs(400, week, shift=shift), MONDAY + week * WEEK, **about)
        run.main([])
        page.main(["--output", "page.html"])
        return watched.folder / "page.html"

    return write


@pytest.mark.parametrize(("later", "state"), [((0.2,), "alarm"), ((), "quiet")])
def test_the_page_is_for_everybody_and_needs_nothing_else(written, for_everybody, later, state):
    opened = for_everybody(written(*later))
    assert state in opened.locator(".state").inner_text()
    assert opened.locator("svg").count() > 5


def test_the_page_of_a_model_without_a_reference_is_for_everybody(written, for_everybody):
    opened = for_everybody(written(version="tests/model_export:v7"))
    assert "not judged" in opened.locator(".state").inner_text()


def test_what_is_folded_away_or_too_wide_is_reached_by_keyboard(written, browser):
    opened = browser.new_context(viewport={"width": 390, "height": 844}).new_page()
    opened.goto(written(0.2).as_uri())
    reached = []
    for _ in range(20):
        opened.keyboard.press("Tab")
        reached.append(opened.evaluate("document.activeElement.tagName"))
        if reached[-1] == "SUMMARY" and reached.count("SUMMARY") == 1:
            was = opened.evaluate("document.activeElement.parentElement.open")
            opened.keyboard.press("Enter")
            assert opened.evaluate("document.activeElement.parentElement.open") != was
    assert reached.count("DIV") >= 2  # tables that a phone shows in part
    assert reached.count("SUMMARY") >= 3
