"""Small value types of the plan: durations, entry points, names."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StringConstraints, WithJsonSchema

DAY = 86400.0  # seconds
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY, "w": 7 * DAY}
_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h|d|w)$")
_ENTRYPOINT = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


def _parse_duration(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < 0:
            raise ValueError("a duration is not negative")
        return float(value)
    match = _DURATION.match(value) if isinstance(value, str) else None
    if not match:
        raise ValueError("write a duration as a number with ms, s, m, h, d or w, such as 90s or 24h")
    return float(match[1]) * _SECONDS[match[2]]


def duration_text(seconds: float) -> str:
    """Return a duration as a plan has it: in the largest unit up to days of which it is whole, else in milliseconds."""
    whole = (unit for unit in ("d", "h", "m", "s") if seconds and (seconds / _SECONDS[unit]).is_integer())
    unit = next(whole, "ms")
    return f"{seconds / _SECONDS[unit]:g}{unit}"


def _check_entrypoint(value: str) -> str:
    if not _ENTRYPOINT.match(value):
        raise ValueError("write code as module:function, such as warehouse.rules:by_weight")
    return value


def _in_unit_interval(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError("write a share between 0 and 1")
    return value


Duration = Annotated[
    float,
    BeforeValidator(_parse_duration),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": _DURATION.pattern}]}),
]
"""Seconds; written in a plan as 500ms, 90s, 15m, 4h, 30d or 2w, so that 60s and 1m hash alike."""

Entrypoint = Annotated[str, AfterValidator(_check_entrypoint)]
"""The user's own code as `module:function`, installed beside Sextant; never loaded from a bundle."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$")]
"""A DNS label of at most 42 characters, since it becomes part of Kubernetes object names."""

Share = Annotated[float, AfterValidator(_in_unit_interval)]
"""A number from 0 to 1."""


class DrillName(StrEnum):
    """The failures that can be rehearsed (docs/how-to/rehearse-failure.md says what each does)."""

    SLOW_MODEL = "slow-model"
    BAD_MODEL = "bad-model"
    DRIFT = "drift"
    FEATURE_STORE_DOWN = "feature-store-down"
    DEAD_POD = "dead-pod"
    RESTORE_REGISTRY = "restore-registry"
    RESTORE_FEATURES = "restore-features"
    RESTORE_OBJECTS = "restore-objects"
