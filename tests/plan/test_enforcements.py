"""One criterion, four enforcements: each is compiled from the definition in the plan, for every metric."""

from __future__ import annotations

from typing import Any

import pytest

from sextant_plan.canary_criteria import ALPHA, CanaryTest, canary_criteria
from sextant_plan.catalogue import SERIES, Enforcement
from sextant_plan.catalogue.criteria import Metric
from sextant_plan.catalogue.metrics import METRICS
from sextant_plan.consistency import inconsistencies
from sextant_plan.enforcements import Enforced, enforced_criteria
from sextant_plan.errors import UsageError
from sextant_plan.schema import Plan

LIMITS = {"share": (0.2, 0.3), "score": (0.2, 0.3), "kappa": (0.6, 0.7), "ms": (50, 100), "ratio": (1.5, 2.0)}

# What a plan must say, and may say, so that each metric of its kind of answer can be computed.
CLASSES: dict[str, dict[str, Any]] = {
    "goal": {"economics": {"value_per_correct": 1, "cost_per_error": 1, "predictions_per_day": 10}},
    "data": {"images": "images", "labelling": {"raters": ["one", "two"]}},
    "model": {"task": "image-classification", "inputs": {"image": {"height": 16, "width": 16}}},
    "evaluation": {"corruptions": ["noise"], "attack": {}},
}
NUMBERS: dict[str, dict[str, Any]] = {
    "goal": {"baseline": {"kind": "mean"}},
    "data": {"columns": {"weight": {"type": "number"}}},
    "model": {"task": "tabular-regression", "inputs": {"columns": ["weight"]}},
    "evaluation": {},
}


def _plan(*criteria: dict[str, Any], **parts: Any) -> Plan:
    """A plan in which every metric can be computed; its rollout is a canary where a criterion asks for one."""
    canary = any("canary" in criterion["enforce"] for criterion in criteria)
    kind = NUMBERS if any(METRICS[criterion["metric"]].answers == "number" for criterion in criteria) else CLASSES
    return Plan.model_validate(
        {
            "name": "parcels",
            "owner": {"team": "warehouse", "approvers": ["operations"]},
            "goal": {
                "business": "Sort parcels.",
                "why_ml": "Nobody can write the rules down.",
                **kind["goal"],
            },
            "criteria": list(criteria),
            "data": {
                "source": "data",
                "table": "table.csv",
                "licence": {"name": "CC0-1.0", "source": "made up", "allows_training": True},
                "consent": {"basis": "no persons"},
                **kind["data"],
            },
            "model": {"candidates": [{"architecture": "linear"}], **kind["model"]},
            "evaluation": {"slices": ["supplier"], **kind["evaluation"]},
            "rollout": {"strategy": "canary", "deadline": "4d"} if canary else {},
            **parts,
        }
    )


def _criterion(metric: Metric, limit: float, enforce: list[str], **more: Any) -> dict[str, Any]:
    side = "at_least" if metric.higher_is_better else "at_most"
    column = {"slice": "supplier"} if metric.name in {"accuracy_gap", "mae_gap"} else {}
    return {"id": "held", "metric": metric.name, side: limit, "enforce": enforce, **column, **more}


def _enforced(metric: Metric, limit: float, enforce: list[str], **more: Any) -> Enforced:
    plan = _plan(_criterion(metric, limit, enforce, **more))
    assert list(inconsistencies(plan, None)) == []
    (found,) = enforced_criteria(plan)
    return found


ALLOWED = [
    pytest.param(metric, enforcement, id=f"{name}-{enforcement}")
    for name, metric in METRICS.items()
    for enforcement in sorted(metric.enforcements)
]


