"""What is wrong with a criterion: its metric, its limit, and each enforcement that could not hold it."""

from __future__ import annotations

from collections.abc import Iterator

from sextant_plan.canary_criteria import canary_obstacle
from sextant_plan.catalogue import FEEDBACK, QUEUE_SECONDS, Enforcement, Kind
from sextant_plan.catalogue.criteria import Metric
from sextant_plan.catalogue.metrics import METRICS
from sextant_plan.fault import Fault, Path_, choose, meant
from sextant_plan.schema import Criterion, Plan

WATCHED = frozenset({Enforcement.ALERT, Enforcement.RETRAIN})
LIVE = frozenset({Enforcement.CANARY, *WATCHED})


def criterion_faults(plan: Plan, criterion: Criterion, path: Path_) -> Iterator[Fault]:
    """Yield every fault of one criterion, which stands at `path`."""
    metric = METRICS.get(criterion.metric)
    if metric is None:
        remedy = choose(criterion.metric, METRICS)
        yield Fault((*path, "metric"), f"nothing computes the metric {criterion.metric}", remedy)
        return
    if metric.answers not in (None, plan.model.answers):
        able = sorted(other.name for other in METRICS.values() if other.answers in (None, plan.model.answers))
        problem = f"{metric.name} measures answers of another kind than those of {plan.model.task}"
        yield Fault((*path, "metric"), problem, f"Choose from: {', '.join(able)}")
        return
    yield from _enforcement_faults(criterion, metric, path)
    if criterion.slice is not None and not metric.sliceable:
        yield Fault(
            (*path, "slice"), f"{metric.name} cannot be restricted to a slice", "Remove slice, or name another metric"
        )
    if criterion.relative_to is not None and not metric.relative:
        yield Fault(
            (*path, "relative_to"), f"{metric.name} has no relative form", "Remove relative_to, or name another metric"
        )
    yield from _slice_faults(plan, criterion, path)
    yield from _prerequisite_faults(plan, criterion, path)
    yield from _watch_faults(criterion, path)
    limits = list(_limit_faults(criterion, metric, path))
    yield from limits
    if not limits:  # only a criterion with one sound limit has a test and a rule
        yield from _canary_faults(plan, criterion, path)


def _enforcement_faults(criterion: Criterion, metric: Metric, path: Path_) -> Iterator[Fault]:
    for place, enforcement in enumerate(criterion.enforce):
        where = (*path, "enforce", place)
        if enforcement not in metric.enforcements:
            allowed = ", ".join(sorted(metric.enforcements))
            yield Fault(where, f"{metric.name} cannot be enforced by {enforcement}", f"Allowed: {allowed}")
        elif enforcement in criterion.enforce[:place]:
            yield Fault(where, f"{enforcement} stands twice", "Keep one of the two")


def _limit_key(metric: Metric) -> str:
    return "at_least" if metric.higher_is_better else "at_most"


def _limit_faults(criterion: Criterion, metric: Metric, path: Path_) -> Iterator[Fault]:
    right = _limit_key(metric)
    if (criterion.at_least is None) == (criterion.at_most is None):
        yield Fault(path, "a criterion has exactly one of at_least and at_most", f"{right} is the one to keep")
        return
    given = "at_least" if criterion.at_least is not None else "at_most"
    where = (*path, given)
    if given != right:
        better = "higher" if metric.higher_is_better else "lower"
        yield Fault(where, f"{better} is better for {metric.name}", f"Write {right} instead")
        return
    lowest, highest = _range_of(criterion, metric)
    if not lowest <= criterion.limit <= highest:
        what = f"a difference of {metric.name}" if criterion.relative_to else metric.name
        yield Fault(where, f"{what} lies between {lowest:g} and {highest:g}", "Write a limit in this range")
    elif criterion.limit in {lowest, highest} and metric.bound != "none" and LIVE & set(criterion.enforce):
        place = next(place for place, name in enumerate(criterion.enforce) if name in LIVE)
        problem = f"no number of rows proves or refutes a limit of {criterion.limit:g}"
        yield Fault((*path, "enforce", place), problem, f"Write a limit between {lowest:g} and {highest:g}")


