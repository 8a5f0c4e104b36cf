"""What is wrong with the plan's rollout: a canary that judges nothing, or that its time or its users cannot decide."""

from __future__ import annotations

from collections.abc import Iterator

from sextant_plan.acceptance import best_satisfaction
from sextant_plan.catalogue import Enforcement
from sextant_plan.fault import Fault
from sextant_plan.schema import Plan


def rollout_faults(plan: Plan) -> Iterator[Fault]:
    """Yield every fault of the rollout as a whole; a criterion's own are with the criterion."""
    rollout = plan.rollout
    if rollout.strategy != "immediate":
        if rollout.strategy != "canary" and rollout.comparison is None:
            yield Fault(
                ("rollout", "strategy"), f"nothing says what the challenger of {rollout.strategy} has to be worth",
                "Add rollout.comparison",
            )  # fmt: skip
        judged = any(Enforcement.CANARY in criterion.enforce for criterion in plan.criteria)
        if rollout.strategy == "canary" and not judged:
            yield Fault(
                ("rollout", "strategy"), "no criterion judges the canary", "Add canary to a criterion's enforce"
            )
        steps = [step for step in rollout.steps if step < 100]
        needed = len(steps) * rollout.min_looks * rollout.interval
        if needed >= rollout.deadline:
            yield Fault(
                ("rollout", "deadline"),
                f"{len(steps)} steps of {rollout.min_looks} looks take {needed:g} s, longer than the deadline",
                "Lengthen it, or shorten rollout.interval or rollout.min_looks",
            )
    if rollout.comparison is not None:
        yield from _comparison_faults(plan)
    acceptance = rollout.acceptance
    if acceptance is None:
        return
    if rollout.strategy != "canary":
        yield Fault(
            ("rollout", "acceptance"), f"users try a canary, and the rollout is {rollout.strategy}",
            "Set rollout.strategy: canary, or remove acceptance",
        )  # fmt: skip
    for key in ("users", "tasks"):
        names = getattr(acceptance, key)
        if len(set(names)) < len(names):
            yield Fault(("rollout", "acceptance", key), "a name stands twice", "Keep one of the two")
    best = best_satisfaction(acceptance)
    if best < acceptance.satisfied_at_least:
        yield Fault(
            ("rollout", "acceptance", "satisfied_at_least"),
            f"with {len(acceptance.users)} users, all satisfied, the lower bound is {best:.2f}",
            "Name more users, or lower satisfied_at_least or confidence",
        )


def _comparison_faults(plan: Plan) -> Iterator[Fault]:
    """Yield what keeps a challenger's worth from being known."""
    path = ("rollout", "comparison")
    if plan.goal.economics is None:
        yield Fault(path, "nothing says what an answer is worth", "Add goal.economics")
    if plan.data.entity is None:
        yield Fault(path, "no unit is named that could stay with one variant", "Name the unit's column in data.entity")
    elif plan.data.entity not in (*plan.serving.log.columns, *plan.serving.log.hashed):
        yield Fault(
            path, f"the prediction log does not hold the unit {plan.data.entity}",
            f"Add {plan.data.entity} to serving.log.hashed, or to serving.log.columns",
        )  # fmt: skip
