"""What ingest puts on record of the labels: the raters' agreement, their answers to gold items, and the cost."""

from __future__ import annotations

from itertools import combinations
from math import isnan
from typing import TYPE_CHECKING

import numpy as np

from sextant_components.data.sources import Source
from sextant_plan.bounds import proportion
from sextant_plan.errors import DataError
from sextant_plan.fault import choose
from sextant_plan.ledger import LedgerWriter
from sextant_plan.schema import Criterion, Labelling, Plan
from sextant_plan.statistics.agreement import cohen_kappa, nominal_alpha
from sextant_plan.verdicts import Verdict, judge

if TYPE_CHECKING:
    import polars as pl

NO_AGREEMENT = "no row has two labels, or every label is the same, so there is no chance to agree beyond"
AGREEMENT_CONFIDENCE = 0.95  # for data.labelling.agreement_at_least, which states no confidence of its own
GOLD_CONFIDENCE = 0.95


def record_labelling(ledger: LedgerWriter, plan: Plan, source: Source) -> None:
    """Record agreement, gold answers and cost, each where the plan has what it takes.

    Raises DataError for a gold answer that is no class.
    """
    labelling = plan.data.labelling
    if labelling is not None:
        wanted = [criterion for criterion in plan.criteria if criterion.metric == "label_agreement"]
        ratings = source.select(labelling.raters)
        _record_agreement(ledger, ratings, labelling, wanted)
        _record_pairs(ledger, ratings, labelling.raters)
        if labelling.gold is not None:
            _record_gold(ledger, source, labelling.raters, labelling.gold)
    _record_cost(ledger, plan, source)


def _record_agreement(
    ledger: LedgerWriter, rows: pl.DataFrame, labelling: Labelling, criteria: list[Criterion]
) -> None:
    ratings = [list(row) for row in rows.select(labelling.raters).iter_rows()]
    limits: list[tuple[float, float, int, Criterion | None]] = [
        (labelling.agreement_at_least, AGREEMENT_CONFIDENCE, 2, None)
    ]
    limits += [(criterion.limit, criterion.confidence, criterion.min_n, criterion) for criterion in criteria]
    for limit, confidence, min_n, criterion in limits:
        estimate = nominal_alpha(ratings, confidence)
        ledger.record(
            "labelling agreement",
            requirement=f"the raters' agreement is at least {limit:g}",
            risk="a model learns labels that its own raters dispute",
            qa_method=f"Krippendorff's alpha, nominal, over {len(labelling.raters)} raters; MOVER-R bounds",
            estimate=None if isnan(estimate.value) else estimate,
            value=NO_AGREEMENT if isnan(estimate.value) else None,
            verdict=judge(estimate, at_least=limit, at_most=None, min_n=min_n),
            criterion=criterion,
        )


def _record_pairs(ledger: LedgerWriter, rows: pl.DataFrame, raters: list[str]) -> None:
    """Record how far each two raters agree beyond chance: who differs from the rest is seen here and not in alpha."""
    found = {}
    for one, other in combinations(raters, 2):
        both = rows.select(one, other).drop_nulls()
        labels = sorted({*both[one].to_list(), *both[other].to_list()})
        table = np.zeros((len(labels), len(labels)), dtype=np.int64)
        for given, said in both.iter_rows():
            table[labels.index(given), labels.index(said)] += 1
        if len(labels) > 1:  # with one label there is no chance to agree beyond
            kappa = cohen_kappa(table, AGREEMENT_CONFIDENCE)
            found[f"{one} and {other}"] = {"kappa": kappa.value, "low": kappa.low, "high": kappa.high, "n": kappa.n}
    ledger.record(
        "raters in pairs",
        requirement="it is known which raters agree with each other",
        risk="one rater's habits hide in an agreement over all",
        qa_method=f"Cohen's kappa of each two raters with one-sided bounds at {AGREEMENT_CONFIDENCE:g}",
        value=found or NO_AGREEMENT,
        verdict=Verdict.PASS if found else Verdict.UNKNOWN,
        counts=False,
    )


def _record_gold(ledger: LedgerWriter, source: Source, raters: list[str], gold: str) -> None:
    rows = source.select(["label", gold, *raters])
    classes = sorted(rows["label"].unique().to_list())
    known = rows.filter(rows[gold].is_not_null())
    for answer in known[gold].unique().sort().to_list():
        if answer not in classes:
            raise DataError(source.file, f"column {gold} has {answer}, no class of the data", choose(answer, classes))
    measured = {}
    for rater in raters:
        rated = known.filter(known[rater].is_not_null())
        if rated.height:
            right = int((rated[rater] == rated[gold]).sum())
            found = proportion(right, rated.height, GOLD_CONFIDENCE)
            measured[rater] = {"accuracy": found.value, "low": found.low, "high": found.high, "n": found.n}
    ledger.record(
        "raters on gold items",
        requirement="it is known how often each rater gives the answer that is known to be right",
        risk="raters agree with each other and are wrong together",
        qa_method=f"answers to the rows with a value in {gold}; Clopper-Pearson bounds at {GOLD_CONFIDENCE:g} a side",
        value={"gold_items": known.height, "raters": measured},
        verdict=Verdict.PASS if measured else Verdict.UNKNOWN,
        counts=False,
    )


def _record_cost(ledger: LedgerWriter, plan: Plan, source: Source) -> None:
    """Record the labels' cost where the plan prices one; a row without raters' columns has one label."""
    economics = plan.goal.economics
    if economics is None or not economics.cost_per_label:
        return
    raters = plan.data.labelling.raters if plan.data.labelling else []
    answers = source.select(raters) if raters else None
    given = source.height if answers is None else answers.width * answers.height - sum(answers.null_count().row(0))
    applied = source.corrections.applied if source.corrections else None
    corrected = applied.count("relabel") + applied.count("keep") if applied else 0
    cost = (given + corrected) * economics.cost_per_label
    ledger.record(
        "labelling cost",
        requirement="it is known what the labels cost",
        risk="labels are bought where they change nothing",
        qa_method="every label given, and every row that a correction judged, at goal.economics.cost_per_label",
        value={
            "labels": given,
            "corrections": corrected,
            "cost": cost,
            "cost_per_row": cost / source.height,
            "currency": economics.currency,
        },
        verdict=Verdict.PASS,
        counts=False,
    )
