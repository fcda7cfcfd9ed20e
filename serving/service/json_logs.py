"""One JSON object for each log line. Of a request: how it went, never what it held."""

import datetime
import json
import logging
import sys


class JsonLines(logging.Formatter):
    """Writes a record as one line of JSON; `extra={"fields": {...}}` adds keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0]:
            line |= _where(record.exc_info)
        return json.dumps(line)


def _where(exc_info) -> dict:
    """Say which error and where; its text is left out, for it may quote a value of a request."""
    kind, _, traceback = exc_info
    frames = []
    while traceback:
        code = traceback.tb_frame.f_code
        frames.append(f"{code.co_filename}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return {"error": kind.__name__, "frames": frames}


def start() -> None:
    """Send every log line of this process to stdout as JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    kept = [h for h in root.handlers if isinstance(h, logging.FileHandler)]  # PIPELINE_LOG
    logging.basicConfig(level=logging.INFO, handlers=[handler, *kept], force=False)
    root.handlers[:] = [handler, *kept]
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
