"""Optimise: build the network for every engine of the plan, keep the fastest that gives the same answers."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sextant_components.modelling.attributions import ROWS, attribute, record_attributions
from sextant_components.modelling.bundle_export import assemble, engines_for
from sextant_components.modelling.engine_bench import (
    REPEATS_FULL,
    REPEATS_ONE,
    SLICE_LOSS,
    Bench,
    Candidate,
    measure,
    open_bench,
)
from sextant_components.modelling.ensembling import record_allowance
from sextant_components.modelling.int8 import TOLERANCE
from sextant_components.modelling.int8_engine import Quantised, try_int8
from sextant_components.modelling.planned_exports import record_exports
from sextant_components.runs.context import RunContext, Step
from sextant_plan.bundle import REFERENCE_FILE, BundleSpec, Engine
from sextant_plan.errors import InfrastructureError
from sextant_plan.ledger import LedgerWriter
from sextant_plan.verdicts import Verdict


@dataclass(frozen=True)
class Measured:
    """A bench's engines and the fastest of those that are equivalent and can be served."""

    bench: Bench
    candidates: list[Candidate]
    fastest: Candidate
    folder: Path


def run_optimise(context: RunContext, *, snapshot: Path, splits: Path, model: Path, bundle: Path) -> Verdict:
    """Write the sealed bundle of the fastest equivalent engine; raises InfrastructureError if there is none."""
    bench = open_bench(context, snapshot, splits, model)
    with context.ledger(Step.OPTIMISE) as ledger, tempfile.TemporaryDirectory() as scratch:
        measured = _afforded(ledger, _measure_all(bench, Path(scratch) / "all"), Path(scratch) / "alone")
        _record_parity(ledger, measured.candidates)
        plain, small = measured.folder / "onnx", measured.folder / "int8"
        int8 = try_int8(
            ledger, measured.bench, measured.fastest, plain=plain, snapshot=snapshot, splits=splits, folder=small
        )
        spec = _seal(bundle, context, measured, int8, reference=splits / REFERENCE_FILE)
        chosen = int8.candidate if int8 is not None and int8.taken else measured.fastest
        if chosen is measured.fastest:
            _record_slices(ledger, chosen)
        _record_bundle(ledger, spec)
        record_exports(ledger, context.plan.model.exports, bundle, spec)
        _record_attributions(ledger, measured.bench)
        _record_latency(ledger, [*measured.candidates, *([int8.candidate] if int8 else [])], chosen, spec)
        return ledger.verdict


def _seal(
    bundle: Path, context: RunContext, measured: Measured, int8: Quantised | None, *, reference: Path
) -> BundleSpec:
    """Write the bundle of the fastest engine, or of the 8-bit form where that is taken."""
    bench, fastest = measured.bench, measured.fastest
    taken = int8 is not None and int8.taken
    return assemble(
        bundle,
        context,
        bench.model,
        bench.splits,
        engine="onnx" if taken else cast("Engine", fastest.engine),
        weights=int8.folder if int8 is not None and taken else measured.folder / fastest.engine,
        members=bench.members,
        golden=bench.golden,
        reference=reference,
        answers=int8.golden_answers if int8 is not None and taken else None,
        tolerance=TOLERANCE if taken else 0.0,
    )


def _measure_all(bench: Bench, folder: Path) -> Measured:
    """Measure every engine of the plan; raises InfrastructureError if none of them can be served."""
    engines = engines_for(bench.members[0], bench.context.plan.model.engines)
    candidates = [measure(bench, engine, folder / engine) for engine in engines]
    usable = [candidate for candidate in candidates if candidate.equivalent and candidate.served]
    if not usable:
        reasons = "; ".join(f"{c.engine}: {c.failure or f'off by {c.off:.3g}'}" for c in candidates)
        name = bench.context.plan.name
        raise InfrastructureError(f"{name}: no engine gives the network's answers ({reasons}). Add an engine.")
    return Measured(bench, candidates, min(usable, key=lambda candidate: candidate.cost), folder)


