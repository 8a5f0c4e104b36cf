"""The checks of the verify step, as functions over the snapshot's rows."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sextant_components.column_rules import row_violations, violations
from sextant_components.snapshots import picture_batches
from sextant_components.tables import stored_name
from sextant_plan.row_rules import parse_row_rule
from sextant_plan.schema import ColumnRule, ImageInput, Plan

if TYPE_CHECKING:
    import polars as pl

UNREADABLE = "picture"  # the rule of a fix for a picture that the server would refuse
DECODERS = 2  # Pillow decodes without the interpreter's lock


@dataclass(frozen=True, order=True)
class Fix:
    """One row left out, and why."""

    row_id: int
    rule: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        """Return the line of fixes.jsonl."""
        return {"action": "dropped", **asdict(self)}


def rule_fixes(name: str, rule: ColumnRule, rows: pl.DataFrame, *, label: str) -> list[Fix]:
    """Return a fix for each row and part of the rule that it breaks; a column that may be absent and is breaks none."""
    stored = "label" if name == label else name
    if stored not in rows.columns:
        return []
    return [
        Fix(row_id, f"{name}.{part}", _REASONS[part])
        for part, mask in violations(rows[stored], rule).items()
        for row_id in rows["row_id"].filter(mask).to_list()
    ]


def row_rule_fixes(plan: Plan, text: str, rows: pl.DataFrame) -> list[Fix]:
    """Return a fix for each row that breaks one of `data.rules`; with a column that may be absent and is, none does."""
    rule = parse_row_rule(text)
    assert rule is not None
    left, right = stored_name(plan, rule.left), stored_name(plan, rule.right)
    if left not in rows.columns or right not in rows.columns:
        return []
    broken = row_violations(rows[left], rule.comparison, rows[right], kind=plan.data.columns[rule.left].type)
    reason = "the comparison of the row's two values does not hold"
    return [Fix(row_id, text, reason) for row_id in rows["row_id"].filter(broken).to_list()]


_REASONS = {
    "required": "the value is missing",
    "type": "the value cannot be read as the rule's type",
    "min": "the value is below the rule's min",
    "max": "the value is above the rule's max",
    "values": "the value is none of the rule's values",
    "unique": "the value repeats an earlier row's",
}


def unreadable_pictures(snapshot: Path, spec: ImageInput) -> list[Fix]:
    """Decode every picture as the server would; return a fix for each that it would refuse."""
    from sextant_serving.errors import BadPicture
    from sextant_serving.preprocessing import decode_image

    def refused(data: bytes) -> bool:
        try:
            decode_image(data, spec)
        except BadPicture:
            return True
        return False

    fixes: list[Fix] = []
    with ThreadPoolExecutor(DECODERS) as pool:
        for row_ids, pictures in picture_batches(snapshot):
            for row_id, bad in zip(row_ids, pool.map(refused, pictures), strict=True):
                if bad:
                    fixes.append(Fix(row_id, UNREADABLE, "not a readable JPEG or PNG within the size limits"))
    return fixes


def missing_inputs(plan: Plan, rows: pl.DataFrame) -> pl.Series:
    """Return a mask of the rows in which a request column of the model is missing."""
    import polars as pl

    mask = pl.Series([False] * rows.height, dtype=pl.Boolean)
    for name in plan.model.inputs.columns:
        mask |= rows[name].is_null()
    return mask


def input_digests(plan: Plan, rows: pl.DataFrame) -> list[str]:
    """Return for each row a digest of what the model reads of it: picture, request columns, and feature key.

    The time is part of the feature key only without a picture: the same bytes of the same entity are one
    picture that was sent twice.
    """
    inputs = plan.model.inputs
    names = list(inputs.columns)
    if inputs.image is not None:
        names.append("image_sha256")
    if inputs.features:
        key = (plan.data.entity, plan.data.timestamp if inputs.image is None else None)
        names += [name for name in key if name]
    values = rows.select(names).iter_rows()
    return [hashlib.sha256(repr(row).encode()).hexdigest() for row in values]


def contradictions_and_repeats(plan: Plan, rows: pl.DataFrame, digests: Sequence[str]) -> list[Fix]:
    """Return fixes for rows whose inputs are equal: all of them if their labels differ, else all but the first.

    Rows without a picture repeat by nature, when columns take few values: those are kept, and the splits
    hold them together. `digests` has one entry a row.
    """
    if plan.model.inputs.image is None:
        return []
    alike: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for row_id, label, digest in zip(rows["row_id"].to_list(), rows["label"].to_list(), digests, strict=True):
        alike[digest].append((row_id, label))
    fixes: list[Fix] = []
    for members in alike.values():
        if len({label for _, label in members}) > 1:
            others = f"rows {', '.join(str(row_id) for row_id, _ in members[:5])} are equal and their labels differ"
            fixes += [Fix(row_id, "contradiction", others) for row_id, _ in members]
        else:
            reason = f"the picture and the columns repeat row {members[0][0]}"
            fixes += [Fix(row_id, "duplicate", reason) for row_id, _ in members[1:]]
    return fixes


def balance_is_judged(plan: Plan) -> bool:
    """Tell whether a criterion looks at each class for itself."""
    return any(criterion.metric in {"recall_min", "macro_f1"} for criterion in plan.criteria)
