"""Why a plan may have no use for a task: each reason is read from the plan and completes "not applicable, because"."""

from __future__ import annotations

from collections.abc import Callable

from sextant_plan.catalogue import Kind
from sextant_plan.catalogue.metrics import METRICS
from sextant_plan.schema import Plan
from sextant_plan.tasks.task import Excuse


def unless(holds: Callable[[Plan], object], reason: str) -> Excuse:
    """Return the excuse that gives `reason` to every plan of which `holds` is not true."""
    return lambda plan: None if holds(plan) else reason


def unless_a_criterion_on(*metrics: str) -> Excuse:
    """Return the excuse of a plan none of whose criteria is on one of these metrics."""
    return unless(
        lambda plan: any(criterion.metric in metrics for criterion in plan.criteria),
        f"no criterion of the plan is on {' or '.join(metrics)}",
    )


def metrics_of(*kinds: Kind) -> tuple[str, ...]:
    """Return the names of the catalogue's metrics of these kinds."""
    return tuple(metric.name for metric in METRICS.values() if metric.kind in kinds)


NO_RATERS = unless(lambda plan: plan.data.labelling, "data.labelling names no raters; each row has one label")
NO_ECONOMICS = unless(lambda plan: plan.goal.economics, "the plan states no goal.economics")
NO_SUPPLIED_FEATURES = unless(lambda plan: plan.features, "the model reads no feature store")
NO_PICTURE = unless(lambda plan: plan.model.inputs.image, "the model reads no picture, and corruptions are of pictures")
NO_EXPLANATION = unless(
    lambda plan: plan.evaluation.explanation or plan.goal.risk_class != "minimal",
    "goal.risk_class is minimal and evaluation.explanation promises none",
)
NO_SLICES = unless(
    lambda plan: plan.evaluation.slices or plan.data.sensitive or plan.goal.risk_class != "minimal",
    "no column is sensitive, evaluation.slices is empty and goal.risk_class is minimal",
)
NO_SHARED_TRAFFIC = unless(
    lambda plan: plan.rollout.strategy != "immediate", "rollout.strategy is immediate: one version takes all traffic"
)
NO_FAILURE_MODES = unless(
    lambda plan: plan.failure or plan.goal.risk_class != "minimal",
    "the plan names no failure mode and goal.risk_class is minimal",
)
