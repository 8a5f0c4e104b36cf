"""YAML with positions: values as plain Python, and for each path into them the line and column it stands at."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sextant_plan.errors import Finding, PlanError

Path_ = tuple[str | int, ...]
Position = tuple[int, int]


@dataclass
class Source:
    """A parsed file: its value, and 1-based (line, column) by path; `keys` is where a mapping's key stands."""

    value: Any = None
    values: dict[Path_, Position] = field(default_factory=dict)
    keys: dict[Path_, Position] = field(default_factory=dict)
    duplicates: list[Path_] = field(default_factory=list)

    def position(self, path: Path_) -> Position:
        """Return where the key of `path` stands, else its value, else the nearest enclosing part."""
        for end in range(len(path), -1, -1):
            place = self.keys.get(path[:end]) or self.values.get(path[:end])
            if place:
                return place
        return 1, 1


def read_yaml(path: Path) -> Source:
    """Parse a YAML file by the safe schema. Raises PlanError if it is absent, not UTF-8 or not YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise _unreadable(
            path, "there is no such file", "Give the path of a plan, or write one: sextant init"
        ) from error
    except IsADirectoryError as error:
        raise _unreadable(path, "this is a folder", f"Give a file, such as {path / 'plan.yaml'}") from error
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"byte {error.start} is not UTF-8", "Save the file as UTF-8") from error
    try:
        return _parse(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = error.problem or "the file is not YAML"
        raise PlanError(path, [Finding(line, column, "yaml", problem, "Mend the YAML at this place")]) from error
    except (yaml.YAMLError, ValueError) as error:
        raise _unreadable(path, "the file is not YAML", "Save it as plain YAML text") from error


def _parse(text: str) -> Source:
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        source = Source()
        if root is not None:
            _walk(root, (), source)
            source.value = loader.construct_document(root)
        return source
    finally:
        loader.dispose()


def _unreadable(path: Path, problem: str, remedy: str) -> PlanError:
    return PlanError(path, [Finding(1, 1, "file", problem, remedy)])


def _walk(root: yaml.Node, start: Path_, source: Source) -> None:
    """Note every position below `root`; an alias is visited where it is used, and each node once for each use."""
    pending: list[tuple[yaml.Node, Path_, frozenset[int]]] = [(root, start, frozenset())]
    while pending:
        node, path, above = pending.pop()
        if id(node) in above:
            mark = node.start_mark
            raise yaml.MarkedYAMLError(problem="an alias contains itself", problem_mark=mark)
        source.values.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
        inside = above | {id(node)}
        if isinstance(node, yaml.MappingNode):
            seen: set[Hashable] = set()
            for key, value in node.value:
                child = (*path, str(key.value))
                if key.value in seen:
                    source.duplicates.append(child)
                seen.add(key.value)
                source.keys[child] = (key.start_mark.line + 1, key.start_mark.column + 1)
                pending.append((value, child, inside))
        elif isinstance(node, yaml.SequenceNode):
            pending.extend((value, (*path, index), inside) for index, value in enumerate(node.value))