def _range_of(criterion: Criterion, metric: Metric) -> tuple[float, float]:
    """Return the smallest and the largest value that the metric can take."""
    if metric.unit == "r2":
        return float("-inf"), 1.0
    if metric.unit == "label unit" and criterion.relative_to is not None:
        return float("-inf"), float("inf")
    if criterion.relative_to is not None or metric.unit == "kappa":
        return -1.0, 1.0
    if metric.unit in {"share", "score"}:
        return 0.0, 1.0
    return (float("-inf"), float("inf")) if metric.unit == "currency/day" else (0.0, float("inf"))


def _slice_faults(plan: Plan, criterion: Criterion, path: Path_) -> Iterator[Fault]:
    compares = criterion.definition.kind is Kind.FAIRNESS
    if compares and criterion.slice is None:
        problem = f"{criterion.metric} compares the values of a column"
        yield Fault(path, problem, "Add slice: COLUMN, one of evaluation.slices")
    if criterion.slice is None:
        return
    column, equals, _ = criterion.slice.partition("=")
    if compares == bool(equals):
        form = "COLUMN" if compares else "COLUMN=VALUE"
        yield Fault((*path, "slice"), f"{criterion.metric} takes its slice in another form", f"Write slice: {form}")
    if column not in plan.evaluation.slices:
        remedy = meant(column, plan.evaluation.slices) or f"Add it to evaluation.slices: [{column}]"
        yield Fault((*path, "slice"), f"{column} is not a slice of the evaluation", remedy)


def _prerequisite_faults(plan: Plan, criterion: Criterion, path: Path_) -> Iterator[Fault]:
    needs = {
        "label_agreement": (plan.data.labelling, "data.labelling with the raters' columns"),
        "net_value": (plan.goal.economics, "goal.economics"),
        "corrupted_accuracy": (plan.evaluation.corruptions, "evaluation.corruptions"),
        "attacked_accuracy": (plan.evaluation.attack, "evaluation.attack: {}"),
    }
    present, what = needs.get(criterion.metric, (True, ""))
    if not present:
        yield Fault((*path, "metric"), f"{criterion.metric} cannot be computed from this plan", f"Add {what}")
    if criterion.metric == "corrupted_accuracy" and plan.model.inputs.image is None:
        yield Fault((*path, "metric"), "corruptions are of pictures and the model takes none", "Remove the criterion")


def _canary_faults(plan: Plan, criterion: Criterion, path: Path_) -> Iterator[Fault]:
    if Enforcement.CANARY not in criterion.enforce:
        return
    where = (*path, "enforce", criterion.enforce.index(Enforcement.CANARY))
    obstacle = canary_obstacle(criterion)
    if plan.rollout.strategy == "immediate":
        yield Fault(
            where, "the rollout is immediate, so no canary judges it", "Set rollout.strategy: canary, ab or shadow"
        )
    elif obstacle and Enforcement.CANARY in criterion.definition.enforcements:
        yield Fault(where, obstacle, "Enforce it by gate only, or add a criterion of its own for the canary")
    elif FEEDBACK.name in criterion.definition.series and plan.monitoring.labels.delay > plan.rollout.deadline:
        yield Fault(
            where,
            "labels arrive after the rollout's deadline",
            "Lengthen rollout.deadline past monitoring.labels.delay, or drop canary here",
        )


def _watch_faults(criterion: Criterion, path: Path_) -> Iterator[Fault]:
    watched = [place for place, name in enumerate(criterion.enforce) if name in WATCHED]
    if criterion.relative_to and watched:
        yield Fault(
            (*path, "enforce", watched[0]),
            f"nothing in production answers for the {criterion.relative_to} too",
            "Enforce it by gate only, or watch a criterion without relative_to",
        )
    on_edge = criterion.limit / 1000 in QUEUE_SECONDS.buckets if criterion.at_most is not None else True
    if criterion.metric == "queue_wait_p99_ms" and not on_edge:
        edges = ", ".join(f"{1000 * edge:g}" for edge in QUEUE_SECONDS.buckets)
        problem = f"{criterion.limit:g} ms is no edge of the server's histogram"
        yield Fault((*path, "at_most"), problem, f"Choose from: {edges}")
