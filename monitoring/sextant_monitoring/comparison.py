"""A/B by what the answers are worth: each challenger against the champion, from the prediction log and the labels.

A unit is assigned to one variant and stays with it, so that units and not rows are independent: each counts once, in
the window of its first answer, by the mean worth of its labelled answers in it. Only rows that the unit's hash assigned
count; a header or chance would let the units choose. An answer is worth the plan's value if it is right, its cost if it
is wrong, nothing if the model abstained. The bounds hold at every look (`sextant_plan.sequential.MeanDifference`), so
that the comparison may be read as often as one likes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sextant_monitoring.quality import LabelLogs, with_truth
from sextant_plan.errors import UsageError
from sextant_plan.prediction_log import INPUT_PREFIX
from sextant_plan.schema import Comparison, Economics, Plan
from sextant_plan.sequential import MeanDifference
from sextant_plan.unit_worth import judge_gain
from sextant_plan.verdicts import Verdict

if TYPE_CHECKING:
    import polars as pl

ALPHA = 0.05  # of wrong claims on either side, over the whole experiment and all its challengers
CHAMPION = "stable"


@dataclass(frozen=True)
class Compared:
    """One challenger: units of either arm, mean worth of one answer in the currency, the gain with its bounds.

    `coverage` is the labelled share of the rows, champion and challenger. `reason` says what an unknown waits for.
    """

    variant: str
    units: tuple[int, int]
    worth: tuple[float, float]
    low: float
    high: float
    coverage: tuple[float, float]
    verdict: Verdict
    reason: str


def compare_variants(plan: Plan, logs: LabelLogs) -> list[Compared]:
    """Return each challenger that the log names, in order.

    Raises UsageError if the plan asks for no comparison, or the log does not hold what it needs.
    """
    wanted, economics, entity = plan.rollout.comparison, plan.goal.economics, plan.data.entity
    if wanted is None or economics is None or entity is None:
        raise UsageError(f"{plan.name}: the plan says nothing of what a challenger has to be worth. "
                         "Add rollout.comparison.")  # fmt: skip
    rows = _assigned(logs, plan.name, entity)
    challengers = sorted(set(rows["variant"].unique()) - {CHAMPION})
    units = _units(rows, economics, plan.monitoring.window)
    return [_compare(rows, units, name, wanted, ALPHA / len(challengers)) for name in challengers]


def _assigned(logs: LabelLogs, model: str, entity: str) -> pl.DataFrame:
    """Return the rows that a unit's hash assigned: time, variant, unit, label, abstained, and truth or null."""
    import polars as pl

    if not any(logs.predictions.glob("*.parquet")):
        raise UsageError(f"{logs.predictions}: no prediction log here. Serve with --prediction-log.")
    logged = pl.scan_parquet(logs.predictions / "*.parquet", missing_columns="insert", extra_columns="ignore")
    unit = INPUT_PREFIX + entity
    if unit not in logged.collect_schema().names():
        raise UsageError(f"{logs.predictions}: the log holds no {unit}. Add {entity} to the plan's serving.log.hashed.")
    rows = (
        logged.filter(pl.col("model") == model, pl.col("assignment") == "unit", pl.col(unit).is_not_null())
        .select("time", "prediction_id", "variant", "label", "abstained", pl.col(unit).cast(pl.String).alias("unit"))
        .sort("time")
        .unique(["prediction_id", "variant"], keep="first", maintain_order=True)
        .collect(engine="streaming")
    )
    return with_truth(rows, logs)[0]


def _units(rows: pl.DataFrame, economics: Economics, window: float) -> pl.DataFrame:
    """Return one row a unit: its variant, its look, and what one of its answers was worth.

    A unit that met two variants, as after a change of the shares, belongs to neither.
    """
    import polars as pl

    right = pl.when(pl.col("label") == pl.col("truth")).then(economics.value_per_correct)
    worth = pl.when(pl.col("abstained")).then(0.0).otherwise(right.otherwise(-economics.cost_per_error))
    look = (pl.col("time").dt.timestamp("us") // int(window * 1e6)).alias("look")
    faithful = rows.group_by("unit").agg(pl.col("variant").n_unique().alias("met")).filter(pl.col("met") == 1)
    labelled = (
        rows.join(faithful.select("unit"), on="unit", how="semi")
        .filter(pl.col("truth").is_not_null())
        .with_columns(look, worth.alias("worth"))
    )
    first = labelled.filter(pl.col("look") == pl.col("look").min().over("unit"))
    return first.group_by("unit", "variant", "look").agg(pl.col("worth").mean())


def _compare(rows: pl.DataFrame, units: pl.DataFrame, name: str, wanted: Comparison, alpha: float) -> Compared:
    import polars as pl

    difference = MeanDifference()
    for _, look in sorted(units.partition_by("look", as_dict=True).items()):
        arms = [look.filter(pl.col("variant") == arm)["worth"] for arm in (name, CHAMPION)]
        if min(len(arm) for arm in arms) < 2:
            continue  # a variance needs two
        n, mean, variance = (
            (float(each(arms[0])), float(each(arms[1]))) for each in (len, _mean, _variance)
        )  # fmt: skip
        difference.update(n, mean, variance)
    low, high = difference.bounds(alpha)
    counts, worths, coverage = [], [], []
    for arm in (CHAMPION, name):
        own, asked = units.filter(pl.col("variant") == arm), rows.filter(pl.col("variant") == arm)
        counts.append(own.height)
        worths.append(_mean(own["worth"]) if own.height else 0.0)
        coverage.append(float(asked["truth"].is_not_null().mean() or 0.0) if asked.height else 0.0)  # type: ignore[arg-type]
    met, shares = (counts[0], counts[1]), (coverage[0], coverage[1])
    verdict, reason = judge_gain(wanted, low=low, high=high, units=met, coverage=shares)
    return Compared(name, met, (worths[0], worths[1]), low, high, shares, verdict, reason)


def _mean(values: pl.Series) -> float:
    return float(values.mean())  # type: ignore[arg-type]


def _variance(values: pl.Series) -> float:
    return float(values.var())  # type: ignore[arg-type]
