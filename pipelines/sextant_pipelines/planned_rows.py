"""Whether the planned test set can decide a criterion: rows counted in the data against rows that a proof takes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sextant_plan.bounds import rows_to_prove
from sextant_plan.catalogue import Enforcement
from sextant_plan.errors import DataError
from sextant_plan.schema import Criterion, Plan
from sextant_plan.statistics.planning import rows_to_decide

HOPED_MARGIN = 0.5  # of the errors that the limit allows; a model that makes half of them is what one may hope for


@dataclass(frozen=True)
class Labelled:
    """The labelled rows of the data: all of them, by class, and by value of each slice column of the plan."""

    rows: int
    classes: Counter[str]
    slices: dict[str, Counter[str]]


def count_rows(plan: Plan, root: Path) -> Labelled | None:
    """Count the rows by reading the columns that matter alone; None where the data is absent or cannot be read."""
    data = plan.data
    try:
        if data.table is not None:
            return _count_table(plan, root / data.table)
        return _count_folders(root / (data.images or ""))
    except (DataError, OSError):
        return None


def undecidable(plan: Plan, labelled: Labelled) -> Iterator[str]:
    """Yield a sentence for each gate that the planned test set cannot decide, with planned and needed rows."""
    for criterion in plan.criteria:
        if Enforcement.GATE in criterion.enforce and not criterion.definition.by_request:
            yield from _criterion(plan, criterion, labelled)


def _criterion(plan: Plan, criterion: Criterion, labelled: Labelled) -> Iterator[str]:
    planned, of = _planned(plan, criterion, labelled)
    if planned is None:
        return
    name = f"criteria {criterion.id}"
    if planned < criterion.min_n:
        yield f"{name}: {of} will have about {planned} rows; min_n is {criterion.min_n}. Lower it, or get more rows"
    share = criterion.at_least if criterion.at_least is not None else 1 - criterion.limit
    if criterion.definition.estimator != "proportion" or criterion.relative_to is not None or not 0 < share < 1:
        return
    possible = rows_to_prove(share, criterion.confidence)
    hoped = share + HOPED_MARGIN * (1 - share)
    needed = rows_to_decide(share, hoped, criterion.confidence)
    if planned < possible:
        yield (
            f"{name}: {of} will have about {planned} rows; even without one error {possible} are needed to prove "
            f"{criterion.limit:g} at confidence {criterion.confidence:g}, and {needed} if the true share is "
            f"{hoped:.4g}. Get more rows, raise evaluation.sealed_split, or choose another limit"
        )


def _planned(plan: Plan, criterion: Criterion, labelled: Labelled) -> tuple[int | None, str]:
    """Return about how many rows will judge a criterion, and which; None for what is not counted in rows here."""
    step, sealed = criterion.definition.step, plan.evaluation.sealed_split
    if step == "verify":
        return labelled.rows, "the data"
    if step != "evaluate":
        return None, ""
    if criterion.metric == "recall_min":
        label, rows = min(labelled.classes.items(), key=lambda item: item[1])
        return math.floor(rows * sealed), f"the sealed split of class {label}"
    column, equals, value = (criterion.slice or "").partition("=")
    if equals:
        found = labelled.slices.get(column)
        return (None if found is None else math.floor(found[value] * sealed)), f"the sealed split of {criterion.slice}"
    return math.floor(labelled.rows * sealed), "the sealed split"


def _count_table(plan: Plan, path: Path) -> Labelled | None:
    import polars as pl

    wanted = {plan.data.label, *plan.evaluation.slices}
    try:
        lazy = pl.scan_csv(path, infer_schema=False) if path.suffix.lower() == ".csv" else pl.scan_parquet(path)
        present = [name for name in lazy.collect_schema().names() if name in wanted]
        if plan.data.label not in present:
            return None
        table = lazy.select(pl.col(present).cast(pl.String)).collect()
    except pl.exceptions.PolarsError:
        return None
    counts = {name: Counter(value for value in table[name].to_list() if value) for name in present}
    labels = counts[plan.data.label]
    slices = {name: counts[name] for name in present if name in plan.evaluation.slices}
    return Labelled(labels.total(), labels, slices) if labels else None


def _count_folders(images: Path) -> Labelled | None:
    from sextant_components.data.sources import class_pictures

    classes = Counter({name: len(pictures) for name, pictures in class_pictures(images).items()})
    return Labelled(classes.total(), classes, {}) if classes else None
