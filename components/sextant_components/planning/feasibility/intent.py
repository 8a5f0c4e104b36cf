"""What the plan itself states: success at each level, and what answers when something breaks."""

from __future__ import annotations

from sextant_components.planning.feasibility.heading import Heading, Study
from sextant_plan.catalogue import Enforcement, Kind
from sextant_plan.unanswered import unanswered
from sextant_plan.verdicts import Verdict

BUSINESS_LEVEL = frozenset({Kind.BUSINESS, Kind.ECONOMIC})


def assess_answers(study: Study) -> Heading:
    """Name what the plan leaves unsaid; it informs, so that a first look at the data needs no prose."""
    gaps = unanswered(study.plan)
    return Heading(
        task="questions answered",
        requirement="goal, reason for machine learning, owner and consent are said by a person",
        risk="a model is built that answers a question nobody asked",
        qa_method="the plan's texts against those that sextant init writes; it informs and does not judge",
        value={"not_answered": gaps},
        verdict=Verdict.UNKNOWN if gaps else Verdict.PASS,
        counts=False,
    )


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
