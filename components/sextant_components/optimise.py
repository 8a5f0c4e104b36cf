"""Optimise: build the network for every engine of the plan, keep the fastest that gives the same answers."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from sextant_components.bundle_export import (
    GOLDEN_ROWS,
    assemble,
    describe,
    engines_for,
    member_files,
    write_weights,
)
from sextant_components.compiled_engines import compile_network
from sextant_components.context import RunContext, Step
from sextant_components.ensembling import mean_answers, record_allowance, together
from sextant_components.latency import median_ms
from sextant_components.model_file import TrainedModel, load_members, read_model
from sextant_components.objectives import objective_of
from sextant_components.tables import SplitsInfo, read_split, read_splits_info, slice_columns, slice_values
from sextant_components.tensors import Examples, Inputs, load_examples, run_in_batches
from sextant_components.training import predict
from sextant_plan.bundle import REFERENCE_FILE, BundleSpec, Engine
from sextant_plan.canonical import digest_of_files
from sextant_plan.errors import InfrastructureError
from sextant_plan.ledger import LedgerWriter
from sextant_plan.schema import MEASURED_ONLY, EngineName
from sextant_plan.verdicts import Verdict

if TYPE_CHECKING:
    from sextant_components.training import Learned
    from sextant_serving.architectures import Network
    from sextant_serving.engines import Engine as Runs

REPEATS_ONE, REPEATS_FULL = 60, 20
SLICE_LOSS = 0.005  # share; what an engine may lose on any slice against the trained network


@dataclass(frozen=True)
class Candidate:
    """One engine, measured; `failure` says why it cannot be used, `tolerance` how far a probability may be off."""

    engine: Engine | EngineName
    tolerance: float
    failure: str | None = None
    off: float = math.nan
    slice_loss: float = math.nan
    one_ms: float = math.nan
    full_ms: float = math.nan
    size: int = 0

    @property
    def equivalent(self) -> bool:
        """Whether the engine answers as the trained network does."""
        return self.agrees and self.slice_loss <= SLICE_LOSS

    @property
    def agrees(self) -> bool:
        """Whether no probability is further off than the tolerance."""
        return self.failure is None and self.off <= self.tolerance

    @property
    def served(self) -> bool:
        """Whether a bundle can hold the engine; the others are measured for comparison."""
        return self.engine not in MEASURED_ONLY

    @property
    def cost(self) -> float:
        """One figure for a lone request and for a full batch: the geometric mean of both times."""
        return math.sqrt(self.one_ms * self.full_ms)


@dataclass(frozen=True)
class Bench:
    """What the engines are compared on.

    `members` answer together, most often it is one; `expected` are their probabilities of `valid`.
    """

    context: RunContext
    model: TrainedModel
    splits: SplitsInfo
    members: list[Learned]
    valid: Examples
    golden: Inputs
    expected: NDArray[np.float32]
    slices: dict[str, list[str]]

    def alone(self) -> Bench:
        """Return the bench for the best member without the others."""
        return replace(self, members=self.members[:1], expected=predict(self.members[0], self.valid.inputs))


@dataclass(frozen=True)
class Measured:
    """A bench's engines and the fastest of those that are equivalent and can be served."""

    bench: Bench
    candidates: list[Candidate]
    fastest: Candidate
    folder: Path


def run_optimise(context: RunContext, *, snapshot: Path, splits: Path, model: Path, bundle: Path) -> Verdict:
    """Write the sealed bundle of the fastest equivalent engine; raises InfrastructureError if there is none."""
    bench = _open_bench(context, snapshot, splits, model)
    with context.ledger(Step.OPTIMISE) as ledger, tempfile.TemporaryDirectory() as scratch:
        measured = _afforded(ledger, _measure_all(bench, Path(scratch) / "all"), Path(scratch) / "alone")
        _record_parity(ledger, measured.candidates)
        fastest = measured.fastest
        spec = assemble(
            bundle,
            context,
            bench.model,
            bench.splits,
            engine=cast("Engine", fastest.engine),
            weights=measured.folder / fastest.engine,
            members=measured.bench.members,
            golden=bench.golden,
            reference=splits / REFERENCE_FILE,
        )
        _record_slices(ledger, fastest)
        _record_bundle(ledger, spec)
        _record_latency(ledger, measured.candidates, fastest, spec)
        return ledger.verdict


def _measure_all(bench: Bench, folder: Path) -> Measured:
    """Measure every engine of the plan; raises InfrastructureError if none of them can be served."""
    engines = engines_for(bench.members[0], bench.context.plan.model.engines)
    candidates = [_measure(bench, engine, folder / engine) for engine in engines]
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


