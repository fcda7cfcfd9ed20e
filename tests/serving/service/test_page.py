"""The page, in a real browser: filled in, sent, by keyboard, on a phone, without the internet."""

import pytest
from service_support import ROW, running

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")

PHONE, LAPTOP = {"width": 390, "height": 844}, {"width": 1366, "height": 768}


@pytest.fixture
def visit(browser):
    """Open an address; what the page asks for elsewhere, and what it complains of, is collected."""
    contexts = []

    def open_page(url, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.asked, page.complaints = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda m: m.type == "error" and page.complaints.append(m.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()


def test_the_form_is_filled_with_an_example_and_answers_with_classes_and_pushes(service, visit):
    page = visit(service.url)
    playwright.expect(page.get_by_label("tempo")).not_to_have_value("")
    assert page.get_by_label("tempo").get_attribute("min") == "50"
    assert page.get_by_label("tempo").get_attribute("max") == "250"
    assert "BPM" in page.locator(".field", has_text="tempo").inner_text()
    for name, value in ROW.items():
        page.get_by_label(name, exact=True).fill(str(value))
    page.get_by_role("button", name="Predict").click()
    playwright.expect(page.locator("#pushes")).to_contain_text("Shapley")
    expected = service.post("/predict", {"dataframe_records": [ROW]}).json()["predictions"][0]
    answer = f"{expected['label']}: {100 * expected['probability']:.1f} %"
    assert page.locator("#answer").inner_text() == answer
    shown = page.locator("#result").inner_text()
    for name in ("Emo", "Pop", "techno"):
        assert name in shown
    assert page.locator("#pushes .bars li").count() == len(ROW)
    assert page.asked and all(url.startswith(service.url) for url in page.asked)
    assert page.complaints == []


def test_a_value_that_breaks_a_rule_is_marked_at_its_field(service, visit):
    page = visit(service.url)
    page.get_by_label("tempo").fill("9999")
    page.get_by_role("button", name="Predict").click()
    tempo = page.get_by_label("tempo")
    playwright.expect(tempo).to_have_attribute("aria-invalid", "true")
    playwright.expect(tempo).to_be_focused()
    assert "[50, 250]" in page.locator("#problem").inner_text()
    tempo.fill("100")
    page.get_by_role("button", name="Predict").click()
    playwright.expect(tempo).to_have_attribute("aria-invalid", "false")


def test_everything_is_reached_by_keyboard(service, visit):
    page = visit(service.url)
    playwright.expect(page.get_by_label("tempo")).not_to_have_value("")
    page.keyboard.press("Tab")
    reached = []
    for _ in range(20):
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.href"))
        page.keyboard.press("Tab")
    for place in range(len(ROW)):
        assert f"field-{place}" in reached
    assert {"predict", "example", "clear", "file"} <= set(reached)
    page.get_by_label("energy").focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#pushes")).to_contain_text("Shapley")


@pytest.mark.parametrize("screen", [PHONE, LAPTOP])
def test_what_is_asked_and_answered_is_seen_without_scrolling(service, visit, screen):
    page = visit(service.url, viewport=screen, has_touch=True)
    page.get_by_role("button", name="Predict").tap()
    playwright.expect(page.locator("#answer")).to_contain_text("%", timeout=30_000)
    for part in ("#predict", "#answer"):
        box = page.locator(part).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= screen["height"]
    assert page.evaluate("scrollY") == 0


def test_every_page_is_for_everybody(service, visit):
    for path, options in (
        ("/", {"color_scheme": "dark"}),
        ("/", {"viewport": PHONE}),
        ("/card", {"viewport": PHONE}),
        ("/docs", {"color_scheme": "dark"}),
        ("/ab", {}),
    ):
        page = visit(service.url + path, **options)
        if path == "/":
            page.get_by_label("tempo").fill("9999")
            page.get_by_role("button", name="Predict").click()
            playwright.expect(page.locator("#problem")).to_contain_text("tempo")
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert axe.Axe().run(page).response["violations"] == [], path
        assert all(url.startswith(service.url) for url in page.asked)
        assert page.complaints == [] or path == "/"  # where the refusal is one
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_the_card_and_the_api_are_pages(service, visit):
    page = visit(service.url)
    page.get_by_role("link", name="the model's card").click()
    card = service.get("/model").json()
    text = page.locator("main").inner_text()
    assert card["digest"] in text and card["target"] in text
    assert "served since" in text
    assert "{" not in text and "[" not in text
    most = max(card["importance"], key=card["importance"].get)
    assert most in page.locator("figure", has_text="importance").text_content()
    page = visit(f"{service.url}/docs")
    for path in service.get("/openapi.json").json()["paths"]:
        assert page.get_by_role("heading", name=path).count() >= 1
    assert "curl" in page.locator("pre").first.inner_text()


def test_on_a_phone_nothing_runs_out_of_the_screen(service, visit):
    page = visit(service.url, viewport=PHONE, has_touch=True, is_mobile=True)
    page.get_by_role("button", name="Predict").tap()
    playwright.expect(page.locator("#pushes")).to_contain_text("Shapley")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    box = page.get_by_role("button", name="Predict").bounding_box()
    assert box["height"] >= 40


def test_a_csv_file_is_predicted_and_its_answers_can_be_saved(service, visit, tmp_path):
    page = visit(service.url)
    playwright.expect(page.locator("#title")).to_contain_text("model")
    path = tmp_path / "songs.csv"
    lines = [",".join(map(str, {**ROW, "tempo": tempo}.values())) for tempo in (80, 120, 160)]
    path.write_text("\n".join([",".join(ROW), *lines]))
    page.locator("#file").set_input_files(path)
    playwright.expect(page.locator("#file-result caption")).to_contain_text("3 rows of songs.csv")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the predictions").click()
    saved = (tmp_path / "saved.csv", download.value)
    saved[1].save_as(saved[0])
    answer = service.post("/invocations", data=path.read_bytes(), kind="text/csv").json()
    rows = saved[0].read_text().splitlines()
    assert rows[0] == "genre,probability"
    assert [row.split(",")[0] for row in rows[1:]] == answer["predictions"]
    path.write_text("energy,tempo\n1,2\n")
    page.locator("#file").set_input_files([])
    page.locator("#file").set_input_files(path)
    playwright.expect(page.locator("#file-result .wrong").first).to_contain_text("'key' is missing")


def test_a_service_with_a_token_asks_for_it_on_the_page(model_directory, visit):
    token = "a token of enough characters"
    with running(model_directory, token=token) as service:
        page = visit(service.url)
        playwright.expect(page.get_by_label("Token")).to_be_focused()
        assert axe.Axe().run(page).response["violations"] == []
        page.get_by_label("Token").fill(token)
        page.keyboard.press("Enter")
        playwright.expect(page.get_by_label("tempo")).not_to_have_value("")
        page.get_by_role("button", name="Predict").click()
        playwright.expect(page.locator("#pushes")).to_contain_text("Shapley")
        page.get_by_role("link", name="the model's card").click()  # a link carries no token
        playwright.expect(page.locator("h1")).to_contain_text("The card of")
