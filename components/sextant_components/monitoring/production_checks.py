"""Production rows against the same rules as training rows: the plan's columns and pairs of them, over logged inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from sextant_components.data.column_rules import row_violations, violations
from sextant_components.data.suspects.numbers import number_columns, outlier_suspects
from sextant_components.data.verify import FIXABLE_SHARE
from sextant_plan.bounds import proportion
from sextant_plan.ledger import LedgerWriter
from sextant_plan.prediction_log import INPUT_PREFIX
from sextant_plan.row_rules import parse_row_rule
from sextant_plan.schema import ColumnRule, Plan
from sextant_plan.verdicts import Verdict, judge

if TYPE_CHECKING:
    import polars as pl

CONFIDENCE = 0.95
# Two numbers that differ in the table may be equal in the log, which keeps single precision.
_ROUNDED = {"<": "<=", ">": ">=", "!=": None}


def record_production_checks(ledger: LedgerWriter, plan: Plan, logged: pl.DataFrame) -> None:
    """Record how many logged rows break a rule of the plan; nothing if the log keeps no input that has a rule.

    A share that is proved greater than verification lets pass fails; a few rows prove neither and only inform.
    """
    inputs = _inputs(plan, logged)
    if not inputs.width or not inputs.height:
        return
    broken = dict(broken_rules(plan, inputs))
    rows = int(np.logical_or.reduce([mask.to_numpy() for mask in broken.values()]).sum()) if broken else 0
    outliers = outlier_suspects(list(range(inputs.height)), number_columns(plan, inputs))
    estimate = proportion(rows, inputs.height, CONFIDENCE)
    verdict = judge(estimate, at_least=None, at_most=FIXABLE_SHARE, min_n=1)
    ledger.record(
        "anomalies: rules in production",
        requirement=f"at most {FIXABLE_SHARE:.0%} of the logged rows break a rule that training rows had to keep",
        risk="clients send what the model was never taught, and every answer looks as sure as before",
        qa_method="data.columns and data.rules over the logged inputs, by the checks of the verify step, in single "
        "precision as the model read them; Clopper-Pearson bound",
        value={
            "rows": inputs.height,
            "checked": inputs.columns,
            "broken": {name: int(mask.sum()) for name, mask in broken.items()},
            "outliers": len({suspect.row_id for suspect in outliers}),
        },
        verdict=verdict,
        counts=verdict is Verdict.FAIL,
    )


def broken_rules(plan: Plan, inputs: pl.DataFrame) -> Iterator[tuple[str, pl.Series]]:
    """Yield each rule that some row of `inputs` breaks, as `column.part` or its text, with a mask of those rows."""
    for name in inputs.columns:
        for part, mask in violations(inputs[name], _in_single_precision(plan.data.columns[name])).items():
            yield f"{name}.{'unknown' if part == 'required' else part}", mask
    for text in plan.data.rules:
        rule = parse_row_rule(text)
        assert rule is not None  # the plan was checked
        kind = plan.data.columns[rule.left].type
        comparison = _ROUNDED.get(rule.comparison, rule.comparison) if kind == "number" else rule.comparison
        if comparison is not None and {rule.left, rule.right} <= set(inputs.columns):
            mask = row_violations(inputs[rule.left], comparison, inputs[rule.right], kind=kind)
            if mask.any():
                yield text, mask


def _inputs(plan: Plan, logged: pl.DataFrame) -> pl.DataFrame:
    """Return the logged inputs that have a rule and are not hashed, under their own names."""
    hashed = plan.serving.log.hashed
    names = [name for name in plan.data.columns if INPUT_PREFIX + name in logged.columns and name not in hashed]
    return logged.select(logged[INPUT_PREFIX + name].alias(name) for name in names)


def _in_single_precision(rule: ColumnRule) -> ColumnRule:
    """Return the rule with its limits rounded as the logged values are, and without what a log cannot show."""
    rounded = {end: float(np.float32(limit)) for end in ("min", "max") if (limit := getattr(rule, end)) is not None}
    # A unique column may come again in production; a number that a request lacks is logged as its default.
    return rule.model_copy(update={**rounded, "unique": False})
