"""Amendments: the block `amends` of a plan that replaces one whose results are known."""

from __future__ import annotations

import math
from pathlib import Path

import yaml

from sextant_plan.errors import UsageError
from sextant_plan.files import write_atomically
from sextant_plan.ledger import criterion_hash
from sextant_plan.loading import load_plan, plan_hash
from sextant_plan.schema import Amendment, Plan

KEY = "amends"


class NothingToAmend(UsageError):
    """An amendment of a plan that says what its parent says."""

    def __init__(self, path: Path, parent: str) -> None:
        super().__init__(
            f"{path}: nothing differs from the frozen plan {parent[:19]}. Change the plan first, then amend it."
        )


def amend_file(path: Path, parent: Plan, amendment: Amendment) -> str:
    """Write the amendment into a plan file and return the plan's new hash; comments and all other lines stay.

    An earlier amendment in the file is replaced. Raises NothingToAmend if the plan differs from `parent` in nothing
    but amendments, and UsageError if the file's form leaves no place for the block.
    """
    before = load_plan(path)
    if _without_amendment(before) == _without_amendment(parent):
        raise NothingToAmend(path, amendment.parent)
    text = amended_text(path.read_text(encoding="utf-8"), amendment)
    draft = path.with_name(f".{path.name}.amended")
    try:
        draft.write_text(text, encoding="utf-8")
        after = load_plan(draft)
    finally:
        draft.unlink(missing_ok=True)
    if after.model_copy(update={KEY: None}) != before.model_copy(update={KEY: None}) or after.amends != amendment:
        raise UsageError(
            f"{path}: the block could not be written. Write `{KEY}:` by hand, as in docs/reference/plan.md."
        )
    write_atomically(path, text.encode())
    return plan_hash(after)


def amended_text(text: str, amendment: Amendment) -> str:
    """Return a plan's text with its block `amends` added at the end, or replaced where it stands.

    Raises UsageError for a plan in flow style, `{...}`, which has no lines to put the block between.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise UsageError("the plan is written in flow style, {...}. Write one key a line, so that it can be amended.")
    block = _block(amendment)
    for key, value in root.value:
        if key.value == KEY:
            return text[: key.start_mark.index] + block + text[_end(value) :]
    return text.rstrip("\n") + f"\n\n{block}\n"


def amended_criteria(parent: Plan, plan: Plan) -> list[str]:
    """Return the ids of the criteria that differ between two plans: added, removed or changed."""
    one, other = ({each.id: criterion_hash(each) for each in each_plan.criteria} for each_plan in (parent, plan))
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _without_amendment(plan: Plan) -> str:
    return plan_hash(plan.model_copy(update={KEY: None}))


def _block(amendment: Amendment) -> str:
    author, reason = (_quoted(text) for text in (amendment.author, amendment.reason))
    lines = [f"parent: {amendment.parent}", f"author: {author}", f"reason: {reason}", f"date: {amendment.date}"]
    return "\n  ".join([f"{KEY}:", *lines])


def _quoted(text: str) -> str:
    """Return a text as one double-quoted YAML scalar on one line."""
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf).rstrip("\n")


def _end(node: yaml.Node) -> int:
    """Return the index behind a node's last character; a block's own end mark lies behind the comments after it."""
    while isinstance(node, yaml.MappingNode | yaml.SequenceNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    end = node.end_mark
    behind_newline = isinstance(node, yaml.ScalarNode) and node.style in {"|", ">"}
    return int(end.index) - (1 if behind_newline else 0)
