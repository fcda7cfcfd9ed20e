"""The page in a real browser: without the internet, on a phone, by keyboard, for everybody."""

import shutil

import pytest
from log_support import MONDAY, WEEK, record, songs

from monitoring import page, run

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: see requirements-dev.txt"
)
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe is not installed: see requirements-dev.txt"
)
PHONE = {"width": 360, "height": 740}


@pytest.fixture
def written(watched):
    """The page of two usual weeks and one in which energy is higher, written."""
    for week in range(3):
        record(songs(400, week, shift=0.2 * (week > 1)), MONDAY + week * WEEK)
    run.main([])
    page.main(["--output", "page.html"])
    return watched.folder / "page.html"


@pytest.fixture
def browser():
    name = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)
    if name is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=shutil.which(name), args=["--no-sandbox"])
        yield opened
        opened.close()


def test_the_page_is_for_everybody_and_needs_nothing_else(written, browser):
    for options in ({"viewport": PHONE, "is_mobile": True}, {"color_scheme": "dark"}):
        opened = browser.new_context(offline=True, **options).new_page()
        asked = []
        opened.on("request", lambda request, asked=asked: asked.append(request.url))
        opened.goto(written.as_uri())
        assert asked == [written.as_uri()]
        assert "alarm" in opened.locator(".state").inner_text()
        assert opened.locator("svg").count() > 5
        opened.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert axe.Axe().run(opened).response["violations"] == []
        if "viewport" in options:
            assert opened.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_what_is_folded_away_or_too_wide_is_reached_by_keyboard(written, browser):
    opened = browser.new_context(viewport=PHONE).new_page()
    opened.goto(written.as_uri())
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
