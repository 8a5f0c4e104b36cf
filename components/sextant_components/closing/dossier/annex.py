"""The same evidence in the order of Annex IV of the EU AI Act (Regulation 2024/1689): nine sections.

It helps whoever has to write the technical documentation; it is no statement of conformity.
"""

from __future__ import annotations

from sextant_components.closing.dossier.blocks import Claims, Section
from sextant_components.closing.dossier.card import cited, data, details, ethics, intended_use, results, said
from sextant_components.closing.dossier.claims import Claim
from sextant_components.closing.dossier.crisp import NOT_APPLICABLE, task_results
from sextant_components.closing.dossier.facts import Facts
from sextant_components.closing.dossier.wording import duration, listed, sentence, title, words
from sextant_components.runs.context import Step
from sextant_plan.catalogue import Enforcement


def annex_section(facts: Facts) -> Section:
    """Return the section with one list of claims for each of the nine."""
    parts = {
        "1. General description": [*details(facts), *intended_use(facts)],
        "2. Elements and development": [*data(facts), *_tasks(facts, "data", "model engineering", "evaluation")],
        "3. Monitoring, functioning and control": _control(facts),
        "4. Appropriateness of the metrics": results(facts),
        "5. Risk management": [*ethics(facts), *_failures(facts)],
        "6. Changes through the life cycle": _changes(facts),
        "7. Harmonised standards": [Claim("The plan names no harmonised standard as applied.", [facts.plan[1]])],
        "8. Declaration of conformity": [_declaration(facts)],
        "9. Monitoring after placing on the market": _monitoring(facts),
    }
    blocks = [Claims(claims, heading) for heading, claims in parts.items()]
    lead = Claim(
        "This run's evidence in the order of Annex IV of Regulation (EU) 2024/1689; it is no statement of conformity.",
        [facts.ledger],
    )
    return Section("annex", "EU AI Act, Annex IV", blocks, lead)


def _tasks(facts: Facts, *phases: str) -> list[Claim]:
    return [
        Claim(f"{each.task.name}: {each.state}. {sentence(each.task.method)}", cited(each.evidence))
        for each in task_results(facts)
        if each.task.phase in phases and each.state != NOT_APPLICABLE
    ]


def _control(facts: Facts) -> list[Claim]:
    plan, source = facts.plan
    claims = [Claim(f"{listed(plan.owner.approvers)} approve releases of {plan.owner.team}.", [source])]
    claims += said(facts, Step.EVALUATE, "confident errors", "Kept for people to look at: {value}.")
    claims += said(facts, Step.WATCH, "fallbacks", "While it was watched it answered {answered} rows itself.")
    return claims


def _failures(facts: Facts) -> list[Claim]:
    plan, source = facts.plan
    if not plan.failure:
        return [Claim("The plan names no failure mode.", [source])]
    return [
        Claim(f"{title(mode.mode)}: {words(mode.fallback)}, within {duration(mode.recover_within)}.", [source])
        for mode in plan.failure
    ]


def _changes(facts: Facts) -> list[Claim]:
    plan, source = facts.plan
    text = "This plan replaces no earlier one."
    if plan.amends is not None:
        amends = plan.amends
        text = f"Amended by {amends.author} on {amends.date.isoformat()}: {sentence(amends.reason)}"
    return [
        Claim(text, [source]),
        *said(facts, Step.REGISTER, "model version", "Registered as version {version}."),
        *said(facts, Step.ROLL_OUT, "promotion", "The promotion is written once: {value}."),
    ]


def _declaration(facts: Facts) -> Claim:
    plan, source = facts.plan
    if plan.goal.risk_class == "high":
        return Claim("Risk class high: a declaration is owed, and this run does not draw one up.", [source])
    return Claim(f"Risk class {plan.goal.risk_class}: the plan sees no duty to draw one up.", [source])


def _monitoring(facts: Facts) -> list[Claim]:
    plan, source = facts.plan
    watched = [c.id for c in plan.criteria if {Enforcement.ALERT, Enforcement.RETRAIN} & set(c.enforce)]
    text = f"Watched in service: {listed(watched)}." if watched else "No criterion is watched in service."
    labels = duration(plan.monitoring.labels.delay)
    window = f"Windows of {duration(plan.monitoring.window)}; labels are expected after {labels}."
    return [Claim(text, [source]), Claim(window, [source]), *_tasks(facts, "monitoring")]
