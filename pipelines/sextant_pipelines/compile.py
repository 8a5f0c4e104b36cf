"""From the pipeline functions to KFP's intermediate representation, byte for byte the same each time."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from sextant_components.runs.context import PIPELINES, PipelineName, Step
from sextant_pipelines.conformance import Problem, problems
from sextant_plan.errors import UsageError

if TYPE_CHECKING:
    from kfp.dsl.base_component import BaseComponent

STEPS = (*(step.value for step in Step), "monitor", "conclude", "close")


class NonconformingPipeline(UsageError):
    """A pipeline that would run wrong, or only in one of the two places."""

    def __init__(self, name: str, found: list[Problem]) -> None:
        super().__init__(f"pipeline {name} cannot be used:\n" + "\n".join(f"  {problem}" for problem in found))


def compile_component(component: BaseComponent) -> str:
    """Return the IR YAML of a pipeline or of one component. Raises NonconformingPipeline."""
    from kfp import compiler

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ir.yaml"
        compiler.Compiler().compile(component, str(path))
        text = path.read_text(encoding="utf-8")
    ir, platform = split_documents(text)
    # KFP wraps a lone component in a pipeline of one task with the cache on; who uses the component decides on that.
    waived = {"caching"} if _is_lone_component(ir) else set()
    found = [problem for problem in problems(ir, platform) if problem.rule not in waived]
    if found:
        raise NonconformingPipeline(component.name, found)
    return text


@cache
def compiled(name: PipelineName) -> str:
    """Return the IR YAML of a pipeline, compiled once a process."""
    return compile_component(pipeline(name))


def pipeline(name: PipelineName) -> BaseComponent:
    """Return one of the pipelines; its module has its name, and importing it imports KFP."""
    found: BaseComponent = getattr(importlib.import_module(f"sextant_pipelines.{name}"), name)
    return found


def _is_lone_component(ir: Mapping[str, Any]) -> bool:
    return list(ir["root"]["dag"]["tasks"]) == [ir["pipelineInfo"]["name"]]


def split_documents(text: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return an IR file's pipeline spec, and its platform spec if there is one."""
    documents = list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    return documents[0], documents[1] if len(documents) > 1 else None


def compile_all() -> dict[str, str]:
    """Return the text of every file that the repository keeps of its pipelines, by relative path."""
    from sextant_pipelines import steps

    files = {f"pipelines/{name}.yaml": compiled(name) for name in PIPELINES}
    for name in STEPS:
        files[f"components/{name}.yaml"] = compile_component(getattr(steps, name))
    return files
