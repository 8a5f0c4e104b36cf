"""A plan whose model answers with a number is held to what numbers can have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sextant_plan.errors import PlanError
from sextant_plan.loading import load_plan

PLAN = Path(__file__).parents[2] / "examples" / "diabetes" / "plan.yaml"


def _load(tmp_path: Path, **changes: Any) -> None:
    plan = yaml.safe_load(PLAN.read_text())
    for key, value in changes.items():
        part = plan
        *folders, last = key.split("__")
        for name in folders:
            part = part.setdefault(name, {})
        part[last] = value
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(plan))
    load_plan(path)


def test_the_example_has_no_fault(tmp_path: Path) -> None:
    """The plan that the faults below are made from is sound."""
    _load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"goal__baseline": {"kind": "majority"}}, "numbers have no majority", id="majority"),
        pytest.param({"serving__fallback": {"abstain_below": 0.5}}, "without the probability", id="abstain"),
        pytest.param({"model__training": {"class_weights": "balanced"}}, "no classes to weigh", id="weights"),
        pytest.param(
            {"criteria": [{"id": "a", "metric": "accuracy", "at_least": 0.5}]},
            "accuracy measures answers of another kind",
            id="metric",
        ),
        pytest.param(
            {"goal__economics": {"value_per_correct": 1, "cost_per_error": 1, "predictions_per_day": 1}},
            "a number is neither",
            id="economics",
        ),
        pytest.param({"data__columns__progress": {"type": "category"}}, "is a number, not category", id="label"),
    ],
)
def test_what_only_classes_have_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """Each fault names its place and what to do, before any time is spent."""
    with pytest.raises(PlanError, match=message):
        _load(tmp_path, **changes)
