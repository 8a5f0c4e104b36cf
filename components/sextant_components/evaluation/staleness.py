"""How a model's answers get worse as it ages, and when it is due for retraining.

The chosen settings are fitted again on the oldest half of the rows that are not sealed and asked of the newer half,
window by window. What falls is a straight line in age; a curve over few windows would be read from noise. A loss is one
of accuracy; of numbers, it is what the mean absolute error grows by, in standard deviations of the training labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.data.tables import groups_of, read_split
from sextant_components.modelling.fitting import fit_candidate
from sextant_components.modelling.model_file import TrainedModel, read_model
from sextant_components.modelling.objectives import Merit, Objective, objective_of
from sextant_components.modelling.tensors import load_examples
from sextant_components.modelling.training import Settings, Shape, predict
from sextant_components.runs.context import RunContext
from sextant_plan.bounds import Groups, taken
from sextant_plan.ledger import LedgerWriter, finite_or_none
from sextant_plan.schema import Staleness
from sextant_plan.types import DAY
from sextant_plan.verdicts import Verdict
from sextant_serving.architectures import as_begun

if TYPE_CHECKING:
    import polars as pl

CONFIDENCE = 0.95
TAUGHT, KEPT = 0.5, 0.8  # shares: of the rows that are the past, and of the past that is fitted on and not validated by
FEWEST_ROWS = 10  # a window


@dataclass(frozen=True)
class Decline:
    """The loss a day with its one-sided bounds, least squares of the answers' merit on age."""

    value: float
    low: float
    high: float

    def verdict(self, *, allowed: float, seen: float, tolerated: float) -> Verdict:
        """Judge the age in days that a plan allows; beyond the days that were seen a trend need not go on."""
        if self.low * min(allowed, seen) > tolerated:
            return Verdict.FAIL
        return Verdict.PASS if allowed <= seen and self.high * allowed <= tolerated else Verdict.UNKNOWN

    def due_days(self, tolerated: float) -> float | None:
        """Return the age at which `tolerated` is lost, None unless a loss is proved."""
        return tolerated / self.value if self.low > 0 else None


def record_staleness(
    ledger: LedgerWriter, context: RunContext, wanted: Staleness, *, snapshot: Path, splits: Path, model: Path | None
) -> None:
    """Record the curve and the cadence; judge the age that a criterion on `model_age_days` allows."""
    import polars as pl

    if model is None:
        _record(ledger, context, wanted, "the trained network was not handed over", [])
        return
    described, time = read_model(model), context.plan.data.timestamp
    assert time is not None  # the plan's check asks for it
    rows = pl.concat([read_split(splits, name) for name in ("train", "valid")], how="vertical").sort(time, "row_id")
    times = np.asarray([moment.timestamp() for moment in rows[time].to_list()])
    past, later = np.split(np.arange(rows.height), [round(TAUGHT * rows.height)])
    if len(later) < FEWEST_ROWS * wanted.windows or times[later[-1]] == times[past[-1]]:
        _record(ledger, context, wanted, "too few rows, or no time, after the oldest half", [])
        return
    objective, merit = _answers_of_the_past(context, described, snapshot, rows, past)
    groups = groups_of(rows[later])
    ages = (times[later] - times[past[-1]]) / DAY
    parts = np.array_split(np.arange(len(later)), wanted.windows)
    table = [_window(objective, ages[part], merit[part], taken(groups, part)) for part in parts]
    _record(ledger, context, wanted, decline(ages, merit / objective.scale, groups), table, seen=float(ages.max()))


def decline(ages: NDArray[np.float64], merit: Merit, groups: Groups = None) -> Decline:
    """Return how much of `merit`, one a row, is lost a day: the ordinary slope with errors by White (1980).

    Of rows in `groups` the errors are summed by group first (Liang and Zeger 1986).
    """
    from scipy.special import ndtri

    centred = ages - ages.mean()
    spread = float((centred**2).sum())
    slope = float((centred * merit).sum() / spread)
    residuals = merit - merit.mean() - slope * centred
    parts = centred * residuals
    if groups is not None:
        parts = np.bincount(np.unique(groups, return_inverse=True)[1], parts)
    error = float(np.sqrt((parts**2).sum()) / spread)
    z = float(ndtri(CONFIDENCE))
    return Decline(-slope, -slope - z * error, -slope + z * error)


def _answers_of_the_past(
    context: RunContext, described: TrainedModel, snapshot: Path, rows: pl.DataFrame, past: NDArray[np.intp]
) -> tuple[Objective, Merit]:
    """Fit the chosen settings on the oldest rows; return the merit of its answers to later ones, the oldest first."""
    model = context.plan.model
    shape = Shape(described.image, described.columns, described.classes, context.plan_dir, tuple(model.augment))
    examples = load_examples(snapshot, rows, image=shape.image, columns=shape.columns)
    fitted_on, watched = np.split(past, [round(KEPT * len(past))])
    settings = Settings(
        architecture=described.architecture,
        params=as_begun(described.architecture, described.params),
        learning_rate=described.learning_rate,
        weight_decay=described.weight_decay,
        epochs=model.epochs,
        batch_size=model.batch_size,
        seed=described.seed,
        training=model.training,
    )
    taught = examples.take(fitted_on)
    fitted = fit_candidate(settings, shape, taught, examples.take(watched))
    later, objective = examples.take(np.arange(len(past), len(examples))), objective_of(taught.labels)
    return objective, objective.merit(predict(fitted.network, later.inputs), later.labels)


def _window(objective: Objective, ages: NDArray[np.float64], merit: Merit, groups: Groups) -> dict[str, Any]:
    found = objective.level(merit, CONFIDENCE, groups)
    return {
        "age_days": round(float(ages.mean()), 3),
        "measure": objective.level_name,
        "value": found.value,
        "low": finite_or_none(found.low),
        "high": finite_or_none(found.high),
        "n": found.n,
    }


def _record(
    ledger: LedgerWriter,
    context: RunContext,
    wanted: Staleness,
    found: Decline | str,
    table: Sequence[dict[str, Any]],
    *,
    seen: float = 0.0,
) -> None:
    allowed = [each.limit for each in context.plan.criteria if each.metric == "model_age_days"]
    due = None if isinstance(found, str) else found.due_days(wanted.tolerated_loss)
    verdict = Verdict.UNKNOWN if isinstance(found, str) else Verdict.PASS
    if allowed and not isinstance(found, str):
        verdict = found.verdict(allowed=min(allowed), seen=seen, tolerated=wanted.tolerated_loss)
    value: dict[str, Any] | str = found if isinstance(found, str) else {
        "lost_a_day": [round(each, 8) for each in (found.value, found.low, found.high)],
        "retrain_after_days": None if due is None else round(due, 3),
        "observed_days": round(seen, 3),
        "allowed_days": min(allowed, default=None),
    }  # fmt: skip
    ledger.record(
        "staleness",
        requirement=f"the age that the plan allows a model costs at most {wanted.tolerated_loss:g} of {_lost(context)}",
        risk="the world moves on and the model is trusted as on its first day",
        qa_method="the chosen settings fitted on the oldest half of the training and validation rows, asked of later "
        f"windows; least squares on age, robust errors, one-sided at {CONFIDENCE:g}; no proved loss gives no date, and "
        "an age beyond the days seen is unknown",
        verdict=verdict,
        value=value,
        artifacts={"ageing.json": ledger.artifacts.put_json(list(table))} if table else {},
        counts=bool(allowed),
    )


def _lost(context: RunContext) -> str:
    by_class = context.plan.model.answers == "class"
    return "its accuracy" if by_class else "the labels' spread in mean absolute error"
