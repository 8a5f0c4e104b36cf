"""What the plan says of its data's corrections, rules and times that cannot be carried out."""

from __future__ import annotations

from collections.abc import Iterator

from sextant_plan.fault import Fault, choose
from sextant_plan.row_rules import ORDERINGS, parse_row_rule
from sextant_plan.schema import Plan

ORDERED_TYPES = frozenset({"number", "timestamp"})


def data_faults(plan: Plan) -> Iterator[Fault]:
    """Yield each part of `data` that contradicts another, and a split by time of data without times."""
    data = plan.data
    if data.corrections is not None and data.entity is None and data.images is None:
        yield Fault(
            ("data", "corrections"),
            "a correction names its row by entity or picture, and the rows have neither",
            "Name the column that identifies a row in data.entity",
        )
    if plan.evaluation.split_by == "time" and data.timestamp is None:
        yield Fault(
            ("evaluation", "split_by"),
            "a split by time needs the rows' times",
            "Name their column in data.timestamp, or use content",
        )
    for name, column in data.columns.items():
        if column.clip and column.type != "number":
            path = ("data", "columns", name, "clip")
            yield Fault(path, f"{name} is a {column.type} and has no quantiles", "Remove it, or declare a number")
    for index, text in enumerate(data.rules):
        yield from _rule_faults(plan, ("data", "rules", index), text)


def _rule_faults(plan: Plan, path: tuple[str | int, ...], text: str) -> Iterator[Fault]:
    rule = parse_row_rule(text)
    if rule is None:
        yield Fault(path, f"{text} is not a comparison of two columns", "Write it as: weight <= capacity")
        return
    columns = plan.data.columns
    unknown = [name for name in (rule.left, rule.right) if name not in columns]
    for name in unknown:
        yield Fault(path, f"{name} is not among data.columns", choose(name, columns))
    if unknown:
        return
    kinds = {columns[rule.left].type, columns[rule.right].type}
    if len(kinds) > 1:
        yield Fault(path, f"{' and '.join(sorted(kinds))} cannot be compared", "Compare two columns of one type")
    elif rule.comparison in ORDERINGS and not kinds <= ORDERED_TYPES:
        yield Fault(path, f"{kinds.pop()} columns have no order", "Use == or !=, or compare numbers or timestamps")
