"""Files that the user's own function makes beside a prediction, such as a printable label."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sextant_serving.errors import AttachmentFailed
from sextant_serving.logs import log_failure

_log = logging.getLogger(__name__)


def attach_files(
    function: Callable[[dict[str, Any], dict[str, Any]], object],
    entrypoint: str,
    predictions: Sequence[dict[str, Any]],
    rows: Sequence[dict[str, Any]],
) -> list[dict[str, bytes]]:
    """Return the files that `function(prediction, row)` makes of each row, by name.

    A prediction is one of the v1 protocol; a row has the columns as sent and the features as looked up.
    Raises AttachmentFailed if the function raises or gives something else than named bytes or texts.
    """
    made = []
    for prediction, row in zip(predictions, rows, strict=True):
        try:
            files = function(prediction, row)
        except Exception as error:  # user code may raise anything
            log_failure(_log, f"{entrypoint} raised", error)
            raise AttachmentFailed(entrypoint, f"raised {type(error).__name__}") from error
        if not isinstance(files, Mapping):
            raise AttachmentFailed(entrypoint, "gave no mapping of file names to contents")
        made.append({str(name): _to_bytes(content, entrypoint) for name, content in files.items()})
    return made


def _to_bytes(content: object, entrypoint: str) -> bytes:
    if isinstance(content, str):
        return content.encode()
    if isinstance(content, bytes):
        return content
    raise AttachmentFailed(entrypoint, "gave a file that is neither bytes nor text")
