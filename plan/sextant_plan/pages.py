"""Reference pages written from the contracts themselves, so that they cannot disagree with the code."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sextant_plan import schema
from sextant_plan import types as value_types
from sextant_plan.catalogue import COMMON_LABELS, CONTROLLER, KSERVE, SERIES
from sextant_plan.catalogue.metrics import METRICS
from sextant_plan.catalogue.trigger import TRIGGER
from sextant_plan.catalogue.watching import EXPORTED
from sextant_plan.tasks import TASKS, Task

PLAIN_NAMES = {"str": "text", "float": "number", "int": "whole number", "bool": "true or false"}
SCHEMA_ADDRESS = "https://json-schema.org/draft/2020-12/schema"


def pages() -> dict[Path, str]:
    """Return the text of each generated page by its path below `docs/`."""
    return {
        Path("reference/plan.md"): plan_page(),
        Path("reference/plan.schema.json"): plan_json_schema(),
        Path("reference/metrics.md"): metrics_page(),
        Path("reference/crisp-ml.md"): crisp_page(),
    }


def plan_json_schema() -> str:
    """Return the plan's JSON Schema, for editors that complete and check YAML by one."""
    document = {"$schema": SCHEMA_ADDRESS, **schema.Plan.model_json_schema()}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def plan_page() -> str:
    """Return the reference of plan.yaml: one table for each part, in the order of the plan."""
    lines = [
        "# plan.yaml",
        "",
        "Generated from `plan/sextant_plan/schema/` by `make generate`. Unknown keys are errors. Durations are",
        "written as `500ms`, `90s`, `15m`, `4h`, `30d` or `2w`; code as `module:function`. Editors complete the file",
        "with [plan.schema.json](plan.schema.json).",
    ]
    return "\n".join([*lines, *tables_of(schema.Plan)]) + "\n"


def tables_of(root: type[BaseModel]) -> Iterator[str]:
    """Yield the lines of a table of keys for `root` and each model in it, under its name and its own description."""
    for model in _models(root):
        yield from ("", f"## {model.__name__}", "")
        text = inspect.getdoc(model)
        if text and text != inspect.getdoc(schema.Closed):
            yield from (text, "")
        yield from ("| key | type | default |", "|---|---|---|")
        for name, field in model.model_fields.items():
            yield f"| `{name}` | {_type(field)} | {_default(field)} |"


def metrics_page() -> str:
    """Return the reference of the metric catalogue and of every Prometheus series of ours."""
    lines = [
        "# Metrics and series",
        "",
        "Generated from `plan/sextant_plan/catalogue/` by `make generate`. A criterion may name these metrics and no",
        "others, and may be enforced only where its metric allows it.",
        "",
        "| metric | kind | unit | better | computed by | bound | enforced by | what it is |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for metric in METRICS.values():
        better = "higher" if metric.higher_is_better else "lower"
        enforced = ", ".join(sorted(metric.enforcements))
        lines.append(
            f"| `{metric.name}` | {metric.kind} | {metric.unit} | {better} | {metric.step} | {metric.bound} "
            f"| {enforced} | {metric.description} |"
        )
    carried = f"Each carries the labels {', '.join(f'`{label}`' for label in COMMON_LABELS)}."
    kserve = (
        "For boards and scaling rules that were written for KServe's Python server, with its label and edges: the\n"
        "stages of a request, which of an answered one make up its `sextant_request_seconds`. There is no\n"
        "`request_explain_seconds`."
    )
    for title, words, more, listed in (
        ("the server", carried, "more labels", SERIES),
        ("the server under KServe's names", kserve, "labels", KSERVE),
        ("`sextant watch --export`", carried, "more labels", EXPORTED),
        ("the rollout controller", "`model` is the InferenceService.", "labels", CONTROLLER),
        ("`sextant trigger`", "`action` is one of what the trigger answers to a notification.", "labels", TRIGGER),
    ):
        lines += ["", f"## Series of {title}", "", words, ""]
        lines += [f"| series | type | unit | {more} | what it is |", "|---|---|---|---|---|"]
        for series in listed.values():
            labels = ", ".join(f"`{label}`" for label in series.labels) or "none"
            lines.append(f"| `{series.name}` | {series.type} | {series.unit} | {labels} | {series.help} |")
    return "\n".join(lines) + "\n"


def crisp_page() -> str:
    """Return the reference of the CRISP-ML(Q) tasks: what assures each, where it lives, which records show it."""
    lines = [
        "# The tasks of CRISP-ML(Q)",
        "",
        "Generated from `plan/sextant_plan/tasks/` by `make generate`. The process model is that of Studer et al.",
        "([arXiv 2003.05155](https://arxiv.org/abs/2003.05155)). In each run the dossier shows every task with the",
        "worst verdict of its records; a task that the plan has no use for is *not applicable, because* of what the",
        "plan says; one that is neither evidenced nor excused is *unknown*.",
        "",
        "Evidence is written as `step/record`, `*` for any text; criteria on the metrics named are evidence too.",
    ]
    for phase, tasks in groupby(TASKS, key=lambda task: task.phase):
        lines += ["", f"## {phase.capitalize()}", ""]
        lines += ["| task | requirement | risk | method | lives in | evidence |", "|---|---|---|---|---|---|"]
        lines += [_crisp_row(task) for task in tasks]
    return "\n".join(lines) + "\n"


def _crisp_row(task: Task) -> str:
    modules = ", ".join(f"`{module}`" for module in task.lives_in)
    evidence = ", ".join(f"`{name}`" for name in (*task.evidence, *task.metrics))
    excused = "; not applicable in some plans" if task.excuse is not None else ""
    return f"| {task.name} | {task.requirement} | {task.risk} | {task.method} | {modules} | {evidence}{excused} |"


def _models(root: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield `root` and every model its fields mention, each once, depth first."""
    seen: set[type[BaseModel]] = set()
    pending = [root]
    while pending:
        model = pending.pop(0)
        if model in seen:
            continue
        seen.add(model)
        yield model
        inner = [part for field in model.model_fields.values() for part in _parts(field.annotation)]
        pending = [part for part in inner if issubclass(part, BaseModel)] + pending


def _parts(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _parts(part)


def _type(field: FieldInfo) -> str:
    return _written(field.annotation, field.metadata).replace("|", r"\|")


def _written(annotation: Any, metadata: list[Any]) -> str:
    for name in ("Duration", "Entrypoint", "Name", "Share"):
        alias = getattr(value_types, name)
        if metadata and list(typing.get_args(alias)[1:]) == metadata[: len(typing.get_args(alias)) - 1]:
            return name.lower()
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _written(arguments[0], list(arguments[1:]))
    if origin in {types.UnionType, typing.Union}:
        return " or ".join(_written(part, []) for part in arguments if part is not types.NoneType)
    if origin is Literal:
        return " | ".join(f"`{value}`" for value in arguments)
    if origin is list:
        return f"list of {_written(arguments[0], [])}"
    if origin is tuple:
        return f"[{', '.join(_written(part, []) for part in arguments)}]"
    if origin is dict:
        return f"mapping of {_written(arguments[0], [])} to {_written(arguments[1], [])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    name = str(annotation.__name__)
    return PLAIN_NAMES.get(name, name.lower())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its defaults"
    if value is None or value in ([], {}, ""):
        return "none"
    if _type(field).startswith("duration"):
        return f"`{value_types.duration_text(value)}`"
    return f"`{json.dumps(value, default=str)}`"
