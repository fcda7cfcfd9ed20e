"""Which tables are worked on in batches, and that their temporary files have room."""

import logging
import re
import shutil

import pytest

from util_lib.errors import UserError
from util_lib.tables import large


def test_a_table_above_the_limit_is_large_and_the_log_says_why(caplog):
    caplog.set_level(logging.INFO)
    assert not large.is_large(1000, 1000) and not caplog.messages
    assert large.is_large(1001, 1000)
    assert caplog.messages == ["1,001 rows, above large_rows (1,000): in batches"]
    assert large.way(1001, 1000) == caplog.messages[0]
    assert large.way(1000, 1000) == "1,000 rows, large_rows is 1,000: whole, in memory"


def test_room_that_temporary_files_lack_is_said_before(tmp_path):
    large.check_room(tmp_path, 1000)
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(UserError) as refused:
        large.check_room(tmp_path, free * 2)
    words = rf"the table needs about (.*) GB of temporary files and {tmp_path} has (.*) GB free: "
    needed, there = re.match(words, str(refused.value)).groups()
    assert float(needed.replace(",", "")) == pytest.approx(free * 2 / 1e9, abs=0.1)
    assert float(there.replace(",", "")) == pytest.approx(free / 1e9, rel=0.1)
