"""Quality by delayed labels: which rows count in which window, whatever comes late or twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from sextant_monitoring.launcher import TimeWindow
from sextant_monitoring.quality import LabelLogs, last_due_window, measure_quality, quality_of, windows_before
from sextant_monitoring.watcher import own_samples
from sextant_plan.bounds import proportion
from sextant_plan.catalogue import COMMON_LABELS, READY
from sextant_plan.prediction_log import COLUMNS
from sextant_plan.rules import compile_rules
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict
from sextant_plan.window import Sample, Window

HOUR = 3600.0
START = 1_700_000_000 // HOUR * HOUR
WINDOW = TimeWindow(START, START + HOUR)
CRITERIA = [
    {"id": "accuracy", "metric": "accuracy", "at_least": 0.9, "enforce": ["alert"]},
    {"id": "night", "metric": "accuracy", "at_least": 0.8, "slice": "light=night", "enforce": ["alert"]},
    {"id": "class-a", "metric": "accuracy", "at_least": 0.8, "slice": "label=a", "enforce": ["alert"]},
]


@pytest.fixture
def plan(make_plan: Callable[..., Plan]) -> Plan:
    """Return a plan with accuracy over all rows, over a logged column and over a class."""
    return make_plan(criteria=CRITERIA, monitoring={"labels": {"delay": "2h"}})


@pytest.fixture
def logs(tmp_path: Path) -> LabelLogs:
    """Return empty places for both logs."""
    (tmp_path / "predictions").mkdir()
    return LabelLogs(tmp_path / "predictions", tmp_path / "feedback.jsonl")


def _predict(logs: LabelLogs, *rows: dict[str, Any]) -> None:
    """Write a log file; a row gives what differs from a row of the stable version, half an hour into the window."""
    usual: dict[str, Any] = dict.fromkeys(COLUMNS) | {
        "time": START + HOUR / 2,
        "model": "parcels",
        "version": "1",
        "variant": "stable",
        "assignment": "only",
        "label": "a",
        "probability": 0.75,
        "abstained": False,
        "seconds": 0.01,
        "input.light": "day",
    }
    table = [usual | {"prediction_id": str(place)} | row for place, row in enumerate(rows)]
    for row in table:
        row["time"] = datetime.fromtimestamp(row["time"], UTC)
    count = len(list(logs.predictions.iterdir()))
    pl.DataFrame(table, infer_schema_length=None).write_parquet(logs.predictions / f"{count}.parquet")


def _label(logs: LabelLogs, *labels: tuple[str, str, float]) -> None:
    with logs.feedback.open("a") as file:
        for identifier, label, received in labels:
            record = {"prediction_id": identifier, "label": label, "predicted": None, "outcome": "unmatched"}
            names = {"model": "parcels", "version": "1", "variant": "stable"}
            file.write(json.dumps({**record, **names, "received": received}) + "\n")


def test_labels_find_their_predictions_and_bounds_are_exact(plan: Plan, logs: LabelLogs) -> None:
    """Eight of ten labelled rows are right; the other two rows have no label yet."""
    _predict(logs, *({} for _ in range(12)))
    _label(logs, *((str(place), "a" if place < 8 else "b", START + HOUR) for place in range(10)))
    (found,) = measure_quality(plan, logs, WINDOW)
    assert (found.target, found.due, found.labelled) == (("parcels", "1", "stable"), 12, 10)
    assert found.qualities["accuracy"] == proportion(8, 10, 0.95)
    assert found.qualities["class-a"] == proportion(8, 8, 0.95)
    assert found.expected == pytest.approx(0.75)
    assert found.bias == pytest.approx({"a": 0.2, "b": -0.2})


def test_bias_is_paired_by_row(plan: Plan, logs: LabelLogs) -> None:
    """Only wrong rows move it, and only they and four pseudo-rows make its error: 20 of b answered a, 4 the reverse."""
    said = ["a"] * 76 + ["b"] * 24
    true = ["b"] * 20 + ["a"] * 60 + ["b"] * 20
    _predict(logs, *({"label": each} for each in said))
    _label(logs, *((str(place), each, START + HOUR) for place, each in enumerate(true)))
    (found,) = measure_quality(plan, logs, WINDOW)
    assert found.bias == pytest.approx({"a": 0.16, "b": -0.16})
    error = ((28 / 104 - (16 / 104) ** 2) / 104) ** 0.5
    assert found.bias_errors == pytest.approx(dict.fromkeys("ab", error))


def test_right_answers_to_few_rows_prove_no_small_bias(make_plan: Callable[..., Plan]) -> None:
    """Exact, of 50 rows of which a tenth should be answered otherwise: a pass has at most twice the chance allowed."""
    bias = {"id": "bias", "metric": "prediction_bias", "at_most": 0.1, "enforce": ["alert"]}
    plan = make_plan(criteria=[bias], monitoring={"min_rows": 50})
    (rule,) = [each for each in compile_rules(plan) if each.criterion is not None]
    target = ("parcels", "1", "stable")
    ready = Sample(READY.name, dict(zip(COMMON_LABELS, target, strict=True)), 1.0)
    passed = []
    for wrong in range(51):
        truth = ["b"] * wrong + ["a"] * (50 - wrong)
        rows = pl.DataFrame({"label": ["a"] * 50, "truth": truth, "probability": [0.75] * 50})
        quality = quality_of(plan, WINDOW, target, rows)
        (reading,) = rule.read(Window((ready, *own_samples(plan, [quality], None))))
        passed.append(reading.verdict is Verdict.PASS)
    assert passed[0]
    assert binom.pmf(np.flatnonzero(passed), 50, 0.1).sum() <= 2 * 0.05


def test_a_late_label_belongs_to_the_window_of_its_prediction(plan: Plan, logs: LabelLogs) -> None:
    """It comes a day after; the old window gains it, the new one does not know it."""
    _predict(logs, {}, {"time": START + 1.5 * HOUR})
    _label(logs, ("0", "a", START + 25 * HOUR))
    (old,), (new,) = (
        measure_quality(plan, logs, window) for window in windows_before(TimeWindow(START + HOUR, START + 2 * HOUR), 2)
    )
    assert (old.labelled, new.labelled) == (1, 0)
    assert new.qualities == {}


def test_of_two_labels_the_first_received_counts(plan: Plan, logs: LabelLogs) -> None:
    """As on the server, whatever the order of the lines."""
    _predict(logs, {})
    _label(logs, ("0", "b", START + 9), ("0", "a", START + 5), ("0", "b", START + 7))
    (found,) = measure_quality(plan, logs, WINDOW)
    assert found.qualities["accuracy"].value == 1
    assert (found.due, found.labelled) == (1, 1)


def test_a_torn_line_of_the_feedback_log_costs_no_other_label(plan: Plan, logs: LabelLogs) -> None:
    """A crash tore one line and the next label was written behind it; the last line is only half there yet."""
    _predict(logs, *({} for _ in range(5)))
    _label(logs, ("0", "a", START + 1))
    with logs.feedback.open("a") as file:
        file.write('{"prediction_id": "1", "label": "')
    _label(logs, ("2", "a", START + 3), ("3", "b", START + 4))
    with logs.feedback.open("ab") as file:
        file.write('{"prediction_id": "4", "label": "ü'.encode()[:-1])
    (found,) = measure_quality(plan, logs, WINDOW)
    assert found.qualities["accuracy"] == proportion(2, 3, 0.95)
    assert found.broken_lines == 1


def test_labels_of_several_servers_are_taken_together(plan: Plan, logs: LabelLogs, tmp_path: Path) -> None:
    """Each wrote a log of its own; which label was first does not depend on the files' order, and one may be empty."""
    _predict(logs, *({} for _ in range(3)))
    several = replace(logs, feedback=tmp_path / "feedback")
    several.feedback.mkdir()
    (found,) = measure_quality(plan, several, WINDOW)
    assert found.labelled == 0
    _label(replace(logs, feedback=several.feedback / "a.jsonl"), ("0", "b", START + 9), ("1", "a", START + 1))
    _label(replace(logs, feedback=several.feedback / "b.jsonl"), ("0", "a", START + 8))
    (several.feedback / "c.jsonl").touch()
    (found,) = measure_quality(plan, several, WINDOW)
    assert found.qualities["accuracy"] == proportion(2, 2, 0.95)


