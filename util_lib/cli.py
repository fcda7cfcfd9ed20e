"""What the command line of every step does alike: arguments, logging, the way it ends."""

import argparse
import logging
import math
import os
import select
import shlex
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from util_lib.errors import UserError
from util_lib.processes import signals
from util_lib.project import missing_package
from util_lib.redaction import redacted, remember_environment
from util_lib.tracking import names

# How people, and CSV files, write yes and no, in any case.
ANSWERS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
NOTHING = ("null", "none", "")


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are `UserError`s, so that they end a step like all others."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists the arguments")

    def convert_arg_line_to_args(self, arg_line: str) -> list[str]:
        """Read one line of an @file: `--name value` as in a shell, else one argument as it is."""
        if arg_line.startswith("-"):
            return shlex.split(arg_line)
        return [arg_line] if arg_line.strip() else []


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return an empty parser that describes itself by the first line of `doc`.

    `@file` among the arguments stands for the arguments in that file.
    """
    return _Parser(
        description=(doc or "").strip().partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        fromfile_prefix_chars="@",
        allow_abbrev=False,
    )


def optional(text: str) -> str | None:
    """Read a value that may be absent: MLflow passes text only, so "null" stands for None."""
    return None if text.strip().lower() in NOTHING else text


def number(
    low: float,
    high: float = math.inf,
    *,
    excluding: tuple[float, ...] = (),
    whole: bool = False,
    word: str | None = None,
) -> Callable[[str], Any]:
    """Return a reader of numbers from `low` to `high`, both included but for those `excluding`.

    The numbers are finite; `word` is a text that stands for None.
    """
    start = f"above {low}" if low in excluding else f"from {low}"
    end = "" if math.isinf(high) else f" to {high}"
    if high in excluding:
        end = f" to below {high}"
    if {low, high} <= {*excluding}:
        start, end = f"between {low} and {high}", " (both excluded)"
    expected = f"a {'whole number' if whole else 'number'} {start}{end}"
    expected += f", or {word}" if word else ""

    def read(text: str) -> float | None:
        if word and text.strip().lower() == word:
            return None
        try:
            found = int(text) if whole else float(text)
        except ValueError:
            found = math.nan
        if not low <= found <= high or found in (*excluding, math.inf):
            raise argparse.ArgumentTypeError(f"must be {expected}, found {text!r}")
        return found

    return read


fraction = number(0, 1, excluding=(0, 1))
fraction_or_zero = number(0, 1, excluding=(1,))
positive_int = number(0, excluding=(0,), whole=True)
seed = number(0, 2**32 - 1, whole=True)  # what scikit-learn takes


def true_or_false(text: str) -> bool:
    """Read an answer; an empty one is no."""
    word = text.strip().lower()
    if word and word not in ANSWERS:
        raise argparse.ArgumentTypeError(f"must be true or false, found {text!r}")
    return ANSWERS.get(word, False)


def add_trust_pickle(parser: argparse.ArgumentParser) -> None:
    """Let whoever loads a model say that it may be a pickle, which runs whatever is in it."""
    parser.add_argument(
        "--trust_pickle",
        type=true_or_false,
        default="false",
        help="true: load a model that is a pickle too, which runs whatever is in it",
    )


def add_capture(parser: argparse.ArgumentParser) -> None:
    """Let whoever predicts say what share of it is recorded for the monitor."""
    read = number(0, 1, word="all")
    parser.add_argument(
        "--capture",
        type=lambda text: 1.0 if (share := read(text)) is None else share,
        default="0",
        help="share of the rows recorded in the monitoring log: 0, 0.1, ..., or all",
    )


def artifact_name(text: str) -> str:
    """Check that an artifact can be called `text`: a name, without project and version."""
    return _checked(names.check_artifact_name, text)


def optional_artifact_name(text: str) -> str | None:
    """Check a name like `artifact_name`; "null" stands for None."""
    return None if optional(text) is None else artifact_name(text)


def artifact_type(text: str) -> str:
    """Check that artifacts can be of the type `text`."""
    return _checked(lambda type: names.check_artifact_type(type, name=""), text)


def artifact_reference(text: str) -> str:
    """Check that `text` names one version: `name:alias`, `project/name:v3`, ..."""
    return _checked(names.parse_reference, text)


def _checked(check: Callable[[str], Any], text: str) -> str:
    try:
        check(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


class _Console(logging.StreamHandler):
    """Log lines on stdout; whoever reads them no more ends the step, without a traceback a line."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if isinstance(sys.exception(), BrokenPipeError):
            raise
        super().handleError(record)


