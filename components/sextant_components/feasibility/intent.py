"""What the plan itself states: success at each level, and what answers when something breaks."""

from __future__ import annotations

from sextant_components.feasibility.heading import Heading, Study
from sextant_plan.catalogue import Enforcement, Kind
from sextant_plan.verdicts import Verdict

BUSINESS_LEVEL = frozenset({Kind.BUSINESS, Kind.ECONOMIC})


def assess_success(study: Study) -> Heading:
    """Name the criteria by level; it informs, because a plan may leave a level out on purpose."""
    levels = {
        "business": [c.id for c in study.plan.criteria if c.definition.kind is Kind.BUSINESS],
        "machine learning": [c.id for c in study.plan.criteria if c.definition.kind not in BUSINESS_LEVEL],
        "economic": [c.id for c in study.plan.criteria if c.definition.kind is Kind.ECONOMIC],
    }
    gates = [c.id for c in study.plan.criteria if Enforcement.GATE in c.enforce]
    stated = levels["machine learning"] and (levels["business"] or levels["economic"])
    return Heading(
        task="success criteria",
        requirement="success has a measurable criterion for the model and one for the business, and a gate holds them",
        risk="a model with good scores is worth nothing to the business",
        qa_method="the criteria of the plan by the kind of their metric; it informs and does not judge",
        value={**levels, "gates": len(gates)},
        verdict=Verdict.PASS if stated and gates else Verdict.UNKNOWN,
        counts=False,
    )


def assess_fallback(study: Study) -> Heading | None:
    """Name what answers each failure mode and whether an alert tells of it; None if the plan names no mode."""
    modes = study.plan.failure
    if not modes:
        return None
    silent = [mode.mode for mode in modes if mode.alert is None]
    return Heading(
        task="fallback plan",
        requirement="each failure mode has an answer and a time to recover within",
        risk="the first outage is the first time that anybody thinks of one",
        qa_method="failure of the plan; modes without an alert of their own are named",
        value={
            "modes": {mode.mode: {"fallback": mode.fallback, "within_s": mode.recover_within} for mode in modes},
            "without_alert": silent,
        },
        verdict=Verdict.PASS,
        counts=False,
    )
