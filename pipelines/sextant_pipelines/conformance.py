"""What a pipeline must not contain, because kfp.local 2.17 runs it wrong without a word, or a cluster would.

The checks walk the compiled IR, so that they see what runs and not what was meant. `compile_pipeline` refuses
a pipeline with a problem. The measurements behind them: docs/adr/0003-lifecycle-pipeline-shape.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

IR = Mapping[str, Any]
_OPERAND = re.compile(r"inputs\.parameter_values\['[^']*'\]")
_ENTRY_MODULE = "kfp.dsl.executor_main"
MAX_CONDITIONS = 4


@dataclass(frozen=True)
class Problem:
    """One construct that must go: where it is in the IR, which rule it breaks, and what would happen."""

    rule: str
    where: str
    consequence: str

    def __str__(self) -> str:
        return f"{self.where}: {self.rule}: {self.consequence}"


def problems(ir: IR, platform: IR | None = None) -> list[Problem]:
    """Return every problem of a compiled pipeline; `platform` is the IR's second document, if it has one."""
    found = [problem for check in _CHECKS for problem in check(ir)]
    return found + list(_kubernetes_settings(platform or {}))


@dataclass(frozen=True)
class _Place:
    """One task of one DAG, and which of the DAG's own inputs come from tasks further out."""

    dag: str
    name: str
    spec: Mapping[str, Any]
    computed_inputs: frozenset[str]

    @property
    def where(self) -> str:
        return f"{self.dag}/{self.name}"

    @property
    def parameters(self) -> Mapping[str, Any]:
        parameters: Mapping[str, Any] = self.spec.get("inputs", {}).get("parameters", {})
        return parameters

    def computed(self) -> frozenset[str]:
        """Return the names of the task's inputs that a task computes, here or further out."""
        return frozenset(
            name
            for name, source in self.parameters.items()
            if "taskOutputParameter" in source or source.get("componentInputParameter") in self.computed_inputs
        )


def _places(ir: IR) -> Iterator[_Place]:
    yield from _places_in(ir, "root", ir["root"].get("dag", {}), frozenset())


def _places_in(ir: IR, name: str, dag: IR, computed: frozenset[str]) -> Iterator[_Place]:
    for task, spec in dag.get("tasks", {}).items():
        place = _Place(name, task, spec, computed)
        yield place
        component = spec["componentRef"]["name"]
        inner = ir["components"][component].get("dag")
        if inner:
            yield from _places_in(ir, component, inner, place.computed())


def _outer_outputs_in_loops(ir: IR) -> Iterator[Problem]:
    for place in _places(ir):
        iterator = place.spec.get("parameterIterator") or place.spec.get("artifactIterator")
        if iterator is None:
            continue
        items = iterator.get("items", {}).get("inputParameter")
        for name in sorted(place.computed() - {items}):
            yield Problem("outer output in a loop", place.where, f"locally, {name} would hold the loop's item")


def _collected_numbers(ir: IR) -> Iterator[Problem]:
    """Yield tasks that gather a loop's integers; locally they arrive as floats."""
    for place in _places(ir):
        for name, source in place.parameters.items():
            producer = source.get("taskOutputParameter", {}).get("producerTask", "")
            if producer.startswith("for-loop-"):
                yield Problem("collected parameters", place.where, f"integers in {name} would arrive as floats")


def _composite_parameters(ir: IR) -> Iterator[Problem]:
    for owner, component in _components(ir):
        for side in ("inputDefinitions", "outputDefinitions"):
            for name, spec in component.get(side, {}).get("parameters", {}).items():
                if spec["parameterType"] in {"LIST", "STRUCT"} and not name.startswith("pipelinechannel--"):
                    yield Problem("list or struct parameter", f"{owner}.{name}", "its integers would become floats")


