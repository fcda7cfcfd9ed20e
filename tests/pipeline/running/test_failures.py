"""How a step that failed is told: its own words, its exit code, or the signal that killed it."""

from pathlib import Path

import pytest

from pipeline.running.exit_code import exit_code
from pipeline.running.failures import StepFailed

LACKS = ["skrub==0.6"]


@pytest.mark.parametrize(
    ("code", "words", "lacks", "sentence"),
    [
        (1, "join: too few rows", [], "too few rows"),
        (3, "join: too few rows", [], "too few rows"),
        (1, "ValueError: x", LACKS, "ValueError: x"),
        (
            1,
            "",
            [],
            "it ended with exit code 1; it said nothing, or all that it wrote stands above",
        ),
        (3, "half way", [], "it ended with exit code 3; it last said 'half way', and all that"),
        (-11, "", [], "it was killed by SIGSEGV; it said nothing"),
        (137, "", [], "it was killed by SIGKILL (perhaps memory ran out); it said nothing"),
        (255, "", [], "it ended with exit code 255"),
        (None, "", [], "Run failed"),
        (1, "No module named 'skrub'", LACKS, "No module named 'skrub'; its conda.yml asks for sk"),
    ],
)
def test_the_last_sentence_says_how_a_step_ended(code, words, lacks, sentence):
    error = StepFailed("join", "Run failed", code)
    error.add_last_words(words, lacks)
    assert str(error).startswith(f"step join failed: {sentence}")


def test_a_full_disk_is_one_sentence_wherever_it_is_met(capsys):
    assert exit_code(lambda: print(Path("/dev/full").write_text("a line of a log"))) == 1
    said = capsys.readouterr().err
    assert said == "error: cannot write: No space left on device; make room on that disk\n"
    assert exit_code(lambda: print(Path("/dev/full/nothing").read_text())) == 1  # a defect
    assert "Traceback" in capsys.readouterr().err
