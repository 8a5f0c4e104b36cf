"""The checks of the verify step, as functions over the snapshot's rows."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sextant_components.data.column_rules import row_violations, violations
from sextant_components.data.snapshots import picture_batches
from sextant_components.data.sources import answer_columns
from sextant_components.data.stored_rows import Mask, StoredRows
from sextant_components.data.table_files import as_numbers
from sextant_components.data.tables import stored_name
from sextant_components.data.whole_tables import Repeated, repeated_places
from sextant_plan.row_rules import parse_row_rule
from sextant_plan.schema import ColumnRule, ImageInput, Plan

if TYPE_CHECKING:
    import polars as pl

UNREADABLE = "picture"  # the rule of a fix for a picture that the server would refuse
DECODERS = 2  # Pillow decodes without the interpreter's lock


@dataclass(frozen=True, order=True, slots=True)
class Fix:
    """One row left out, and why."""

    row_id: int
    rule: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        """Return the line of fixes.jsonl."""
        return {"action": "dropped", **asdict(self)}


def rule_fixes(plan: Plan, rows: StoredRows) -> dict[str, list[Fix]]:
    """Return, for each column with a rule and each of `data.rules`, a fix for each row and part that it breaks.

    Rows are gone through in pieces. A column that may be absent and is breaks no rule.
    """
    rules, found = plan.data.columns, {name: list[Fix]() for name in (*plan.data.columns, *plan.data.rules)}
    for batch in rows.batches([stored_name(plan, name) for name in rules]):
        for name, rule in rules.items():
            found[name] += _column_fixes(name, stored_name(plan, name), rule, batch)
        for text in plan.data.rules:
            found[text] += _row_rule_fixes(plan, text, batch)
    for name, rule in rules.items():
        if rule.unique and stored_name(plan, name) in rows.schema:
            found[name] += _unique_fixes(name, stored_name(plan, name), rows)
    return found


def _column_fixes(name: str, stored: str, rule: ColumnRule, batch: pl.DataFrame) -> list[Fix]:
    """Return the fixes of one piece for all parts of a rule but `unique`, which one piece cannot tell."""
    if stored not in batch.columns:
        return []
    return [
        Fix(row_id, f"{name}.{part}", _REASONS[part])
        for part, mask in violations(batch[stored], rule.model_copy(update={"unique": False})).items()
        for row_id in batch["row_id"].filter(mask).to_list()
    ]


def _unique_fixes(name: str, stored: str, rows: StoredRows) -> list[Fix]:
    repeated = repeated_places(rows.batches([stored]), [stored])
    present = rows.column(stored).is_not_null()
    later = repeated.places[repeated.places != repeated.firsts]
    return [Fix(row_id, f"{name}.unique", _REASONS["unique"]) for row_id in later.tolist() if present[row_id]]


def _row_rule_fixes(plan: Plan, text: str, rows: pl.DataFrame) -> list[Fix]:
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


def missing_inputs(plan: Plan, rows: StoredRows) -> int:
    """Return in how many rows a column that comes with a request is missing."""
    import polars as pl

    names = plan.requested
    if not names:
        return 0
    any_missing = pl.any_horizontal(pl.col(name).is_null() for name in names)
    return sum(int(batch.select(any_missing.sum()).item()) for batch in rows.batches(names))


def repeated_inputs(plan: Plan, rows: StoredRows) -> Repeated:
    """Return the rows of which the model reads the same as of another."""
    import polars as pl

    digests = (pl.DataFrame({"digest": input_digests(plan, batch)}) for batch in rows.batches(input_names(plan)))
    return repeated_places(digests, ["digest"])


def input_names(plan: Plan) -> list[str]:
    """Return the columns that tell what the model reads of a row (see `input_digests`)."""
    inputs = plan.model.inputs
    names = plan.requested
    if inputs.image is not None:
        names.append("image_sha256")
    if inputs.features:
        key = (plan.data.entity, plan.data.timestamp if inputs.image is None else None)
        names += [name for name in key if name]
    return names


def input_digests(plan: Plan, rows: pl.DataFrame) -> list[str]:
    """Return for each row a digest of what the model reads of it: picture, request columns, and feature key.

    The time is part of the feature key only without a picture: the same bytes of the same entity are one
    picture that was sent twice.
    """
    values = rows.select(input_names(plan)).iter_rows()
    return [hashlib.sha256(repr(row).encode()).hexdigest() for row in values]


def contradictions_and_repeats(plan: Plan, rows: StoredRows, usable: Mask, repeated: Repeated) -> list[Fix]:
    """Return fixes for usable rows whose inputs are equal: all if their labels differ, else all but the first.

    Rows without a picture repeat by nature, when columns take few values: those are kept, and the splits
    hold them together. `usable` is a mask of shape (rows,).
    """
    if plan.model.inputs.image is None:
        return []
    chosen = rows.taken(["label"], rows.mask_of(repeated.places) & usable)
    labels = dict(chosen.iter_rows())
    fixes: list[Fix] = []
    for group in repeated.groups():
        members = [row_id for row_id in group if usable[row_id]]
        if len({labels[row_id] for row_id in members}) > 1:
            others = f"rows {', '.join(str(row_id) for row_id in members[:5])} are equal and their labels differ"
            fixes += [Fix(row_id, "contradiction", others) for row_id in members]
        else:
            reason = f"the picture and the columns repeat row {members[0]}" if members else ""
            fixes += [Fix(row_id, "duplicate", reason) for row_id in members[1:]]
    return fixes


def leaking_columns(plan: Plan, rows: StoredRows) -> list[str]:
    """Return the columns of a request that are the label under other names, or what a rater said of it.

    A column is the label where each value goes with one label and each label with one value. Of numbers that hardly
    repeat this says nothing; there a column is the label where the two rise, or fall, together without an exception.
    """
    import polars as pl

    answers = answer_columns(plan.data)
    seen: dict[str, pl.DataFrame] = {}
    open_names = [name for name in plan.requested if name not in answers]
    for batch in rows.batches(["label", *open_names]):
        for name in open_names:
            pairs = batch.select(pl.col(name).alias("value"), "label").unique()
            seen[name] = pl.concat([seen[name], pairs]).unique() if name in seen else pairs
        open_names = [name for name in open_names if _is_one_to_one(seen[name])]
        if not open_names:
            break
    renamed = [name for name in open_names if seen[name].height > 1 and _is_renamed(seen[name], rows.height)]
    return [name for name in plan.requested if name in answers or name in renamed]


def _is_one_to_one(pairs: pl.DataFrame) -> bool:
    return pairs.height == pairs["label"].n_unique() == pairs["value"].n_unique()


def _is_renamed(pairs: pl.DataFrame, rows: int) -> bool:
    """Tell whether pairs that are one to one in so many rows are more than values of which each occurs once."""
    if pairs.height <= rows / 2:
        return True
    values = as_numbers(pairs["value"])
    if not (values.dtype.is_numeric() and pairs["label"].dtype.is_numeric()):
        return False
    ordered = pairs["label"].gather(values.arg_sort())
    return ordered.is_sorted() or ordered.is_sorted(descending=True)


def balance_is_judged(plan: Plan) -> bool:
    """Tell whether a criterion looks at each class for itself."""
    return any(criterion.metric in {"recall_min", "macro_f1"} for criterion in plan.criteria)
