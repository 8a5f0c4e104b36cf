"""What a plan's prediction log may name: inputs that the server sees, and sensitive ones only as a digest."""

from __future__ import annotations

from collections.abc import Iterator

from sextant_plan.fault import Fault, choose
from sextant_plan.schema import Plan


def log_faults(plan: Plan) -> Iterator[Fault]:
    """Yield every contradiction of `serving.log`."""
    log = plan.serving.log
    if log.pictures and plan.model.inputs.image is None:
        yield Fault(("serving", "log", "pictures"), "the model is sent no picture", "Remove it")
    known = {*plan.model.inputs.columns, *(name.partition(":")[2] for name in plan.model.inputs.features)}
    if plan.data.entity is not None:
        known.add(plan.data.entity)
    for key, names in (("columns", log.columns), ("hashed", log.hashed)):
        for index, name in enumerate(names):
            where = ("serving", "log", key, index)
            if name not in known:
                yield Fault(where, f"the model is sent no {name}", choose(name, known))
            elif key == "columns" and name in plan.data.sensitive:
                yield Fault(where, f"{name} is sensitive", "Move it to serving.log.hashed, or remove it")
            elif key == "hashed" and name in log.columns:
                yield Fault(where, f"{name} is in columns too", "Keep it as it is, or as a digest")
