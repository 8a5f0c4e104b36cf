"""Importing Feast at a third of its cost, and mended; training and serving both do it through here."""

from __future__ import annotations

import importlib
import sys
import threading
import uuid
from types import ModuleType
from typing import Any

_LOCK = threading.Lock()


def import_feast() -> ModuleType:
    """Return the feast module, imported without what Sextant never uses of it.

    Feast 0.67 imports torch if it finds it, for on-demand views over tensors, and has typeguard recompile
    its classes for checks at run time, which mypy has already made of Sextant's calls. Without both the import
    took 5.8 s of processor time instead of 19.5 s on a busy two-core machine. Neither is hidden afterwards.
    """
    with _LOCK:
        if "feast" in sys.modules:
            return sys.modules["feast"]
        import typeguard

        checked, hide_torch = typeguard.typechecked, "torch" not in sys.modules
        typeguard.typechecked = _unchecked
        if hide_torch:
            sys.modules["torch"] = None  # type: ignore[assignment]
        try:
            feast = importlib.import_module("feast")
            _tell_readings_apart(importlib.import_module("feast.infra.registry.sql").SqlRegistry)
        finally:
            typeguard.typechecked = checked
            if hide_torch:
                del sys.modules["torch"]
        return feast


def _tell_readings_apart(registry: Any) -> None:
    """Give each reading of a SQL registry a version of its own.

    Feast keeps the views that it has parsed, for the whole process, under the reading's address in memory, its version
    and the project. Feast 0.67 leaves the version of a SQL registry empty, so that a reading at an address that has
    become free is taken for the one that lay there: its views are those of an earlier state, or of another registry.
    """
    read = registry.proto

    def proto(self: Any) -> Any:
        reading = read(self)
        reading.version_id = uuid.uuid4().hex
        return reading

    registry.proto = proto


def _unchecked(target: Any = None, **_: Any) -> Any:
    """Stand in for `typeguard.typechecked`, used bare or with options."""
    return target if target is not None else _unchecked
