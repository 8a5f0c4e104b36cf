"""The plan step: the plan is frozen, and its feasibility is judged from its data before anything is built."""

from __future__ import annotations

from collections.abc import Iterator

from sextant_components.data.features.computed_features import requested_columns, with_computed
from sextant_components.data.features.feature_sources import EVENT_TIME, read_views
from sextant_components.data.features.point_in_time import as_of
from sextant_components.data.remote_sources import fetch_source
from sextant_components.data.sources import Source, read_source
from sextant_components.planning.feasibility import (
    applicability,
    availability,
    bayes_error,
    cost_benefit,
    delivery,
    explainability,
    intent,
    learning_curve,
    legal,
    load,
    numbers,
    pretest,
    resources,
    robustness,
    staleness,
)
from sextant_components.planning.feasibility.heading import Heading, Study
from sextant_components.runs.context import RunContext, Step
from sextant_components.runs.frozen_plans import record_amendment
from sextant_components.runs.repository import record_repository
from sextant_plan.errors import InfrastructureError
from sextant_plan.ledger import LedgerWriter
from sextant_plan.verdicts import Verdict
from sextant_serving.on_demand import load_transform, on_demand_specs


def run_plan(context: RunContext) -> Verdict:
    """Store the plan under its hash, and record the six headings of its feasibility and its cost-benefit.

    Fails when a heading fails, or when the goal's baseline meets every ML criterion already. Raises DataError
    if the source cannot be read.
    """
    plan = context.plan
    with context.ledger(Step.PLAN) as ledger:
        _freeze(context, ledger)
        record_amendment(context, ledger)
        record_repository(ledger, context.repository)
        fetch_source(plan, context.home)
        study = study_of(context, read_source(plan, context.data_root, context.home))
        for heading in _headings(study):
            _record(ledger, heading)
    return ledger.verdict


def _headings(study: Study) -> Iterator[Heading]:
    """Yield every heading that the plan calls for, in the order of the study."""
    economics = study.plan.goal.economics
    served = load.serve_quickly(study)
    of_label = _headings_of_classes if study.plan.model.answers == "class" else _headings_of_numbers
    found = [
        intent.assess_answers(study),
        intent.assess_success(study),
        availability.assess(study),
        *of_label(study),
        legal.assess(study),
        robustness.assess(study, served),
        load.assess(study, served),
        pretest.assess(study) if study.plan.model.answers == "class" else None,
        explainability.assess(study),
        resources.assess(study),
        None if economics is None else cost_benefit.assess(study, economics),
        delivery.assess(study),
        intent.assess_fallback(study),
    ]
    yield from (heading for heading in found if heading is not None)


def _headings_of_classes(study: Study) -> list[Heading | None]:
    return [
        learning_curve.assess(study),
        applicability.assess(study),
        bayes_error.assess(study),
        applicability.assess_baseline(study),
        staleness.assess(study),
    ]


def _headings_of_numbers(study: Study) -> list[Heading | None]:
    return [numbers.assess(study), numbers.assess_baseline(study)]


def _freeze(context: RunContext, ledger: LedgerWriter) -> None:
    digest = ledger.artifacts.put_json(context.plan.canonical())
    if digest != context.plan_hash:
        raise InfrastructureError(
            f"{context.run}: the plan's canonical form has {digest}, its hash is {context.plan_hash}. "
            "Start a new run; this one's plan file was changed while it was read."
        )
    amends = context.plan.amends
    ledger.record(
        "plan frozen",
        requirement="the criteria are fixed before any result is known",
        risk="success is defined by what was reached",
        qa_method="sha256 of the canonical plan with defaults applied; every later record carries it",
        value={
            "plan_hash": context.plan_hash,
            "criteria": [criterion.id for criterion in context.plan.criteria],
            "amends": amends.model_dump(mode="json") if amends else None,
        },
        verdict=Verdict.PASS,
        artifacts={"plan": digest},
    )


def study_of(context: RunContext, source: Source) -> Study:
    """Join the features as of each row's time without Feast, which takes seconds to import."""
    import polars as pl

    plan, rows = context.plan, source.rows
    if plan.model.inputs.features:
        assert plan.data.entity is not None
        assert plan.data.timestamp is not None
        keys = rows.select(plan.data.entity, rows[plan.data.timestamp].alias(EVENT_TIME))
        tables = read_views(plan, context.data_root)
        stored = pl.concat([as_of(keys, table, plan.data.entity) for table in tables], how="horizontal")
        transforms = [load_transform(spec) for spec in on_demand_specs(plan)]
        features = with_computed(stored, transforms, requested_columns(plan, rows))
        named = {column.name.partition("__")[2]: column for column in features}
        rows = rows.with_columns(each.alias(name) for name, each in named.items() if name not in source.rows.columns)
    return Study(plan, rows, source.pictures, context.data_root)


def _record(ledger: LedgerWriter, heading: Heading) -> None:
    ledger.record(
        heading.task,
        requirement=heading.requirement,
        risk=heading.risk,
        qa_method=heading.qa_method,
        value=heading.value,
        verdict=heading.verdict,
        counts=heading.counts,
        artifacts={name: ledger.artifacts.put_json(table) for name, table in heading.tables.items()},
    )
