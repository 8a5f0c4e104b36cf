"""The ingest step: the source becomes an immutable snapshot, named by the hash of its content."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from sextant_components.context import RunContext, Step
from sextant_components.retraining import record_retraining
from sextant_components.snapshots import write_snapshot
from sextant_components.sources import read_source
from sextant_components.tables import Snapshot
from sextant_monitoring.launcher import TimeWindow
from sextant_plan.ledger import LedgerWriter
from sextant_plan.schema import Criterion, Labelling
from sextant_plan.statistics.agreement import nominal_alpha
from sextant_plan.verdicts import Verdict, judge

if TYPE_CHECKING:
    import polars as pl

NO_AGREEMENT = "no row has two labels, or every label is the same, so there is no chance to agree beyond"
AGREEMENT_CONFIDENCE = 0.95  # for data.labelling.agreement_at_least, which states no confidence of its own


def run_ingest(context: RunContext, *, snapshot: Path, window: TimeWindow | None = None) -> Verdict:
    """Write the snapshot and record its identity, its origin, the right to use it and the raters' agreement.

    `window` is the one whose verdict called for a retraining. Raises DataError if the source cannot be used as the plan says.
    """
    plan = context.plan
    with context.ledger(Step.INGEST) as ledger:
        source = read_source(plan, context.data_root)
        described = write_snapshot(source, plan.data, context.data_root, snapshot)
        _record_identity(ledger, described)
        if window is not None:
            record_retraining(context, ledger, source, window)
        ledger.record(
            "licence and consent",
            requirement="the licence allows training and the basis of use is stated",
            risk="a model is trained on data that nobody may use",
            qa_method="data.licence and data.consent of the frozen plan, bound to this snapshot's hash",
            value={
                "licence": plan.data.licence.name,
                "consent": plan.data.consent.basis,
                "data_hash": described.data_hash,
            },
            verdict=Verdict.PASS if plan.data.licence.allows_training and plan.data.consent.basis else Verdict.FAIL,
        )
        if plan.data.labelling is not None:
            wanted = [criterion for criterion in plan.criteria if criterion.metric == "label_agreement"]
            _record_agreement(ledger, source.rows, plan.data.labelling, wanted)
    return ledger.verdict


def _record_identity(ledger: LedgerWriter, described: Snapshot) -> None:
    ledger.record(
        "snapshot",
        requirement="the data of the run is one immutable copy",
        risk="the data changes under the run and no result can be repeated",
        qa_method="sha256 over the sorted rows and the pictures' digests; the next step compares it",
        value={"data_hash": described.data_hash, "rows": described.rows, "classes": described.classes},
        verdict=Verdict.PASS,
        artifacts={"lineage": ledger.artifacts.put_json([item.model_dump() for item in described.lineage])},
    )


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
