"""What a plan must agree with itself on, beyond each key being well formed."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sextant_plan.catalogue import METRICS, Enforcement
from sextant_plan.rules import alert_references
from sextant_plan.schema import Criterion, Plan


@dataclass(frozen=True)
class Fault:
    """A contradiction in a plan, at a path into it."""

    path: tuple[str | int, ...]
    problem: str
    remedy: str


def inconsistencies(plan: Plan, architectures: Collection[str] | None) -> Iterator[Fault]:
    """Yield every contradiction of a well-formed plan."""
    seen: set[str] = set()
    for index, criterion in enumerate(plan.criteria):
        path = ("criteria", index)
        if criterion.id in seen:
            yield Fault((*path, "id"), f"the id {criterion.id} stands twice", "Give each criterion an id of its own")
        seen.add(criterion.id)
        yield from _criterion_faults(plan, criterion, path)
    yield from _data_faults(plan)
    yield from _feature_faults(plan)
    yield from _input_faults(plan)
    yield from _model_faults(plan, architectures)
    yield from _failure_faults(plan)
    if plan.evaluation.sealed_split + plan.evaluation.valid_split >= 0.9:
        yield Fault(
            ("evaluation", "valid_split"),
            "the sealed and the valid split leave less than a tenth to train on",
            "Make sealed_split + valid_split less than 0.9",
        )


def _criterion_faults(plan: Plan, criterion: Criterion, path: tuple[str | int, ...]) -> Iterator[Fault]:
    metric = METRICS.get(criterion.metric)
    if metric is None:
        yield Fault(
            (*path, "metric"), f"nothing computes the metric {criterion.metric}", _choose(criterion.metric, METRICS)
        )
        return
    if (criterion.at_least is None) == (criterion.at_most is None):
        yield Fault(
            path, "a criterion has exactly one of at_least and at_most", f"{_limit_key(criterion)} is the one to keep"
        )
    elif (criterion.at_least is not None) != metric.higher_is_better:
        better = "higher" if metric.higher_is_better else "lower"
        wrong = "at_least" if criterion.at_least is not None else "at_most"
        yield Fault((*path, wrong), f"{better} is better for {metric.name}", f"Write {_limit_key(criterion)} instead")
    for place, enforcement in enumerate(criterion.enforce):
        if enforcement not in metric.enforcements:
            allowed = ", ".join(sorted(metric.enforcements))
            yield Fault(
                (*path, "enforce", place), f"{metric.name} cannot be enforced by {enforcement}", f"Allowed: {allowed}"
            )
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
    yield from _canary_faults(plan, criterion, path)
    yield from _watch_faults(criterion, path)


def _limit_key(criterion: Criterion) -> str:
    return "at_least" if METRICS[criterion.metric].higher_is_better else "at_most"


def _slice_faults(plan: Plan, criterion: Criterion, path: tuple[str | int, ...]) -> Iterator[Fault]:
    compares = criterion.metric == "accuracy_gap"
    if compares and criterion.slice is None:
        yield Fault(path, "accuracy_gap compares the values of a column", "Add slice: COLUMN, one of evaluation.slices")
    if criterion.slice is None:
        return
    column, equals, _ = criterion.slice.partition("=")
    if compares == bool(equals):
        form = "COLUMN" if compares else "COLUMN=VALUE"
        yield Fault((*path, "slice"), f"{criterion.metric} takes its slice in another form", f"Write slice: {form}")
    if column not in plan.evaluation.slices:
        yield Fault(
            (*path, "slice"), f"{column} is not a slice of the evaluation", f"Add it to evaluation.slices: [{column}]"
        )


def _prerequisite_faults(plan: Plan, criterion: Criterion, path: tuple[str | int, ...]) -> Iterator[Fault]:
    needs = {
        "label_agreement": (plan.data.labelling, "data.labelling with the raters' columns"),
        "net_value": (plan.goal.economics, "goal.economics"),
        "corrupted_accuracy": (plan.evaluation.corruptions, "evaluation.corruptions"),
    }
    present, what = needs.get(criterion.metric, (True, ""))
    if not present:
        yield Fault((*path, "metric"), f"{criterion.metric} cannot be computed from this plan", f"Add {what}")
    if criterion.metric == "corrupted_accuracy" and plan.model.inputs.image is None:
        yield Fault((*path, "metric"), "corruptions are of pictures and the model takes none", "Remove the criterion")


def _canary_faults(plan: Plan, criterion: Criterion, path: tuple[str | int, ...]) -> Iterator[Fault]:
    if Enforcement.CANARY not in criterion.enforce:
        return
    where = (*path, "enforce", criterion.enforce.index(Enforcement.CANARY))
    if plan.rollout.strategy != "canary":
        yield Fault(
            where, f"the rollout is {plan.rollout.strategy}, so no canary judges it", "Set rollout.strategy: canary"
        )
    elif criterion.metric == "accuracy" and plan.monitoring.labels.delay > plan.rollout.deadline:
        yield Fault(
            where,
            "labels arrive after the rollout's deadline",
            "Lengthen rollout.deadline past monitoring.labels.delay, or drop canary here",
        )


def _watch_faults(criterion: Criterion, path: tuple[str | int, ...]) -> Iterator[Fault]:
    narrowed = next((key for key in ("slice", "relative_to") if getattr(criterion, key) is not None), None)
    watched = [
        place for place, name in enumerate(criterion.enforce) if name in {Enforcement.ALERT, Enforcement.RETRAIN}
    ]
    if narrowed and watched:
        yield Fault(
            (*path, "enforce", watched[0]),
            f"the server's counters know no {narrowed}",
            f"Enforce it by gate only, or watch a criterion without {narrowed}",
        )


def _failure_faults(plan: Plan) -> Iterator[Fault]:
    known = alert_references(plan)
    for index, mode in enumerate(plan.failure):
        if mode.alert is not None and mode.alert not in known:
            yield Fault(("failure", index, "alert"), f"no alert is called {mode.alert}", _choose(mode.alert, known))


def _data_faults(plan: Plan) -> Iterator[Fault]:
    data = plan.data
    if data.table is None:
        for key in ("entity", "timestamp", "group"):
            if getattr(data, key) is not None:
                yield Fault(
                    ("data", key), f"{key} names a column and there is no table", "Add data.table, or remove this key"
                )
    if plan.model.inputs.image is not None and data.images is None:
        yield Fault(("model", "inputs", "image"), "the data has no pictures", "Name their folder in data.images")


def _feature_faults(plan: Plan) -> Iterator[Fault]:
    views = {view.name: view for view in plan.features.views} if plan.features else {}
    if plan.features and len(views) < len(plan.features.views):
        yield Fault(("features", "views"), "two views have one name", "Give each view a name of its own")
    if views and (plan.data.entity is None or plan.data.timestamp is None):
        yield Fault(
            ("features",),
            "features are joined by entity and event time",
            "Name the table's columns in data.entity and data.timestamp",
        )
    if views and not plan.model.inputs.features:
        yield Fault(
            ("features",), "the model reads no feature", "List them in model.inputs.features, or remove this part"
        )
    for index, name in enumerate(plan.model.inputs.features):
        path = ("model", "inputs", "features", index)
        view, colon, column = name.partition(":")
        known = [f"{v.name}:{c}" for v in views.values() for c in v.columns]
        if not colon or view not in views or column not in views[view].columns:
            yield Fault(path, f"{name} is not a feature of any view", _choose(name, known))


def _input_faults(plan: Plan) -> Iterator[Fault]:
    inputs, task = plan.model.inputs, plan.model.task
    has_table = bool(inputs.columns or inputs.features)
    if task.startswith("image") and inputs.image is None:
        yield Fault(
            ("model", "inputs"), f"{task} needs a picture", "Add inputs.image: {height: .., width: .., channels: ..}"
        )
    if task == "image-classification" and has_table:
        yield Fault(("model", "task"), "image-classification reads no columns", "Use image-tabular-classification")
    if task == "image-tabular-classification" and not has_table:
        yield Fault(("model", "inputs"), f"{task} needs columns or features", "Add inputs.columns or inputs.features")
    if task == "tabular-classification" and inputs.image is not None:
        yield Fault(("model", "task"), "tabular-classification reads no picture", "Use image-tabular-classification")
    for index, column in enumerate(inputs.columns):
        path = ("model", "inputs", "columns", index)
        if column in {plan.data.label, plan.data.entity, plan.data.image}:
            yield Fault(
                path, f"{column} is the label, the entity or the picture", "Name a column that is known when predicting"
            )
        elif column not in plan.data.columns:
            yield Fault(path, f"{column} has no rule", f"Add it to data.columns, such as {column}: {{type: number}}")
        elif plan.data.columns[column].type not in {"number", "category", "boolean"}:
            kind = plan.data.columns[column].type
            yield Fault(
                path, f"a model reads no column of type {kind}", "Use number, category or boolean, or remove it"
            )


def _model_faults(plan: Plan, architectures: Collection[str] | None) -> Iterator[Fault]:
    for index, candidate in enumerate(plan.model.candidates):
        if architectures is not None and candidate.architecture not in architectures:
            yield Fault(
                ("model", "candidates", index, "architecture"),
                f"there is no architecture {candidate.architecture}",
                _choose(candidate.architecture, architectures),
            )


def _choose(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]}?" if close else f"Choose from: {', '.join(sorted(known)) or 'none is declared'}"
