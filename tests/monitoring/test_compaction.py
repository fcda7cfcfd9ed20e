"""Spools become parquet files without a row lost or doubled, whatever happens in between."""

import os
import resource
import signal
import traceback

import pandas as pd
import pytest
from log_support import MONDAY, WEEK, record, songs, verdict

from monitoring import run
from monitoring.records import compaction, rows
from util_lib import monitoring_log
from util_lib.errors import UserError


def recorded() -> list[str]:
    """The requests of all rows that a monitor would judge."""
    found = rows.files(monitoring_log.folder(), "tests")
    return sorted(str(r) for file in found for r in pd.read_parquet(file.path)["request"])


def compact():
    return compaction.compact(monitoring_log.folder(), "tests")


def in_a_child(work) -> str:
    """Do `work` in a process of its own; return the sentence with which it failed, or nothing."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(120)
        try:
            work()
        except UserError as error:
            os.write(writer, str(error).encode())
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
        os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as said:
        text = said.read()
    os.waitpid(child, 0)
    return text


@pytest.mark.parametrize("calls", range(6))
def test_a_monitor_that_is_killed_loses_no_row_and_doubles_none(steps, calls):
    for day in range(2):
        record(songs(50, day), MONDAY + day * WEEK / 7, WEEK / 7)
        record(songs(50, day + 5), MONDAY + day * WEEK / 7, WEEK / 7, version="tests/other:v1")
    expected = sorted(f"r{seed}-{n}" for seed in (0, 1, 5, 6) for n in range(50))
    left = [calls]

    def killed():
        for name in ("replace", "unlink"):
            real = getattr(os, name)

            def counted(*given, real=real, **options):
                if left[0] == 0:
                    os._exit(9)
                left[0] -= 1
                return real(*given, **options)

            setattr(os, name, counted)
        compact()

    assert in_a_child(killed) == ""
    compact()
    assert recorded() == expected
    assert not [*monitoring_log.folder().rglob("*.partial")]
    assert compact().spools == 0


@pytest.mark.parametrize("cut", [1, 700, 4000])
def test_a_torn_spool_is_read_up_to_the_tear_and_said(steps, cut, caplog):
    record(songs(40, 1))
    torn = record(songs(200, 2))
    os.truncate(torn, torn.stat().st_size - 8 - cut)  # 8 bytes are the end of the stream
    compaction.compact_and_say(monitoring_log.folder(), "tests")
    kept = [request for request in recorded() if request.startswith("r2-")]
    assert kept == sorted(f"r2-{n}" for n in range(100))
    assert f"{torn.name} ends in the midst of its rows" in caplog.text and "100 rows" in caplog.text


def test_a_spool_without_anything_in_it_hinders_nothing(steps):
    record(songs(40, 1))
    empty = monitoring_log.folder() / "spool" / "tests" / "20260301T000000000000-1-champion.arrows"
    empty.write_bytes(b"")
    compact()
    assert empty.exists() and len(recorded()) == 40  # it may be of a writer that begins just now
    os.utime(empty, (0, 0))
    empty.with_name(f"2{empty.name}").write_bytes(b"no Arrow")
    assert compact().spools == 2 and len(recorded()) == 40


def test_a_full_disk_is_one_sentence_and_the_next_monitor_goes_on(watched, capsys):
    record(songs(2000, 1))

    def without_room():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        compact()

    said = in_a_child(without_room)
    assert "cannot read or write" in said and "File too large" in said, said
    assert "Traceback" not in said
    assert recorded() == [] and not [*monitoring_log.folder().rglob("*.partial")]
    assert run.main([]) == 0
    assert verdict(capsys.readouterr().out)["rows"] == 2000


def test_rows_lie_in_the_folder_of_their_day_and_the_order_of_spools_does_not_count(steps):
    late = record(songs(700, 1), MONDAY, WEEK)
    late.rename(late.with_name(f"20260301T000000000000-{late.name.partition('-')[2]}"))
    record(songs(70, 2), MONDAY, WEEK)
    compact()
    found = rows.files(monitoring_log.folder(), "tests")
    for file in found:
        day = file.path.parent.name.partition("=")[2]
        assert {str(time.date()) for time in pd.read_parquet(file.path)["time"]} == {day}
    frame = rows.read(found, "model_export", pd.Timestamp("2026-03-02"), pd.Timestamp("2026-03-09"))
    assert len(frame[0].frame) == 770 and frame[0].frame["time"].is_monotonic_increasing


def test_a_spool_with_the_name_of_an_earlier_one_replaces_nothing(steps):
    first = record(songs(50, 1))
    compact()
    record(songs(50, 2)).rename(first)
    compact()
    assert recorded() == sorted(f"r{seed}-{n}" for seed in (1, 2) for n in range(50))
