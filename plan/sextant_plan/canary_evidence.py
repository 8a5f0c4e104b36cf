"""The evidence of one canary criterion as it grows by looks, and the verdict that it bears.

Evidence is plain numbers, so that it can be kept between two looks and survives whoever counts. The tests stand in
`sextant_plan.sequential`; which of them holds a criterion is said by `sextant_plan.canary_criteria`.
"""

from __future__ import annotations

import math

import numpy as np

from sextant_plan.canary_criteria import CanaryCriterion, CanaryTest
from sextant_plan.canary_shift import ClassLook, Tallies, add_tallies, bet_on, shift_bounds, shift_size
from sextant_plan.schema import Closed
from sextant_plan.sequential import Look, MeanDifference, RatioTest, Side, limit_log_e, overdispersion
from sextant_plan.verdicts import Verdict

# Below as many events in an arm the confidence sequence for means claims a pass too often: at the limit 14 % with no
# such rule, 7 % with 5, 4 % with 20 (2,000 simulated rollouts of 200 looks).
EVENTS_FOR_MEANS = 20


class Evidence(Closed):
    """What the looks so far say of one criterion.

    `rows` and `misses` are (canary, stable) totals, for the reader and for a fixed limit. The log-wealths belong to the
    ratio test, the three numbers after them to the test of means, `tallies` by weight and `shift_log_wealth` to the
    test of a shift; each is empty or 0 where another test holds the criterion.
    """

    looks: int = 0
    rows: tuple[int, int] = (0, 0)
    misses: tuple[int, int] = (0, 0)
    log_wealth_harm: list[float] = []
    log_wealth_safe: list[float] = []
    weight: float = 0.0
    weighted_difference: float = 0.0
    weighted_variance: float = 0.0
    tallies: dict[int, Tallies] = {}
    shift_log_wealth: float = 0.0


def add_look(rule: CanaryCriterion, evidence: Evidence, look: Look | ClassLook, *, burstiness: float) -> Evidence:
    """Return the evidence after one more look; a look in which an arm that is needed was silent changes nothing."""
    if not look.n_canary or (rule.needs_stable and not look.n_stable):
        return evidence
    if isinstance(look, ClassLook):
        return _with_classes(evidence, look)
    changes: dict[str, object] = {
        "looks": evidence.looks + 1,
        "rows": (evidence.rows[0] + look.n_canary, evidence.rows[1] + look.n_stable),
        "misses": (evidence.misses[0] + look.x_canary, evidence.misses[1] + look.x_stable),
    }
    if rule.test is CanaryTest.RATIO_TO_STABLE:
        dispersion = overdispersion(look, burstiness)
        for key, side in (("log_wealth_harm", Side.HARM), ("log_wealth_safe", Side.SAFE)):
            test = _ratio_test(rule, evidence, side)
            test.dispersion = dispersion
            test.update(look)
            changes[key] = test.log_wealth.tolist()
    elif rule.test is CanaryTest.MEAN_TO_STABLE:
        means = _mean_difference(evidence)
        shares = look.x_canary / look.n_canary, look.x_stable / look.n_stable
        spread = shares[0] * (1 - shares[0]), shares[1] * (1 - shares[1])
        means.update((look.n_canary, look.n_stable), (1 - shares[0], 1 - shares[1]), spread)
        changes |= {
            "weight": means.weight,
            "weighted_difference": means.weighted_difference,
            "weighted_variance": means.weighted_variance,
        }
    return evidence.model_copy(update=changes)


def judge_evidence(rule: CanaryCriterion, evidence: Evidence) -> Verdict:
    """Return fail on proof of harm, else pass on proof of none with at least the criterion's `min_n` rows."""
    if evidence.looks == 0:
        return Verdict.UNKNOWN
    harmful, safe = _PROOFS[rule.test](rule, evidence)
    if harmful:
        return Verdict.FAIL
    return Verdict.PASS if safe and evidence.rows[0] >= rule.min_n else Verdict.UNKNOWN


