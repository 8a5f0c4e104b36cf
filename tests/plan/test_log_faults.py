"""What a plan may have logged of its inputs, and which batch sizes it may name."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from sextant_plan.loading import load_plan
from sextant_plan.log_faults import log_faults
from sextant_plan.schema import Batching, Plan, PredictionLog

PARCELS = Path(__file__).parents[2] / "examples" / "parcels" / "plan.yaml"


def with_log(plan: Plan, **log: list[str]) -> Plan:
    """Return the plan with these columns logged, its first being sensitive."""
    data = plan.data.model_copy(update={"sensitive": [plan.model.inputs.columns[0]]})
    serving = plan.serving.model_copy(update={"log": PredictionLog.model_validate({"sample": 0.5, **log})})
    return plan.model_copy(update={"data": data, "serving": serving})


@pytest.mark.parametrize(
    ("key", "choose", "problem"),
    [
        pytest.param("columns", "sensitive", "is sensitive", id="sensitive in the clear"),
        pytest.param("hashed", "sensitive", None, id="sensitive as a digest"),
        pytest.param("hashed", "entity", None, id="the entity"),
        pytest.param("columns", "feature", None, id="a feature of the store"),
        pytest.param("columns", "nothing", "the model is sent no nothing", id="not an input"),
    ],
)
def test_a_log_names_inputs_and_no_sensitive_one_in_the_clear(key: str, choose: str, problem: str | None) -> None:
    """Each fault points at the name."""
    plan = load_plan(PARCELS)
    assert plan.data.entity is not None
    named = {
        "sensitive": plan.model.inputs.columns[0],
        "entity": plan.data.entity,
        "feature": plan.model.inputs.features[0].partition(":")[2],
        "nothing": "nothing",
    }[choose]
    faults = list(log_faults(with_log(plan, **{key: [named]})))
    assert [fault.path for fault in faults] == ([("serving", "log", key, 0)] if problem else [])
    assert all(problem in fault.problem for fault in faults if problem)


@pytest.mark.parametrize("sizes", [[4, 2, 32], [0, 32], [1, 8], [8, 8, 32]])
def test_batch_sizes_rise_to_max_rows(sizes: list[int]) -> None:
    """Otherwise a full batch would have no size."""
    assert Batching(sizes=[1, 8, 32], max_rows=32).sizes == [1, 8, 32]
    with pytest.raises(ValidationError, match="rising numbers of rows of which the last is max_rows"):
        Batching(sizes=sizes, max_rows=32)
