"""The server's log: lines of text, or JSON for collectors; what clients send never gets into it."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback

FORMATS = ("text", "json")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (UTC, RFC 3339), `level`, `logger`, `message`, and `error` with its frames."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(kind: str) -> None:
    """Send the log to standard error in one of FORMATS."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(JsonFormatter() if kind == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def log_failure(log: logging.Logger, what: str, error: BaseException) -> None:
    """Log an unforeseen error of a request by its class and frames; its own words may quote the request."""
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    log.error("%s: %s at %s", what, type(error).__name__, where)
