"""Importing Feast at a third of its cost; training and serving both do it through here."""

from __future__ import annotations

import importlib
import sys
import threading
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
            return importlib.import_module("feast")
        finally:
            typeguard.typechecked = checked
            if hide_torch:
                del sys.modules["torch"]


def _unchecked(target: Any = None, **_: Any) -> Any:
    """Stand in for `typeguard.typechecked`, used bare or with options."""
    return target if target is not None else _unchecked
