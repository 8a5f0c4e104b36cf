"""Whatever is wrong with one key of an example plan, the answer is a finding at a line, never a traceback."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sextant_plan.errors import Finding
from sextant_plan.loading import check_plan

EXAMPLES = Path(__file__).parents[2] / "examples"
PLANS: dict[str, dict[str, Any]] = {
    name: yaml.safe_load((EXAMPLES / name / "plan.yaml").read_text(encoding="utf-8"))
    for name in ("digits", "parcels", "tiny")
}
OPEN = (("data", "columns"), ("params",))  # mappings whose keys are the user's own
ROLES = ("owner", "roles")  # a mapping whose keys are values of a list


def _keys(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the path of every key of every mapping."""
    if isinstance(value, dict):
        return [each for key, child in value.items() for each in ((*path, key), *_keys(child, (*path, key)))]
    if isinstance(value, list):
        return [each for index, child in enumerate(value) for each in _keys(child, (*path, index))]
    return []


PLACES = [(name, path) for name, plan in PLANS.items() for path in _keys(plan)]


def _check(plan: dict[str, Any]) -> tuple[list[Finding], list[str]]:
    text = yaml.safe_dump(plan, sort_keys=False)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        return check_plan(Path(file.name)), text.splitlines()


def _corrupted(place: tuple[str, tuple[str | int, ...]]) -> tuple[dict[str, Any], Any, Any]:
    """Return a copy of the plan, the mapping that holds the key, and the key."""
    name, path = place
    plan = copy.deepcopy(PLANS[name])
    holder: Any = plan
    for part in path[:-1]:
        holder = holder[part]
    return plan, holder, path[-1]


def _assert_placed(findings: list[Finding], lines: list[str]) -> None:
    for finding in findings:
        assert 1 <= finding.line <= len(lines)
        assert 1 <= finding.column <= len(lines[finding.line - 1]) + 1
        assert finding.problem
        assert finding.remedy
        assert finding.field


@pytest.mark.parametrize("name", PLANS)
def test_the_examples_are_sound(name: str) -> None:
    """What the cases below break is in order."""
    assert check_plan(EXAMPLES / name / "plan.yaml") == []


@settings(max_examples=40)
@given(place=st.sampled_from(PLACES))
@example(place=("parcels", ("owner", "roles", "data")))
def test_a_misspelt_key_is_found_on_its_line(place: tuple[str, tuple[str | int, ...]]) -> None:
    """One letter too many: the key is unknown, and the one that was meant is named."""
    plan, holder, key = _corrupted(place)
    wrong = f"{key}x"
    items = [(wrong if name == key else name, value) for name, value in holder.items()]
    holder.clear()
    holder.update(items)
    findings, lines = _check(plan)
    _assert_placed(findings, lines)
    path = place[1]
    if (path[:2] == OPEN[0] and len(path) == 3) or path[-2:-1] == OPEN[1]:
        return
    is_role = path[:-1] == ROLES
    problem = "this value is not known" if is_role else "this key is unknown"
    (unknown,) = [finding for finding in findings if finding.problem == problem]
    assert f"{wrong}:" in lines[unknown.line - 1]
    assert unknown.remedy == (f"Did you mean {key}?" if is_role else f"Did you mean `{key}`?")


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just([]), st.just({"nobody": 1})
)


@settings(max_examples=80)
@given(place=st.sampled_from(PLACES), value=VALUES)
def test_any_value_of_any_key_is_answered(place: tuple[str, tuple[str | int, ...]], value: Any) -> None:
    """Each value is either taken or answered by findings with line, column and remedy."""
    plan, holder, key = _corrupted(place)
    holder[key] = value
    findings, lines = _check(plan)
    _assert_placed(findings, lines)
    if value == {"nobody": 1} and key not in OPEN[1]:
        assert findings


@settings(max_examples=30)
@given(place=st.sampled_from(PLACES))
def test_a_key_left_out_is_taken_or_named(place: tuple[str, tuple[str | int, ...]]) -> None:
    """A key without a default is missed where it belongs; others fall back or contradict the rest."""
    plan, holder, key = _corrupted(place)
    del holder[key]
    findings, lines = _check(plan)
    _assert_placed(findings, lines)


@settings(max_examples=30)
@given(name=st.sampled_from(sorted(PLANS)), line=st.integers(0, 80), at=st.integers(0, 60), letter=st.characters())
def test_any_character_anywhere_is_answered(name: str, line: int, at: int, letter: str) -> None:
    """A slip of the keyboard in the text itself never makes a traceback."""
    lines = (EXAMPLES / name / "plan.yaml").read_text(encoding="utf-8").splitlines()
    line %= len(lines)
    lines[line] = lines[line][:at] + letter + lines[line][at:]
    with tempfile.NamedTemporaryFile("wb", suffix=".yaml") as file:
        file.write("\n".join(lines).encode("utf-8", "surrogatepass"))
        file.flush()
        for finding in check_plan(Path(file.name)):
            assert finding.line >= 1
            assert finding.remedy
