"""What a component's body imports is in the image that it names: held against the image's own lock.

Each step's module is read with everything of ours that it imports, at module level and inside functions, and every
other package that is met has to be a distribution of the lock. A step is then imported with all other distributions
out of reach, as in a container that holds the lock and nothing else.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from sextant_pipelines.runtime import STEP_MODULES

ROOT = Path(__file__).parents[3]
ENTRY = "sextant_pipelines.runtime"
MODULES = [*STEP_MODULES.values(), "sextant_components.modelling.tracking"]
OURS = ("sextant_plan", "sextant_monitoring", "sextant_serving", "sextant_components", "sextant_pipelines")


@cache
def _locked(extra: str) -> frozenset[str]:
    """Return the distributions of an image's lock, by their normal names."""
    text = (ROOT / "requirements" / f"{extra}.txt").read_text(encoding="utf-8")
    return frozenset(
        re.sub(r"[-_.]+", "-", name).lower() for name in re.findall(r"^([A-Za-z0-9._-]+)(?:\[.*\])?==", text, re.M)
    )


@cache
def _imports(module: str) -> frozenset[str]:
    """Return every module that a module of ours names in an import, wherever it stands; types alone do not count."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            if node.module.split(".")[0] in OURS:
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def _reached(start: str) -> Iterator[str]:
    """Yield every package outside of ours that a module can come to import."""
    seen, pending = set(), [start]
    while pending:
        module = pending.pop()
        if module in seen:
            continue
        seen.add(module)
        top = module.split(".")[0]
        if top not in OURS:
            yield top
            continue
        try:
            spec = importlib.util.find_spec(module)
        except ModuleNotFoundError:  # a name of a module, not a module
            continue
        if spec is not None and spec.origin is not None:
            pending += _imports(module)


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


@pytest.mark.parametrize("module", MODULES)
def test_a_steps_imports_are_in_its_images_lock(module: str) -> None:
    """A package that only the developer's environment has would be missed in the first run on a cluster."""
    missing = {
        top
        for start in (module, ENTRY)
        for top in _reached(start)
        if top not in sys.stdlib_module_names
        and not {re.sub(r"[-_.]+", "-", name).lower() for name in _distributions().get(top, [top])} & _locked("train")
    }
    assert missing == set()


def test_every_step_is_importable_with_its_images_packages_alone(tmp_path: Path) -> None:
    """All steps in one process in which any distribution outside of the lock raises as if it were not installed."""
    foreign = sorted(
        top
        for top, names in _distributions().items()
        if not {re.sub(r"[-_.]+", "-", name).lower() for name in names} & (_locked("train") | {"sextant-mlops"})
    )
    assert "pytest" in foreign
    script = tmp_path / "child.py"
    script.write_text(
        "import importlib, json, sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in foreign:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "foreign, modules = (set(part) for part in json.loads(sys.argv[1]))\n"
        "sys.meta_path.insert(0, Absent())\n"
        "for module in sorted(modules):\n"
        "    importlib.import_module(module)\n",
        encoding="utf-8",
    )
    # Editable installs put a finder of their own into every process; it is the developer's, and in no image.
    foreign = [top for top in foreign if not top.startswith(("__editable", "_editable"))]
    argument = json.dumps([foreign, [*MODULES, ENTRY]])
    done = subprocess.run([sys.executable, str(script), argument], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_kfps_executor_is_in_the_image() -> None:
    """Nothing is installed when a step starts, so the module that runs it has to be there."""
    assert "kfp" in _locked("train")
