"""The bench that engines are compared on: each is built, asked for every validation row, and timed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from sextant_components.data.tables import SplitsInfo, read_split, read_splits_info, slices_of
from sextant_components.modelling.bundle_export import GOLDEN_ROWS, describe, member_files, write_weights
from sextant_components.modelling.compiled_engines import compile_network
from sextant_components.modelling.ensembling import mean_answers, together
from sextant_components.modelling.latency import median_ms
from sextant_components.modelling.model_file import TrainedModel, load_members, read_model
from sextant_components.modelling.objectives import objective_of
from sextant_components.modelling.slice_losses import rows_by_slice
from sextant_components.modelling.tensors import Examples, Inputs, load_examples, run_in_batches
from sextant_components.modelling.training import predict
from sextant_components.runs.context import RunContext
from sextant_plan.bundle import Engine
from sextant_plan.canonical import digest_of_files
from sextant_plan.schema import MEASURED_ONLY, EngineName

if TYPE_CHECKING:
    from sextant_components.modelling.training import Learned
    from sextant_serving.architectures import Network
    from sextant_serving.engines import Engine as Runs

REPEATS_ONE, REPEATS_FULL = 60, 20
SLICE_LOSS = 0.005  # share; what an engine may lose on any slice against the trained network


@dataclass(frozen=True)
class Candidate:
    """One engine, measured; `failure` says why it cannot be used, `tolerance` how far a probability may be off.

    `refused` is an 8-bit form of which a slice may lose more than the plan tolerates.
    """

    engine: str
    tolerance: float
    failure: str | None = None
    off: float = math.nan
    slice_loss: float = math.nan
    one_ms: float = math.nan
    full_ms: float = math.nan
    size: int = 0
    refused: bool = False

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


def open_bench(context: RunContext, snapshot: Path, splits: Path, model: Path) -> Bench:
    """Return the bench for what the train step wrote to `model`, on the validation rows."""
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
        slices_of(context.plan, split),
    )


def measure(bench: Bench, engine: Engine | EngineName, folder: Path) -> Candidate:
    """Build, load and time one engine; one that cannot be built or loaded is a finding, not an error."""
    max_rows, tolerance = bench.context.plan.serving.batching.max_rows, bench.context.plan.model.tolerance
    try:
        loaded = _build(bench, engine, folder)
        found = run_in_batches(loaded, bench.valid.inputs, max_rows)
    except Exception as error:  # exporters and runtimes raise their own classes, and another engine may do
        return Candidate(engine, tolerance, failure=describe_failure(error))
    return timed(bench, Candidate(engine, tolerance), loaded, found, folder)


def describe_failure(error: Exception) -> str:
    """Return an engine's error in one line."""
    first_line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__} while it was built: {first_line[:200]}"


def timed(bench: Bench, candidate: Candidate, loaded: Runs, found: NDArray[np.float32], folder: Path) -> Candidate:
    """Return a candidate with its figures; `found` are its answers to the validation rows, `folder` has its files."""
    one, full = (repeated(bench.golden, rows) for rows in (1, bench.context.plan.serving.batching.max_rows))
    return replace(
        candidate,
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


def repeated(golden: Inputs, rows: int) -> Inputs:
    """Return so many rows, the golden ones over and over."""
    return {name: np.resize(array, (rows, *array.shape[1:])) for name, array in golden.items()}


def _slice_loss(bench: Bench, found: NDArray[np.float32]) -> float:
    """Return the largest loss on all rows or on any value of a slice column: of accuracy, or in label spreads."""
    objective = objective_of(bench.valid.labels)
    before, after = (objective.merit(outputs, bench.valid.labels) for outputs in (bench.expected, found))
    loss = (before.astype(np.float64) - after) / bench.model.spread
    return max(float(loss[rows].mean()) for rows in rows_by_slice(bench.slices, len(loss)).values())