def _open_bench(context: RunContext, snapshot: Path, splits: Path, model: Path) -> Bench:
    described = read_model(model)
    members = load_members(model, described)
    split = read_split(splits, "valid")
    valid = load_examples(snapshot, split, image=described.image, columns=described.columns)
    return Bench(
        context,
        described,
        read_splits_info(splits),
        members,
        valid,
        valid.spread(GOLDEN_ROWS).inputs,
        mean_answers([predict(member, valid.inputs) for member in members]),
        {column: slice_values(split, column) for column in slice_columns(context.plan)},
    )


def _measure(bench: Bench, engine: Engine | EngineName, folder: Path) -> Candidate:
    """Build, load and time one engine; one that cannot be built or loaded is a finding, not an error."""
    max_rows, tolerance = bench.context.plan.serving.batching.max_rows, bench.context.plan.model.tolerance
    try:
        loaded = _build(bench, engine, folder)
        found = run_in_batches(loaded, bench.valid.inputs, max_rows)
    except Exception as error:  # exporters and runtimes raise their own classes, and another engine may do
        first_line = next(iter(str(error).splitlines()), "")
        return Candidate(engine, tolerance, failure=f"{type(error).__name__} while it was built: {first_line[:200]}")
    one, full = (_repeated(bench.golden, rows) for rows in (1, max_rows))
    return Candidate(
        engine,
        tolerance,
        off=float(np.abs(found - bench.expected).max()) / bench.model.spread,
        slice_loss=_slice_loss(bench, found),
        one_ms=median_ms(lambda: loaded.run(one), repeats=REPEATS_ONE),
        full_ms=median_ms(lambda: loaded.run(full), repeats=REPEATS_FULL),
        size=sum(file.stat().st_size for file in folder.glob("model*")) if folder.exists() else 0,
    )


def _build(bench: Bench, engine: Engine | EngineName, folder: Path) -> Runs:
    """Return the engine loaded from what was written to `folder`, or compiled."""
    from sextant_serving.engines import load_engine

    if engine in MEASURED_ONLY:
        return compile_network(engine, together(cast("list[Network]", bench.members)), folder, bench.golden)
    served = cast("Engine", engine)
    write_weights(served, bench.members, folder, bench.golden)
    files = digest_of_files(folder, member_files(served, len(bench.members)))
    return load_engine(folder, describe(bench.context, bench.model, bench.splits, engine=served, files=files))


def _repeated(golden: Inputs, rows: int) -> Inputs:
    return {name: np.resize(array, (rows, *array.shape[1:])) for name, array in golden.items()}


def _slice_loss(bench: Bench, found: NDArray[np.float32]) -> float:
    """Return the largest loss on all rows or on any value of a slice column: of accuracy, or in label spreads."""
    objective = objective_of(bench.valid.labels)
    before, after = (objective.merit(outputs, bench.valid.labels) for outputs in (bench.expected, found))
    loss = (before.astype(np.float64) - after) / bench.model.spread
    losses = [float(loss.mean())]
    for values in bench.slices.values():
        column = np.asarray(values)
        losses += [float(loss[column == value].mean()) for value in np.unique(column)]
    return max(losses)


def _record_parity(ledger: LedgerWriter, candidates: list[Candidate]) -> None:
    for candidate in candidates:
        usable, limit = candidate.failure is None, candidate.tolerance
        agrees = Verdict.PASS if candidate.agrees else Verdict.FAIL
        ledger.record(
            f"engine parity: {candidate.engine}",
            requirement=f"{candidate.engine} gives the trained network's probabilities within {limit:g}",
            risk="what is served is not what was evaluated",
            qa_method="largest difference over every validation row; an engine that differs is not chosen",
            verdict=agrees if usable else Verdict.UNKNOWN,
            value=f"at most {limit:g}" if agrees is Verdict.PASS else candidate.failure or f"{candidate.off:.3g}",
            counts=False,
        )


def _record_slices(ledger: LedgerWriter, fastest: Candidate) -> None:
    ledger.record(
        "slice loss",
        requirement=f"the chosen engine loses at most {SLICE_LOSS:g} of accuracy on any slice",
        risk="a faster engine is paid for by a minority of the rows",
        qa_method="accuracy on every slice of the validation rows against the trained network",
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


def _record_latency(ledger: LedgerWriter, candidates: list[Candidate], fastest: Candidate, spec: BundleSpec) -> None:
    rows: list[dict[str, Any]] = [
        {
            "engine": candidate.engine,
            "chosen": candidate.engine == fastest.engine,
            "served": candidate.served,
            "failure": candidate.failure,
            "difference": _finite(candidate.off),
            "slice_loss": _finite(candidate.slice_loss),
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