@pytest.mark.parametrize(("metric", "enforcement"), ALLOWED)
def test_changing_the_threshold_changes_the_enforcement(metric: Metric, enforcement: Enforcement) -> None:
    """The gate's limit, the canary's test, the rule's PromQL and the trigger's recordings all move with the plan."""
    low, high = LIMITS.get(metric.unit, (0.1, 0.2))
    found = [_enforced(metric, limit, [enforcement]).as_json() for limit in (low, high)]
    assert found[0][enforcement] is not None
    assert found[0][enforcement] != found[1][enforcement]
    assert found[0][enforcement] == _enforced(metric, low, [enforcement]).as_json()[enforcement]


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())
def test_all_of_a_metrics_enforcements_move_together(metric: Metric) -> None:
    """Asked for at once, no enforcement keeps the old threshold; those not asked for are null."""
    low, high = LIMITS.get(metric.unit, (0.1, 0.2))
    one, other = (_enforced(metric, limit, sorted(metric.enforcements)).as_json() for limit in (low, high))
    for enforcement in Enforcement:
        if enforcement in metric.enforcements:
            assert one[enforcement] != other[enforcement], enforcement
        else:
            assert one[enforcement] is None


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())
def test_a_live_enforcement_reads_series(metric: Metric) -> None:
    """A metric that is held in production names its series; a canary's are the server's own, arm by arm."""
    live = metric.enforcements - {Enforcement.GATE}
    assert bool(live) <= bool(metric.series)
    if Enforcement.CANARY in live:
        assert set(metric.series) <= set(SERIES)


FORMS = [
    pytest.param("error_rate", 0.01, {}, CanaryTest.MISSES_TO_LIMIT, 0.01, id="errors against their own limit"),
    pytest.param("latency_p99_ms", 80, {}, CanaryTest.MISSES_TO_LIMIT, 0.01, id="one in a hundred over the SLO"),
    pytest.param("coverage", 0.9, {}, CanaryTest.MISSES_TO_LIMIT, 0.1, id="abstentions"),
    pytest.param("accuracy", 0.9, {}, CanaryTest.MISSES_TO_LIMIT, 0.1, id="wrong labels"),
    pytest.param("error_ratio", 2, {}, CanaryTest.RATIO_TO_STABLE, 2, id="errors as a multiple of stable"),
    pytest.param("slow_ratio", 2, {}, CanaryTest.RATIO_TO_STABLE, 2, id="slow requests as a multiple of stable"),
    pytest.param(
        "accuracy", -0.02, {"relative_to": "champion"}, CanaryTest.MEAN_TO_STABLE, -0.02, id="accuracy next to stable"
    ),
    pytest.param("prediction_shift", 0.2, {}, CanaryTest.SHIFT_FROM_STABLE, 0.2, id="classes next to stable"),
]


@pytest.mark.parametrize(("name", "limit", "more", "test", "tested"), FORMS)
def test_the_form_of_a_criterion_chooses_its_test(
    name: str, limit: float, more: dict[str, str], test: CanaryTest, tested: float
) -> None:
    """A limit of its own is tested on the misses, a ratio and a mean against the stable version."""
    canary = _enforced(METRICS[name], limit, ["canary"], **more).canary
    assert canary is not None
    assert (canary.test, canary.limit) == (test, tested)
    assert canary.needs_stable == (test is not CanaryTest.MISSES_TO_LIMIT)
    assert set(canary.series) <= {f"{name}{end}" for name in SERIES for end in ("", "_count", "_bucket")}


def test_one_error_budget_is_shared_by_the_whole_rollout() -> None:
    """Three criteria get a third of the budget each for harm, and each the whole of it for a pass."""
    names = ("error_rate", "coverage", "error_ratio")
    plan = _plan(*(_criterion(METRICS[name], 0.5, ["canary"], id=f"c{i}") for i, name in enumerate(names)))
    assert [each.alpha_fail for each in canary_criteria(plan)] == [pytest.approx(ALPHA / 3)] * 3
    assert {each.alpha_pass for each in canary_criteria(plan)} == {ALPHA}


def test_a_test_that_begins_anew_at_each_weight_shares_its_errors_over_them() -> None:
    """Three weights below 100 % get a third of harm's alpha each, and a third of the pass's."""
    canary = _enforced(METRICS["prediction_shift"], 0.2, ["canary"]).canary
    assert canary is not None
    assert canary.alpha_fail == pytest.approx(ALPHA / 3)
    assert canary.alpha_pass == pytest.approx(ALPHA / 3)


