"""The user's own code, named `module:function`: how it is loaded, and the digest that evidence names it by."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sextant_plan.canonical import digest_of, digest_of_file
from sextant_plan.errors import UsageError


class EntrypointError(UsageError):
    """User code that cannot be loaded, or that does not keep the promise of the place it is used in."""

    def __init__(self, entrypoint: str, problem: str, remedy: str) -> None:
        self.entrypoint, self.problem, self.remedy = entrypoint, problem, remedy
        super().__init__(f"{entrypoint}: {problem}. {remedy}")


def load_entrypoint(entrypoint: str) -> Callable[..., Any]:
    """Import and return the function that `module:function` names.

    Raises EntrypointError if the module cannot be imported, or has no such function.
    """
    module_name, _, function_name = entrypoint.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the user's module may raise anything while it is imported
        raise EntrypointError(
            entrypoint,
            f"importing {module_name} raised {type(error).__name__}",
            "Install the package beside Sextant and try `python -c 'import " + module_name + "'`",
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise EntrypointError(
            entrypoint, f"{module_name} has no function {function_name}", "Name a function that the module defines"
        )
    return function  # type: ignore[no-any-return]


def entrypoint_digest(entrypoint: str) -> str:
    """Return the digest of every file in the top-level package (or of the one module) that holds the code.

    Nothing is executed but the finders. Byte code is left out, since it differs between machines.
    Raises EntrypointError if the package cannot be found or is not made of files.
    """
    top = entrypoint.partition(":")[0].partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise EntrypointError(entrypoint, f"there is no package {top}", "Install it beside Sextant")
    files: dict[str, Path] = {}
    for location in spec.submodule_search_locations or []:
        root = Path(location)
        files |= {path.relative_to(root).as_posix(): path for path in root.rglob("*") if _is_source(path)}
    if spec.submodule_search_locations is None and spec.origin is not None and Path(spec.origin).is_file():
        files = {Path(spec.origin).name: Path(spec.origin)}
    if not files:
        raise EntrypointError(entrypoint, f"{top} is not made of files", "Name code of an installed package")
    return digest_of({name: digest_of_file(path) for name, path in files.items()})


def _is_source(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