def test_a_prediction_written_twice_counts_once(plan: Plan, logs: LabelLogs) -> None:
    """Also across two files; a shadow's copy of the same request is a row of its own target."""
    _predict(logs, {}, {"prediction_id": "0"})
    _predict(logs, {}, {"prediction_id": "0", "variant": "shadow", "label": "b"})
    _label(logs, ("0", "a", START))
    shadow, stable = measure_quality(plan, logs, WINDOW)
    assert (stable.due, shadow.due) == (1, 1)
    assert (stable.qualities["accuracy"].value, shadow.qualities["accuracy"].value) == (1, 0)


def test_abstaining_is_no_error(plan: Plan, logs: LabelLogs) -> None:
    """A row that the model did not answer is neither due nor wrong."""
    _predict(logs, {}, {"label": None, "abstained": True})
    _label(logs, ("0", "a", START), ("1", "b", START))
    (found,) = measure_quality(plan, logs, WINDOW)
    assert (found.due, found.qualities["accuracy"].n) == (1, 1)


def test_a_slice_needs_its_column_in_the_log(plan: Plan, logs: LabelLogs) -> None:
    """Where the plan's log leaves the column out the slice has no figure, and no wrong one."""
    _predict(logs, {"input.light": "night"}, {})
    _label(logs, ("0", "b", START), ("1", "a", START))
    (found,) = measure_quality(plan, logs, WINDOW)
    assert (found.qualities["night"].value, found.qualities["accuracy"].value) == (0, 0.5)
    path = logs.predictions / "0.parquet"
    pl.read_parquet(path).drop("input.light").write_parquet(path)
    (found,) = measure_quality(plan, logs, WINDOW)
    assert "night" not in found.qualities


def test_without_any_log_there_is_nothing(plan: Plan, logs: LabelLogs) -> None:
    """Neither a folder without files nor a feedback log that was never written is an error."""
    assert measure_quality(plan, logs, WINDOW) == []
    _predict(logs, {})
    (found,) = measure_quality(plan, logs, WINDOW)
    assert (found.join_rate, found.qualities, found.bias) == (0, {}, {})


@pytest.mark.parametrize("late", [0.0, 1.0, 1800.0, 3599.0])
def test_the_last_due_window_has_waited_for_its_labels(late: float, plan: Plan) -> None:
    """It ended at least the delay ago, and the next one has not."""
    now = START + late
    window = last_due_window(plan, now)
    assert window.end <= now - 2 * HOUR < window.end + HOUR
    assert (window.end % HOUR, window.end - window.start) == (0, HOUR)
