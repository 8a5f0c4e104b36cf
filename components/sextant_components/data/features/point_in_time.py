"""What Feast's join has to give, found without Feast, so that its result is evidence and not trust."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sextant_components.data.features.feature_sources import EVENT_TIME, ViewTable

if TYPE_CHECKING:
    import polars as pl


def as_of(keys: pl.DataFrame, table: ViewTable, entity: str) -> pl.DataFrame:
    """Return each row's last event at or before its time and within the view's ttl, as `view__feature` columns.

    `keys` has the entity and `event_timestamp`; the result has its rows in its order.
    """
    import polars as pl

    events = table.events.with_columns(pl.col(EVENT_TIME).alias("_event")).sort(EVENT_TIME)
    ordered = keys.with_row_index("_place").sort(EVENT_TIME)
    joined = ordered.join_asof(
        events, on=EVENT_TIME, by=entity, tolerance=timedelta(seconds=table.view.ttl), check_sortedness=False
    )
    names = {name: f"{table.name}__{name}" for name in table.view.columns}
    return joined.sort("_place").select(pl.col(name).alias(full) for name, full in names.items())


def differing_rows(left: pl.DataFrame, right: pl.DataFrame) -> list[int]:
    """Return the places at which two tables of the same columns differ; null equals null only."""
    import polars as pl

    mask = pl.Series([False] * left.height, dtype=pl.Boolean)
    for name in left.columns:
        mask |= left[name].ne_missing(right[name].cast(left[name].dtype))
    return mask.arg_true().to_list()


def comparable_online(keys: pl.DataFrame, tables: list[ViewTable], entity: str, until: datetime) -> list[int]:
    """Return the places of rows that training and serving must see alike.

    These are the rows for which, in each view, the entity's latest event up to `until` is the one that the
    join found: it lies at or before the row's time and within the view's ttl of it.
    """
    import polars as pl

    mask = pl.Series([True] * keys.height, dtype=pl.Boolean)
    for table in tables:
        latest = (
            table.events.filter(pl.col(EVENT_TIME) <= until)
            .group_by(entity)
            .agg(pl.col(EVENT_TIME).max().alias("_last"))
        )
        joined = keys.join(latest, on=entity, how="left", maintain_order="left")
        age = joined[EVENT_TIME] - joined["_last"]
        mask &= (age >= timedelta(0)).fill_null(value=False)
        mask &= (age <= timedelta(seconds=table.view.ttl)).fill_null(value=False)
    return mask.arg_true().to_list()