class _OneLine(logging.Formatter):
    """Keeps a record on one line, so that a log file can be searched by lines, and no secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record).replace("\r", "").replace("\n", " | "))


def start_logging(step: str) -> None:
    """Send log lines to the console, and append them to the file that `PIPELINE_LOG` names."""
    remember_environment()
    console = _Console(sys.stdout)
    console.setFormatter(_OneLine(f"%(asctime)s {step}: %(message)s", "%H:%M:%S"))
    handlers: list[logging.Handler] = [console]
    if path := os.environ.get("PIPELINE_LOG"):
        try:
            file = logging.FileHandler(path, encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"PIPELINE_LOG={path!r} cannot be written ({error.strerror}): set it to a file in "
                "a directory that exists, or unset it"
            ) from None
        layout = "%(name)s - %(asctime)s - %(levelname)s - {} - %(message)s"
        file.setFormatter(_OneLine(layout.format(step)))
        handlers.append(file)
    # force: pytest and MLflow may have put handlers there, which would silence these
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)


def exit_code(main: Callable[[], Any]) -> int:
    """Run a step's `main` and return the exit code of its process: 0, or the one that it returns.

    A `UserError` becomes `<step>: <sentence>`, the last line on stderr. Ctrl-C gives 130, SIGTERM
    143; runs and temporary directories are closed on the way out. A
    reader of stdout that goes away, such as `| head`, gives 141.
    What W&B refuses or does not answer is a `UserError` too.
    """
    from util_lib import tracking

    step = Path(main.__globals__["__file__"]).resolve().parent.name
    stops = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored
        stops.append(signal.SIGINT)
    previous = {number: signal.signal(number, _stop) for number in stops}
    try:
        start_logging(step)
        with tracking.whole_step():
            code = main()
        sys.stdout.flush()
    except UserError as error:
        return _fail(step, str(error), 1)
    except KeyboardInterrupt:
        return _fail(step, "stopped by Ctrl-C", 130)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return 128 + signal.SIGPIPE
        if isinstance(error, ModuleNotFoundError):
            script = Path(main.__globals__["__file__"]).resolve()
            if said := missing_package(error, script):
                return _fail(step, said, 1)
        print(redacted(traceback.format_exc()), end="", file=sys.stderr)
        return _fail(step, f"unexpected {type(error).__name__}: {error}", 1)
    finally:
        signals.enough()
        for number, handler in previous.items():
            signal.signal(number, handler)
        logging.shutdown()
    return code if isinstance(code, int) else 0


def _stop(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one would break off the closing of runs
    by_hand = number == signal.SIGINT
    signals.insist(lambda: KeyboardInterrupt() if by_hand else SystemExit(128 + number))


def _nobody_reads() -> bool:
    """Say whether stdout is a pipe that its reader has closed, as `| head` does; then let it be."""
    pipe = select.poll()
    pipe.register(sys.stdout.fileno(), 0)  # errors are told without being asked for
    if gone := bool(pipe.poll(0)):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone


def _fail(step: str, sentence: str, code: int) -> int:
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(
                logging.LogRecord(step, logging.ERROR, __file__, 0, sentence, None, None)
            )
    sys.stdout.flush()
    print(redacted(f"{step}: {' '.join(sentence.split())}"), file=sys.stderr, flush=True)
    return code
