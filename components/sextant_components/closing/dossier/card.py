"""The model card (Mitchell et al. 2019): what the model is for, how it was judged, and where not to trust it."""

from __future__ import annotations

from sextant_components.closing.dossier.blocks import Claims, Section
from sextant_components.closing.dossier.claims import Citable, Claim
from sextant_components.closing.dossier.crisp import task_results
from sextant_components.closing.dossier.criteria import judged, statement
from sextant_components.closing.dossier.facts import Facts
from sextant_components.closing.dossier.wording import listed, number, sentence, value, words
from sextant_components.runs.context import Step
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict

NOTHING = "This run holds no evidence of it."


def card_section(facts: Facts) -> Section:
    """Return the card; every line rests on a record, on the frozen plan, or says that there is no evidence."""
    plan, source = facts.plan
    parts = {
        "Model details": details(facts),
        "Intended use": intended_use(facts),
        "Factors": _factors(facts),
        "Metrics": [Claim(f"{each.id}: {each.definition.description}", [source]) for each in plan.criteria],
        "Training and evaluation data": data(facts),
        "Quantitative analyses": results(facts),
        "Ethical considerations": ethics(facts),
        "Caveats and recommendations": _caveats(facts),
    }
    return Section("card", "Model card", [Claims(claims, title) for title, claims in parts.items()])


def said(facts: Facts, step: Step, task: str, text: str) -> list[Claim]:
    """Return `text` resting on the record of a task, or that there is none; `text` may use the record's `value`."""
    record = facts.find(step, task)
    if record is None:
        return [Claim(f"{words(task).capitalize()}: {NOTHING.lower()}", [facts.ledger])]
    found = record.value if isinstance(record.value, dict) else {"value": record.value}
    shown = {name: value(each) for name, each in found.items()}
    return [Claim(text.format_map(_Absent(shown)), [record])]


class _Absent(dict[str, str]):
    """Values of a record, where one that another version did not write reads as a dash."""

    def __missing__(self, key: str) -> str:
        return "—"


def details(facts: Facts) -> list[Claim]:
    """Say which model this is, who made it and from which code."""
    plan, source = facts.plan
    claims = [Claim(f"{plan.name}: {words(plan.model.task)}, made by {plan.owner.team}.", [source])]
    claims += said(facts, Step.EVALUATE, "bundle under test", "Version {version}, served by the engine {engine}.")
    claims += said(facts, Step.TRAIN, "search", "Chosen of the plan's candidates after {trials} trials: {chosen}.")
    return claims


def intended_use(facts: Facts) -> list[Claim]:
    """Say what the model is for and what it has to beat."""
    plan, source = facts.plan
    inputs = plan.model.inputs
    read: list[str] = ["a picture"] if inputs.image is not None else []
    read += [*inputs.columns, *(name.partition(":")[2] for name in inputs.features)]
    return [
        Claim(sentence(plan.goal.business), [source]),
        Claim(f"Why machine learning: {sentence(plan.goal.why_ml)}", [source]),
        Claim(f"It reads {listed(read)}; what it was not trained on is outside its use.", [source]),
        Claim(f"Below a confidence of {number(plan.serving.fallback.abstain_below)} it abstains.", [source]),
        *_said_of_unusual_inputs(plan, source),
    ]


def _said_of_unusual_inputs(plan: Plan, source: Citable) -> list[Claim]:
    outside = plan.serving.fallback.abstain_outside
    if outside is None:
        return []
    words = "It abstains on inputs that lie outside the training range by more than {} of its width."
    return [Claim(words.format(number(outside)), [source])]


def _factors(facts: Facts) -> list[Claim]:
    plan, source = facts.plan
    looked = [*plan.evaluation.slices, *(f"corruption by {kind}" for kind in plan.evaluation.corruptions)]
    text = f"Results are told apart by {listed(looked)}." if looked else "Results are not told apart by any factor."
    return [Claim(text, [facts.find(Step.EVALUATE, "slices") or source])]


def data(facts: Facts) -> list[Claim]:
    """Say which rows the model learned from and which judged it."""
    plan, source = facts.plan
    licence = plan.data.licence
    claims = [Claim(f"Licence {licence.name}, from {licence.source.rstrip('.')}.", [source])]
    claims += said(facts, Step.INGEST, "snapshot", "The snapshot {data_hash} holds {rows} rows.")
    claims += said(
        facts, Step.PREPARE, "splits", "Rows by split: {rows}; groups in two splits: {groups_in_two_splits}."
    )
    claims += said(facts, Step.EVALUATE, "look", "The sealed rows were seen for look {look} of {budget}.")
    return claims


def results(facts: Facts) -> list[Claim]:
    """Say what was measured for each criterion of the evaluation."""
    claims = [statement(item) for item in judged(facts) if item.measured is not None]
    return claims or [Claim(NOTHING, [facts.ledger])]


def ethics(facts: Facts) -> list[Claim]:
    """Say what the plan states of people, and how the study judged it."""
    plan, source = facts.plan
    goal, sensitive = plan.goal, plan.data.sensitive
    impact = sentence(goal.societal_impact) if goal.societal_impact else "The plan states no effect on society."
    claims = [Claim(f"Risk class {goal.risk_class}. {impact}", [source])]
    named = f"Sensitive columns: {listed(sensitive)}." if sensitive else "No column is declared sensitive."
    claims.append(Claim(f"{named} Consent: {sentence(plan.data.consent.basis)}", [source]))
    claims += said(facts, Step.PLAN, "feasibility: legal and ethics", "Problems that the study found: {problems}.")
    return claims


def _caveats(facts: Facts) -> list[Claim]:
    """Name every task that did not pass, since the model should not be trusted there."""
    open_tasks = [each for each in task_results(facts) if each.state in {Verdict.FAIL, Verdict.UNKNOWN}]
    if not open_tasks:
        return [Claim("Every task of the process model that applies is passed.", [facts.ledger])]
    return [Claim(f"{each.task.name} is {each.state}: {each.reason}", cited(each.evidence)) for each in open_tasks]


def cited(evidence: list[Citable], most: int = 3) -> list[Citable]:
    """Return the first of many pieces of evidence, so that a line can still be read."""
    return evidence[:most]