def shift_is_proved(rule: CanaryCriterion, evidence: Evidence) -> bool:
    """Tell whether the arms' classes are proved to differ at all (F5), however little: an alarm and no verdict."""
    return rule.test is CanaryTest.SHIFT_FROM_STABLE and evidence.shift_log_wealth > -math.log(rule.alpha_fail)


def canary_value(rule: CanaryCriterion, evidence: Evidence) -> float | None:
    """Return what the criterion limits, as measured so far: a ratio, a share or a difference; None without evidence."""
    if evidence.looks == 0:
        return None
    if rule.test is CanaryTest.MEAN_TO_STABLE:
        return evidence.weighted_difference / evidence.weight
    if rule.test is CanaryTest.SHIFT_FROM_STABLE:
        return shift_size(_most_seen(evidence))
    canary = evidence.misses[0] / evidence.rows[0]
    if rule.test is CanaryTest.MISSES_TO_LIMIT:
        return canary
    stable = evidence.misses[1] / evidence.rows[1]
    return canary / stable if stable else None


def _prove_ratio(rule: CanaryCriterion, evidence: Evidence) -> tuple[bool, bool]:
    harm, safe = (_ratio_test(rule, evidence, side).log_e for side in (Side.HARM, Side.SAFE))
    return harm > -math.log(rule.alpha_fail), safe > -math.log(rule.alpha_pass)


def _prove_limit(rule: CanaryCriterion, evidence: Evidence) -> tuple[bool, bool]:
    misses, rows = evidence.misses[0], evidence.rows[0]
    harm, safe = (limit_log_e(misses, rows, rule.limit, side) for side in (Side.HARM, Side.SAFE))
    return harm > -math.log(rule.alpha_fail), safe > -math.log(rule.alpha_pass)


def _prove_means(rule: CanaryCriterion, evidence: Evidence) -> tuple[bool, bool]:
    if min(evidence.misses) < EVENTS_FOR_MEANS:
        return False, False
    means = _mean_difference(evidence)
    return means.bounds(rule.alpha_fail)[1] < rule.limit, means.bounds(rule.alpha_pass)[0] > rule.limit


def _prove_shift(rule: CanaryCriterion, evidence: Evidence) -> tuple[bool, bool]:
    """Either proof may come from any weight; the alphas are shared out over them."""
    weights = evidence.tallies.values()
    harmful = any(shift_bounds(tallies, rule.alpha_fail)[0] > rule.limit for tallies in weights)
    return harmful, any(shift_bounds(tallies, rule.alpha_pass)[1] < rule.limit for tallies in weights)


_PROOFS = {
    CanaryTest.RATIO_TO_STABLE: _prove_ratio,
    CanaryTest.MISSES_TO_LIMIT: _prove_limit,
    CanaryTest.MEAN_TO_STABLE: _prove_means,
    CanaryTest.SHIFT_FROM_STABLE: _prove_shift,
}


def _with_classes(evidence: Evidence, look: ClassLook) -> Evidence:
    before = evidence.tallies.get(look.weight, {})
    return evidence.model_copy(
        update={
            "looks": evidence.looks + 1,
            "rows": (evidence.rows[0] + look.n_canary, evidence.rows[1] + look.n_stable),
            "tallies": {**evidence.tallies, look.weight: add_tallies(before, look.tallies)},
            "shift_log_wealth": evidence.shift_log_wealth + bet_on(before, look.tallies),
        }
    )


def _most_seen(evidence: Evidence) -> Tallies:
    return max(evidence.tallies.values(), key=lambda tallies: sum(canary for canary, _ in tallies.values()))


def _ratio_test(rule: CanaryCriterion, evidence: Evidence, side: Side) -> RatioTest:
    wealth = evidence.log_wealth_harm if side is Side.HARM else evidence.log_wealth_safe
    return RatioTest(rule.limit, side, log_wealth=np.asarray(wealth)) if wealth else RatioTest(rule.limit, side)


def _mean_difference(evidence: Evidence) -> MeanDifference:
    return MeanDifference(
        evidence.weight, evidence.weighted_difference, evidence.weighted_variance, float(evidence.rows[0])
    )