def _conditions(ir: IR) -> Iterator[Problem]:
    count = 0
    for place in _places(ir):
        condition = place.spec.get("triggerPolicy", {}).get("condition")
        if condition is None:
            continue
        count += 1
        literal = _OPERAND.sub("", condition)
        if literal.count("'") > 2 or "\\" in literal or '"' in literal:
            yield Problem("quote in a condition", place.where, "locally, conditions are evaluated as Python source")
        for operand in _OPERAND.findall(condition):
            if operand.split("'")[1] not in place.computed():
                text = "a caller's text with an apostrophe would turn the condition false"
                yield Problem("condition on a pipeline parameter", place.where, text)
    if count > MAX_CONDITIONS:
        text = f"{count} conditions; each costs a driver pod, {MAX_CONDITIONS} are enough"
        yield Problem("too many conditions", "root", text)


def _ignored_failures(ir: IR) -> Iterator[Problem]:
    """Yield tasks that run after a failure and are no exit task: on Argo a hook, whose own failure fails nothing."""
    for place in _places(ir):
        after_failure = place.spec.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"
        before = place.spec.get("dependentTasks", [])
        if after_failure and not all(name.startswith("exit-handler-") for name in before):
            yield Problem("a failure ignored", place.where, "on a cluster, the run would succeed where this task fails")


def _constants(ir: IR) -> Iterator[Problem]:
    for where, value in _constant_values(ir):
        text = json.dumps(value)
        if "python3" in text:
            yield Problem("python3 in a constant", where, "locally, it would be replaced by the interpreter's path")
        if "{{$" in text:
            yield Problem("placeholder in a constant", where, "it would be resolved, here otherwise than on a cluster")
        if len(text) > 10_000:
            yield Problem("large constant", where, "KFP's limit is 10,000 characters; hand it over as an artifact")


def _constant_values(ir: IR) -> Iterator[tuple[str, Any]]:
    for place in _places(ir):
        for name, source in place.parameters.items():
            if "runtimeValue" in source:
                yield f"{place.where}.{name}", source["runtimeValue"].get("constant")
    for owner, component in _components(ir):
        for name, spec in component.get("inputDefinitions", {}).get("parameters", {}).items():
            if "defaultValue" in spec:
                yield f"{owner}.{name}", spec["defaultValue"]


def _optional_inputs(ir: IR) -> Iterator[Problem]:
    for owner, component in _components(ir):
        inputs = component.get("inputDefinitions", {})
        for name, spec in {**inputs.get("parameters", {}), **inputs.get("artifacts", {})}.items():
            if spec.get("isOptional") and "defaultValue" not in spec:
                yield Problem("optional input", f"{owner}.{name}", "an absent input stops the local runner")


def _caching(ir: IR) -> Iterator[Problem]:
    for place in _places(ir):
        if place.spec.get("cachingOptions", {}).get("enableCache") and not _is_dag(ir, place):
            yield Problem("caching", place.where, "a cached step writes no evidence, and ignores changed code")


def _is_dag(ir: IR, place: _Place) -> bool:
    return "dag" in ir["components"][place.spec["componentRef"]["name"]]


def _containers(ir: IR) -> Iterator[Problem]:
    for name, executor in ir.get("deploymentSpec", {}).get("executors", {}).items():
        container = executor.get("container")
        if container is None:
            continue
        command = " ".join(container.get("command", []))
        if _ENTRY_MODULE not in command:
            yield Problem("container component", name, "the local runner cannot run it")
        if "pip install" in command:
            yield Problem("installation at run time", name, "the image has to hold what the step imports")
        if not re.search(r"(:(?!latest$)[\w.+-]+|@sha256:[0-9a-f]{64})$", container.get("image", "")):
            yield Problem("image without a version", name, "name a tag other than latest, or better a digest")
        if "resources" in container:
            yield Problem("resource limits", name, "the local runner ignores them; set them in the cluster's overlay")


def _kubernetes_settings(platform: IR) -> Iterator[Problem]:
    executors = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    for name, settings in executors.items():
        for setting in sorted(settings):
            yield Problem("Kubernetes setting", f"{name}.{setting}", "the local runner ignores it")


def _components(ir: IR) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "root", ir["root"]
    yield from ir.get("components", {}).items()


_CHECKS: tuple[Callable[[IR], Iterator[Problem]], ...] = (
    _outer_outputs_in_loops,
    _collected_numbers,
    _composite_parameters,
    _conditions,
    _ignored_failures,
    _constants,
    _optional_inputs,
    _caching,
    _containers,
)
