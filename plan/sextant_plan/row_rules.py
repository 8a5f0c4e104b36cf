"""A rule over two columns of one row, such as `weight <= capacity`: written in the plan, checked on every row."""

from __future__ import annotations

import re
from dataclasses import dataclass

ORDERINGS = frozenset({"<", "<=", ">", ">="})
_FORM = re.compile(r"^\s*(\S.*?)\s*(<=|>=|==|!=|<|>)\s*([^<>=!\s].*?)\s*$")


@dataclass(frozen=True)
class RowRule:
    """`left` and `right` are columns of the table; `comparison` has to hold wherever both have a value."""

    left: str
    comparison: str
    right: str

    def __str__(self) -> str:
        return f"{self.left} {self.comparison} {self.right}"


def parse_row_rule(text: str) -> RowRule | None:
    """Return the rule that a text of the plan states, or None if it is not two columns and one comparison."""
    found = _FORM.match(text)
    return RowRule(*found.groups()) if found else None
