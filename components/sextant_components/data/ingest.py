"""The ingest step: the source becomes an immutable snapshot, named by the hash of its content."""

from __future__ import annotations

from pathlib import Path

from sextant_components.data.croissant import write_croissant
from sextant_components.data.label_records import record_labelling
from sextant_components.data.provenance import record_corrections, record_mirror, record_procurement
from sextant_components.data.remote_sources import fetch_source
from sextant_components.data.retraining import record_retraining
from sextant_components.data.snapshots import write_snapshot
from sextant_components.data.sources import read_source
from sextant_components.data.tables import Snapshot, read_schema
from sextant_components.runs.context import RunContext, Step
from sextant_monitoring.launcher import TimeWindow
from sextant_plan.ledger import LedgerWriter
from sextant_plan.verdicts import Verdict


def run_ingest(context: RunContext, *, snapshot: Path, window: TimeWindow | None = None) -> Verdict:
    """Write the snapshot and record its identity, its origin, the right to use it and the raters' agreement.

    `window` is the one whose verdict called for a retraining. Raises DataError if the source cannot be used as the
    plan says.
    """
    plan = context.plan
    with context.ledger(Step.INGEST) as ledger:
        mirror = fetch_source(plan, context.home)
        source = read_source(plan, context.data_root, context.home)
        described = write_snapshot(source, plan.data, context.data_root, snapshot, context.home)
        write_croissant(plan, described, read_schema(snapshot), snapshot)
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
        if mirror is not None:
            record_mirror(ledger, plan, mirror)
        if plan.data.procurement:
            record_procurement(ledger, plan, described.rows)
        if source.corrections is not None:
            record_corrections(ledger, source.corrections.applied)
        record_labelling(ledger, plan, source)
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
