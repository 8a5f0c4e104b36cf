"""Will the model hold in bad light and under load?"""

from __future__ import annotations

from sextant_components.planning.feasibility.heading import Heading, Study
from sextant_components.planning.feasibility.load import ServedLoad
from sextant_plan.types import DAY
from sextant_plan.verdicts import Verdict

PEAK = 10.0  # busiest second over the day's mean; a guess for offices and shops, whose nights are idle


def assess(study: Study, served: ServedLoad | None) -> Heading:
    """Check that corruptions are tried where the risk class asks, and what the served baseline says of the load.

    The median is what it is whoever else uses the machine now and then; the 99th percentile stands with the pre-test.
    """
    plan = study.plan
    has_picture = plan.model.inputs.image is not None
    tried = bool(plan.evaluation.corruptions) or not has_picture or plan.goal.risk_class == "minimal"
    load = _peak_load(study)
    plausible = carried = None
    if served is not None:
        plausible = served.median.low <= plan.serving.latency_slo_ms
        carried = load is None or load <= served.requests_a_second * plan.serving.hardware.cpu
    verdict = Verdict.UNKNOWN if served is None else Verdict.PASS
    if not tried or plausible is False or carried is False:
        verdict = Verdict.FAIL
    return Heading(
        task="feasibility: robustness and scalability",
        requirement="corruptions are tried unless the risk is minimal; latency objective and peak load are in reach",
        risk="the model fails in the dark, or answers too late, and is found out by its users",
        qa_method="evaluation.corruptions; a quick baseline in the real server: the lower bound of its median to the "
        f"objective, and {PEAK:g} times the mean load to what it answers a second on each of serving.hardware.cpu",
        value={
            "corruptions": list(plan.evaluation.corruptions),
            "latency_slo_ms": plan.serving.latency_slo_ms,
            "plausible": plausible,
            "peak_requests_a_second": None if load is None else round(load, 3),
            "carried_by_planned_cores": carried,
        },
        verdict=verdict,
    )


def _peak_load(study: Study) -> float | None:
    """Return the requests of the busiest second; None where the plan does not say how many a day there are."""
    economics = study.plan.goal.economics
    return None if economics is None else PEAK * economics.predictions_per_day / DAY
