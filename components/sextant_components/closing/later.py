"""What is proved of a run's bundle after the run has ended: experts' answers, and exports that are made by hand.

A conclusion seals the run's ledger, so such evidence has a ledger of its own below the run, `later/ledger`, of the same
form and verified like it. It changes no verdict of the run; the dossier shows it beside what the run found itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sextant_components.closing.dossier.page import DOSSIER_FILE, run_dossier
from sextant_components.evaluation.expert_review import record_reviews
from sextant_components.modelling.exports.parity import PARITY_FILE, Parity
from sextant_components.modelling.planned_exports import record_export
from sextant_components.runs.context import RUN_FILE, RunContext, Step, open_run, origin_of
from sextant_plan.bundle import BundleSpec
from sextant_plan.canonical import canonical_json
from sextant_plan.errors import SextantError
from sextant_plan.ledger import LATER, ArtifactStore, LedgerWriter, Phase, attempts, read_attempt

REVIEW, EXPORT = "review", "export"


def record_answers(context: RunContext) -> None:
    """Record what experts have said so far of each of the run's queues, and show it in the dossier."""
    with _ledger(context, REVIEW, "evaluation") as ledger:
        record_reviews(ledger, context)
    _show(context)


def record_by_hand(home: Path, folder: Path) -> Path | None:
    """Record the export in `folder` in the run below `home` that sealed its bundle; return that run.

    None where no run here has sealed it: then the proof stands in the folder alone.
    """
    parity = Parity.model_validate_json((folder / PARITY_FILE).read_bytes())
    context = run_that_sealed(home, parity.bundle_digest)
    if context is None:
        return None
    with _ledger(context, f"{EXPORT}_{parity.target}", "deployment") as ledger:
        record_export(ledger, parity.target, folder, parity.verdict, _found(parity), keep=False)
    _show(context)
    return context.run


def run_that_sealed(home: Path, digest: str) -> RunContext | None:
    """Return the newest run below `home` whose optimisation sealed the bundle of this digest."""
    runs = sorted(home.glob(f"runs/*/{RUN_FILE}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in runs:
        if digest in _sealed(path.parent):
            return open_run(str(path.parent))
    return None


def _sealed(run: Path) -> Iterator[str]:
    """Yield the digests of the bundles that a run has sealed; a run that cannot be read has sealed none for us."""
    store = ArtifactStore(run)
    for path in attempts(run):
        if path.stem.rpartition("-")[0] != Step.OPTIMISE:
            continue
        try:
            for record in read_attempt(path):
                if "bundle.json" in record.artifacts:
                    described = store.read_bytes(record.artifacts["bundle.json"])
                    yield BundleSpec.model_validate_json(described).digest
        except (SextantError, ValueError):
            continue


def _found(parity: Parity) -> str:
    return f"off by {parity.off:.3g} on {parity.rows} golden requests, allowed {parity.tolerance:g}: {parity.method}"


def _ledger(context: RunContext, name: str, phase: Phase) -> LedgerWriter:
    folder = context.run / LATER
    ArtifactStore(folder).put_bytes(canonical_json(context.plan.canonical()))
    return LedgerWriter(folder, name, phase, origin_of(context.run_id, context.plan_hash))


def _show(context: RunContext) -> None:
    if (context.run / DOSSIER_FILE).exists():
        run_dossier(context)
