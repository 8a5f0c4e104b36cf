"""From raw counters to what was counted between two looks: resets, restarts and servers that come and go."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from sextant_plan.canary_criteria import CanaryCriterion
from sextant_plan.canary_shift import ClassLook
from sextant_plan.catalogue import REQUESTS
from sextant_plan.sequential import Look
from sextant_plan.share_rule import Count
from sextant_plan.window import Sample, Selector, Window
from sextant_serving.rollout.ports import Arm, Reading

SIGMAS = 6.0  # a share of requests as far off its weight comes by chance in one look of 500 million


def series_wanted(rules: Sequence[CanaryCriterion], more: Sequence[str] = ()) -> list[str]:
    """Return the names of the counters that the criteria need, `more`, and the requests that tell each arm's share."""
    return sorted({REQUESTS.name, *(name for rule in rules for name in rule.series), *more})


Counters = Mapping[str, Mapping[str, float]]
"""Raw values by source and series."""


def snapshot(readings: Mapping[Arm, Sequence[Reading]], before: Counters) -> dict[str, dict[str, float]]:
    """Return the raw values to be kept until the next look; of a reading that is out of date those of the look before.

    `before` is what the look before kept.
    """
    kept = {}
    for reading in (each for arm in readings.values() for each in arm):
        base = before.get(reading.source, {})
        values = {_key(sample): sample.value for sample in reading.samples}
        kept[reading.source] = dict(base) if _is_out_of_date(reading, base) else values
    return kept


def increments(readings: Sequence[Reading], before: Counters, *, since: float) -> Window:
    """Return what was counted since the look at Unix time `since`.

    A source of which any counter fell has begun anew and counts from 0, and so does one born since. A source that was
    not read at the look before and may be older only gives a baseline: what it counted may lie outside the rollout. One
    that tells its start cannot have begun anew under the same name: the reading is out of date, and counts nothing.
    """
    counted: list[Sample] = []
    for reading in readings:
        base = before.get(reading.source)
        if base is None:
            if reading.born is None or reading.born <= since:
                continue
            base = {}
        elif _is_out_of_date(reading, base):
            continue
        elif _has_fallen(reading, base):
            base = {}
        counted += [
            Sample(sample.name, sample.labels, sample.value - base.get(_key(sample), 0.0)) for sample in reading.samples
        ]
    return Window(tuple(counted))


def _has_fallen(reading: Reading, base: Mapping[str, float]) -> bool:
    return any(sample.value < base.get(_key(sample), 0.0) for sample in reading.samples)


def _is_out_of_date(reading: Reading, base: Mapping[str, float]) -> bool:
    """Tell whether a reading is older than the one before: of two replicas of Prometheus one may lag behind."""
    return reading.born is not None and _has_fallen(reading, base)


def look_of(rule: CanaryCriterion, canary: Window, stable: Window, *, weight: int) -> Look | ClassLook | None:
    """Return one criterion's look at a weight; None where the counters contradict each other or an edge is missing."""
    if rule.by is not None:
        arms = _by_label(rule.rows, rule.by, canary), _by_label(rule.rows, rule.by, stable)
        names = sorted(arms[0].keys() | arms[1].keys())
        return ClassLook(weight, {name: (arms[0].get(name, 0), arms[1].get(name, 0)) for name in names})
    numbers = [_total(count, window) for window in (canary, stable) for count in (rule.rows, rule.misses)]
    if any(number is None for number in numbers):
        return None
    n_canary, x_canary, n_stable, x_stable = (round(number) for number in numbers if number is not None)
    if not (0 <= x_canary <= n_canary and 0 <= x_stable <= n_stable):
        return None
    return Look(n_canary, x_canary, n_stable, x_stable)


def requests(window: Window) -> int:
    """Return the number of requests that were answered."""
    return round(sum(sample.value for sample in window.select(Selector(REQUESTS.name))))


def share_is_off(canary: int, stable: int, weight: int) -> bool:
    """Tell whether the canary's share of the requests cannot come from a route of this weight, in percent."""
    n, share = canary + stable, weight / 100
    return abs(canary - n * share) > SIGMAS * math.sqrt(n * share * (1 - share)) + 1


def _total(count: Count, window: Window) -> float | None:
    """Return a count over all the servers of an arm: 0 of a silent one, None where a term is missing."""
    totals = [count.of(window, target) for target in {sample.target for sample in window.samples}]
    return None if any(total is None for total in totals) else sum(total or 0.0 for total in totals)


def _by_label(count: Count, label: str, window: Window) -> dict[str, int]:
    """Return what was counted over all the servers of an arm, by the values of a label."""
    totals: dict[str, float] = {}
    for sample in (sample for term in count.terms for sample in window.select(term.selector)):
        value = sample.labels.get(label, "")
        totals[value] = totals.get(value, 0.0) + sample.value
    return {value: round(total) for value, total in totals.items()}


def _key(sample: Sample) -> str:
    return json.dumps([sample.name, sorted(sample.labels.items())], separators=(",", ":"))
