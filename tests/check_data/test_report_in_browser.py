"""The report in a real browser: of good data and of bad, on a phone too."""

import pytest
from check_data_support import songs

from util_lib.errors import UserError


def test_the_report_is_for_everybody_whether_data_passed_or_not(
    check, steps, tmp_path, for_everybody
):
    check(songs())
    table = songs(seed=2).assign(energy=lambda t: (t["energy"] + 0.2).clip(0, 1))
    table.loc[[5, 17], "tempo"] = 9999.0
    with pytest.raises(UserError):
        check(table)
    for version, state in (("v0", "passed"), ("v1", "failed")):
        folder = tmp_path / version
        steps.artifact(f"check_data_report:{version}").download(str(folder))
        page = for_everybody(folder / "report.html")
        assert state in page.locator(".state").inner_text()
    wrong = page.locator("table", has_text="what is wrong").first.inner_text()
    assert "tempo" in wrong and "no drift" in wrong and "energy" in wrong
