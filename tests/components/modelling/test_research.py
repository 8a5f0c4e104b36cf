"""Why these candidates compete is on record, in the words and with the sources of the plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.components.trained import PLAN, Data

from sextant_components.modelling.train import run_train
from sextant_plan.ledger import read_run
from sextant_plan.verdicts import Verdict

WHY = {"architecture": "mlp", "params": {"hidden": 8, "layers": 1}, "why": "Cheap.", "sources": ["a page"]}
OVER = [{"name": "vit", "why_not": "Too few rows.", "sources": ["a paper"]}]


@pytest.mark.parametrize(
    ("candidates", "passed_over", "verdict"),
    [
        pytest.param([WHY], OVER, Verdict.PASS, id="reasons"),
        pytest.param([WHY, {"architecture": "linear"}], [], Verdict.UNKNOWN, id="one-without"),
        pytest.param([{"architecture": "linear"}], [], None, id="nothing-said"),
    ],
)
def test_reasons_and_sources_are_recorded(
    *,
    bars: Data,
    open_run_at: Callable[..., Any],
    home: Path,
    tmp_path: Path,
    candidates: list[dict[str, Any]],
    passed_over: list[dict[str, Any]],
    verdict: Verdict | None,
) -> None:
    """A candidate without a reason is unknown; a plan that says nothing has no such record."""
    model = {**PLAN["model"], "candidates": candidates, "passed_over": passed_over, "epochs": 1, "seeds": 1}
    context = open_run_at(tmp_path / "run", home=home, model={**model, "search": {"trials": 1}})
    run_train(context, snapshot=bars.snapshot, splits=bars.splits, model=tmp_path / "model")
    found = {record.task: record for record in read_run(context.run)["train"]}.get("candidates considered")
    assert (None if found is None else found.verdict) == verdict
    if verdict is Verdict.PASS and found is not None:
        value: Any = found.value
        assert value["competing"]["mlp"] == {"why": "Cheap.", "sources": ["a page"], "weights": None}
        assert value["passed_over"] == OVER
