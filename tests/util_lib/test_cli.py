import logging
import os
import re
import signal
import subprocess
import sys
import textwrap

import pytest
from step_support import ROOT

from util_lib import cli
from util_lib.errors import UserError


@pytest.fixture
def parser():
    made = cli.parser("Do things.\n\nAt length.")
    made.add_argument("--name")
    made.add_argument("--note", type=cli.optional, default="null")
    return made


def test_arguments_from_a_file_may_stand_one_or_two_on_a_line(parser, tmp_path):
    (tmp_path / "a.txt").write_text("--name 'two words'\n\n--note\nfree text, unquoted's fine\n")
    args = parser.parse_args([f"@{tmp_path}/a.txt"])
    assert (args.name, args.note) == ("two words", "free text, unquoted's fine")


def test_a_file_of_arguments_that_is_not_there_is_named(parser):
    with pytest.raises(UserError, match="nowhere.txt"):
        parser.parse_args(["@nowhere.txt"])


def test_an_unknown_argument_is_one_sentence(parser):
    with pytest.raises(UserError, match="unrecognized arguments: --nome x"):
        parser.parse_args(["--nome", "x"])


def test_help_begins_with_the_first_line_of_the_docstring(parser):
    assert "Do things." in parser.format_help() and "At length" not in parser.format_help()


@pytest.mark.parametrize("text", ["null", "none", "None", ""])
def test_null_is_nothing(text):
    assert cli.optional(text) is None
    assert cli.optional("genre") == "genre"


@pytest.mark.parametrize("text", ["name:latest", "project/name:v3", "me/project/name:prod"])
def test_a_reference_with_alias_is_taken_as_it_is(text):
    assert cli.artifact_reference(text) == text


@pytest.mark.parametrize("text", ["name", "name:", "project/name", "a/b/c/d:v1", ":v1"])
def test_a_reference_that_names_no_version_is_refused(parser, text):
    parser.add_argument("--artifact", type=cli.artifact_reference)
    with pytest.raises(UserError, match="--artifact: (Attempted to fetch .* without|Invalid)"):
        parser.parse_args(["--artifact", text])


@pytest.mark.parametrize(
    ("read", "taken", "refused", "expected"),
    [
        (
            cli.number(0, 1),
            ["0", "0.5", "1"],
            ["-0.1", "1.1", "nan", "x", ""],
            "a number from 0 to 1",
        ),
        (cli.number(0), ["0", "1e9"], ["-1", "inf", "nan"], "a number from 0"),
        (cli.fraction, ["0.5"], ["0", "1"], "a number between 0 and 1 (both excluded)"),
        (cli.fraction_or_zero, ["0", "0.9"], ["1", "-1"], "a number from 0 to below 1"),
        (cli.positive_int, ["1", "2_000"], ["0", "1.0"], "a whole number above 0"),
        (
            cli.seed,
            ["0", "4294967295"],
            ["-1", "4294967296"],
            "a whole number from 0 to 4294967295",
        ),
        (cli.number(0, 1, word="shadow"), ["1"], ["both"], "a number from 0 to 1, or shadow"),
    ],
)
def test_a_number_lies_between_its_bounds(parser, read, taken, refused, expected):
    parser.add_argument("--n", type=read)
    assert [parser.parse_args(["--n", text]).n for text in taken] == [*map(float, taken)]
    for text in refused:
        with pytest.raises(UserError, match=re.escape(f"--n: must be {expected}, found {text!r}")):
            parser.parse_args([f"--n={text}"])


def test_a_word_may_stand_for_no_number():
    assert cli.number(0, 1, word="shadow")(" Shadow") is None


def run_step(tmp_path, body, **environment):
    folder = tmp_path / "some_step"
    folder.mkdir()
    (folder / "run.py").write_text(
        "import logging, os, signal, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from util_lib import cli\nfrom util_lib.errors import UserError\n"
        f"def main():\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
        "if __name__ == '__main__':\n    sys.exit(cli.exit_code(main))\n"
    )
    return subprocess.run(
        [sys.executable, "run.py"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_an_error_of_the_user_is_the_last_line_and_no_traceback(tmp_path):
    done = run_step(tmp_path, "raise UserError('expected a,\\nfound b')")
    assert (done.returncode, done.stderr) == (1, "some_step: expected a, found b\n")


def test_an_error_of_the_project_keeps_its_traceback(tmp_path):
    done = run_step(tmp_path, "raise KeyError('x')")
    assert done.returncode == 1 and "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1] == "some_step: unexpected KeyError: 'x'"


def test_ctrl_c_gives_130(tmp_path):
    assert run_step(tmp_path, "os.kill(os.getpid(), signal.SIGINT)").returncode == 130


def test_sigterm_closes_what_is_open_and_gives_143(tmp_path):
    body = """
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        print("closed")
    """
    done = run_step(tmp_path, body)
    assert (done.returncode, done.stdout) == (143, "closed\n")


def test_log_lines_go_to_the_console_and_are_appended_to_the_log_file(tmp_path):
    log = tmp_path / "pipeline.log"
    log.write_text("before\n")
    body = "logging.getLogger('some_step').info('two\\nlines'); raise UserError('no')"
    done = run_step(tmp_path, body, PIPELINE_LOG=str(log))
    assert "some_step: two | lines" in done.stdout
    first, second, third = log.read_text().splitlines()
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"
    assert first == "before"
    assert re.fullmatch(rf"some_step - {when} - INFO - some_step - two \| lines", second)
    assert re.fullmatch(rf"some_step - {when} - ERROR - some_step - no", third)


def test_a_log_file_that_cannot_be_written_is_one_sentence(tmp_path):
    done = run_step(tmp_path, "pass", PIPELINE_LOG=str(tmp_path / "no" / "x.log"))
    assert done.returncode == 1 and "PIPELINE_LOG=" in done.stderr


def test_the_handler_of_sigterm_is_put_back():
    before, root = signal.getsignal(signal.SIGTERM), logging.getLogger().handlers[:]
    try:
        assert cli.exit_code(lambda: None) == 0
    finally:
        logging.getLogger().handlers[:] = root
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("says", ["print(n)", "logging.info('%s', n)"])
def test_a_reader_that_goes_away_ends_the_step_without_a_traceback(tmp_path, says):
    source = f"""
        import logging, sys
        sys.path.insert(0, {str(ROOT)!r})
        from util_lib import cli
        def main():
            for n in range(100_000):
                {says}
        sys.exit(cli.exit_code(main))
    """
    (tmp_path / "run.py").write_text(textwrap.dedent(source))
    command = f"set -o pipefail; {sys.executable} {tmp_path}/run.py | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (141, "")
    assert done.stdout.strip().endswith("0")
