"""What a plan must agree with itself on, beyond each key being well formed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sextant_plan.criterion_faults import criterion_faults
from sextant_plan.data_faults import data_faults
from sextant_plan.drills import drill_of, wanted_drills
from sextant_plan.fault import Fault, choose, meant
from sextant_plan.log_faults import log_faults
from sextant_plan.prose import placeholder_in
from sextant_plan.regression_faults import regression_faults
from sextant_plan.rollout_faults import rollout_faults
from sextant_plan.rules import alert_references
from sextant_plan.schema import OnDemand, Plan
from sextant_plan.types import DrillName

# The inputs that each installed architecture cannot do without: `image`, `features` or both.
Architectures = Mapping[str, Sequence[str]]
INPUT_NAMES = {"image": "a picture", "features": "columns or features"}


def inconsistencies(plan: Plan, architectures: Architectures | None) -> Iterator[Fault]:
    """Yield every contradiction of a well-formed plan."""
    seen: set[str] = set()
    for index, criterion in enumerate(plan.criteria):
        path = ("criteria", index)
        if criterion.id in seen:
            yield Fault((*path, "id"), f"the id {criterion.id} stands twice", "Give each criterion an id of its own")
        seen.add(criterion.id)
        yield from criterion_faults(plan, criterion, path)
    yield from _placeholder_faults(plan)
    yield from _data_faults(plan)
    yield from data_faults(plan)
    yield from _feature_faults(plan)
    yield from _input_faults(plan)
    yield from _model_faults(plan, architectures)
    yield from regression_faults(plan)
    yield from _failure_faults(plan)
    yield from _drill_faults(plan)
    yield from _sign_off_faults(plan)
    yield from rollout_faults(plan)
    yield from log_faults(plan)
    yield from _evaluation_faults(plan)
    yield from _retrain_faults(plan)


def _retrain_faults(plan: Plan) -> Iterator[Fault]:
    retrain, path = plan.monitoring.retrain, ("monitoring", "retrain", "change_architecture_after")
    if retrain.change_architecture_after is None:
        return
    if not plan.model.wider_candidates:
        yield Fault(
            path, "there is nothing to change to", "Name architectures in model.wider_candidates, or remove this"
        )
    if retrain.change_architecture_after >= retrain.reopen_planning_after:
        yield Fault(
            path,
            f"planning is reopened before, after {retrain.reopen_planning_after} retrainings",
            "Make it less than reopen_planning_after",
        )


def _evaluation_faults(plan: Plan) -> Iterator[Fault]:
    image, corruptions = plan.model.inputs.image, plan.evaluation.corruptions
    if image is not None and image.channels == 1 and "saturate" in corruptions:
        problem = "the pictures have one channel, and so no colours to change"
        yield Fault(("evaluation", "corruptions", corruptions.index("saturate")), problem, "Remove saturate")
    if plan.evaluation.sealed_split + plan.evaluation.valid_split >= 0.9:
        yield Fault(
            ("evaluation", "valid_split"),
            "the sealed and the valid split leave less than a tenth to train on",
            "Make sealed_split + valid_split less than 0.9",
        )
    if plan.evaluation.staleness is not None and plan.data.timestamp is None:
        yield Fault(
            ("evaluation", "staleness"), "the rows have no time", "Name their column in data.timestamp, or remove this"
        )


def _placeholder_faults(plan: Plan) -> Iterator[Fault]:
    texts: dict[tuple[str, ...], str] = {
        ("goal", "business"): plan.goal.business,
        ("goal", "why_ml"): plan.goal.why_ml,
        ("goal", "societal_impact"): plan.goal.societal_impact,
        ("data", "licence", "source"): plan.data.licence.source,
        ("data", "consent", "basis"): plan.data.consent.basis,
    }
    for path, text in texts.items():
        found = placeholder_in(text)
        if found is not None:
            remedy = "Write what holds: the dossier quotes this sentence"
            yield Fault(path, f"{found} stands where a statement belongs", remedy)


def _failure_faults(plan: Plan) -> Iterator[Fault]:
    known = alert_references(plan)
    for index, mode in enumerate(plan.failure):
        if mode.alert is not None and mode.alert not in known:
            yield Fault(("failure", index, "alert"), f"no alert is called {mode.alert}", choose(mode.alert, known))


def _drill_faults(plan: Plan) -> Iterator[Fault]:
    if plan.drills is not None and not wanted_drills(plan):
        yield Fault(
            ("drills",),
            "no failure mode can be rehearsed, so that no drill would be asked for",
            f"Add drill: to one under failure, or list drills under also; they are {', '.join(DrillName)}",
        )
    asked = {drill_of(mode) for mode in plan.failure} | set(plan.drills.also if plan.drills else [])
    if plan.features is None and asked & {DrillName.FEATURE_STORE_DOWN, DrillName.RESTORE_FEATURES}:
        yield Fault(("failure",), "a drill breaks the feature store, and the plan has none", "Remove that drill")


def _sign_off_faults(plan: Plan) -> Iterator[Fault]:
    for index, person in enumerate(plan.sign_off.required if plan.sign_off else []):
        where = ("sign_off", "required", index)
        if person not in plan.owner.approvers:
            yield Fault(where, f"{person} is not among owner.approvers", choose(person, plan.owner.approvers))


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
    stored = [f"{view.name}:{column}" for view in views.values() for column in view.columns]
    on_demand = plan.features.on_demand if plan.features else []
    computed = [f"{each.name}:{column}" for each in on_demand for column in each.columns]
    for index, name in enumerate(plan.model.inputs.features):
        if name not in stored and name not in computed:
            path = ("model", "inputs", "features", index)
            yield Fault(path, f"{name} is not a feature of any view", choose(name, [*stored, *computed]))
    given = [*(view.name for view in views.values()), *(each.name for each in on_demand)]
    names = [name.replace("-", "_") for name in given]  # as Feast takes them
    for place, each in enumerate(on_demand):
        where: tuple[str | int, ...] = ("features", "on_demand", place)
        if names.count(each.name.replace("-", "_")) > 1:
            yield Fault((*where, "name"), f"{each.name} names something else too", "Give it a name of its own")
        for index, name in enumerate(each.inputs):
            if name not in stored:
                yield Fault((*where, "inputs", index), f"{name} is not a feature of any view", choose(name, stored))
        yield from _request_faults(plan, where, each)
        plain = [*(name.partition(":")[2] for name in each.inputs), *each.request]
        for name in sorted({name for name in plain if plain.count(name) > 1}):
            yield Fault((*where, "inputs"), f"two inputs are called {name}", "Rename one in its table and view")


def _request_faults(plan: Plan, where: tuple[str | int, ...], each: OnDemand) -> Iterator[Fault]:
    data = plan.data
    for index, name in enumerate(each.request):
        path = (*where, "request", index)
        if name in {data.label, data.entity, data.image}:
            remedy = "Name a column that is known when predicting"
            yield Fault(path, f"{name} is the label, the entity or the picture", remedy)
        elif name not in data.columns:
            remedy = meant(name, data.columns) or f"Add it to data.columns, such as {name}: {{type: number}}"
            yield Fault(path, f"{name} has no rule", remedy)
        elif data.columns[name].type == "timestamp":
            remedy = "Declare it text, and let the function read it"
            yield Fault(path, f"{name} is a timestamp, which requests write in many ways", remedy)


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
    if task.startswith("tabular") and inputs.image is not None:
        remedy = "Use image-tabular-classification, or remove inputs.image"
        yield Fault(("model", "task"), f"{task} reads no picture", remedy)
    for index, column in enumerate(inputs.columns):
        path = ("model", "inputs", "columns", index)
        if column in {plan.data.label, plan.data.entity, plan.data.image}:
            yield Fault(
                path, f"{column} is the label, the entity or the picture", "Name a column that is known when predicting"
            )
        elif column not in plan.data.columns:
            remedy = meant(column, plan.data.columns) or f"Add it to data.columns, such as {column}: {{type: number}}"
            yield Fault(path, f"{column} has no rule", remedy)
        elif plan.data.columns[column].type not in {"number", "category", "boolean"}:
            kind = plan.data.columns[column].type
            yield Fault(
                path, f"a model reads no column of type {kind}", "Use number, category or boolean, or remove it"
            )


def _model_faults(plan: Plan, architectures: Architectures | None) -> Iterator[Fault]:
    if architectures is None:
        return
    inputs = plan.model.inputs
    given = {"image": inputs.image is not None, "features": bool(inputs.columns or inputs.features)}
    named: list[tuple[tuple[str | int, ...], str]] = [
        (("model", "candidates", index, "architecture"), candidate.architecture)
        for index, candidate in enumerate(plan.model.candidates)
    ]
    named += [
        (("model", "wider_candidates", index, "architecture"), candidate.architecture)
        for index, candidate in enumerate(plan.model.wider_candidates)
    ]
    if plan.model.compress is not None and plan.model.compress.distil is not None:
        named.append((("model", "compress", "distil", "architecture"), plan.model.compress.distil.architecture))
    for path, name in named:
        if name not in architectures:
            yield Fault(path, f"there is no architecture {name}", choose(name, architectures))
            continue
        missing = [INPUT_NAMES[need] for need in architectures[name] if not given[need]]
        if missing:
            able = sorted(other for other, required in architectures.items() if all(given[need] for need in required))
            yield Fault(
                path,
                f"{name} reads {' and '.join(missing)}, which model.inputs lacks",
                f"Choose from: {', '.join(able)}; or add what it reads to model.inputs",
            )
