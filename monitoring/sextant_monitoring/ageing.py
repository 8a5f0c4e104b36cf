"""What age costs the model in service, by the staleness curve that the evaluation of its run measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from sextant_plan.catalogue import MODEL_CREATED
from sextant_plan.catalogue.watching import STALENESS_LOSS
from sextant_plan.errors import UsageError
from sextant_plan.ledger import read_run
from sextant_plan.window import Sample, Selector, Window

STEP, TASK = "evaluate", "staleness"


@dataclass(frozen=True)
class LossPerDay:
    """The accuracy that a day of age costs, with its one-sided bounds; not proved unless `low` is over 0."""

    value: float
    low: float
    high: float


def read_loss_per_day(run: Path) -> LossPerDay:
    """Read the curve from a run's ledger. Raises UsageError if its evaluation measured none, LedgerCorrupt."""
    for record in read_run(run).get(STEP, []):
        if record.task == TASK and isinstance(record.value, dict):
            return LossPerDay(*record.value["lost_a_day"])
    remedy = "Name a run whose plan has evaluation.staleness and rows enough, or leave --run out"
    raise UsageError(f"{run}: its evaluation measured no staleness curve. {remedy}.")


def loss_samples(loss: LossPerDay, window: Window) -> list[Sample]:
    """Return the curve's series for each version that tells when it was sealed."""
    return [
        Sample(STALENESS_LOSS.name, {**sealed.labels, "bound": bound}, value)
        for sealed in window.select(Selector.of(MODEL_CREATED.name))
        for bound, value in asdict(loss).items()
    ]
