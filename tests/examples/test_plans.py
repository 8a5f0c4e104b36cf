"""The example plans: sound, and about the data that their generators write."""

from __future__ import annotations

from pathlib import Path

import pytest

from sextant_examples.parcels.suppliers import CLASSES
from sextant_examples.parcels.table import COLUMNS
from sextant_plan.catalogue import Enforcement
from sextant_plan.loading import load_plan
from sextant_plan.schema import Plan
from sextant_serving.architectures import needs

EXAMPLES = Path(__file__).parents[2] / "examples"


def _plan(name: str) -> Plan:
    return load_plan(EXAMPLES / name / "plan.yaml", architectures=needs())


@pytest.mark.parametrize("name", ["digits", "tiny", "parcels", "drift", "selftest", "diabetes"])
def test_the_plan_has_no_fault(name: str) -> None:
    """Every example passes `sextant check`, with the architectures that are installed."""
    plan = _plan(name)
    assert plan.model.search.trials <= 4
    assert plan.model.seeds <= 2


@pytest.mark.parametrize("name", ["digits", "tiny", "parcels", "drift", "selftest", "diabetes"])
def test_drift_and_latency_are_watched_in_production(name: str) -> None:
    """A plan that only gates a release would leave its model alone afterwards."""
    watched = {each.metric for each in _plan(name).criteria if Enforcement.ALERT in each.enforce}
    assert {"input_psi", "latency_p99_ms", "error_rate"} <= watched


@pytest.mark.parametrize("name", ["digits", "parcels"])
def test_alerts_of_failure_modes_are_criteria(name: str) -> None:
    """A failure mode names an alert that some criterion raises."""
    plan = _plan(name)
    raised = {each.id for each in plan.criteria if Enforcement.ALERT in each.enforce}
    assert {mode.alert for mode in plan.failure if mode.alert} <= raised


def test_the_parcels_plan_describes_the_table() -> None:
    """The plan's columns and classes are those that the generator writes."""
    data = _plan("parcels").data
    assert set(data.columns) | {data.image} == set(COLUMNS)
    assert data.columns["label"].values == sorted(CLASSES)
