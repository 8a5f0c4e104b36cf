"""What ingest puts on record of where the rows come from: how they were procured, and who corrected which."""

from __future__ import annotations

from sextant_components.data.corrections import Applied
from sextant_components.data.remote_sources import Mirror
from sextant_plan.ledger import LedgerWriter
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict


def record_corrections(ledger: LedgerWriter, applied: Applied) -> None:
    """Record every correction that was replayed; the file itself becomes an artifact."""
    ledger.record(
        "corrections",
        requirement="every row that a person changed or left out is named, with who did so and why",
        risk="data is changed by hand and nobody can say where, or take it back",
        qa_method="each line of data.corrections is replayed on the untouched source; original_label keeps the label",
        value={
            "file": applied.digest,
            "lines": applied.lines,
            "superseded": applied.lines - len(applied.done),
            **{action: applied.count(action) for action in ("relabel", "drop", "keep")},
        },
        verdict=Verdict.PASS,
        artifacts={
            "corrections.jsonl": ledger.artifacts.put_bytes(applied.content),
            "applied.json": ledger.artifacts.put_json(applied.listed()),
        },
    )


def record_mirror(ledger: LedgerWriter, plan: Plan, mirror: Mirror) -> None:
    """Record what was there at a remote source's address; how much of it was read anew is no property of the data."""
    ledger.record(
        "remote source",
        requirement="the files of a remote source are known by their content",
        risk="a bucket changes under the run, or a part of a file is taken for the whole",
        qa_method="sha256 of every file as it was read, its size compared with the store's listing",
        value={"address": plan.data.source, "files": len(mirror.files), "digest": mirror.digest},
        verdict=Verdict.PASS,
        artifacts={"files.json": ledger.artifacts.put_json(mirror.files)},
    )


def record_procurement(ledger: LedgerWriter, plan: Plan, rows: int) -> None:
    """Record the parts of the data by how they were come by, with the cost of a row of each."""
    parts = [
        {**part.model_dump(mode="json"), "cost_per_row": part.cost / (part.share * rows) if part.share else None}
        for part in plan.data.procurement
    ]
    economics = plan.goal.economics
    ledger.record(
        "procurement",
        requirement="it is known which part of the data is own, bought, open or synthetic, why, and what it cost",
        risk="a source is paid for, or trusted, without anyone having chosen it",
        qa_method="data.procurement of the frozen plan over the snapshot's rows",
        value={
            "parts": parts,
            "cost": sum(part.cost for part in plan.data.procurement),
            "currency": economics.currency if economics else None,
        },
        verdict=Verdict.PASS,
        counts=False,
    )
