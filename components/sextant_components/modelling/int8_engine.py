"""The 8-bit form of the ONNX engine on the bench: what it loses on each slice, and whether it is worth that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from sextant_components.data.tables import read_split
from sextant_components.modelling.bundle_export import describe, member_files
from sextant_components.modelling.engine_bench import Bench, Candidate, describe_failure, timed
from sextant_components.modelling.int8 import CALIBRATION_ROWS, TOLERANCE, quantise
from sextant_components.modelling.objectives import objective_of
from sextant_components.modelling.slice_losses import record_form, refused_by, slice_losses
from sextant_components.modelling.tensors import Inputs, load_examples, run_in_batches
from sextant_plan.canonical import digest_of_files
from sextant_plan.ledger import LedgerWriter
from sextant_plan.verdicts import Verdict

if TYPE_CHECKING:
    from sextant_serving.engines import Engine as Runs

NAME = "onnx-int8"


@dataclass(frozen=True)
class Quantised:
    """The 8-bit form: its row of the table, its files, what it answers to the golden requests, whether to take it."""

    candidate: Candidate
    folder: Path
    golden_answers: NDArray[np.float32]
    taken: bool


def try_int8(
    ledger: LedgerWriter, bench: Bench, fastest: Candidate, *, plain: Path, snapshot: Path, splits: Path, folder: Path
) -> Quantised | None:
    """Measure and record the 8-bit form of the ONNX files in `plain`, if the plan asks for it.

    None if it does not, or if there is no such form: trees have none, and a failure is recorded.
    """
    wanted = bench.context.plan.model.compress
    if wanted is None or wanted.int8 == "none" or not plain.exists():
        return None
    try:
        engine = _build(bench, wanted.int8, plain, folder, _calibration(bench, snapshot, splits))
        found = run_in_batches(engine, bench.valid.inputs, bench.context.plan.serving.batching.max_rows)
    except Exception as error:  # the quantiser raises its own classes, and full precision is served then
        _record_failure(ledger, describe_failure(error))
        return None
    objective = objective_of(bench.valid.labels)
    losses = slice_losses(
        objective,
        bench.expected,
        found,
        bench.valid.labels,
        bench.slices,
        spread=bench.model.spread,
        groups=bench.valid.groups,
    )
    refused = bool(refused_by(losses, wanted.slice_loss))
    candidate = replace(timed(bench, Candidate(NAME, TOLERANCE), engine, found, folder), refused=refused)
    better = candidate.cost < fastest.cost if wanted.aim == "speed" else candidate.size < fastest.size
    taken, sizes = better and not refused, (fastest.size, candidate.size)
    record_form(ledger, "int8", losses, tolerated=wanted.slice_loss, taken=taken, sizes=sizes)
    golden = engine.run({name: bench.golden[name] for name in bench.members[0].reads})
    return Quantised(candidate, folder, golden, taken)


def _build(bench: Bench, mode: Literal["static", "dynamic"], plain: Path, folder: Path, rows: Inputs) -> Runs:
    from sextant_serving.engines import load_engine

    names = member_files("onnx", len(bench.members))
    folder.mkdir(parents=True)
    for name in names:
        quantise(plain / name, folder / name, mode, rows)
    files = digest_of_files(folder, names)
    return load_engine(folder, describe(bench.context, bench.model, bench.splits, engine="onnx", files=files))


def _calibration(bench: Bench, snapshot: Path, splits: Path) -> Inputs:
    """Return training rows from first to last; the validation rows judge, so they must not set any range."""
    described, split = bench.model, read_split(splits, "train")
    rows = np.unique(np.linspace(0, split.height - 1, min(CALIBRATION_ROWS, split.height)).round().astype(int))
    return load_examples(snapshot, split[rows.tolist()], image=described.image, columns=described.columns).inputs


def _record_failure(ledger: LedgerWriter, reason: str) -> None:
    ledger.record(
        "compression: int8",
        requirement="what the plan asks for is tried",
        risk="a plan that asks for a smaller model is believed to have one",
        qa_method="ONNX Runtime's quantiser; full precision is served if it fails",
        verdict=Verdict.UNKNOWN,
        value=reason,
        counts=False,
    )
