"""The dossier's sections, from the plan to monitoring; the answer and the appendix have modules of their own."""

from __future__ import annotations

from sextant_components.closing.dossier.annex import annex_section
from sextant_components.closing.dossier.blocks import Block, Cell, Claims, Row, Section, Table, cites
from sextant_components.closing.dossier.card import card_section
from sextant_components.closing.dossier.checks import checks, checks_table, count_of
from sextant_components.closing.dossier.claims import Claim
from sextant_components.closing.dossier.crisp import crisp_section
from sextant_components.closing.dossier.criteria import judged, statement, verdict_table
from sextant_components.closing.dossier.facts import PLAN_FILE, Facts
from sextant_components.closing.dossier.pictures import shown, shown_of
from sextant_components.closing.dossier.score import score_section
from sextant_components.closing.dossier.wording import duration, listed, number, sentence, title, value, words
from sextant_components.runs.context import Step
from sextant_plan.schema import Plan


def sections(facts: Facts) -> list[Section]:
    """Return the sections in the order of the life cycle."""
    return [
        _criteria(facts),
        _plan(facts),
        _phase(facts, "feasibility", "Feasibility", Step.PLAN),
        _phase(facts, "data", "Data", Step.INGEST, Step.VERIFY, Step.PREPARE),
        _phase(facts, "model", "Model engineering", Step.TRAIN, Step.OPTIMISE),
        _phase(facts, "evaluation", "Evaluation", Step.EVALUATE, Step.DECIDE),
        _phase(facts, "deployment", "Deployment", Step.REGISTER, Step.ROLL_OUT),
        _phase(facts, "monitoring", "Monitoring", Step.WATCH),
        *_later(facts),
        card_section(facts),
        crisp_section(facts),
        score_section(facts),
        annex_section(facts),
    ]


def _criteria(facts: Facts) -> Section:
    blocks: list[Block] = [verdict_table(facts), Claims([statement(item) for item in judged(facts)], "In words")]
    return Section("criteria", "Verdict by criterion", blocks)


def _phase(facts: Facts, anchor: str, heading: str, *steps: Step) -> Section:
    return Section(anchor, heading, [*checks(facts, *steps), *shown(facts, *steps)])


def _later(facts: Facts) -> list[Section]:
    """Return the section of what was proved after the run had ended; none without any."""
    if not facts.later:
        return []
    text = "What people have answered and what was exported since the run ended; it changes no verdict of the run."
    caption = Claim(f"After the run: {count_of(facts.later)}.", [facts.later[-1]])
    blocks: list[Block] = [checks_table(facts.later, caption), *shown_of(facts, facts.later)]
    return [Section("later", "After the run", blocks, Claim(text, facts.later))]


def _plan(facts: Facts) -> Section:
    plan, source = facts.plan
    frozen = source != facts.file(PLAN_FILE)
    text = f"The plan was frozen as {value(facts.plan_hash)} before anything was measured."
    if not frozen:
        text = "This run did not freeze its plan; what follows is the plan file as it was given."
    blocks: list[Block] = [
        Table(
            caption=Claim("What is wanted, on which data, by which means.", [source]),
            columns=("Subject", "The plan says"),
            rows=[Row([Cell(name, "head"), Cell(said)]) for name, said in _plan_lines(plan)],
            look="pairs",
        )
    ]
    if plan.failure:
        blocks.append(
            Table(
                caption=Claim("What may break in service, and what then answers.", [source]),
                columns=("Failure", "Fallback", "Recovered within", "Evidence"),
                rows=[
                    Row(
                        [
                            Cell(title(failure.mode), "head"),
                            Cell(sentence(failure.fallback)),
                            Cell(duration(failure.recover_within), "number"),
                            cites(source),
                        ]
                    )
                    for failure in plan.failure
                ],
                title="Failure modes",
            )
        )
    return Section("plan", "The plan", blocks, Claim(text, [source]))


def _plan_lines(plan: Plan) -> list[tuple[str, str]]:
    goal, data, model = plan.goal, plan.data, plan.model
    baseline = goal.baseline.kind + (f", {goal.baseline.entrypoint}" if goal.baseline.entrypoint else "")
    lines = [
        ("Goal", sentence(goal.business)),
        ("Why machine learning", sentence(goal.why_ml)),
        ("Has to beat", baseline),
        ("Risk class", goal.risk_class),
        ("Effect on society", sentence(goal.societal_impact) if goal.societal_impact else "Not stated."),
        ("Owner", f"{plan.owner.team}; approved by {listed(plan.owner.approvers)}"),
    ]
    if goal.economics is not None:
        lines.append(("Economics", value(goal.economics.model_dump())))
    lines += [
        ("Data licence", f"{data.licence.name}, {_allowed(data.licence.allows_training)}; from {data.licence.source}"),
        (
            "Consent",
            f"{data.consent.basis.rstrip('.')}; {'holds' if data.consent.personal_data else 'no'} personal data",
        ),
        ("Sensitive columns", value(data.sensitive)),
        ("Task", words(model.task)),
        ("Inputs", value(model.inputs.model_dump(exclude_none=True, exclude_defaults=True))),
        ("Candidates", listed([candidate.architecture for candidate in model.candidates])),
        ("Search", f"trials: {model.search.trials}; seeds: {model.seeds}; epochs: {model.epochs}"),
        (
            "Test",
            f"{number(plan.evaluation.sealed_split * 100)} % sealed, {number(plan.evaluation.looks)} looks allowed",
        ),
        ("Roll-out", plan.rollout.strategy),
    ]
    if plan.amends is not None:
        amends = plan.amends
        text = f"{value(amends.parent)}, by {amends.author} on {amends.date.isoformat()}: {sentence(amends.reason)}"
        lines.append(("Amends", text))
    return lines


def _allowed(allows_training: bool) -> str:
    return "allows training" if allows_training else "does not allow training"
