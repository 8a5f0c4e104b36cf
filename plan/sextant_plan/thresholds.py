"""Which quantities have a threshold in production: what a criterion is set on when it counts no rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sextant_plan.alerts import AlertKind, Severity
from sextant_plan.catalogue import DEVICE_SECONDS, FEATURE_TIME, MODEL_CREATED, READY, REQUESTS, Series
from sextant_plan.catalogue.platform import GPU_CELSIUS, GPU_MEMORY_FREE, GPU_MEMORY_USED, POD_LIMITS, POD_MEMORY
from sextant_plan.catalogue.watching import LABEL_JOIN, PROBE_SUCCESS, STALENESS_LOSS
from sextant_plan.platform_rules import serving_pods
from sextant_plan.quantities import Age, Busy, Change, Highest, Level, LostToAge, Quantity, UsedShare
from sextant_plan.schema import Plan
from sextant_plan.types import DAY
from sextant_plan.window import Matcher, Selector

BEFORE = 24  # windows that make the usual traffic: a day at the default window of an hour
HOUR = 3600.0


@dataclass(frozen=True)
class Threshold:
    """A metric as a quantity: the alert when it passes its limit, what it is in words, and how it is read."""

    kind: AlertKind
    severity: Severity
    what: str
    quantity: Callable[[Plan], Quantity]


def change_before(plan: Plan) -> float:
    """Return how many seconds of counters a change of traffic is judged over."""
    return plan.monitoring.window * (BEFORE + 1)


def _of(series: Series, plan: Plan, suffix: str = "") -> Selector:
    return Selector.of(series.name + suffix, model=plan.name)


def _pods(series: str, plan: Plan, *matchers: Matcher) -> Selector:
    return Selector(series, (serving_pods(plan.name), *matchers))


def _device_busy(plan: Plan) -> Quantity:
    return Busy(_of(DEVICE_SECONDS, plan, "_sum"), _of(READY, plan), plan.monitoring.window)


def _traffic(plan: Plan) -> Quantity:
    return Change(_of(REQUESTS, plan), plan.monitoring.window, BEFORE, plan.monitoring.min_rows)


def _pod_memory(plan: Plan) -> Quantity:
    named = Matcher("container", "", negated=True)  # cAdvisor's series of the whole pod have no container
    limit = _pods(POD_LIMITS, plan, Matcher("resource", "memory"))
    return UsedShare(_pods(POD_MEMORY, plan, named), limit, None, ("pod", "container"))


def _lost_to_age(plan: Plan) -> Quantity:
    a_day, lowest = (_of(STALENESS_LOSS, plan).where(Matcher("bound", bound)) for bound in ("value", "low"))
    return LostToAge(_of(MODEL_CREATED, plan), a_day, lowest)


def _gpu_memory(plan: Plan) -> Quantity:
    return UsedShare(_pods(GPU_MEMORY_USED, plan), None, _pods(GPU_MEMORY_FREE, plan), ("pod", "gpu"))


THRESHOLDS: dict[str, Threshold] = {
    "device_busy": Threshold(AlertKind.SATURATED, Severity.WARNING, "a share of time on the device", _device_busy),
    "traffic_change": Threshold(
        AlertKind.TRAFFIC_ODD, Severity.WARNING, "a change of traffic against the windows before", _traffic
    ),
    "model_age_days": Threshold(
        AlertKind.MODEL_OLD, Severity.INFO, "a model's age", lambda plan: Age(_of(MODEL_CREATED, plan), DAY)
    ),
    "staleness_loss": Threshold(
        AlertKind.MODEL_OLD, Severity.INFO, "accuracy lost to age by the staleness curve", _lost_to_age
    ),
    "feature_age_hours": Threshold(
        AlertKind.FEATURES_STALE,
        Severity.WARNING,
        "an age of the features",
        lambda plan: Age(_of(FEATURE_TIME, plan), HOUR),
    ),
    "probe_success": Threshold(
        AlertKind.PROBE_FAILING,
        Severity.CRITICAL,
        "a share of golden requests answered as sealed",
        lambda plan: Level(_of(PROBE_SUCCESS, plan)),
    ),
    "label_join_rate": Threshold(
        AlertKind.LABELS_MISSING,
        Severity.WARNING,
        "a share of due predictions that have a label",
        lambda plan: Level(_of(LABEL_JOIN, plan)),
    ),
    "pod_memory": Threshold(AlertKind.HARDWARE_STRAINED, Severity.WARNING, "a share of the memory limit", _pod_memory),
    "gpu_memory": Threshold(AlertKind.HARDWARE_STRAINED, Severity.WARNING, "a share of the GPU's memory", _gpu_memory),
    "gpu_celsius": Threshold(
        AlertKind.HARDWARE_STRAINED,
        Severity.WARNING,
        "a GPU's temperature",
        lambda plan: Highest(_pods(GPU_CELSIUS, plan), ("pod", "gpu")),
    ),
}
