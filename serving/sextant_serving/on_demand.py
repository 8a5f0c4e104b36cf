"""On-demand features: the plan's own functions over stored features and the request, alike in training and serving.

Feast's on-demand views are not used: they keep a pickled function in the registry, and whoever can write there could
run code in every server. Here code is installed with the server, named by the plan and bound by its digest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sextant_plan.bundle import CodeRef, OnDemandSpec, RequestColumn
from sextant_plan.entrypoints import EntrypointError, entrypoint_digest, load_entrypoint
from sextant_plan.schema import Plan
from sextant_serving.errors import CodeDiffers
from sextant_serving.preprocessing import category_texts, to_numbers

Values = list[Any]
NUMBERS = frozenset({"number", "boolean"})  # of a rule's types, those that a request sends as numbers; true is 1


@dataclass(frozen=True)
class Transform:
    """One loaded function: `spec` says what it reads and what it gives."""

    spec: OnDemandSpec
    function: Callable[[dict[str, Values]], Mapping[str, Sequence[Any]]]

    @property
    def names(self) -> dict[str, str]:
        """The feature's name by the `view__feature` of each stored input."""
        return {full: full.partition("__")[2] for full in self.spec.inputs}

    @property
    def requested(self) -> list[str]:
        """The names of the request's columns that the function reads."""
        return [column.name for column in self.spec.request]

    def compute(self, inputs: dict[str, Values]) -> dict[str, Values]:
        """Return a list of values for each of the spec's columns; `inputs` has as many by feature or column name.

        Raises EntrypointError if the function gives something else.
        """
        rows = len(next(iter(inputs.values())))
        given = self.function(inputs)
        wanted = self.spec.columns
        if not isinstance(given, Mapping) or any(len(given.get(name, ())) != rows for name in wanted):
            problem = f"it has to return {rows} values for each of {', '.join(wanted)}"
            raise EntrypointError(self.spec.code.entrypoint, problem, "Return a dictionary of lists")
        return {name: list(given[name]) for name in wanted}


def on_demand_specs(plan: Plan) -> list[OnDemandSpec]:
    """Return what a bundle has to know of the plan's on-demand features, its code with the digest that it has now."""
    return [
        OnDemandSpec(
            view=feast_name(each.name),
            code=code_reference(each.entrypoint),
            inputs=[f"{feast_name(view)}__{name}" for view, _, name in (name.partition(":") for name in each.inputs)],
            request=[RequestColumn(name=name, number=plan.data.columns[name].type in NUMBERS) for name in each.request],
            columns=each.columns,
        )
        for each in (plan.features.on_demand if plan.features else [])
    ]


def request_values(values: Sequence[object] | NDArray[Any], column: RequestColumn) -> Values:
    """Return a request's column as an on-demand function gets it: numbers in single precision, text, None if missing.

    Raises BadColumn for text where a number belongs, BadCategory for a list or an object where text does.
    """
    if not column.number:
        return list(category_texts(values, column.name))
    with np.errstate(over="ignore"):
        numbers = to_numbers(values, column.name).astype(np.float32)
    return [number if math.isfinite(number) else None for number in numbers.tolist()]


def feast_name(name: str) -> str:
    """Return a plan's name as Feast takes it, whose tables allow no hyphen."""
    return name.replace("-", "_")


def code_reference(entrypoint: str) -> CodeRef:
    """Return the user's code by name and digest; raises EntrypointError if its package cannot be found."""
    return CodeRef(entrypoint=entrypoint, digest=entrypoint_digest(entrypoint))


def load_code(code: CodeRef) -> Callable[..., Any]:
    """Return the function; raises CodeDiffers if what is installed is not what the bundle was sealed with."""
    if entrypoint_digest(code.entrypoint) != code.digest:
        raise CodeDiffers(code.entrypoint)
    return load_entrypoint(code.entrypoint)


def load_transform(spec: OnDemandSpec) -> Transform:
    """Load a bundle's on-demand features; raises CodeDiffers and EntrypointError."""
    return Transform(spec, load_code(spec.code))
