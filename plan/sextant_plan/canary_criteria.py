"""Which anytime-valid test holds each criterion while a canary is rolled out (formulas: `sextant_plan.sequential`).

A criterion with a limit of its own is tested on its misses against that limit (F2), a ratio of rates to the stable
version by look (F1), a difference of means to it by look (F4), the size of a shift of the predicted classes by weight
(F6). The error budget is one for the whole rollout: harm may
be claimed wrongly of any criterion in `ALPHA` of all rollouts, so each gets its part (Bonferroni); a pass needs every
criterion, so each may use the whole of it (intersection-union, Berger 1982). A test that begins anew at each weight
shares both out over the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sextant_plan.catalogue import PREDICTIONS, Enforcement
from sextant_plan.errors import UsageError
from sextant_plan.schema import Criterion, Plan
from sextant_plan.share_rule import Count, Term
from sextant_plan.shares import errors, share_of, slower_than
from sextant_plan.window import Selector

ALPHA = 0.05


class CanaryTest(StrEnum):
    """The form of the test; the value is its name in the formulas' source."""

    RATIO_TO_STABLE = "F1"
    MISSES_TO_LIMIT = "F2"
    MEAN_TO_STABLE = "F4"
    SHIFT_FROM_STABLE = "F6"


@dataclass(frozen=True)
class CanaryCriterion:
    """One criterion as the rollout judges it.

    `misses` and `rows` are counter increments of one arm, of which `misses` are the bad events and `what` says which.
    `limit` is by `test`: the most that the canary's rate of misses may be as a multiple of the stable one's (F1) or as
    a share (F2), or the least that the canary's mean may lie above the stable one's, negative for a tolerated drop
    (F4, where a row's value is 1 unless it is a miss), or the most that the stability index of the arms' rows by the
    label `by` may be in nats (F6, which knows no misses). Harm is proved at `alpha_fail`, its absence at `alpha_pass`.
    """

    criterion: Criterion
    test: CanaryTest
    what: str
    misses: Count
    rows: Count
    limit: float
    alpha_fail: float
    alpha_pass: float = ALPHA
    by: str | None = None

    @property
    def min_n(self) -> int:
        """How many of the canary's rows a pass needs besides the proof."""
        return self.criterion.min_n

    @property
    def needs_stable(self) -> bool:
        """Whether the test compares the arms, so that a silent stable arm leaves it unknown."""
        return self.test is not CanaryTest.MISSES_TO_LIMIT

    @property
    def series(self) -> list[str]:
        """The names of the server's counters that it reads."""
        return sorted({term.selector.series for term in (*self.misses.terms, *self.rows.terms)})

    @property
    def requirement(self) -> str:
        """The requirement as one clause."""
        if self.test is CanaryTest.RATIO_TO_STABLE:
            return f"at most {self.limit:g} times the stable version's rate of {self.what}"
        if self.test is CanaryTest.MEAN_TO_STABLE:
            return f"{self.criterion.metric} at least {self.limit:+g} from the stable version's"
        if self.test is CanaryTest.SHIFT_FROM_STABLE:
            return f"a stability index of at most {self.limit:g} nats between the versions' {self.what}"
        return f"at most {100 * self.limit:.6g} % of {self.what}"


def canary_criteria(plan: Plan) -> list[CanaryCriterion]:
    """Return the plan's criteria that are enforced by canary, in its order.

    Raises UsageError for one that no test of the counters can hold.
    """
    wanted = [criterion for criterion in plan.criteria if Enforcement.CANARY in criterion.enforce]
    return [canary_criterion(plan, criterion, of=len(wanted) + runs_in_one_server(plan)) for criterion in wanted]


def runs_in_one_server(plan: Plan) -> bool:
    """Tell whether the rollout is A/B or shadow, whose comparison by worth takes its part of the error budget too."""
    return plan.rollout.strategy in {"ab", "shadow"}


def canary_criterion(plan: Plan, criterion: Criterion, *, of: int = 1) -> CanaryCriterion:
    """Return the test of one criterion of `of` in the rollout. Raises UsageError if the counters cannot hold it."""
    obstacle = canary_obstacle(criterion)
    if obstacle:
        raise UsageError(f"criterion {criterion.id}: {obstacle}. Remove canary from its enforce.")
    alpha = ALPHA / of
    if criterion.metric in {"error_ratio", "slow_ratio"}:
        slow = criterion.metric == "slow_ratio"
        misses, rows = slower_than(plan, plan.serving.latency_slo_ms) if slow else errors(plan)
        what = f"requests over {plan.serving.latency_slo_ms:g} ms" if slow else "requests answered with a 5xx code"
        return CanaryCriterion(criterion, CanaryTest.RATIO_TO_STABLE, what, misses, rows, criterion.limit, alpha)
    if criterion.metric == "prediction_shift":
        return _shift(plan, criterion, alpha)
    share = share_of(plan, criterion)
    if criterion.relative_to == "champion":
        test, limit = CanaryTest.MEAN_TO_STABLE, criterion.limit
    else:
        test, limit = CanaryTest.MISSES_TO_LIMIT, share.miss_limit
    return CanaryCriterion(criterion, test, share.bad, share.misses, share.rows, limit, alpha)


def _shift(plan: Plan, criterion: Criterion, alpha: float) -> CanaryCriterion:
    weights = sum(step < 100 for step in plan.rollout.steps)
    rows = Count((Term(Selector.of(PREDICTIONS.name, model=plan.name)),))
    return CanaryCriterion(
        criterion,
        CanaryTest.SHIFT_FROM_STABLE,
        "predicted classes",
        Count(()),
        rows,
        criterion.limit,
        alpha / weights,
        ALPHA / weights,
        by=PREDICTIONS.labels[0],
    )


def canary_obstacle(criterion: Criterion) -> str | None:
    """Return why no canary can hold this criterion, or None."""
    if Enforcement.CANARY not in criterion.definition.enforcements:
        return f"{criterion.metric} is not measured while a canary runs"
    if criterion.slice is not None:
        return "the server's counters know no slice"
    if criterion.relative_to == "baseline":
        return "the baseline serves no traffic to compare with"
    return None
