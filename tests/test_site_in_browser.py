"""The site of the documents in a real browser: every page is for everybody, light and dark."""

import subprocess
import sys

import pytest

from tests.conftest import LAPTOP, PHONE
from tests.test_docs import ROOT

NOT_FROM_DISK = "404.html"  # it names its style by an address of a server


@pytest.mark.slow
def test_axe_finds_nothing_on_any_page_of_the_site_and_a_phone_shows_it_all(browser):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    subprocess.run([sys.executable, "docs/build.py", "site"], cwd=ROOT, check=True)
    paths = sorted((ROOT / ".site" / "pages").rglob("*.html"))
    assert len(paths) > 40
    for options in (
        {"viewport": PHONE, "color_scheme": "dark"},
        {"viewport": LAPTOP, "color_scheme": "light"},
    ):
        page = browser.new_context(offline=True, **options).new_page()
        for path in (path for path in paths if path.name != NOT_FROM_DISK):
            page.goto(path.as_uri())
            assert axe.Axe().run(page).response["violations"] == [], path
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= options["viewport"]["width"], path
