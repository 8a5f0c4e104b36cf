"""The compiled pipelines hold nothing that kfp.local or a cluster would run wrong; each check meets a bad pipeline.

KFP reads annotations as objects, so this file does without `from __future__ import annotations`.
"""

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl

from sextant_pipelines import steps
from sextant_pipelines.compile import STEPS, NonconformingPipeline, compile_all, compile_component, split_documents
from sextant_pipelines.conformance import problems
from sextant_pipelines.lifecycle import lifecycle

ROOT = Path(__file__).parents[2]
step = steps.step


@step
def give(text: str) -> str:
    return text


@step
def count() -> int:
    return 1


@step
def use(text: str, other: str = "") -> str:
    return text + other


@step
def total(numbers: list) -> int:  # type: ignore[type-arg]
    return len(numbers)


@step
def maybe(text: str = None) -> str:  # type: ignore[assignment]  # noqa: RUF013
    return str(text)


@dsl.container_component
def container() -> dsl.ContainerSpec:
    return dsl.ContainerSpec(image="alpine:3.20", command=["true"])


@dsl.component(base_image="python:3.11", packages_to_install=["requests"])
def installs(text: str) -> str:
    return text


@dsl.component(base_image="sextant-train:latest", install_kfp_package=False)
def floats(text: str) -> str:
    return text


def outer_output_in_loop() -> None:
    first = give(text="a").set_caching_options(False)
    with dsl.ParallelFor(["x", "y"]) as item:
        use(text=item, other=first.output).set_caching_options(False)


def outer_output_in_loop_below_condition() -> None:
    first = give(text="a").set_caching_options(False)
    with dsl.If(first.output == "pass"), dsl.ParallelFor(["x", "y"]) as item:
        use(text=item, other=first.output).set_caching_options(False)


def collected_integers() -> None:
    with dsl.ParallelFor(["x", "y"]):
        one = count().set_caching_options(False)
    total(numbers=dsl.Collected(one.output)).set_caching_options(False)


def apostrophe_in_condition() -> None:
    first = give(text="a").set_caching_options(False)
    with dsl.If(first.output == "it's"):
        give(text="b").set_caching_options(False)


def condition_on_parameter(name: str) -> None:
    with dsl.If(name == "pass"):
        give(text="b").set_caching_options(False)


def five_conditions() -> None:
    for number in range(5):
        task = give(text=f"a{number}").set_caching_options(False)
        with dsl.If(task.output == "pass"):
            give(text="b").set_caching_options(False)


def python3_in_constant() -> None:
    give(text="/opt/python3/bin").set_caching_options(False)


def python3_in_default(path: str = "/usr/lib/python3") -> None:
    give(text=path).set_caching_options(False)


def placeholder_in_constant() -> None:
    give(text="{{$.inputs}}").set_caching_options(False)


def joined_text(name: str) -> None:
    give(text=f"run {name}").set_caching_options(False)


def large_constant() -> None:
    give(text="a" * 10_001).set_caching_options(False)


def optional_input() -> None:
    maybe().set_caching_options(False)


def cached() -> None:
    give(text="a")


def container_in_it() -> None:
    container().set_caching_options(False)


def installation() -> None:
    installs(text="a").set_caching_options(False)


def floating_image() -> None:
    floats(text="a").set_caching_options(False)


def limited() -> None:
    give(text="a").set_caching_options(False).set_memory_limit("1G")


BAD: list[tuple[Callable[..., None], str]] = [
    (outer_output_in_loop, "outer output in a loop"),
    (outer_output_in_loop_below_condition, "outer output in a loop"),
    (collected_integers, "collected parameters"),
    (collected_integers, "list or struct parameter"),
    (apostrophe_in_condition, "quote in a condition"),
    (condition_on_parameter, "condition on a pipeline parameter"),
    (five_conditions, "too many conditions"),
    (python3_in_constant, "python3 in a constant"),
    (python3_in_default, "python3 in a constant"),
    (placeholder_in_constant, "placeholder in a constant"),
    (joined_text, "placeholder in a constant"),
    (large_constant, "large constant"),
    (optional_input, "optional input"),
    (cached, "caching"),
    (container_in_it, "container component"),
    (installation, "installation at run time"),
    (floating_image, "image without a version"),
    (limited, "resource limits"),
]


