"""Reading feedback logs: the first label of each prediction, for all who join labels to predictions.

Of several labels of one prediction the first received counts, as on the server, in whichever log and line it stands. A
log is read while servers append to it, and a machine that fails may tear the line that it is writing:

- A last line that is not whole is still being written. It is left for the next reading.
- What was written behind a torn record stands on the same line, is whole, and counts.
- Such a line, or another that is no record, is counted, and it hides none of the labels that came after it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

BEGINNING = b'{"prediction_id"'  # of a record as servers write it; inside a label the quotes would be escaped


@dataclass(frozen=True)
class FirstLabels:
    """The labels by prediction id; `broken` counts the lines of the logs that are not one whole record."""

    labels: dict[str, str]
    broken: int


class _Label(NamedTuple):
    prediction_id: str
    label: str
    received: float


def first_labels(logs: Iterable[Path], wanted: Collection[str]) -> FirstLabels:
    """Return the label of each wanted prediction that was received first; a log that is absent holds none.

    Memory grows with what is wanted, not with the logs. Raises OSError for a log that cannot be read.
    """
    first: dict[str, _Label] = {}
    broken = 0
    for line in (line for log in logs if log.exists() for line in _lines(log)):
        whole = _read(line)
        if whole is not None:
            found = [whole]
        elif line.endswith(b"\n"):
            broken += 1
            found = _read_pieces(line)
        else:
            continue
        for each in found:
            known = first.get(each.prediction_id)
            if each.prediction_id in wanted and (known is None or each.received < known.received):
                first[each.prediction_id] = each
    return FirstLabels({identifier: each.label for identifier, each in first.items()}, broken)


def _lines(log: Path) -> Iterator[bytes]:
    with log.open("rb") as file:
        yield from (line for line in file if not line.isspace())


def _read_pieces(line: bytes) -> list[_Label]:
    """Return the whole records of a line whose others were torn before their end."""
    pieces = (_read(BEGINNING + piece) for piece in line.split(BEGINNING)[1:])
    return [piece for piece in pieces if piece is not None]


def _read(line: bytes) -> _Label | None:
    """Return a line's label, None where the line is no whole record. No beginning of a record is one."""
    try:
        record = json.loads(line.decode())
        found = _Label(record["prediction_id"], record["label"], float(record["received"]))
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None
    texts = isinstance(found.prediction_id, str) and isinstance(found.label, str)
    return found if texts and math.isfinite(found.received) else None