def _afforded(ledger: LedgerWriter, measured: Measured, folder: Path) -> Measured:
    """Return what was measured, or the best member alone where several take longer than the plan allows."""
    bench, plan = measured.bench, measured.bench.context.plan
    if len(bench.members) == 1:
        return measured
    allowed = plan.model.ensemble.latency_share * plan.serving.latency_slo_ms
    within = record_allowance(
        ledger, members=len(bench.members), milliseconds=measured.fastest.full_ms, allowed=allowed
    )
    return measured if within else _measure_all(bench.alone(), folder)


def _record_parity(ledger: LedgerWriter, candidates: list[Candidate]) -> None:
    for candidate in candidates:
        usable, limit = candidate.failure is None, candidate.tolerance
        agrees = Verdict.PASS if candidate.agrees else Verdict.FAIL
        ledger.record(
            f"engine parity: {candidate.engine}",
            requirement=f"{candidate.engine} gives the trained network's answers within {limit:g}",
            risk="what is served is not what was evaluated",
            qa_method="largest difference over every validation row; an engine that differs is not chosen",
            verdict=agrees if usable else Verdict.UNKNOWN,
            value=f"at most {limit:g}" if agrees is Verdict.PASS else candidate.failure or f"{candidate.off:.3g}",
            counts=False,
        )


def _record_slices(ledger: LedgerWriter, fastest: Candidate) -> None:
    ledger.record(
        "slice loss",
        requirement=f"the chosen engine loses at most {SLICE_LOSS:g} on any slice",
        risk="a faster engine is paid for by a minority of the rows",
        qa_method="accuracy, or mean absolute error over the labels' spread, on every slice of the validation rows "
        "against the trained network",
        verdict=Verdict.PASS,
        value=fastest.slice_loss,
    )


def _record_bundle(ledger: LedgerWriter, spec: BundleSpec) -> None:
    ledger.record(
        "bundle",
        requirement="the model lies in a sealed bundle",
        risk="files are changed or mixed up between training and serving",
        qa_method="a digest of every file, verified whenever the bundle is read",
        verdict=Verdict.PASS,
        value={"version": spec.version},
        artifacts={"bundle.json": ledger.artifacts.put_json(spec.model_dump(mode="json"))},
    )


def _record_attributions(ledger: LedgerWriter, bench: Bench) -> None:
    plan, model = bench.context.plan, bench.model
    rows = plan.model.attributions.rows if plan.model.attributions else ROWS
    found = attribute(bench.members[0], bench.valid, rows=rows)
    record_attributions(ledger, plan, found, classes=model.classes, columns=model.columns)


def _record_latency(ledger: LedgerWriter, candidates: list[Candidate], fastest: Candidate, spec: BundleSpec) -> None:
    rows: list[dict[str, Any]] = [
        {
            "engine": candidate.engine,
            "chosen": candidate.engine == fastest.engine,
            "served": candidate.served,
            "failure": candidate.failure,
            "difference": _finite(candidate.off),
            "slice_loss": _finite(candidate.slice_loss),
            "refused": candidate.refused,
            "batch_1_ms": _finite(candidate.one_ms),
            "batch_full_ms": _finite(candidate.full_ms),
            "bytes": candidate.size,
        }
        for candidate in candidates
    ]
    ledger.record(
        "engine latency",
        requirement="the fastest equivalent engine is served",
        risk="hardware and the user's time are wasted",
        qa_method=f"median of {REPEATS_ONE} single rows and of {REPEATS_FULL} batches of {spec.serving.max_rows}, "
        "on one thread; the lower geometric mean wins",
        verdict=Verdict.PASS,
        value={"chosen": fastest.engine},
        artifacts={"engines.json": ledger.artifacts.put_json(rows)},
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
