"""From plan.yaml to a Plan: every fault with its line, column and remedy, and the hash that binds the rest."""

from __future__ import annotations

import copy
import difflib
import re
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sextant_plan.canonical import digest_of
from sextant_plan.consistency import Architectures, inconsistencies
from sextant_plan.errors import Finding, PlanError
from sextant_plan.fault import meant
from sextant_plan.schema import Plan
from sextant_plan.yaml_source import Source, read_yaml


def load_plan(path: Path, *, architectures: Architectures | None = None) -> Plan:
    """Read and check a plan. Raises PlanError with every finding.

    `architectures` are the candidates that are installed and what they need; None leaves them unchecked.
    """
    source = read_yaml(path)
    findings = [_duplicate(source, place) for place in source.duplicates]
    try:
        plan = Plan.model_validate(source.value if source.value is not None else {})
    except ValidationError as error:
        details = error.errors()
        findings += [_finding(source, detail) for detail in details]
        sound = _without(source.value, [detail["loc"] for detail in details])
        findings += [] if sound is None else _contradictions(source, sound, architectures)
        raise PlanError(path, findings) from error
    findings += _contradictions(source, plan, architectures)
    if findings:
        raise PlanError(path, findings)
    return plan


def check_plan(path: Path, *, architectures: Architectures | None = None) -> list[Finding]:
    """Return everything that is wrong with a plan, in the order of its lines; an empty list means it can run."""
    try:
        load_plan(path, architectures=architectures)
    except PlanError as error:
        return error.findings
    return []


def plan_hash(plan: Plan) -> str:
    """Return `sha256:<64 hex>` of the plan's canonical JSON with defaults applied."""
    return digest_of(plan.canonical())


def dotted(path: Iterable[str | int]) -> str:
    """Return a path into the plan as a reader writes it, such as `criteria[0].metric`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "plan"


def _contradictions(source: Source, plan: Plan, architectures: Architectures | None) -> list[Finding]:
    return [
        Finding(*source.position(fault.path), dotted(fault.path), fault.problem, fault.remedy)
        for fault in inconsistencies(plan, architectures)
    ]


def _without(value: Any, faulty: list[tuple[str | int, ...]]) -> Plan | None:
    """Return the plan without its malformed keys, so that one run reports every fault; None if it needs them."""
    pruned = copy.deepcopy(value)
    for path in faulty:
        parent, key = pruned, None
        for part in path:
            if isinstance(part, str) and isinstance(parent, dict) and part in parent:
                holder, key = parent, part
            try:
                parent = parent[part]
            except (KeyError, IndexError, TypeError):
                break
        if key is not None:
            holder.pop(key, None)
    try:
        return Plan.model_validate(pruned)
    except ValidationError:
        return None


def _duplicate(source: Source, path: tuple[str | int, ...]) -> Finding:
    line, column = source.position(path)
    return Finding(line, column, dotted(path), "this key stands twice", "Keep one of the two")


def _finding(source: Source, detail: ErrorDetails) -> Finding:
    path = tuple(part for part in detail["loc"] if part != "[key]")
    kind = detail["type"]
    if not path:
        return Finding(1, 1, "plan", "the file holds no mapping of keys", "Write one with: sextant init")
    if kind == "missing":
        line, column = source.position(path[:-1])
        return Finding(
            line, column, dotted(path), "this key is missing", f"Add `{path[-1]}:` under {dotted(path[:-1])}"
        )
    line, column = source.position(path)
    if kind == "extra_forbidden":
        return Finding(line, column, dotted(path), "this key is unknown", _meant(path))
    if kind in {"literal_error", "enum"}:
        return Finding(line, column, dotted(path), "this value is not known", _one_of(detail))
    message = detail["msg"].removeprefix("Value error, ")
    return Finding(line, column, dotted(path), f"{_first_lower(message)}", _expectation(path))


def _one_of(detail: ErrorDetails) -> str:
    """Return the remedy for a value that is not one of those known: the one that was probably meant, else all."""
    expected, given = str(detail["ctx"]["expected"]), detail["input"]
    question = meant(given, re.findall(r"'([^']*)'", expected)) if isinstance(given, str) else None
    return question or f"Use {expected}"


def _first_lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _meant(path: tuple[str | int, ...]) -> str:
    known = sorted(_fields_at(path[:-1]))
    close = difflib.get_close_matches(str(path[-1]), known, n=1)
    if close:
        return f"Did you mean `{close[0]}`?"
    return f"Remove it; known keys here: {', '.join(known)}"


def _expectation(path: tuple[str | int, ...]) -> str:
    model = _model_at(path[:-1])
    if model is None or path[-1] not in model.model_fields:
        return "See docs/reference/plan.md"
    annotation = model.model_fields[str(path[-1])].annotation
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
    return f"Expected here: {name}; see docs/reference/plan.md"


def _fields_at(path: tuple[str | int, ...]) -> Iterable[str]:
    model = _model_at(path)
    return model.model_fields if model else []


def _model_at(path: tuple[str | int, ...]) -> type[BaseModel] | None:
    """Return the model that validates the mapping at `path`, following lists, dicts and unions."""
    current: Any = Plan
    for part in path:
        model = _as_model(current)
        if model is not None:
            if part not in model.model_fields:
                return None
            current = model.model_fields[str(part)].annotation
        else:
            arguments = typing.get_args(_without_none(current))
            current = arguments[-1] if arguments else None
    return _as_model(current)


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) in {types.UnionType, typing.Union}:
        return next(part for part in typing.get_args(annotation) if part is not types.NoneType)
    return annotation


def _as_model(annotation: Any) -> type[BaseModel] | None:
    bare = _without_none(annotation)
    return bare if isinstance(bare, type) and issubclass(bare, BaseModel) else None
