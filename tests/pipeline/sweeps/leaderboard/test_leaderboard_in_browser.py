"""A sweep's page in a real browser."""

from test_leaderboard import DEPTH, WORDS, local, put, scored

from pipeline.sweeps.leaderboard import page, ranking

__all__ = ["local"]


def test_the_page_is_for_everybody_and_error_bars_are_whole(local, tmp_path, for_everybody):
    for number in range(6):
        put(number, {DEPTH: number + 1, WORDS: 10 * (number % 3)}, **scored(0.8, std=0.2))
    put(6, {DEPTH: 9, WORDS: 10}, fails="no room")
    path = tmp_path / "page.html"
    path.write_text(page.html(ranking.read("night")))
    opened = for_everybody(path)
    boxes = [each.bounding_box() for each in opened.locator("figure path.bar").all()]
    frame = opened.locator("figure svg").first.bounding_box()
    assert len(boxes) == 12 and all(box["height"] > 100 for box in boxes)
    assert all(box["height"] < frame["height"] for box in boxes)
    labels = opened.locator("figure svg text").all_text_contents()
    assert {"1", "6"} <= {*labels} and "3.5" not in labels  # there are no half leaves
