"""The tables behind the plan's feature views, checked and brought to the form that Feast reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sextant_components.data.table_files import as_instants, as_numbers, as_text, data_rows, read_table, require_columns
from sextant_plan.canonical import digest_of_file
from sextant_plan.errors import DataError
from sextant_plan.schema import FeatureView, Plan
from sextant_serving.on_demand import feast_name

if TYPE_CHECKING:
    import polars as pl

EVENT_TIME = "event_timestamp"
_FEAST_DROPS = "_y"  # Feast 0.67's duckdb join takes a column that ends so for its own and drops it


@dataclass(frozen=True)
class ViewTable:
    """One view's events: the entity as text, `event_timestamp` in UTC microseconds, features as float64 or text.

    No two events have one entity and time; `replaced` counts those that a later line of the file replaced.
    """

    view: FeatureView
    events: pl.DataFrame
    digest: str
    replaced: int

    @property
    def name(self) -> str:
        """The view's name in Feast, whose tables allow no hyphen."""
        return feast_name(self.view.name)


def read_views(plan: Plan, root: Path) -> list[ViewTable]:
    """Read every view of the plan. Raises DataError for an absent column, a missing key, or an unreadable time."""
    assert plan.features is not None
    assert plan.data.entity is not None
    return [_read_view(view, plan.data.entity, root / view.source) for view in plan.features.views]


def _read_view(view: FeatureView, entity: str, path: Path) -> ViewTable:
    import polars as pl

    key = f"features.views.{view.name}"
    table = read_table(path)
    needed = {entity: "data.entity", view.timestamp: f"{key}.timestamp"}
    require_columns(path, table.columns, needed | dict.fromkeys(view.columns, f"{key}.columns"))
    for name in view.columns:
        if name in {entity, view.timestamp, EVENT_TIME} or name.endswith(_FEAST_DROPS):
            raise DataError(
                path,
                f"the feature {name} has a name that the join needs for itself",
                f"Rename it: not the entity, the time, {EVENT_TIME}, or a name that ends in {_FEAST_DROPS}",
            )
    keys = as_text(table[entity])
    missing = keys.is_null().arg_true().to_list()
    if missing:
        raise DataError(path, f"column {entity} is empty in {data_rows(missing)}", "Give each event its entity")
    times = as_instants(path, table[view.timestamp]).alias(EVENT_TIME)
    features = [_feature(table[name]) for name in view.columns]
    events = pl.DataFrame([keys, times, *features])
    # Feast orders by time alone, so of equal times it would take any; the later line is the correction.
    single = events.unique([entity, EVENT_TIME], keep="last", maintain_order=True).sort(entity, EVENT_TIME)
    return ViewTable(view, single, digest_of_file(path), events.height - single.height)


def _feature(column: pl.Series) -> pl.Series:
    """Return float64 where every value is a number, else text."""
    import polars as pl

    numbers = as_numbers(column)
    return numbers.cast(pl.Float64) if numbers.dtype.is_numeric() else as_text(column)
