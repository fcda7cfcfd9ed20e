"""How a program ends that a person started: one sentence for an error, and an exit code."""

import errno
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable

from pipeline.running.stopping import Stopped, stoppable
from pipeline.settings.surroundings import ROOT_RUN
from util_lib.errors import UserError
from util_lib.redaction import redacted

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def exit_code(run: Callable[[], int | None]) -> int:
    """Call `run` and return its exit code, 0 of None; an error is one sentence and not 0."""
    try:
        code = run()
        sys.stdout.flush()
        return code or 0
    except UserError as error:
        return fail(error, 1)
    except Stopped as stop:
        logging.raiseExceptions = False  # a handler whose making was broken off cannot be closed
        return fail(stop, 128 + stop.number)
    except KeyboardInterrupt:
        return fail("stopped", 130)
    except BrokenPipeError:  # nobody reads any more: `main.py --help | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            where = f" to {error.filename}" if error.filename else ""
            return fail(f"cannot write{where}: {error.strerror}; make room on that disk", 1)
        # a defect: all that is known of it, but for secrets
        print(redacted(traceback.format_exc()), end="", file=sys.stderr, flush=True)
        return 1


def stoppable_exit_code(run: Callable[[], int]) -> int:
    """Call `run` as `exit_code` does; signals end it, also where `mlflow run` started it."""
    if run_id := os.environ.get("MLFLOW_RUN_ID"):
        os.environ[ROOT_RUN] = run_id  # for `stoppable`, which watches whoever started it

    def work() -> int:
        with stoppable():
            return run()

    return exit_code(work)


def fail(reason: object, code: int) -> int:
    """Say why, as the last line, and return `code`."""
    sys.stdout.flush()
    print(f"error: {redacted(str(reason))}", file=sys.stderr, flush=True)
    return code
