"""Reading feedback logs: the first label of each prediction counts, and no line costs another one its label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sextant_plan.feedback import FeedbackRecord
from sextant_plan.feedback_log import FirstLabels, first_labels


def _line(identifier: str, label: str = "a", received: float = 1.0) -> bytes:
    """Return a line as a server writes it."""
    record = FeedbackRecord(
        prediction_id=identifier,
        label=label,
        predicted="a",
        outcome="agree",
        model="parcels",
        version="1",
        variant="stable",
        received=received,
    )
    return record.model_dump_json().encode() + b"\n"


def _read(tmp_path: Path, *logs: bytes) -> FirstLabels:
    paths = [tmp_path / f"{place}.jsonl" for place in range(len(logs))]
    for path, content in zip(paths, logs, strict=True):
        path.write_bytes(content)
    return first_labels([tmp_path / "absent.jsonl", *paths], ("1", "2", "3"))


def test_the_label_that_was_received_first_counts_in_whichever_log_it_is(tmp_path: Path) -> None:
    """Neither the order of the lines nor that of the files decides; labels that nobody asked for are left out."""
    one = _line("1", "late", 9) + _line("2", "early", 1) + _line("4")
    found = _read(tmp_path, one, _line("1", "early", 8) + _line("2", "late", 3))
    assert found == FirstLabels({"1": "early", "2": "early"}, 0)


def test_a_last_line_that_is_being_written_waits_until_it_is_whole(tmp_path: Path) -> None:
    """However much of it is there it is no label and not broken; once whole it counts, with its end or without."""
    line = _line("2", 'ü"}')
    for length in range(len(line) - 1):
        assert _read(tmp_path, _line("1") + line[:length]) == FirstLabels({"1": "a"}, 0)
    for whole in (line[:-1], line):
        assert _read(tmp_path, _line("1") + whole) == FirstLabels({"1": "a", "2": 'ü"}'}, 0)


def test_a_torn_line_costs_its_own_label_alone(tmp_path: Path) -> None:
    """Wherever it is torn, what was written behind it counts, and so does what comes after; without its end it does."""
    torn, label = _line("1", 'ü{"prediction_id":"3"'), 'of {"prediction_id":"3"}'
    for length in range(1, len(torn) - 1):
        log = torn[:length] + _line("2", label) + _line("3")
        assert _read(tmp_path, log) == FirstLabels({"2": label, "3": "a"}, 1)
    assert _read(tmp_path, torn[:-1] + _line("2")) == FirstLabels({"1": 'ü{"prediction_id":"3"', "2": "a"}, 1)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"{}\n", id="no label"),
        pytest.param(b"[1]\n", id="no record"),
        pytest.param(b'"prediction_id"\n', id="a word"),
        pytest.param(b"\x00\x00\x01\xff\n", id="what a failing disk leaves"),
        pytest.param(b"[" * 100_000 + b"\n", id="deeper than can be read"),
        pytest.param(_line("1").replace(b"1.0", b"NaN"), id="no time"),
        pytest.param(_line("1").replace(b"1.0", b"1" + b"0" * 400), id="a time beyond all numbers"),
        pytest.param(_line("1").replace(b'"a"', b"3"), id="a label that is no text"),
        pytest.param(_line("1").replace(b'"a"', b'"\xff"'), id="not UTF-8"),
    ],
)
def test_a_line_that_is_no_record_is_counted_and_hides_nothing(line: bytes, tmp_path: Path) -> None:
    """Labels before and after it count."""
    assert _read(tmp_path, _line("2") + line + _line("3")) == FirstLabels({"2": "a", "3": "a"}, 1)


def test_an_empty_line_is_nothing(tmp_path: Path) -> None:
    """Neither a label nor broken."""
    assert _read(tmp_path, b"\n\r\n" + _line("1")) == FirstLabels({"1": "a"}, 0)


def test_a_record_may_say_less_or_more_than_a_server_does(tmp_path: Path) -> None:
    """Labels that others wrote, or a later version of the server, count by their id, label and time."""
    record: dict[str, Any] = {"received": 1, "note": ["later"], "label": "a", "prediction_id": "1"}
    assert _read(tmp_path, json.dumps(record).encode()) == FirstLabels({"1": "a"}, 0)