def test_a_shift_of_predicted_numbers_is_refused() -> None:
    """Each version has bins of its own, so that two regressions' counters cannot be told apart."""
    held = _criterion(METRICS["prediction_shift"], 0.2, ["canary"])
    plan = _plan(_criterion(METRICS["mae"], 2, ["gate"], id="off"), held)
    faults = [fault.problem for fault in inconsistencies(plan, None)]
    assert faults == ["prediction_shift measures answers of another kind than those of tabular-regression"]


def test_a_canary_that_the_counters_cannot_judge_is_refused() -> None:
    """Compiling does not fall back to another meaning."""
    with pytest.raises(UsageError, match="criterion held: the baseline serves no traffic"):
        canary_criteria(_plan(_criterion(METRICS["accuracy"], 0.1, ["canary"], relative_to="baseline")))


def _faults(criterion: dict[str, Any], **parts: Any) -> list[str]:
    return [f"{fault.path[-1]}: {fault.problem}" for fault in inconsistencies(_plan(criterion, **parts), None)]


UNHELD = [
    (name, enforcement)
    for name, metric in METRICS.items()
    for enforcement in Enforcement
    if enforcement not in metric.enforcements
]


@pytest.mark.parametrize(("name", "enforcement"), UNHELD, ids="{0[0]}-{0[1]}".format)
def test_an_enforcement_that_the_metric_does_not_allow_is_a_fault(name: str, enforcement: Enforcement) -> None:
    """The plan cannot claim what nothing would hold."""
    limit = LIMITS.get(METRICS[name].unit, (0.1, 0.2))[0]
    expected = f"0: {name} cannot be enforced by {enforcement}"
    assert expected in _faults(_criterion(METRICS[name], limit, [enforcement]))


CANARY_FAULTS = [
    pytest.param({"relative_to": "baseline"}, {}, "0: the baseline serves no traffic to compare with", id="baseline"),
    pytest.param({"slice": "supplier=north"}, {}, "0: the server's counters know no slice", id="slice"),
    pytest.param(
        {}, {"rollout": {"strategy": "canary"}}, "0: labels arrive after the rollout's deadline", id="late labels"
    ),
    pytest.param(
        {},
        {"rollout": {"strategy": "immediate"}},
        "0: the rollout is immediate, so no canary judges it",
        id="no canary",
    ),
]


@pytest.mark.parametrize(("more", "parts", "fault"), CANARY_FAULTS)
def test_a_canary_that_cannot_hold_its_criterion_is_a_fault(
    more: dict[str, str], parts: dict[str, Any], fault: str
) -> None:
    """Slices, the baseline, labels that come too late and other strategies are refused before a run."""
    assert fault in _faults(_criterion(METRICS["accuracy"], 0.5, ["canary"], **more), **parts)


@pytest.mark.parametrize(
    ("name", "limit", "fault"),
    [
        pytest.param("coverage", 1.0, "0: no number of rows proves or refutes a limit of 1", id="all"),
        pytest.param("error_rate", 0.0, "0: no number of rows proves or refutes a limit of 0", id="none"),
        pytest.param("error_rate", 5.0, "at_most: error_rate lies between 0 and 1", id="percent for a share"),
        pytest.param("latency_p99_ms", -1.0, "at_most: latency_p99_ms lies between 0 and inf", id="before it began"),
    ],
)
def test_a_limit_that_no_traffic_could_prove_is_a_fault(name: str, limit: float, fault: str) -> None:
    """A rule on it would never speak."""
    assert _faults(_criterion(METRICS[name], limit, ["alert"])) == [fault]


def test_an_enforcement_written_twice_is_a_fault() -> None:
    """The second says nothing that the first did not."""
    assert _faults(_criterion(METRICS["error_rate"], 0.1, ["gate", "gate"])) == ["1: gate stands twice"]