def _ir(function: Callable[..., None], folder: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    path = folder / "ir.yaml"
    compiler.Compiler().compile(dsl.pipeline(name="bad")(function), str(path))
    return split_documents(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("function", "rule"), BAD, ids=[f"{f.__name__}-{rule}" for f, rule in BAD])
def test_each_forbidden_construct_is_found(function: Callable[..., None], rule: str, tmp_path: Path) -> None:
    """A pipeline with one forbidden construct is reported under that rule."""
    assert rule in {problem.rule for problem in problems(*_ir(function, tmp_path))}


@pytest.mark.parametrize("setting", ["secretAsEnv", "pvcMount", "activeDeadlineSeconds"])
def test_secrets_volumes_and_timeouts_are_found(setting: str, tmp_path: Path) -> None:
    """What kfp-kubernetes writes into the second document does nothing locally, so no step may rely on it."""
    ir, _ = _ir(limited, tmp_path)
    executors: dict[str, dict[str, list[dict[str, str]]]] = {"exec-give": {setting: [{}]}}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
    assert f"exec-give.{setting}" in {problem.where for problem in problems(ir, platform)}


def test_a_nonconforming_pipeline_is_refused() -> None:
    """Compiling names the task and the consequence instead of writing the file."""
    with pytest.raises(NonconformingPipeline, match="root/give: caching"):
        compile_component(dsl.pipeline(name="bad")(cached))


def test_a_loop_over_its_own_items_is_allowed(tmp_path: Path) -> None:
    """The rule on loops is about outer values; the items themselves may come from a task's constant."""

    def loop() -> None:
        with dsl.ParallelFor(["x", "y"]) as item:
            give(text=item).set_caching_options(False)

    assert problems(*_ir(loop, tmp_path)) == []


def test_a_task_that_runs_after_a_failure_is_an_exit_task(tmp_path: Path) -> None:
    """Elsewhere KFP makes a hook of it on Argo, and the run succeeds where the task fails."""

    def ignoring() -> None:
        first = give(text="x").set_caching_options(False)
        give(text="y").set_caching_options(False).after(first).ignore_upstream_failure()

    assert [problem.rule for problem in problems(*_ir(ignoring, tmp_path))] == ["a failure ignored"]


def test_the_lifecycle_conforms() -> None:
    """The pipeline that users run has none of the problems."""
    assert problems(*split_documents(compile_component(lifecycle))) == []


def test_the_lifecycle_has_two_text_parameters_and_no_others() -> None:
    """A run is named by its store and its id; everything else is in the store."""
    ir, _ = split_documents(compile_component(lifecycle))
    assert ir["root"]["inputDefinitions"]["parameters"] == {
        "run_id": {"parameterType": "STRING"},
        "run_uri": {"parameterType": "STRING"},
    }


def test_the_exit_task_takes_the_run_alone_and_waits_for_everything() -> None:
    """The dossier is written whatever happened, from the run's store and nothing else."""
    ir, _ = split_documents(compile_component(lifecycle))
    close = ir["root"]["dag"]["tasks"]["close"]
    assert close["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert list(close["inputs"]["parameters"]) == ["run_uri"]
    assert "artifacts" not in close["inputs"]


def test_every_condition_asks_for_a_pass() -> None:
    """A stage runs on proof only: on `pass`, never on the absence of a fail."""
    ir, _ = split_documents(compile_component(lifecycle))
    dags = [component["dag"]["tasks"].values() for component in ir["components"].values() if "dag" in component]
    conditions = [
        task["triggerPolicy"]["condition"]
        for tasks in dags
        for task in tasks
        if "triggerPolicy" in task and "condition" in task["triggerPolicy"]
    ]
    assert len(conditions) == 4
    assert all(condition.endswith("== 'pass'") for condition in conditions)


def test_the_committed_files_are_what_the_code_compiles_to() -> None:
    """`make generate` would change nothing, byte for byte."""
    stale = [
        name for name, text in compile_all().items() if not (ROOT / name).exists() or (ROOT / name).read_text() != text
    ]
    assert stale == []


@pytest.mark.parametrize("name", STEPS)
def test_every_component_names_its_image(name: str) -> None:
    """The image is one of ours with a version, and nothing is installed when the step starts."""
    ir, _ = split_documents(compile_component(getattr(steps, name)))
    (executor,) = ir["deploymentSpec"]["executors"].values()
    assert executor["container"]["image"].startswith("sextant-")
    assert "pip install" not in " ".join(executor["container"]["command"])


@pytest.mark.parametrize("name", STEPS)
def test_every_body_imports_and_delegates(name: str) -> None:
    """A body is a docstring, one import from the installed package and one call."""
    (function,) = ast.parse(inspect.getsource(getattr(steps, name).python_func)).body
    assert isinstance(function, ast.FunctionDef)
    doc, imported, returned = function.body
    assert isinstance(doc, ast.Expr)
    assert isinstance(imported, ast.ImportFrom)
    assert imported.module == "sextant_pipelines.runtime"
    assert isinstance(returned, ast.Return)
    assert isinstance(returned.value, ast.Call)


@pytest.mark.parametrize("name", STEPS)
def test_everything_that_a_step_takes_and_gives_has_a_type(name: str) -> None:
    """Text by value, data sets and models by address; an artifact of no kind would take any other's place."""
    ir, _ = split_documents(compile_component(getattr(steps, name)))
    (component,) = ir["components"].values()
    sides = [component.get(side, {}) for side in ("inputDefinitions", "outputDefinitions")]
    values = {spec["parameterType"] for side in sides for spec in side.get("parameters", {}).values()}
    artifacts = {spec["artifactType"]["schemaTitle"] for side in sides for spec in side.get("artifacts", {}).values()}
    assert values == {"STRING"}
    assert artifacts <= {"system.Dataset", "system.Model"}
