"""A/B by worth: which rows count, when there is a verdict, and that it is not there too early."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sextant_monitoring.comparison import Compared, compare_variants
from sextant_monitoring.quality import LabelLogs
from sextant_plan.errors import UsageError
from sextant_plan.prediction_log import COLUMNS
from sextant_plan.schema import Economics, Plan
from sextant_plan.verdicts import Verdict

HOUR = 3600.0
START = 1_700_000_000 // HOUR * HOUR
ECONOMICS = Economics(value_per_correct=1.0, cost_per_error=2.0, predictions_per_day=100)


@pytest.fixture
def plan(make_plan: Callable[..., Plan]) -> Plan:
    """A plan whose challengers have to be worth more by a tenth of an answer."""
    made = make_plan(rollout={"comparison": {"gain_at_least": 0.1, "min_units": 200}})
    goal = made.goal.model_copy(update={"economics": ECONOMICS})
    return made.model_copy(update={"goal": goal, "data": made.data.model_copy(update={"entity": "parcel_id"})})


class Logs:
    """Both logs, written by variants that are right in a share of their answers."""

    def __init__(self, folder: Path, model: str) -> None:
        self.logs = LabelLogs(folder / "predictions", folder / "feedback.jsonl")
        self.logs.predictions.mkdir()
        self._model, self._units = model, 0

    def answer(
        self, variant: str, right: float, *, units: int = 600, rows: int = 2, assignment: str = "unit",
        labelled: float = 1.0, first_unit: int | None = None,
    ) -> None:  # fmt: skip
        """Let new units ask, some rows each, over four hours."""
        generator = np.random.default_rng(self._units + 1)
        table, labels = [], []
        begin = self._units if first_unit is None else first_unit
        for unit in range(begin, begin + units):
            for row in range(rows):
                identifier = f"{variant}-{unit}-{row}"
                table.append(
                    dict.fromkeys(COLUMNS)
                    | {
                        "time": datetime.fromtimestamp(START + HOUR * (unit % 4) + row, UTC),
                        "prediction_id": identifier, "model": self._model, "version": "1", "variant": variant,
                        "assignment": assignment, "label": "a", "probability": 0.9, "abstained": False,
                        "seconds": 0.01, "input.parcel_id": f"P-{unit}",
                    }
                )  # fmt: skip
                if generator.random() < labelled:
                    labels.append((identifier, "a" if generator.random() < right else "b"))
        self._units += units
        path = self.logs.predictions / f"{len(list(self.logs.predictions.iterdir()))}.parquet"
        pl.DataFrame(table, infer_schema_length=None).write_parquet(path)
        with self.logs.feedback.open("a", encoding="utf-8") as file:
            for identifier, label in labels:
                file.write(json.dumps({"prediction_id": identifier, "label": label, "received": START}) + "\n")


@pytest.fixture
def logs(tmp_path: Path, plan: Plan) -> Logs:
    """Empty logs of the plan's model."""
    return Logs(tmp_path, plan.name)


def only(found: list[Compared]) -> Compared:
    (one,) = found
    return one


@pytest.mark.parametrize(
    ("right", "verdict"),
    [
        pytest.param(0.95, Verdict.PASS, id="worth more"),
        pytest.param(0.6, Verdict.FAIL, id="worth less"),
        pytest.param(0.74, Verdict.UNKNOWN, id="near the limit"),
    ],
)
def test_the_bounds_of_the_gain_decide(plan: Plan, logs: Logs, right: float, verdict: Verdict) -> None:
    """The champion is right in seven of ten; a right answer is worth 1 and a wrong one costs 2."""
    logs.answer("stable", 0.7)
    logs.answer("b", right)
    found = only(compare_variants(plan, logs.logs))
    assert found.verdict is verdict
    assert found.low < 3 * (right - 0.7) < found.high
    assert found.units == (600, 600)


def test_too_few_units_prove_no_gain_however_large(plan: Plan, logs: Logs) -> None:
    """Harm may be proved earlier."""
    logs.answer("stable", 0.5)
    logs.answer("b", 1.0, units=150)
    assert only(compare_variants(plan, logs.logs)).reason == "150 units of the challenger, 200 are needed"


def test_a_handful_of_units_proves_no_harm_either(plan: Plan, logs: Logs) -> None:
    """Units that are all wrong have no spread, and bounds without width."""
    logs.answer("stable", 1.0, units=20)
    logs.answer("b", 0.0, units=20)
    found = only(compare_variants(plan, logs.logs))
    assert (found.verdict, found.reason) == (
        Verdict.UNKNOWN, "20 units of one variant, 30 are needed for any verdict",
    )  # fmt: skip


def test_rows_that_a_header_or_chance_assigned_do_not_count(plan: Plan, logs: Logs) -> None:
    """Whoever chooses the variant may be another kind of user."""
    logs.answer("stable", 0.7)
    logs.answer("b", 0.95)
    before = compare_variants(plan, logs.logs)
    logs.answer("b", 0.0, assignment="header")
    logs.answer("b", 0.0, assignment="chance")
    assert compare_variants(plan, logs.logs) == before


def test_a_unit_that_met_both_variants_belongs_to_neither(plan: Plan, logs: Logs) -> None:
    """As after the experiment's name was changed."""
    logs.answer("stable", 0.7)
    logs.answer("b", 0.95)
    logs.answer("b", 0.0, units=100, first_unit=0)
    assert only(compare_variants(plan, logs.logs)).units == (500, 600)


def test_many_rows_of_one_unit_are_one_observation(plan: Plan, logs: Logs) -> None:
    """Else one busy customer decides."""
    logs.answer("stable", 0.7)
    logs.answer("b", 1.0, units=8, rows=500)
    found = only(compare_variants(plan, logs.logs))
    assert (found.units[1], found.verdict) == (8, Verdict.UNKNOWN)


@pytest.mark.parametrize(
    ("labelled", "words"),
    [pytest.param(0.2, "labels of", id="few labels"), pytest.param(0.7, "far more often", id="unequal labels")],
)
def test_labels_that_are_few_or_unequal_leave_it_unknown(plan: Plan, logs: Logs, labelled: float, words: str) -> None:
    """Where complaints alone come back, the worse variant has the more labels."""
    logs.answer("stable", 0.7)
    logs.answer("b", 0.95, labelled=labelled)
    found = only(compare_variants(plan, logs.logs))
    assert found.verdict is Verdict.UNKNOWN
    assert words in found.reason


def test_a_log_without_the_unit_is_refused(plan: Plan, logs: Logs) -> None:
    """It says what to add to the plan."""
    logs.answer("stable", 0.7)
    for path in logs.logs.predictions.iterdir():
        pl.read_parquet(path).drop("input.parcel_id").write_parquet(path)
    with pytest.raises(UsageError, match=r"serving\.log\.hashed"):
        compare_variants(plan, logs.logs)
